//! Files that are either complete or absent.
//!
//! A file is written under a temporary name in its own folder, synced, renamed to its final name, and the folder is synced, so that
//! neither a kill nor a loss of power leaves half a file under a final name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::{Checksum, Storage, StoreError, to_json};

/// How names of temporary files begin.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// A file that now exists under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Checksum of the bytes as they were written.
    pub checksum: Checksum,
}

/// A file being written, which appears under its final name only when [`AtomicFile::commit`] succeeds. Dropped before, it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    destination: PathBuf,
    folder: PathBuf,
    storage: Storage,
    hasher: blake3::Hasher,
    bytes: u64,
    renamed: bool,
    failure: WriteFailure,
}

/// The first failure of a write, kept because a writer on top of the file may pass on no more than its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteFailure(Arc<OnceLock<(io::ErrorKind, String)>>);

impl WriteFailure {
    pub(crate) fn get(&self) -> Option<io::Error> {
        self.0
            .get()
            .map(|(kind, text)| io::Error::new(*kind, text.clone()))
    }
}

impl AtomicFile {
    /// Starts a file that will be called `destination`; its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] and [`StoreError::DiskFull`].
    pub fn create(storage: &Storage, destination: &Path) -> Result<Self, StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let failed = |cause| StoreError::from_write(destination, cause);
        let name = destination.file_name().ok_or_else(|| {
            failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path has no file name",
            ))
        })?;
        let folder = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut temporary = OsString::from(format!("{TEMPORARY_PREFIX}{}-{number}-", std::process::id()));
        temporary.push(name);
        let temporary = folder.join(temporary);
        storage.step().map_err(failed)?;
        // An older file of this name can only be the remainder of a dead process with the same number: it may be overwritten.
        let file = File::create(&temporary).map_err(failed)?;
        Ok(Self {
            file,
            temporary,
            destination: destination.to_path_buf(),
            folder,
            storage: storage.clone(),
            hasher: blake3::Hasher::new(),
            bytes: 0,
            renamed: false,
            failure: WriteFailure::default(),
        })
    }

    /// A handle on the first failure of a write to this file.
    pub(crate) fn failure(&self) -> WriteFailure {
        self.failure.clone()
    }

    /// Syncs the file, gives it its final name (replacing an older version), and syncs the folder.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Unwritable`], [`StoreError::Io`]; the final name then holds either the older version or,
    /// if only the last step failed, the whole new one.
    pub fn commit(mut self) -> Result<WrittenFile, StoreError> {
        self.publish()
            .map_err(|cause| StoreError::from_write(&self.destination, cause))?;
        Ok(WrittenFile {
            path: self.destination.clone(),
            bytes: self.bytes,
            checksum: self.hasher.finalize().into(),
        })
    }

    fn publish(&mut self) -> io::Result<()> {
        self.storage.step()?;
        if self.storage.syncs() {
            self.file.sync_all()?;
        }
        self.storage.step()?;
        fs::rename(&self.temporary, &self.destination)?;
        self.renamed = true;
        self.storage.step()?;
        if self.storage.syncs() {
            sync_folder(&self.folder)
        } else {
            Ok(())
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let admission = self.storage.admit(buffer.len());
        let written = &buffer[..admission.bytes];
        let result = self
            .file
            .write_all(written)
            .and_then(|()| admission.failure.map_or(Ok(()), Err));
        if let Err(cause) = &result {
            // Only the first failure is kept: the ones after it follow from it.
            let _ = self.failure.0.set((cause.kind(), cause.to_string()));
        }
        self.hasher.update(written);
        self.bytes += written.len() as u64;
        self.storage.count(written.len());
        result.map(|()| written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.renamed && !self.storage.is_stopped() {
            // If this fails there is nobody to tell; the name marks the file as temporary, and the next opening of the run removes it.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes bytes as a whole file.
///
/// # Errors
/// As [`AtomicFile::commit`].
pub fn write_bytes(storage: &Storage, path: &Path, bytes: &[u8]) -> Result<WrittenFile, StoreError> {
    let mut file = AtomicFile::create(storage, path)?;
    file.write_all(bytes)
        .map_err(|cause| StoreError::from_write(path, cause))?;
    file.commit()
}

/// Writes a value as a whole JSON file: indented, with a newline at the end, keys in the order of the value.
///
/// # Errors
/// [`StoreError::Json`] for a non-finite number, else as [`AtomicFile::commit`].
pub fn write_json<T: Serialize + ?Sized>(
    storage: &Storage,
    path: &Path,
    value: &T,
) -> Result<WrittenFile, StoreError> {
    let text = to_json(value).map_err(|cause| StoreError::Json {
        path: path.to_path_buf(),
        cause,
    })?;
    write_bytes(storage, path, text.as_bytes())
}

/// Removes the temporary files of dead processes in `folder` and the folders below it, and returns their paths. Only call it while
/// holding the lock of the run. Symbolic links are not followed.
///
/// # Errors
/// [`StoreError::Io`] and [`StoreError::Unwritable`] if a folder cannot be read or a file cannot be removed.
pub fn remove_temporaries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let unreadable = |cause| StoreError::Io {
        action: "read the folder",
        path: folder.to_path_buf(),
        cause,
    };
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        let path = entry.path();
        if kind.is_dir() {
            removed.extend(remove_temporaries(&path)?);
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(&path).map_err(|cause| StoreError::from_write(&path, cause))?;
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}
