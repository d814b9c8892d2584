//! The registry of dictionary formats: one file per format.

mod glassbox;
mod llama_scope;
mod saelens;
mod saelens_keys;
mod saelens_settings;
mod saelens_writing;

use std::path::{Path, PathBuf};

use glassbox_kernels::Backend;

use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::stored_dictionary::{DictionarySummary, StoredDictionary};

pub use glassbox::write_glassbox;
pub use saelens_writing::write_saelens;

/// A way to keep a dictionary in a folder.
pub trait DictionaryFormat: Sync {
    /// Its name, as `inspect` shows it.
    fn name(&self) -> &'static str;

    /// The files that a folder of this format holds.
    fn files(&self) -> &'static str;

    /// Whether a folder looks like this format, by the presence of its configuration.
    fn recognises(&self, folder: &Path) -> bool;

    /// Reads the configuration and checks the weights' header against it.
    ///
    /// # Errors
    /// [`DictionaryError`] naming file and key or tensor.
    fn open(&self, folder: &Path) -> Result<StoredDictionary>;
}

/// Every format, in the order in which they are tried.
pub fn formats() -> [&'static dyn DictionaryFormat; 3] {
    [&glassbox::Glassbox, &saelens::SaeLens, &llama_scope::LlamaScope]
}

/// Names of all formats with their files, for messages.
pub(crate) fn format_list() -> String {
    formats()
        .map(|format| format!("{} ({})", format.name(), format.files()))
        .join("; ")
}

/// The format of a folder, if one recognises it.
pub fn recognise(folder: &Path) -> Option<&'static dyn DictionaryFormat> {
    formats().into_iter().find(|format| format.recognises(folder))
}

/// Opens the dictionary in a folder (or beside a file of one), whatever its format.
///
/// # Errors
/// [`DictionaryError::NoFormat`] with the list of formats, or what the format finds wrong.
pub fn open(path: &Path) -> Result<StoredDictionary> {
    let folder = folder_of(path)?;
    match recognise(&folder) {
        Some(format) => format.open(&folder),
        None => Err(DictionaryError::NoFormat {
            path: path.to_path_buf(),
            formats: format_list(),
        }),
    }
}

/// Opens the dictionary in a folder and brings it to a device.
///
/// # Errors
/// As [`open`] and [`StoredDictionary::load`].
pub fn load<B: Backend>(path: &Path, backend: &B) -> Result<Dictionary<B>> {
    open(path)?.load(backend)
}

/// What the dictionary in a folder holds.
///
/// # Errors
/// As [`open`].
pub fn inspect(path: &Path) -> Result<DictionarySummary> {
    Ok(open(path)?.summary())
}

fn folder_of(path: &Path) -> Result<PathBuf> {
    let kind = std::fs::metadata(path).map_err(DictionaryError::io("find the dictionary", path))?;
    if kind.is_dir() {
        return Ok(path.to_path_buf());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Llama Scope keeps its weights one folder below the configuration.
    if parent.file_name().is_some_and(|name| name == "checkpoints") {
        return Ok(parent.parent().unwrap_or(parent).to_path_buf());
    }
    Ok(parent.to_path_buf())
}
