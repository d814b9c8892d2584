//! `report`: the HTML page of a run, again.

use glassbox_report::{ReportError, write_report};
use serde_json::json;

use crate::arguments::ReportArguments;
use crate::error::{CliError, one_file};
use crate::exit_code;
use crate::output::{print, print_json};

/// Writes the report and prints where it lies.
///
/// # Errors
/// A [`CliError`] if the folder is no run, a table is damaged, or the report cannot be written.
pub fn report(arguments: &ReportArguments) -> Result<u8, CliError> {
    let summary = write_report(&arguments.run).map_err(|error| match error {
        ReportError::Store(error) => one_file(error),
        other => CliError::from(other),
    })?;
    if arguments.json {
        print_json(&json!({
            "report": summary.path.display().to_string(),
            "bytes": summary.bytes,
            "headline": summary.headline,
            "failed_checks": summary.failed_checks,
            "missing_sections": summary.missing_sections,
        }))?;
    } else {
        print(&format!("{}\n", summary.path.display()))?;
    }
    Ok(exit_code::DONE)
}
