//! A dictionary's JSON or YAML configuration, read key by key so that no key goes unnoticed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glassbox_model::site::Site;
use serde_json::{Map, Value};

use crate::error::{DictionaryError, Result};

/// One object of a configuration. Keys that are asked for count as used; [`ConfigFile::finish`] refuses the rest.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// `metadata.` for the object under `metadata`.
    prefix: String,
    values: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

/// Reads a whole file.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(DictionaryError::io("read the file", path))
}

impl ConfigFile {
    /// The object in some bytes of the file at `path`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|cause| DictionaryError::Json {
            path: path.to_path_buf(),
            cause,
        })?;
        match value {
            Value::Object(values) => Ok(Self::of(path, String::new(), values)),
            other => Err(DictionaryError::BadValue {
                path: path.to_path_buf(),
                key: "(the whole file)".to_owned(),
                found: shortened(&other),
                expected: "an object".to_owned(),
            }),
        }
    }

    /// The mapping in a YAML file.
    pub(crate) fn parse_yaml(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad = |cause: String| DictionaryError::Yaml {
            path: path.to_path_buf(),
            cause,
        };
        let text = std::str::from_utf8(bytes).map_err(|cause| bad(cause.to_string()))?;
        let values = serde_saphyr::from_str(text).map_err(|cause| bad(cause.to_string()))?;
        Ok(Self::of(path, String::new(), values))
    }

    fn of(path: &Path, prefix: String, values: Map<String, Value>) -> Self {
        Self {
            path: path.to_path_buf(),
            prefix,
            values,
            used: RefCell::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of a key; `None` if it is missing or null.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(key.to_owned());
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// An error about a key's value.
    pub(crate) fn bad(&self, key: &str, expected: impl Into<String>) -> DictionaryError {
        DictionaryError::BadValue {
            path: self.path.clone(),
            key: format!("{}{key}", self.prefix),
            found: self
                .values
                .get(key)
                .map_or_else(|| "missing".to_owned(), shortened),
            expected: expected.into(),
        }
    }

    /// An error about a key's value that the format knows and this program doesn't.
    pub(crate) fn unsupported(&self, key: &str, supported: impl Into<String>) -> DictionaryError {
        let found = self
            .values
            .get(key)
            .map_or_else(|| "missing".to_owned(), shortened);
        DictionaryError::Unsupported {
            path: self.path.clone(),
            what: format!("`{}{key}`: {found}", self.prefix),
            supported: supported.into(),
        }
    }

    fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| DictionaryError::MissingKey {
            path: self.path.clone(),
            key: format!("{}{key}", self.prefix),
            expected: expected.to_owned(),
        })
    }

    fn typed<T>(&self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.bad(key, expected)),
        }
    }

    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn text(&self, key: &str, expected: &str) -> Result<String> {
        let value = self.optional_text(key)?;
        self.required(key, expected, value)
    }

    pub(crate) fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        let value = self.optional_flag(key)?;
        self.required(key, "true or false", value)
    }

    pub(crate) fn optional_count(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number of at least 1", |value| {
            value
                .as_u64()
                .filter(|count| *count > 0)
                .and_then(|count| usize::try_from(count).ok())
        })
    }

    /// A whole number that may be 0.
    pub(crate) fn optional_whole(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| {
            value.as_u64().and_then(|count| usize::try_from(count).ok())
        })
    }

    pub(crate) fn count(&self, key: &str) -> Result<usize> {
        let value = self.optional_count(key)?;
        self.required(key, "a whole number of at least 1", value)
    }

    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(crate) fn positive_number(&self, key: &str) -> Result<f64> {
        let value = self.optional_number(key)?;
        let value = self.required(key, "a number above 0", value)?;
        if value > 0.0 && value.is_finite() {
            Ok(value)
        } else {
            Err(self.bad(key, "a number above 0"))
        }
    }

    /// The object under a key; `None` if it is missing or null.
    pub(crate) fn optional_object(&self, key: &str) -> Result<Option<Self>> {
        let values = self.typed(key, "an object", |value| value.as_object().cloned())?;
        Ok(values.map(|values| Self::of(&self.path, format!("{}{key}.", self.prefix), values)))
    }

    pub(crate) fn object(&self, key: &str) -> Result<Self> {
        let value = self.optional_object(key)?;
        self.required(key, "an object", value)
    }

    /// The site that a key names.
    pub(crate) fn site(&self, key: &str) -> Result<Site> {
        let name = self.text(key, "a site's name, such as blocks.8.hook_resid_post")?;
        name.parse().map_err(|cause| DictionaryError::SiteName {
            path: self.path.clone(),
            key: format!("{}{key}", self.prefix),
            cause: Box::new(cause),
        })
    }

    /// The sites that a list of names holds.
    pub(crate) fn sites(&self, key: &str) -> Result<Vec<Site>> {
        let expected = "a list of sites' names, such as blocks.8.hook_resid_mid";
        let names = self.typed(key, expected, |value| {
            let names = value.as_array()?.iter();
            names
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        })?;
        let names = self.required(key, expected, names)?;
        names
            .iter()
            .map(|name| {
                name.parse().map_err(|cause| DictionaryError::SiteName {
                    path: self.path.clone(),
                    key: format!("{}{key}", self.prefix),
                    cause: Box::new(cause),
                })
            })
            .collect()
    }

    /// Refuses keys that were not asked for and aren't among those known to leave the arithmetic unchanged.
    pub(crate) fn finish(&self, harmless: &[&str]) -> Result<()> {
        let used = self.used.borrow();
        let unknown = self
            .values
            .iter()
            .find(|(key, _)| !used.contains(*key) && !harmless.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some((key, value)) => Err(DictionaryError::UnknownKey {
                path: self.path.clone(),
                key: format!("{}{key}", self.prefix),
                found: shortened(value),
                used: used.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// A value as JSON, cut where it gets long.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
