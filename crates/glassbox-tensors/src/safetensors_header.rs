//! The header of a safetensors file, checked against the file's length.

use std::io::{self, Read};

use safetensors::tensor::{Metadata, TensorInfo};
use thiserror::Error;

/// Bytes of the number in front of the header.
const LENGTH: u64 = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a safetensors file says of its tensors.
#[derive(Debug)]
pub struct SafetensorsHeader {
    /// Where the tensors' bytes begin.
    data_start: u64,
    metadata: Metadata,
}

/// A header that can't be read or doesn't fit its file. The caller knows the file's name.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Too short for any header.
    #[error("it has only {found} bytes, too short for a header")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// Not the beginning of a safetensors file.
    #[error("{0}")]
    Malformed(String),
    /// The file is shorter or longer than its header says.
    #[error("it is {found} bytes long, its header describes {expected}")]
    Length {
        /// Bytes that the header describes, itself included.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
}

impl SafetensorsHeader {
    /// Reads the header from the beginning of a file of `file_length` bytes.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn read(mut file: impl Read, file_length: u64) -> Result<Self, HeaderError> {
        let malformed = |what: String| Err(HeaderError::Malformed(what));
        let shorter = |expected| {
            Err(HeaderError::Length {
                expected,
                found: file_length,
            })
        };
        if file_length < LENGTH {
            return Err(HeaderError::TooShort { found: file_length });
        }
        let mut number = [0; LENGTH as usize];
        file.read_exact(&mut number)?;
        let header = u64::from_le_bytes(number);
        let data_start = header.saturating_add(LENGTH);
        // A JSON object begins where the header should: a file of another kind has no such place.
        let mut first = [0];
        if file_length > LENGTH {
            file.read_exact(&mut first)?;
        }
        if header > LONGEST_HEADER || header == 0 || (file_length > LENGTH && first[0] != b'{') {
            return malformed(format!(
                "it does not begin with the length of a header (it states {header} bytes at offset 0)"
            ));
        }
        if data_start > file_length {
            return shorter(data_start);
        }
        let mut text = vec![0; header as usize];
        text[0] = first[0];
        file.read_exact(&mut text[1..])?;
        let metadata: Metadata = match serde_json::from_slice(&text) {
            Ok(metadata) => metadata,
            Err(cause) => {
                return malformed(format!("its header (at offset {LENGTH}) is damaged: {cause}"));
            }
        };
        match data_start.checked_add(metadata.data_len() as u64) {
            Some(expected) if expected == file_length => Ok(Self { data_start, metadata }),
            Some(expected) => shorter(expected),
            None => malformed("its header describes more bytes than a file can have".into()),
        }
    }

    /// Where the tensors' bytes begin; the offsets in [`TensorInfo`] count from there.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.data_start
    }

    /// Names of the tensors, in the order in which they lie in the file.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Type, shape and place of a tensor.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn data_length(&self) -> u64 {
        self.metadata.data_len() as u64
    }

    /// The free text that writers may add (`__metadata__`), `None` without it.
    #[must_use]
    pub fn notes(&self) -> Option<&std::collections::HashMap<String, String>> {
        self.metadata.metadata().as_ref()
    }
}

/// Whether a file begins as a safetensors file does: a length, then a JSON object.
pub(crate) fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(LENGTH as usize) == Some(&b'{')
        && (bytes.first_chunk::<8>()).is_some_and(|length| u64::from_le_bytes(*length) <= LONGEST_HEADER)
}
