//! Locks of a run directory: who writes into it, alone or together with others.
//!
//! The operating system holds the locks and gives them back when a process ends, also after a kill: a lock file that is
//! left behind means nothing. What stands in it is for people, except whether its holder plans for others.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::StoreError;

/// How the names of lock files begin.
pub(crate) const LOCK_FILE: &str = ".lock";
/// What a process writes into a lock while others should wait for it.
const PLANNING: &str = "planning";
/// A lock may be held for a moment by one that only tries it.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What the holder of a lock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Running; others are refused.
    Running,
    /// Planning for all shards; others wait.
    Planning,
}

/// A lock file that this process holds.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    root: PathBuf,
}

impl Lock {
    /// Takes the lock `name` of the run in `root` for this process alone.
    ///
    /// # Errors
    /// [`StoreError::Locked`] naming the holder, [`StoreError::Planning`] if it plans for others, [`StoreError::Io`] if
    /// the file system has no locks, and those of a failed write.
    pub(crate) fn exclusive(root: &Path, name: &str, doing: Doing) -> Result<Self, StoreError> {
        let mut lock = Self::open(root, name)?;
        lock.attempt(File::try_lock)?;
        lock.say(doing)?;
        Ok(lock)
    }

    /// Takes the lock together with others that do the same.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub(crate) fn shared(root: &Path, name: &str) -> Result<Self, StoreError> {
        let lock = Self::open(root, name)?;
        lock.attempt(File::try_lock_shared)?;
        Ok(lock)
    }

    /// Lets others in that share the lock.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub(crate) fn share(&mut self) -> Result<(), StoreError> {
        self.say(Doing::Running)?;
        self.attempt(File::try_lock_shared)
    }

    fn open(root: &Path, name: &str) -> Result<Self, StoreError> {
        let path = root.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|cause| StoreError::from_write(&path, cause))?;
        Ok(Self {
            file,
            path,
            root: root.to_path_buf(),
        })
    }

    fn attempt(&self, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<(), StoreError> {
        for attempt in 1.. {
            match try_lock(&self.file) {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(self.held()),
                Err(TryLockError::Error(cause)) => {
                    return Err(StoreError::Io {
                        action: "lock (does this file system support locks?)",
                        path: self.path.clone(),
                        cause,
                    });
                }
            }
        }
        Ok(())
    }

    /// The error that names who holds the lock.
    fn held(&self) -> StoreError {
        let path = self.root.clone();
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let (holder, doing) = text.trim().split_once(", ").unwrap_or((text.trim(), ""));
        let holder = if holder.is_empty() {
            "of unknown number".to_string()
        } else {
            holder.to_string()
        };
        if doing == PLANNING {
            StoreError::Planning { path, holder }
        } else {
            StoreError::Locked { path, holder }
        }
    }

    fn say(&mut self, doing: Doing) -> Result<(), StoreError> {
        let failed = |cause| StoreError::from_write(&self.path, cause);
        self.file.set_len(0).map_err(failed)?;
        self.file.rewind().map_err(failed)?;
        let host = rustix::system::uname();
        let (process, host) = (std::process::id(), host.nodename().to_string_lossy());
        match doing {
            Doing::Running => writeln!(self.file, "process {process} on {host}"),
            Doing::Planning => writeln!(self.file, "process {process} on {host}, {PLANNING}"),
        }
        .map_err(failed)
    }
}
