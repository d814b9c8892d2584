//! A folder that one process alone writes into.

use std::fs;
use std::path::Path;

use crate::lock::{Doing, LOCK_FILE, Lock};
use crate::{StoreError, remove_temporaries};

/// A folder held by this process alone, for work that is no run. The operating system gives it back when the process ends, also after a
/// kill.
#[derive(Debug)]
pub struct FolderLock {
    _lock: Lock,
}

impl FolderLock {
    /// Makes the folder if needed, takes it, and removes what dead processes left half-written in it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] naming the process that holds it, [`StoreError::Unwritable`], [`StoreError::Io`].
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|cause| StoreError::from_write(folder, cause))?;
        let lock = Lock::exclusive(folder, LOCK_FILE, Doing::Running)?;
        remove_temporaries(folder)?;
        Ok(Self { _lock: lock })
    }

    /// Whether a name in such a folder is a lock file.
    #[must_use]
    pub fn is_lock_file(name: &str) -> bool {
        name.starts_with(LOCK_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_a_folder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let held = FolderLock::take(&folder).unwrap();
        assert!(matches!(
            FolderLock::take(&folder),
            Err(StoreError::Locked { .. })
        ));
        drop(held);
        fs::write(folder.join(".tmp-1-0-x"), "half").unwrap();
        let _again = FolderLock::take(&folder).unwrap();
        assert!(!folder.join(".tmp-1-0-x").exists());
    }
}
