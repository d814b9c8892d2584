//! The shipped scenario with other settings, for chores that need a run of a chosen size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::{Table, Value};

use crate::program::root;

/// Writes the shipped scenario with some settings changed, each named `section.key`. Returns its path.
///
/// # Errors
/// If the shipped scenario cannot be read or the new one not be written.
pub fn write(folder: &Path, settings: &[(&str, Value)]) -> anyhow::Result<PathBuf> {
    let demo = root().join("assets/demo");
    let text = fs::read_to_string(demo.join("scenario.toml"))?;
    let mut scenario: Table = text.parse()?;
    let absolute = |value: &mut Value| {
        if let Value::String(path) = value {
            *path = demo.join(&*path).display().to_string();
        }
    };
    for key in ["model", "dictionaries"] {
        if let Some(value) = scenario.get_mut(key) {
            absolute(value);
        }
    }
    let families = scenario.get_mut("families").and_then(Value::as_array_mut);
    for family in families.into_iter().flatten() {
        for key in ["select_prompts", "sweep_prompts"] {
            if let Some(value) = family.get_mut(key) {
                absolute(value);
            }
        }
    }
    for (name, value) in settings {
        let (section, key) = name.split_once('.').context("a setting is named section.key")?;
        let section = scenario
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .with_context(|| format!("{section} is no section"))?;
        section.insert(key.to_owned(), value.clone());
    }
    let path = folder.join("scenario.toml");
    fs::create_dir_all(folder)?;
    fs::write(&path, toml::to_string(&scenario)?)?;
    Ok(path)
}
