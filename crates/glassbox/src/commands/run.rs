//! `run`: all stages of a scenario, and the report.

use glassbox_experiment::Scenario;
use glassbox_experiment::run::{RunRequest, run as run_scenario};
use glassbox_report::write_report;

use crate::arguments::RunArguments;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::run_summary::RunSummary;
use crate::shell::word;

/// Runs a scenario file.
///
/// # Errors
/// A [`CliError`] if an input cannot be used, or the run was stopped.
pub fn run(arguments: &RunArguments, quiet: bool) -> Result<u8, CliError> {
    let scenario = Scenario::read(&arguments.config)?;
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
    run_and_report(&request, quiet, arguments.json).map_err(|error| error.resumable_by(again))
}

/// Runs what is not complete, writes the report and prints the summary. Returns the exit code.
///
/// # Errors
/// As [`run`].
pub fn run_and_report(request: &RunRequest, quiet: bool, json: bool) -> Result<u8, CliError> {
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
    Ok(summary.exit_code())
}
