//! The handle through which every write of this crate passes: it counts bytes, and tests use it to fail on purpose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A failure that a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk has room for this many more bytes; the write that needs more gets "no space left".
    DiskFullAfter {
        /// Bytes that still fit.
        bytes: u64,
    },
    /// The process stops before the step of this number (from 0), counted over all writes through one [`Storage`]. Creating a temporary
    /// file, each write, the sync, the rename and the sync of the folder are one step each. A write is cut in the middle. After it,
    /// nothing more is written or cleaned up, as after a kill.
    StopBefore {
        /// Number of the step that no longer happens.
        step: u64,
    },
}

/// Counts the bytes written and carries the [`Fault`] of a test, if any. Clones share their counters.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    steps: AtomicU64,
    stopped: AtomicBool,
    fault: Option<Fault>,
}

/// What a write may do: this many bytes, and then fail with the error, if there is one.
pub(crate) struct Admission {
    pub bytes: usize,
    pub failure: Option<io::Error>,
}

impl Storage {
    /// A storage that fails only where the operating system does.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage that fails as told, for tests of what a failure leaves behind. It counts the syncs but does not wait for the disk, since
    /// such a test loses no power; with a fault that never happens it serves any test that writes many small files.
    pub fn with_fault(fault: Fault) -> Self {
        Self {
            shared: Arc::new(Shared {
                fault: Some(fault),
                ..Shared::default()
            }),
        }
    }

    /// Bytes written so far through this storage and its clones, temporary files that were given up included.
    pub fn bytes_written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Steps taken so far: the number of places where a kill can be simulated by [`Fault::StopBefore`].
    pub fn steps(&self) -> u64 {
        self.shared.steps.load(Ordering::Relaxed)
    }

    /// Whether a simulated kill has happened; nothing may touch the disk after it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    /// Whether a sync has to reach the disk.
    pub(crate) fn syncs(&self) -> bool {
        self.shared.fault.is_none()
    }

    /// Counts one step.
    ///
    /// # Errors
    /// The simulated kill.
    pub(crate) fn step(&self) -> io::Result<()> {
        let step = self.shared.steps.fetch_add(1, Ordering::Relaxed);
        if matches!(self.shared.fault, Some(Fault::StopBefore { step: last }) if step >= last) {
            self.shared.stopped.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the process was stopped here by a test"));
        }
        Ok(())
    }

    /// How much of a write of `bytes` bytes may happen.
    pub(crate) fn admit(&self, bytes: usize) -> Admission {
        let was_stopped = self.is_stopped();
        if let Err(stop) = self.step() {
            let torn = if was_stopped { 0 } else { bytes / 2 };
            return Admission {
                bytes: torn,
                failure: Some(stop),
            };
        }
        if let Some(Fault::DiskFullAfter { bytes: room }) = self.shared.fault {
            let left = room.saturating_sub(self.bytes_written());
            if left < bytes as u64 {
                // The comparison above shows that `left` fits.
                return Admission {
                    bytes: left as usize,
                    failure: Some(io::Error::from(io::ErrorKind::StorageFull)),
                };
            }
        }
        Admission { bytes, failure: None }
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.shared.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
