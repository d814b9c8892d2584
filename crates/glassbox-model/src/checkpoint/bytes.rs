//! A file's content.

use std::path::Path;

/// A whole file, readable as bytes.
#[derive(Debug)]
pub(super) struct FileBytes(Vec<u8>);

impl FileBytes {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::read(path).map(Self)
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
