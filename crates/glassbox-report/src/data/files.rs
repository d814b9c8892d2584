//! The tables of a run as they lie on disk.

use std::path::Path;

use glassbox_store::{Manifest, PreviewColumn, RunPaths, TablePreview, preview_table};

use super::trials::completed_shards;
use crate::ReportError;

/// A table of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Path within the run directory; shards as `trials/*.parquet`.
    pub path: String,
    /// What a row is.
    pub description: String,
    /// Rows.
    pub rows: u64,
    /// Files that hold them.
    pub parts: u64,
    /// Columns in order.
    pub columns: Vec<PreviewColumn>,
}

/// All finished tables of a run: those that the manifest lists, and the shards in its folders.
pub(super) fn read_files(paths: &RunPaths, manifest: &Manifest) -> Result<Vec<FileFacts>, ReportError> {
    let root = paths.root();
    let mut files = Vec::new();
    for name in manifest.files.keys().filter(|name| name.ends_with(".parquet")) {
        let table = root.join(name);
        if table.is_file() {
            files.push(facts(name.clone(), 1, preview_table(&table, 0)?));
        }
    }
    for folder in [paths.trials(), root.join("replays"), paths.features()] {
        shards_below(root, &folder, &mut files)?;
    }
    files.sort_by_key(|file| (order(&file.path), file.path.clone()));
    Ok(files)
}

/// Adds one entry for the shards of a folder, and of the folders in it.
fn shards_below(root: &Path, folder: &Path, files: &mut Vec<FileFacts>) -> Result<(), ReportError> {
    if !folder.is_dir() {
        return Ok(());
    }
    let name = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
    let mut whole: Option<FileFacts> = None;
    for shard in completed_shards(folder)? {
        let preview = preview_table(&shard, 0)?;
        match &mut whole {
            Some(whole) => {
                whole.rows += preview.total_rows;
                whole.parts += 1;
            }
            None => whole = Some(facts(format!("{name}/*.parquet"), 1, preview)),
        }
    }
    files.extend(whole);
    let failed = |cause| ReportError::Folder {
        path: folder.to_path_buf(),
        cause,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            shards_below(root, &path, files)?;
        }
    }
    Ok(())
}

/// Tables stand in the order in which the stages write them.
fn order(path: &str) -> usize {
    let stem = path.split(['.', '/']).next().unwrap_or(path);
    [
        "prompts",
        "selection",
        "screen",
        "plan",
        "trials",
        "causal",
        "verdicts",
        "decision",
        "decision_effects",
        "replays",
        "features",
        "pathways",
        "chains",
        "words",
        "controls",
    ]
    .iter()
    .position(|known| *known == stem)
    .unwrap_or(usize::MAX)
}

fn facts(path: String, parts: u64, preview: TablePreview) -> FileFacts {
    FileFacts {
        path,
        description: preview.description.unwrap_or_default(),
        rows: preview.total_rows,
        parts,
        columns: preview.columns,
    }
}
