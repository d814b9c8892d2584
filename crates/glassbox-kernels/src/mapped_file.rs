//! A file as bytes in memory, without reading it: the only place where the `memmap2` crate is called.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};
use thiserror::Error;

/// A file could not be mapped.
#[derive(Debug, Error)]
pub enum MapError {
    /// The file could not be opened.
    #[error("cannot open {path}: {source}; check that the file exists and may be read")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path names a directory, a pipe or a device.
    #[error("{path} is not a regular file, so it can't be mapped into memory; give the path of a file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file was opened but could not be mapped.
    #[error("cannot map {path} ({len} bytes) into memory: {source}")]
    Map {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A read-only view of a whole file. Pages are read when first touched and may be dropped by the operating
/// system, so a file larger than memory can be used.
///
/// The file must not be changed or cut short while it is mapped. A page beyond a new, lower end can't be read:
/// the operating system then ends the process. Programs that write checkpoints write a new file and rename it,
/// which leaves the mapped one untouched; that is the way to replace a file in use.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file, which can't be mapped.
    map: Option<Mmap>,
    path: PathBuf,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`MapError`], which names the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref().to_owned();
        // Before it is opened: to open a pipe is to wait for its writer.
        if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(MapError::NotAFile { path });
        }
        let file = File::open(&path).map_err(|source| MapError::Open {
            path: path.clone(),
            source,
        })?;
        let metadata = file.metadata().map_err(|source| MapError::Open {
            path: path.clone(),
            source,
        })?;
        if !metadata.is_file() {
            return Err(MapError::NotAFile { path });
        }
        let len = metadata.len();
        if len == 0 {
            return Ok(Self { map: None, path });
        }
        // SAFETY: the map is private and only ever read, so nothing in this process changes the bytes behind a
        // shared slice. That another process changes or truncates the file can't be excluded by any means the
        // operating system offers; it's the documented condition of use of this type.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file) };
        match map {
            Ok(map) => Ok(Self { map: Some(map), path }),
            Err(source) => Err(MapError::Map { path, len, source }),
        }
    }

    /// The bytes of the file.
    pub fn as_bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_holds_the_bytes_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.bin");
        let bytes: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.as_bytes(), bytes);
        assert_eq!(file.path(), path);
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, []).unwrap();
        assert_eq!(MappedFile::open(&path).unwrap().as_bytes(), b"");
    }

    #[test]
    fn a_missing_file_and_a_folder_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = MappedFile::open(folder.path().join("absent.bin")).unwrap_err();
        assert!(matches!(missing, MapError::Open { .. }) && missing.to_string().contains("absent.bin"));
        let directory = MappedFile::open(folder.path()).unwrap_err();
        assert!(matches!(directory, MapError::NotAFile { .. }), "{directory}");
    }
}
