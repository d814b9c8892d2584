//! Shows how far logs are read, and stops the reading at a signal.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use glassbox_experiment::events::{Event, Reporter as _};
use glassbox_logs::{Logs, ReadWatch};

use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Bytes of a unit of progress.
const UNIT: u64 = 1 << 20;

/// Watches the reading of logs; units are MiB on disk.
pub struct LogProgress {
    progress: Progress,
    interrupt: Interrupt,
    stage: &'static str,
    started: Instant,
    pending: Mutex<u64>,
}

impl LogProgress {
    /// Begins to watch.
    ///
    /// # Errors
    /// As [`Interrupt::listen`].
    pub fn begin(logs: &Logs, stage: &'static str, quiet: bool) -> Result<Self, CliError> {
        let interrupt = Interrupt::listen()?;
        let progress = Progress::new(quiet, interrupt.flag());
        progress.report(Event::StageStarted {
            stage,
            unit: "MiB",
            total: logs.bytes().div_ceil(UNIT),
            done: 0,
        });
        Ok(Self {
            progress,
            interrupt,
            stage,
            started: Instant::now(),
            pending: Mutex::new(0),
        })
    }

    /// Says what was read.
    pub fn finish(&self, summary: String) {
        self.progress.report(Event::StageFinished {
            stage: self.stage,
            summary,
            seconds: self.started.elapsed().as_secs_f64(),
        });
    }
}

impl ReadWatch for LogProgress {
    fn advanced(&self, bytes: u64) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending += bytes;
        let units = *pending / UNIT;
        *pending %= UNIT;
        drop(pending);
        self.progress.report(Event::Advanced {
            stage: self.stage,
            units,
            tokens: 0,
        });
    }

    fn should_stop(&self) -> bool {
        self.interrupt.came()
    }
}
