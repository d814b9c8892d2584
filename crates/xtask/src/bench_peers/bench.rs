//! The course of the benchmark.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::bench_peers::ablation::{self, ablation};
use crate::bench_peers::arguments::Arguments;
use crate::bench_peers::environment;
use crate::bench_peers::machine;
use crate::bench_peers::outcome::{Measured, Outcome};
use crate::bench_peers::quality::quality;
use crate::bench_peers::table;
use crate::bench_peers::work::Work;

/// What every work needs to be set up.
pub struct Setting {
    /// Folder of the Python environments.
    pub environments: PathBuf,
    /// Folder of the models.
    pub data: PathBuf,
    /// Threads of either side.
    pub threads: u32,
    /// Whether smaller samples do.
    pub quick: bool,
    /// Load of the machine before the first measurement.
    pub load_before: Option<f64>,
}

/// Measures the works and prints the result.
///
/// # Errors
/// For a build without optimisation; if a peer can't be set up; if the two sides don't compute the same thing.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "this is a build without optimisation, whose times mean nothing; run `cargo xtask bench-peers`, which builds with \
         --release"
    );
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads as usize)
        .build_global()
        .context("the worker threads")?;
    let absolute = |folder: &PathBuf| {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::path::absolute(folder).with_context(|| format!("find {}", folder.display()))
    };
    let setting = Setting {
        environments: absolute(&arguments.environments)?,
        data: absolute(&arguments.data)?,
        threads: arguments.threads,
        quick: arguments.quick,
        load_before: machine::load(),
    };
    if arguments.quality {
        return quality(&setting, &arguments.stories, arguments.markdown.as_deref());
    }
    environment::make_models(&setting.environments, &setting.data)?;
    if let Some(load) = setting.load_before.filter(|load| *load > 0.5) {
        eprintln!(
            "something else runs on this machine (load {load}): times will be too long and ratios uncertain"
        );
    }
    if arguments.ablation {
        let rows = ablation(&setting)?;
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
        } else {
            print!("{}", ablation::table(&rows));
        }
        return Ok(());
    }
    let works = match arguments.work.as_slice() {
        [] => &Work::ALL,
        chosen => chosen,
    };
    let mut outcomes = Vec::with_capacity(works.len());
    for &work in works {
        let pairs = match (arguments.pairs, arguments.quick) {
            (Some(pairs), _) => pairs,
            (None, true) => work.pairs().min(2),
            (None, false) => work.pairs(),
        };
        let outcome = measure(work, pairs, &setting).with_context(|| format!("{work}"))?;
        eprintln!("{}", table::line(&outcome));
        outcomes.push(outcome);
    }
    if let Some(file) = &arguments.markdown {
        table::put_into(file, &outcomes)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        print!("{}", table::terminal(&outcomes));
    }
    Ok(())
}

fn measure(work: Work, pairs: u32, setting: &Setting) -> Result<Outcome> {
    eprintln!("{work}: setting up");
    let mut contest = work.contest(setting)?;
    eprintln!("{work}: checking that both sides compute the same");
    let check = contest.check()?;
    eprintln!("{work}: {check}");
    let measured = Measured {
        pairs: contest.measure(pairs)?,
        units: contest.units(),
        check,
        note: contest.note()?,
        versions: format!("{}; {}", machine::glassbox_version(), contest.versions()),
        machine: machine::machine(),
        threads: setting.threads,
        load_before: setting.load_before,
    };
    Outcome::new(work, measured)
}
