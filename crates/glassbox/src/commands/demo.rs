//! `demo`: the whole chain on the shipped model.
//!
//! The folder holds `shipped/`, the model with its dictionaries, prompts and scenario, and `run/`, the run directory.

use std::path::Path;

use glassbox_experiment::Scenario;
use glassbox_experiment::run::RunRequest;
use glassbox_store::{RunPaths, StageStatus, Storage, StoreError, TEMPORARY_PREFIX};

use crate::arguments::DemoArguments;
use crate::assets;
use crate::commands::run::run_and_report;
use crate::error::CliError;
use crate::shell::word;

const SHIPPED: &str = "shipped";
const RUN: &str = "run";

/// Unpacks the shipped files and runs their scenario.
///
/// # Errors
/// A [`CliError`] if the folder cannot be used, or the run was stopped.
pub fn demo(arguments: &DemoArguments, quiet: bool) -> Result<u8, CliError> {
    let (shipped, out) = (arguments.out.join(SHIPPED), arguments.out.join(RUN));
    check_folder(&arguments.out)?;
    if !arguments.resume {
        refuse_a_second_run(&arguments.out, &out)?;
    }
    let scenario = Scenario::read(&assets::unpack(&Storage::new(), &shipped)?)?;
    let request = RunRequest {
        scenario,
        out,
        resume: arguments.resume,
        pilot: None,
    };
    let again = format!("glassbox demo --out {} --resume", word(&arguments.out));
    let code = run_and_report(&request, quiet, arguments.json).map_err(|error| error.resumable_by(again))?;
    if !quiet {
        eprint!("{}", next_steps(&request.out, &shipped));
    }
    Ok(code)
}

/// Refuses a folder that holds something else.
fn check_folder(folder: &Path) -> Result<(), CliError> {
    let entries = match std::fs::read_dir(folder) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|cause| StoreError::Unwritable {
            path: folder.to_owned(),
            cause,
        })?,
    };
    let mut others: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name != SHIPPED && name != RUN && !name.starts_with(TEMPORARY_PREFIX))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    others.sort();
    others.truncate(5);
    let what = format!(
        "{} is not empty and not the folder of a demo (it holds {})",
        folder.display(),
        others.join(", ")
    );
    Err(CliError::usage_with_hint(
        what,
        "choose a new or empty folder with --out",
    ))
}

/// Without `--resume`, a run that is there is neither continued nor written over.
fn refuse_a_second_run(folder: &Path, run: &Path) -> Result<(), CliError> {
    let paths = RunPaths::new(run);
    if !paths.manifest().exists() {
        return Ok(());
    }
    let finished = paths
        .read_manifest()?
        .stages
        .iter()
        .all(|stage| stage.status == StageStatus::Complete);
    let state = if finished {
        "a finished demo"
    } else {
        "an unfinished demo"
    };
    let then = if finished {
        "shows its summary again"
    } else {
        "continues it"
    };
    let what = format!("{} already holds {state}", folder.display());
    let hint = format!("--resume {then}; to start anew choose another --out, or remove the folder first");
    Err(CliError::usage_with_hint(what, hint))
}

fn next_steps(run: &Path, shipped: &Path) -> String {
    let model = word(&shipped.join("model"));
    let (dictionaries, scenario) = (
        word(&shipped.join("dictionaries")),
        word(&shipped.join("scenario.toml")),
    );
    let report = word(&run.join("report.html"));
    format!(
        "\nOpen {report} in a browser. Then try:\n  \
         glassbox inspect {run}\n  \
         glassbox inspect {dictionaries}\n  \
         glassbox trace --model {model} --tokens 0,1,2 --sites 'blocks.*.hook_resid_post' --out trace.safetensors\n  \
         glassbox run {scenario} --out {other} --dry-run\n",
        run = word(run),
        other = word(&run.with_file_name("my-run")),
    )
}
