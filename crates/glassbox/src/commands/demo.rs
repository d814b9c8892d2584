//! `demo`: the whole chain on the shipped model.
//!
//! The folder holds `shipped/`, the model with its dictionaries, prompts and scenario, and `run/`, the run directory.

use std::path::Path;

use glassbox_experiment::Scenario;
use glassbox_experiment::prompts::PromptSets;
use glassbox_experiment::run::{RunOutcome, RunRequest};
use glassbox_store::{RunPaths, StageStatus, Storage, StoreError, TEMPORARY_PREFIX};

use crate::arguments::DemoArguments;
use crate::assets;
use crate::commands::run::run_and_report;
use crate::error::CliError;
use crate::output::tell;
use crate::run_summary::strongest;
use crate::shell::{quoted, word};

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
    let (outcome, code) =
        run_and_report(&request, quiet, arguments.json).map_err(|error| error.resumable_by(again))?;
    if !quiet && !arguments.json {
        tell(next_steps(&request, &shipped, &outcome)?.trim_end_matches('\n'));
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

/// What to open, and what to try: a prompt of family B as it is, the same with the strongest feature set to its value
/// of family A, and a look at the run.
fn next_steps(request: &RunRequest, shipped: &Path, outcome: &RunOutcome) -> Result<String, CliError> {
    let (scenario, run) = (&request.scenario, word(&request.out));
    let mut text = format!(
        "\nOpen {} in a browser. Then try:\n\n",
        word(&request.out.join("report.html"))
    );
    let prompts = PromptSets::read(scenario)?.sweep;
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.family == scenario.family_b()) {
        let most = scenario.sweep.max_new_tokens;
        let generate = format!(
            "glassbox generate --model {} --prompt \"$PROMPT\" --greedy --max-new-tokens {most}",
            word(&shipped.join("model"))
        );
        text.push_str(&format!("PROMPT={}\n{generate}\n", quoted(&prompt.text)));
        if let Some(row) = strongest(outcome) {
            let dictionaries = word(&shipped.join("dictionaries"));
            let (layer, feature, value) = (row.layer, row.feature, row.value_a);
            text.push_str(&format!(
                "{generate} \\\n  --dictionaries {dictionaries} --set L{layer}-{feature}={value:.3}\n"
            ));
        }
    }
    text.push_str(&format!("glassbox inspect {run}\n"));
    Ok(text)
}
