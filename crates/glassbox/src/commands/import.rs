//! `import`: trial logs as tables.

use std::path::Path;

use glassbox_logs::{ImportSummary, Logs, import as write, parser_named};
use glassbox_store::Storage;

use crate::arguments::ImportArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::log_progress::LogProgress;
use crate::output::{print, print_json, refuse_input_as_output};
use crate::table::{count, facts};

/// Writes what the logs hold as tables.
///
/// # Errors
/// A [`CliError`] if there are no logs, the parser or the folder cannot be used, or the reading was stopped.
pub fn import(arguments: &ImportArguments, quiet: bool) -> Result<u8, CliError> {
    let logs = Logs::find(&arguments.logs)?;
    let inputs: Vec<&Path> = arguments.logs.iter().map(AsRef::as_ref).collect();
    refuse_input_as_output(&arguments.out, &inputs)?;
    let parser = arguments.parser.as_deref().map(parser_named).transpose()?;
    let progress = LogProgress::begin(&logs, "import", quiet)?;
    let summary = write(&logs, &arguments.out, parser.as_ref(), &Storage::new(), &progress)?;
    let rows = summary.trials + summary.features + summary.aggregates + summary.numbers;
    progress.finish(format!("{} rows written", count(rows)));
    if arguments.json {
        print_json(&summary)?;
    } else {
        print(&text(&summary))?;
    }
    Ok(exit_code::DONE)
}

fn text(summary: &ImportSummary) -> String {
    let outcomes = match (&summary.parser, &summary.parser_hash) {
        (Some(parser), Some(hash)) => format!("read by {parser} ({hash})"),
        _ => "as the logs state them".to_owned(),
    };
    let repeats = count(summary.repeats);
    let listed = if summary.problems > 0 {
        "; problems.parquet lists them"
    } else {
        ""
    };
    facts(&[
        (
            "read",
            format!("{} files", count(summary.read.files.len() as u64)),
        ),
        (
            "trials",
            format!(
                "{}, of which {repeats} repeat an earlier one",
                count(summary.trials)
            ),
        ),
        ("outcomes", outcomes),
        ("features", count(summary.features)),
        ("counted cells", count(summary.aggregates)),
        ("other numbers", count(summary.numbers)),
        (
            "not usable",
            format!("{} rows or files{listed}", count(summary.problems)),
        ),
        (
            "written to",
            format!("{}: {}", summary.out.display(), summary.tables.join(", ")),
        ),
    ])
}
