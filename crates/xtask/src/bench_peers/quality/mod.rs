//! `cargo xtask bench-peers --quality`: dictionaries of glassbox, SAELens and dictionary_learning, trained on the same
//! activations, at the same width and sparsity, and measured by the same code on the same held-out tokens.

mod dictionaries;
mod rows;
mod subject;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::bench_peers::bench::Setting;
use crate::bench_peers::quality::dictionaries::{Architecture, Program, Run, train};
use crate::bench_peers::quality::rows::Rows;
use crate::bench_peers::quality::subject::Subject;
use crate::bench_peers::quality::table::Line;

/// Trains and measures everything, prints the table, and puts it into a Markdown file if one is given.
///
/// # Errors
/// If a model, an environment or a training fails.
pub fn quality(setting: &Setting, stories: &Path, markdown: Option<&Path>) -> Result<()> {
    let folder = setting.data.join("quality");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let seeds: &[u64] = if setting.quick { &[0] } else { &[0, 1, 2] };
    let mut lines = Vec::new();
    for subject in Subject::all(stories) {
        ensure!(
            subject.model.is_dir(),
            "{}: there is no model in {}; the comparison needs both of its models",
            subject.name,
            subject.model.display()
        );
        for layer in subject.layers {
            let rows = Rows::of(&subject, layer, &folder, setting.quick)?;
            for architecture in Architecture::ALL {
                for program in Program::ALL {
                    let runs: Vec<Run> = seeds
                        .iter()
                        .map(|&seed| Run::new(&rows, architecture, program, seed))
                        .collect();
                    let outcomes = train(program, &rows, &runs, setting)?;
                    let line = Line::new(&subject, layer, architecture, program, &outcomes);
                    eprintln!("{}", line.text());
                    lines.push(line);
                }
            }
        }
    }
    print!("{}", table::markdown(&lines));
    if let Some(file) = markdown {
        table::put_into(file, &lines)?;
    }
    if !table::all_reached(&lines) {
        eprintln!("a target is not reached: see the columns of the table");
    }
    Ok(())
}
