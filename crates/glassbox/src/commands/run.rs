//! `run`: all stages of a scenario, and the report.

use glassbox_dictionary_job::JobSettings;
use glassbox_experiment::Scenario;
use glassbox_experiment::estimate::estimate;
use glassbox_experiment::run::{RunOutcome, RunRequest, run as run_scenario};
use glassbox_report::write_report;

use crate::arguments::RunArguments;
use crate::commands::dictionary_job::run_job;
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json, refuse_special_files};
use crate::plan_summary;
use crate::progress::Progress;
use crate::run_summary::RunSummary;
use crate::shell::word;

/// Runs a scenario file, or says what that would cost.
///
/// # Errors
/// A [`CliError`] if an input cannot be used, or the run was stopped.
pub fn run(arguments: &RunArguments, quiet: bool) -> Result<u8, CliError> {
    refuse_special_files([arguments.config.as_path()])?;
    // What can't be read is named by the reader of scenarios.
    if std::fs::read_to_string(&arguments.config).is_ok_and(|text| JobSettings::is_job(&text)) {
        return run_job(arguments, quiet);
    }
    if arguments.extract_only || arguments.train_only {
        return Err(CliError::usage_with_hint(
            format!(
                "{} is no job of dictionaries: it has no `[corpus]`",
                arguments.config.display()
            ),
            "--extract-only and --train-only are stages of such a job",
        ));
    }
    let scenario = Scenario::read(&arguments.config)?;
    if arguments.dry_run {
        let plan = estimate(&scenario)?;
        if arguments.json {
            print_json(&plan)?;
        } else {
            print(&plan_summary::text(&plan))?;
        }
        return Ok(exit_code::DONE);
    }
    let request = RunRequest {
        scenario,
        out: arguments.out.clone(),
        resume: arguments.resume,
        pilot: arguments.pilot,
    };
    let pilot = arguments
        .pilot
        .map(|features| format!(" --pilot {features}"))
        .unwrap_or_default();
    let again = format!(
        "glassbox run {} --out {}{pilot} --resume",
        word(&arguments.config),
        word(&arguments.out)
    );
    let (_, code) =
        run_and_report(&request, quiet, arguments.json).map_err(|error| error.resumable_by(again))?;
    Ok(code)
}

/// Runs what is not complete, writes the report and prints the summary. Returns what was found, and the exit code.
///
/// # Errors
/// As [`run`].
pub fn run_and_report(request: &RunRequest, quiet: bool, json: bool) -> Result<(RunOutcome, u8), CliError> {
    let interrupt = Interrupt::listen()?;
    let outcome = run_scenario(request, &Progress::new(quiet, interrupt.flag()))?;
    let report = write_report(&request.out)?;
    let summary = RunSummary {
        outcome: &outcome,
        report: &report,
    };
    if json {
        print_json(&summary.json())?;
    } else {
        print(&summary.text())?;
    }
    let code = summary.exit_code();
    Ok((outcome, code))
}
