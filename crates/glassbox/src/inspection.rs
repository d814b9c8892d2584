//! What a path holds, and whether it is usable.

mod activations;
mod dictionary;
mod history;
mod job;
mod model;
mod other_tensors;
mod run;
mod scenario;
mod table_file;
mod tensors;

use std::path::{Path, PathBuf};

use glassbox_corpus::ACTIVATIONS_FILE;
use glassbox_dictionary::{CrossLayerTranscoder, GhostTrackHistory, formats};
use glassbox_dictionary_job::{JOB_FILE, JobSettings};
use glassbox_kernels::CpuBackend;
use glassbox_model::locate::{HubEnvironment, locate};
use glassbox_store::MANIFEST_FILE;
use serde_json::{Value, json};

use crate::error::CliError;

/// What was found at a path.
#[derive(Debug)]
pub struct Inspection {
    /// For people.
    pub text: String,
    /// For machines: an object with `kind`, `path`, `usable` and what belongs to the kind.
    pub json: Value,
    /// What is wrong with what was found, if it is damaged.
    pub damage: Option<CliError>,
}

/// Kinds that are told apart by what lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Dictionary,
    DictionarySet,
    CrossLayer,
    Run,
    Activations,
    Table,
    Tensors,
    OtherTensors,
    History,
    Scenario,
    Job,
    JobFolder,
}

/// Looks at a path, or at a model's hub id. `rows` of a table are shown; `features` are those of a history's dictionary.
///
/// # Errors
/// A [`CliError`] if nothing is there, it is of no known kind, or it is not usable.
pub fn inspect(path: &Path, rows: usize, features: Option<usize>) -> Result<Inspection, CliError> {
    if !path.exists() {
        // Only a model can be named otherwise than by its path.
        let name = path.to_str().unwrap_or_default();
        return model::inspect(&locate(name, &HubEnvironment::of_process())?);
    }
    if !path.is_dir() && !path.is_file() {
        return Err(CliError::usage(format!(
            "{} is a pipe or a device, and no file or folder",
            path.display()
        )));
    }
    match kind(path) {
        Some(Kind::Model) => model::inspect(path),
        Some(Kind::Dictionary) => dictionary::inspect(path),
        Some(Kind::DictionarySet) => dictionary::inspect_set(path),
        Some(Kind::CrossLayer) => dictionary::inspect_cross_layer(path),
        Some(Kind::Run) => run::inspect(path),
        Some(Kind::Activations) => activations::inspect(path),
        Some(Kind::Table) => table_file::inspect(path, rows),
        Some(Kind::Tensors) => tensors::inspect(path),
        Some(Kind::OtherTensors) => other_tensors::inspect(path),
        Some(Kind::History) => history::inspect(path, features),
        Some(Kind::Scenario) => scenario::inspect(path),
        Some(Kind::Job) => job::inspect(path),
        Some(Kind::JobFolder) => job::inspect_folder(path),
        None => Err(unknown(path)),
    }
}

fn kind(path: &Path) -> Option<Kind> {
    if path.is_dir() {
        return if path.join(MANIFEST_FILE).is_file() {
            Some(Kind::Run)
        } else if CrossLayerTranscoder::<CpuBackend>::recognises(path) {
            Some(Kind::CrossLayer)
        } else if path.join(ACTIVATIONS_FILE).is_file() {
            Some(Kind::Activations)
        } else if path.join(JOB_FILE).is_file() {
            Some(Kind::JobFolder)
        } else if formats::recognise(path).is_some() {
            Some(Kind::Dictionary)
        } else if path.join("config.json").is_file() {
            Some(Kind::Model)
        } else if std::iter::once(path.to_path_buf())
            .chain(folders(path))
            .any(|folder| !formats::members(&folder).is_empty())
        {
            Some(Kind::DictionarySet)
        } else {
            None
        };
    }
    if formats::recognise(path).is_some() {
        return Some(Kind::Dictionary);
    }
    if GhostTrackHistory::recognises(path) {
        return Some(Kind::History);
    }
    match path.extension()?.to_str()? {
        "parquet" => Some(Kind::Table),
        "safetensors" => Some(Kind::Tensors),
        "pt" | "pth" | "npz" | "npy" => Some(Kind::OtherTensors),
        "toml" if std::fs::read_to_string(path).is_ok_and(|text| JobSettings::is_job(&text)) => {
            Some(Kind::Job)
        }
        "toml" => Some(Kind::Scenario),
        _ => None,
    }
}

/// The folders in a folder, by name; none if it can't be listed.
fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn unknown(path: &Path) -> CliError {
    let known = "a model folder (config.json), a dictionary folder or a folder of them, a run directory (manifest.json), \
                 a folder of activations (activations.json), a .parquet table, a file of tensors (.safetensors, .pt, .pth, .npz, .npy), a scenario or a job \
                 of dictionaries (.toml), a job's folder (job.json), a training \
                 history of GhostTrack (…_history.json)";
    let what = format!(
        "{} is nothing that can be inspected; that is: {known}",
        path.display()
    );
    let inside: Vec<String> = folders(path)
        .into_iter()
        .flat_map(|folder| std::iter::once(folder.clone()).chain(folders(&folder)))
        .filter(|folder| kind(folder).is_some())
        .take(4)
        .map(|folder| folder.display().to_string())
        .collect();
    if inside.is_empty() {
        return CliError::usage(what);
    }
    CliError::usage_with_hint(what, format!("inside of it are: {}", inside.join(", ")))
}

/// The object that every inspection gives machines, with what belongs to the kind.
fn described(kind: &str, path: &Path, usable: bool, rest: Value) -> Value {
    let mut object = json!({ "kind": kind, "path": path.display().to_string(), "usable": usable });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}
