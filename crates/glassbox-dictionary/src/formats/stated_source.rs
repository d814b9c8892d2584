//! What a dictionary was made of, for formats whose files do not say: from the path, or from a file beside them.
//!
//! Some publishers state model, site or k only in the names of repositories, folders and files. A copy under another
//! name loses that; [`FILE`] beside the weights gives it back, and goes before the path:
//!
//! ```json
//! { "model": "google/gemma-2-2b", "site": "blocks.20.hook_resid_post", "output_site": "…", "k": 50 }
//! ```

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::error::{DictionaryError, Result};

/// The file that states what a path does not.
pub(super) const FILE: &str = "dictionary_source.json";

/// What is stated in [`FILE`].
#[derive(Debug, Default)]
pub(super) struct StatedSource {
    pub(super) model: Option<String>,
    pub(super) site: Option<Site>,
    pub(super) output_site: Option<Site>,
    pub(super) k: Option<usize>,
}

impl StatedSource {
    /// Reads the file in a folder; without it nothing is stated.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let file = ConfigFile::parse(&path, &read_bytes(&path)?)?;
        let site = |key| file.has(key).then(|| file.site(key)).transpose();
        let stated = Self {
            model: file.optional_text("model")?,
            site: site("site")?,
            output_site: site("output_site")?,
            k: file.optional_count("k")?,
        };
        file.finish(&[])?;
        Ok(stated)
    }
}

/// The error about something that neither the path nor [`FILE`] says.
pub(super) fn not_stated(path: &Path, what: &'static str, example: &'static str) -> DictionaryError {
    DictionaryError::NotStated {
        path: path.to_path_buf(),
        what,
        file: folder_of(path).join(FILE),
        example,
    }
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The names along a path from the root on, links not followed: a hub cache links names to files without them.
pub(crate) fn names_along(path: &Path) -> Vec<String> {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_path_buf())
        .components()
        .map(|component| component.as_os_str().to_string_lossy().into_owned())
        .collect()
}

/// The whole number that follows `prefix` in a name and is not part of a longer one.
pub(super) fn number_after(name: &str, prefix: &str) -> Option<u32> {
    let rest = &name[name.find(prefix)? + prefix.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The files of a folder whose names a predicate accepts, by name; none if the folder can't be listed.
pub(super) fn files_named(folder: &Path, accept: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| name_of(path).is_some_and(&accept) && path.is_file())
        .collect();
    files.sort();
    files
}

/// A path's last name.
pub(super) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
