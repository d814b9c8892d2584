//! Dictionaries by the paths that a command is given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_corpus::RowOptions;
use glassbox_dictionary::{Dictionary, DictionarySet, formats};
use glassbox_interpretation::evaluation::TrainingFigures;
use glassbox_kernels::CpuBackend;
use glassbox_model::model_hash::model_hash;
use serde::Deserialize as _;

use crate::error::CliError;
use crate::named_model::NamedModel;

/// A dictionary, and what its files record of its training.
#[derive(Debug)]
pub struct NamedDictionary {
    /// Its name: that of its folder or file, with the folder above where that is needed.
    pub name: String,
    /// The dictionary.
    pub dictionary: Arc<Dictionary>,
    /// What was measured at training.
    pub at_training: Option<TrainingFigures>,
    /// How rows were made at training.
    pub rows: Option<RowOptions>,
}

/// Opens the dictionaries of some paths: dictionaries, or folders of them. All must fit the model, where there is one.
///
/// # Errors
/// [`CliError::Dictionary`], [`CliError::Interpretation`] if two cannot be told apart.
pub fn open_dictionaries(
    paths: &[PathBuf],
    model: Option<&NamedModel>,
) -> Result<Vec<NamedDictionary>, CliError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let members = formats::members(path);
        if members.is_empty() {
            let below = if path.is_dir() {
                formats::members_below(path)?
            } else {
                Vec::new()
            };
            if below.is_empty() {
                // It says best what is missing.
                DictionarySet::open(path)?;
            }
            found.extend(below);
        } else {
            found.extend(members);
        }
    }
    let names = names(&found)?;
    let mut hash = None;
    found
        .iter()
        .zip(names)
        .map(|(path, name)| {
            let stored = formats::open(path)?;
            if let Some(model) = model {
                let description = stored.description();
                if hash.is_none() && description.model.hash.is_some() {
                    hash = Some(model_hash(&model.folder)?);
                }
                description.check_model(model.model.config(), hash.as_deref())?;
            }
            let record = stored.training_record();
            let at_training = record.as_ref().map(TrainingFigures::from);
            let rows = record
                .and_then(|record| record.rows)
                .and_then(|rows| RowOptions::deserialize(&rows).ok());
            Ok(NamedDictionary {
                name,
                dictionary: Arc::new(stored.load(&CpuBackend)?),
                at_training,
                rows,
            })
        })
        .collect()
}

/// The shortest names that tell paths apart: the last part, or the last two.
fn names(paths: &[PathBuf]) -> Result<Vec<String>, CliError> {
    let last = |path: &Path, parts: usize| {
        // Names of folders have dots of their own: blocks.3.hook_resid_post.
        let path = if path.is_dir() {
            path.to_path_buf()
        } else {
            path.with_extension("")
        };
        let parts: Vec<String> = path
            .components()
            .rev()
            .take(parts)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        parts.into_iter().rev().collect::<Vec<_>>().join("-")
    };
    let mut names = Vec::new();
    for parts in 1..=3 {
        names = paths.iter().map(|path| last(path, parts)).collect();
        if names.iter().collect::<BTreeSet<_>>().len() == names.len() {
            return Ok(names);
        }
    }
    let mut seen = BTreeSet::new();
    let name = names.into_iter().find(|name| !seen.insert(name.clone()));
    Err(glassbox_interpretation::InterpretationError::SameName {
        name: name.unwrap_or_default(),
    }
    .into())
}

/// How rows are made: as at the training of the first dictionary that records it, and whether any did.
pub fn recorded_rows(dictionaries: &[NamedDictionary]) -> (RowOptions, bool) {
    match dictionaries.iter().find_map(|dictionary| dictionary.rows.clone()) {
        Some(rows) => (rows, true),
        None => (RowOptions::default(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_they_must() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(names(&paths(&["a/L1", "a/L2"])).unwrap(), ["L1", "L2"]);
        assert_eq!(names(&paths(&["a/L1", "b/L1"])).unwrap(), ["a-L1", "b-L1"]);
        assert!(names(&paths(&["a/L1", "a/L1"])).is_err());
    }
}
