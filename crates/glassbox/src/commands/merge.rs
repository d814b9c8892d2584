//! `merge`: the shards of a sweep as one run.

use std::path::{Path, PathBuf};

use glassbox_experiment::merge::{MergeRequest, merge as merge_shards};
use serde_json::json;

use crate::arguments::MergeArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json, refuse_input_as_output};
use crate::progress::Progress;
use crate::shell::word;
use crate::table::{count, facts};

/// Checks shards and writes them as one run.
///
/// # Errors
/// A [`CliError`] if the shards do not make one whole sweep, or the merge was stopped.
pub fn merge(arguments: &MergeArguments, quiet: bool) -> Result<u8, CliError> {
    let sources: Vec<&Path> = arguments.shards.iter().map(PathBuf::as_path).collect();
    refuse_input_as_output(&arguments.out, &sources)?;
    let request = MergeRequest {
        sources: arguments.shards.clone(),
        out: arguments.out.clone(),
        resume: arguments.resume,
        allow_mixed_processors: arguments.allow_mixed_processors,
    };
    let shards: Vec<String> = arguments.shards.iter().map(|folder| word(folder)).collect();
    let mixed = if arguments.allow_mixed_processors {
        " --allow-mixed-processors"
    } else {
        ""
    };
    let again = format!(
        "glassbox merge {} --out {}{mixed} --resume",
        shards.join(" "),
        word(&arguments.out)
    );
    let interrupt = Interrupt::listen()?;
    let outcome = merge_shards(&request, &Progress::new(quiet, interrupt.flag()))
        .map_err(|error| CliError::from(error).resumable_by(again))?;
    if arguments.json {
        print_json(&json!({
            "run": outcome.out.display().to_string(),
            "sources": outcome.sources,
            "units": outcome.units,
            "trials": outcome.trials,
            "instruction_sets": outcome.instruction_sets,
        }))?;
        return Ok(exit_code::DONE);
    }
    print(&facts(&[
        ("run", outcome.out.display().to_string()),
        (
            "merged",
            format!(
                "{} trials in {} units, from {} folders",
                count(outcome.trials),
                count(outcome.units),
                outcome.sources
            ),
        ),
        ("processors", outcome.instruction_sets.join(", ")),
        (
            "next",
            format!("glassbox run SCENARIO --out {} --resume", word(&outcome.out)),
        ),
    ]))?;
    Ok(exit_code::DONE)
}
