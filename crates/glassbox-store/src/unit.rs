//! Names of units of work.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The name of a unit of work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(String);

impl UnitId {
    /// A unit of this name: 1 to 100 of a-z, 0-9, `-` and `_`. (No capitals: some file systems do not tell them apart.)
    ///
    /// # Errors
    /// [`StoreError::BadUnit`].
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 100 || !name.bytes().all(fits) {
            return Err(StoreError::BadUnit {
                name: name.to_string(),
            });
        }
        Ok(Self(name.to_string()))
    }

    /// The unit of this number, named so that the order of names is the order of numbers (up to ten million units).
    pub fn numbered(number: u64) -> Self {
        Self(format!("unit-{number:07}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
