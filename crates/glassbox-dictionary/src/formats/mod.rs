//! The registry of dictionary formats: one file per format.

pub(crate) mod circuit_tracer;
mod dictionary_learning;
mod dictionary_learning_site;
pub(crate) mod gating;
mod gemma_scope;
mod gemma_scope_2;
mod ghosttrack;
mod glassbox;
mod goodfire;
mod linear_layers;
mod llama_scope;
pub(crate) mod llamascopium;
mod qwen_scope;
mod saelens;
mod saelens_keys;
mod saelens_settings;
mod saelens_writing;
mod sparsify;
pub(crate) mod stated_source;

use std::path::{Path, PathBuf};

use glassbox_kernels::Backend;
use glassbox_tensors::TensorFile;

use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::stored_dictionary::{DictionarySummary, StoredDictionary};

pub use glassbox::write_glassbox;
pub use saelens_writing::write_saelens;

/// A way to keep dictionaries on disk.
pub trait DictionaryFormat: Sync {
    /// Its name, as `inspect` shows it.
    fn name(&self) -> &'static str;

    /// The files that a folder of this format holds.
    fn files(&self) -> &'static str;

    /// Whether a path looks like one dictionary of this format: a folder with its files, or one of the files that
    /// [`DictionaryFormat::members`] lists.
    fn recognises(&self, path: &Path) -> bool;

    /// The files of a folder that are a dictionary each, for formats that keep several in one folder, in a fixed order.
    fn members(&self, _folder: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Reads the configuration and checks the weights' header against it. The path is one that is recognised.
    ///
    /// # Errors
    /// [`DictionaryError`] naming file and key or tensor.
    fn open(&self, path: &Path) -> Result<StoredDictionary>;
}

static FORMATS: &[&dyn DictionaryFormat] = &[
    &glassbox::Glassbox,
    &saelens::SaeLens,
    &llama_scope::LlamaScope,
    &gemma_scope::GemmaScope,
    &dictionary_learning::DictionaryLearning,
    &goodfire::Goodfire,
    &qwen_scope::QwenScope,
    &ghosttrack::GhostTrack,
    &sparsify::Sparsify,
    &gemma_scope_2::GemmaScope2,
    &circuit_tracer::CircuitTracer,
    &llamascopium::Llamascopium,
];

/// Every format, in the order in which they are tried.
pub fn formats() -> &'static [&'static dyn DictionaryFormat] {
    FORMATS
}

/// Names of all formats with their files, for messages.
pub(crate) fn format_list() -> String {
    let formats = formats().iter();
    formats
        .map(|format| format!("{} ({})", format.name(), format.files()))
        .collect::<Vec<_>>()
        .join("; ")
}

/// The format of a path, if one recognises it as one dictionary.
pub fn recognise(path: &Path) -> Option<&'static dyn DictionaryFormat> {
    formats().iter().copied().find(|format| format.recognises(path))
}

/// The dictionaries that lie in a folder itself: the folder, where it is one, or those of its files that are one each.
pub fn members(folder: &Path) -> Vec<PathBuf> {
    if recognise(folder).is_some() {
        return vec![folder.to_path_buf()];
    }
    let mut members: Vec<PathBuf> = formats()
        .iter()
        .flat_map(|format| format.members(folder))
        .collect();
    members.sort();
    members.dedup();
    members
}

/// The dictionaries that lie in a folder, and in the folders in it; by path.
///
/// # Errors
/// [`DictionaryError::Io`] if the folder can't be listed.
pub fn members_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || DictionaryError::io("read the folder", folder);
    let mut folders = vec![folder.to_path_buf()];
    for entry in std::fs::read_dir(folder).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    // The order in which a system lists a folder says nothing.
    folders.sort();
    Ok(folders.iter().flat_map(|folder| members(folder)).collect())
}

/// Opens the dictionary at a path, whatever its format: a folder, a file of one, or a file that is one.
///
/// # Errors
/// [`DictionaryError::NoFormat`] with the list of formats, [`DictionaryError::SeveralDictionaries`] for a folder that
/// holds several, or what the format finds wrong.
pub fn open(path: &Path) -> Result<StoredDictionary> {
    let kind = std::fs::metadata(path).map_err(DictionaryError::io("find the dictionary", path))?;
    if let Some(format) = recognise(path) {
        return format.open(path);
    }
    let none = || DictionaryError::NoFormat {
        path: path.to_path_buf(),
        formats: format_list(),
    };
    if kind.is_file() {
        let folder = folder_of(path);
        if let Some(format) = recognise(&folder) {
            return format.open(&folder);
        }
        // What is wrong with the file says more than that its name is unknown.
        if path
            .extension()
            .is_some_and(|kind| kind == "pt" || kind == "pth" || kind == "npz")
        {
            TensorFile::open(path)?;
        }
        return Err(none());
    }
    let members = members(path);
    match members.as_slice() {
        [] => Err(none()),
        [only] => recognise(only).ok_or_else(none)?.open(only),
        several => Err(DictionaryError::SeveralDictionaries {
            path: path.to_path_buf(),
            members: several
                .iter()
                .map(|member| member.strip_prefix(path).unwrap_or(member).display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// Opens the dictionary at a path and brings it to a device.
///
/// # Errors
/// As [`open`] and [`StoredDictionary::load`].
pub fn load<B: Backend>(path: &Path, backend: &B) -> Result<Dictionary<B>> {
    open(path)?.load(backend)
}

/// What the dictionary at a path holds.
///
/// # Errors
/// As [`open`].
pub fn inspect(path: &Path) -> Result<DictionarySummary> {
    Ok(open(path)?.summary())
}

/// The folder of the dictionary that a file is part of.
fn folder_of(file: &Path) -> PathBuf {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Llama Scope keeps its weights one folder below the configuration.
    if parent.file_name().is_some_and(|name| name == "checkpoints") {
        return parent.parent().unwrap_or(parent).to_path_buf();
    }
    parent.to_path_buf()
}
