//! Space on disk: what is free, what a run may use, and what it has used.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Storage, StoreError};

/// Free bytes below which a run should stop, so that there is still room to record where it stopped.
const RESERVE_BYTES: u64 = 16 << 20;

/// Bytes of the file system at `folder` that this user may still fill. If the folder does not exist yet, its nearest parent counts.
///
/// # Errors
/// [`StoreError::Io`] if the file system cannot be asked.
pub fn free_bytes(folder: &Path) -> Result<u64, StoreError> {
    let existing = folder
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("."));
    let status = rustix::fs::statvfs(existing).map_err(|cause| StoreError::Io {
        action: "read the free space at",
        path: existing.to_path_buf(),
        cause: cause.into(),
    })?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Bytes of memory that the system can give without swapping, where it says so (Linux's `MemAvailable`).
#[must_use]
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// How near a run is to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// Below the warning level.
    Ok,
    /// At or above the warning level of the budget.
    Warn,
    /// Above the budget, or the file system is nearly full.
    Exceeded,
}

/// What [`DiskBudget::watch`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskWatch {
    /// How near the limits are.
    pub state: DiskState,
    /// Bytes that the run has written, those of earlier parts of a resumed run included.
    pub written_bytes: u64,
    /// The budget.
    pub limit_bytes: u64,
    /// Free bytes of the file system.
    pub free_bytes: u64,
}

/// The bytes that a run may write into its folder.
#[derive(Clone, Debug)]
pub struct DiskBudget {
    storage: Storage,
    folder: PathBuf,
    limit: u64,
    warn_at: f64,
    /// Bytes that were in the folder before, less what the storage had counted by then.
    before: i128,
}

impl DiskBudget {
    /// A budget of `limit` bytes for `folder`, which counts what is already there and everything written through `storage` from now on.
    /// It warns at 80 %.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder cannot be read.
    pub fn new(storage: &Storage, folder: &Path, limit: u64) -> Result<Self, StoreError> {
        let there = if folder.exists() { folder_bytes(folder)? } else { 0 };
        let before = i128::from(there) - i128::from(storage.bytes_written());
        Ok(Self {
            storage: storage.clone(),
            folder: folder.to_path_buf(),
            limit,
            warn_at: 0.8,
            before,
        })
    }

    /// Sets the part of the limit, from 0 to 1, at which [`DiskState::Warn`] begins.
    pub fn with_warning_at(mut self, part: f64) -> Self {
        self.warn_at = part.clamp(0.0, 1.0);
        self
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        let written = self.before + i128::from(self.storage.bytes_written());
        u64::try_from(written.max(0)).unwrap_or(u64::MAX)
    }

    /// Checks before the work that `needed` more bytes fit into the budget and onto the disk.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] with what is left, [`StoreError::Io`].
    pub fn check_before(&self, needed: u64) -> Result<(), StoreError> {
        let within_budget = self.limit.saturating_sub(self.written_bytes());
        let on_disk = free_bytes(&self.folder)?.saturating_sub(RESERVE_BYTES);
        let (available, reason) = if within_budget <= on_disk {
            (within_budget, "the disk budget")
        } else {
            (on_disk, "free space of the file system, less 16 MiB in reserve")
        };
        if needed > available {
            return Err(StoreError::NoRoom {
                folder: self.folder.clone(),
                needed,
                available,
                reason,
            });
        }
        Ok(())
    }

    /// Looks at the budget and the disk during the work.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system cannot be asked.
    pub fn watch(&self) -> Result<DiskWatch, StoreError> {
        let (written_bytes, free_bytes) = (self.written_bytes(), free_bytes(&self.folder)?);
        let state = if written_bytes > self.limit || free_bytes < RESERVE_BYTES {
            DiskState::Exceeded
        } else if written_bytes as f64 >= self.warn_at * self.limit as f64 {
            DiskState::Warn
        } else {
            DiskState::Ok
        };
        Ok(DiskWatch {
            state,
            written_bytes,
            limit_bytes: self.limit,
            free_bytes,
        })
    }

    /// As [`DiskBudget::watch`], but an exceeded budget is an error.
    ///
    /// # Errors
    /// [`StoreError::BudgetExceeded`], [`StoreError::Io`].
    pub fn enforce(&self) -> Result<DiskWatch, StoreError> {
        let watch = self.watch()?;
        match watch.state {
            DiskState::Exceeded => Err(StoreError::BudgetExceeded {
                folder: self.folder.clone(),
                written: watch.written_bytes,
                limit: watch.limit_bytes,
                free: watch.free_bytes,
            }),
            _ => Ok(watch),
        }
    }
}

/// Bytes of all files in a folder and the folders below it. Symbolic links are not followed.
fn folder_bytes(folder: &Path) -> Result<u64, StoreError> {
    let unreadable = |cause| StoreError::Io {
        action: "read the folder",
        path: folder.to_path_buf(),
        cause,
    };
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let metadata = entry.metadata().map_err(unreadable)?;
        bytes += if metadata.is_dir() {
            folder_bytes(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_bytes;

    #[test]
    fn the_budget_counts_what_is_there_and_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new();
        write_bytes(&storage, &folder.path().join("before"), &[0; 100]).unwrap();
        let budget = DiskBudget::new(&storage, folder.path(), 1000).unwrap();
        assert_eq!(budget.written_bytes(), 100);
        assert_eq!(budget.watch().unwrap().state, DiskState::Ok);
        budget.check_before(900).unwrap();
        let error = budget.check_before(901).unwrap_err().to_string();
        assert!(
            error.contains("about 901 bytes, but only 900 are left (the disk budget)"),
            "{error}"
        );

        write_bytes(&storage, &folder.path().join("a"), &[0; 699]).unwrap();
        assert_eq!(budget.watch().unwrap().state, DiskState::Ok);
        write_bytes(&storage, &folder.path().join("b"), &[0; 1]).unwrap();
        assert_eq!(budget.watch().unwrap().state, DiskState::Warn);
        write_bytes(&storage, &folder.path().join("c"), &[0; 200]).unwrap();
        assert_eq!(budget.enforce().unwrap().state, DiskState::Warn);
        write_bytes(&storage, &folder.path().join("d"), &[0; 1]).unwrap();
        assert_eq!(budget.watch().unwrap().state, DiskState::Exceeded);
        assert!(matches!(
            budget.enforce(),
            Err(StoreError::BudgetExceeded {
                written: 1001,
                limit: 1000,
                ..
            })
        ));
        assert_eq!(budget.with_warning_at(0.5).watch().unwrap().limit_bytes, 1000);
    }

    #[test]
    fn the_file_system_limits_too() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("not/yet/made");
        assert!(free_bytes(&absent).unwrap() > 0);
        let budget = DiskBudget::new(&Storage::new(), &absent, u64::MAX).unwrap();
        let error = budget.check_before(u64::MAX - 1).unwrap_err().to_string();
        assert!(error.contains("free space of the file system"), "{error}");
    }
}
