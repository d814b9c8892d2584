//! A stage of work over tokens, shown by the program's progress.

use std::time::Instant;

use glassbox_experiment::events::{Event, Reporter as _};
use glassbox_interpretation::Watch;

use crate::progress::Progress;

/// Shows one stage.
pub struct StageWatch<'a> {
    progress: &'a Progress,
    stage: &'static str,
    counts_tokens: bool,
    began: Instant,
}

impl<'a> StageWatch<'a> {
    /// Begins a stage of so many units, `tokens` or another.
    pub fn begin(progress: &'a Progress, stage: &'static str, unit: &'static str, total: u64) -> Self {
        progress.report(Event::StageStarted {
            stage,
            unit,
            total,
            done: 0,
        });
        Self {
            progress,
            stage,
            counts_tokens: unit == "tokens",
            began: Instant::now(),
        }
    }

    /// Ends it, with what came out.
    pub fn finish(self, summary: String) {
        self.progress.report(Event::StageFinished {
            stage: self.stage,
            summary,
            seconds: self.began.elapsed().as_secs_f64(),
        });
    }
}

impl Watch for StageWatch<'_> {
    fn advanced(&self, units: u64) {
        self.progress.report(Event::Advanced {
            stage: self.stage,
            units,
            tokens: if self.counts_tokens { units } else { 0 },
        });
    }

    fn should_stop(&self) -> bool {
        self.progress.should_stop()
    }
}
