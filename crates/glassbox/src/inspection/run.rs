//! A run directory.

use std::path::Path;

use glassbox_store::{Manifest, RunPaths, StageStatus};
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::shell::word;
use crate::table::{bytes, count, duration, facts, table};

/// Reads the manifest and compares every finished file with it.
pub(super) fn inspect(folder: &Path) -> Result<Inspection, CliError> {
    let paths = RunPaths::of_existing(folder)?;
    let manifest = paths.read_manifest()?;
    let damaged = paths.damaged_files(&manifest)?;
    let complete = manifest
        .stages
        .iter()
        .all(|stage| stage.status == StageStatus::Complete);
    let messages: Vec<String> = damaged.iter().map(ToString::to_string).collect();
    let state = match (damaged.len(), complete) {
        (0, true) => format!("yes; glassbox report {} writes its report", word(folder)),
        (0, false) => {
            "the finished stages are; --resume with the command that began the run does the others".to_owned()
        }
        (some, _) => format!("no: {some} of its files are damaged"),
    };
    let usable = damaged.is_empty();
    let rest = json!({
        "complete": complete,
        "damage": messages,
        "manifest": serde_json::to_value(&manifest).map_err(|error| CliError::usage(error.to_string()))?,
    });
    Ok(Inspection {
        text: text(folder, &manifest, &state),
        json: described("run", folder, usable, rest),
        damage: damaged.into_iter().next().map(CliError::from),
    })
}

fn text(folder: &Path, manifest: &Manifest, state: &str) -> String {
    let scenario = manifest
        .config
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or("–")
        .to_owned();
    let heading = facts(&[
        ("run", folder.display().to_string()),
        ("scenario", scenario),
        (
            "made by",
            format!(
                "glassbox {} on {}",
                manifest.glassbox_version, manifest.instruction_set
            ),
        ),
        ("begun", manifest.created_utc.clone()),
        ("last written", manifest.updated_utc.clone()),
        ("usable", state.to_owned()),
    ]);
    let dash = || "–".to_owned();
    let stages = manifest.stages.iter().map(|stage| {
        let status = match stage.status {
            StageStatus::Pending => "not begun",
            StageStatus::Running => "begun",
            StageStatus::Complete => "complete",
        };
        vec![
            stage.name.clone(),
            status.to_owned(),
            stage.seconds.map_or_else(dash, duration),
            stage.rows.map_or_else(dash, count),
        ]
    });
    let stages = table(&["stage", "status", "time", "rows"], &stages.collect::<Vec<_>>());
    let files = manifest.files.iter().map(|(name, file)| {
        vec![
            name.clone(),
            file.rows.map_or_else(dash, count),
            bytes(file.bytes),
        ]
    });
    let files: Vec<_> = files.collect();
    if files.is_empty() {
        return format!("{heading}\n{stages}");
    }
    format!(
        "{heading}\n{stages}\n{}",
        table(&["file", "rows", "size"], &files)
    )
}
