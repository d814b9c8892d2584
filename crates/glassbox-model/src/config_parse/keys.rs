//! Reading a JSON object key by key, so that at the end no key is left unread.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::known_keys::KnownKey;
use crate::load_error::LoadError;

/// A JSON object of which every key must be read or known.
///
/// A key that holds `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    path: &'a Path,
    /// Enclosing keys with a dot, or empty.
    prefix: String,
    object: &'a Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// The keys of `value`, which lies at the top of `path`.
    ///
    /// # Errors
    /// [`LoadError::JsonStructure`] if it is no object.
    pub(crate) fn new(path: &'a Path, value: &'a Value) -> Result<Self, LoadError> {
        let object = value.as_object().ok_or_else(|| LoadError::JsonStructure {
            path: path.to_path_buf(),
            what: format!("expected an object, found {}", excerpt(value)),
        })?;
        Ok(Self {
            path,
            prefix: String::new(),
            object,
            read: RefCell::default(),
        })
    }

    /// The key's full name, with those that enclose it.
    pub(crate) fn full_name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value, marked as read; `None` if absent or null.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, be it null. Doesn't mark it as read.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// The object under `key`, with its own account of read keys.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let object = value
            .as_object()
            .ok_or_else(|| self.bad_value(key, "an object"))?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(Some(Self {
            path: self.path,
            prefix,
            object,
            read: RefCell::default(),
        }))
    }

    /// A size from 1 to `u32::MAX`.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let size = value
            .as_u64()
            .and_then(|size| u32::try_from(size).ok())
            .filter(|&size| size > 0);
        match size {
            Some(size) => Ok(Some(size as usize)),
            None => Err(self.bad_value(key, "a whole number of at least 1")),
        }
    }

    /// A size that must be given.
    pub(crate) fn required_size(&self, key: &str) -> Result<usize, LoadError> {
        self.size(key)?
            .ok_or_else(|| self.missing(key, "a whole number of at least 1"))
    }

    /// A whole number from 0.
    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
            Some(count) => Ok(Some(count as usize)),
            None => Err(self.bad_value(key, "a whole number of at least 0")),
        }
    }

    /// A finite number above zero.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value
            .as_f64()
            .filter(|number| number.is_finite() && *number > 0.0)
        {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad_value(key, "a number above 0")),
        }
    }

    /// A finite number above zero that must be given.
    pub(crate) fn required_positive(&self, key: &str) -> Result<f64, LoadError> {
        self.positive(key)?
            .ok_or_else(|| self.missing(key, "a number above 0"))
    }

    /// true or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.bad_value(key, "true or false"))
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.bad_value(key, "a text"))
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let texts = value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect());
        texts
            .map(Some)
            .ok_or_else(|| self.bad_value(key, "a list of texts"))
    }

    /// Token ids, given as one number or as a list. `Some` of an empty list if the key is there but null.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Option<Vec<u32>>, LoadError> {
        let Some(value) = self.value(key) else {
            return Ok(self.has(key).then(Vec::new));
        };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match value {
            Value::Array(items) => items.iter().map(id).collect(),
            _ => id(value).map(|id| vec![id]),
        };
        ids.map(Some)
            .ok_or_else(|| self.bad_value(key, "a token id or a list of token ids"))
    }

    /// Fails if a key was neither read nor is in a list of keys known not to matter, or if such a key has a value
    /// with which it would matter.
    pub(crate) fn finish(&self, known: &[&[KnownKey]]) -> Result<(), LoadError> {
        let read = self.read.borrow();
        let mut unknown = Vec::new();
        for (key, value) in self.object.iter().filter(|(key, _)| !read.contains(*key)) {
            match known
                .iter()
                .flat_map(|list| list.iter())
                .find(|known| known.key == key)
            {
                None => unknown.push(format!("`{}` = {}", self.full_name(key), excerpt(value))),
                Some(known) if known.accepts(value) => {}
                Some(known) => return Err(self.bad_value(key, &known.expectation())),
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        Err(LoadError::ConfigKeysUnknown {
            path: self.path.to_path_buf(),
            keys: unknown,
        })
    }

    /// The error for a value that can't be used.
    pub(crate) fn bad_value(&self, key: &str, expected: &str) -> LoadError {
        LoadError::ConfigValue {
            path: self.path.to_path_buf(),
            key: self.full_name(key),
            found: self.object.get(key).map_or_else(|| "absent".to_owned(), excerpt),
            expected: expected.to_owned(),
        }
    }

    /// The error for a key that must be there.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> LoadError {
        LoadError::ConfigKeyMissing {
            path: self.path.to_path_buf(),
            key: self.full_name(key),
            expected: expected.to_owned(),
        }
    }

    /// The error for a name that is not supported.
    pub(crate) fn unsupported(
        &self,
        key: &str,
        what: &'static str,
        found: &str,
        valid: &[&str],
    ) -> LoadError {
        LoadError::Unsupported {
            path: self.path.to_path_buf(),
            key: self.full_name(key),
            what,
            found: format!("\"{found}\""),
            valid: valid.join(", "),
        }
    }

    /// The error for two keys that contradict each other.
    pub(crate) fn contradiction(&self, first: &str, second: &str, what: impl Into<String>) -> LoadError {
        LoadError::ConfigContradiction {
            path: self.path.to_path_buf(),
            first: self.full_name(first),
            second: self.full_name(second),
            what: what.into(),
        }
    }
}

/// A value as JSON, cut to a length that fits a message.
fn excerpt(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}…")
}
