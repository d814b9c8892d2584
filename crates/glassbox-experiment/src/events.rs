//! What a run tells whoever watches it. Reporters (a progress bar, JSON lines, nothing) live above this crate.

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A stage begins, with this many units of work, of which `done` were complete already.
    StageStarted {
        /// The stage.
        stage: &'static str,
        /// What a unit is: `prompts`, `trials`, …
        unit: &'static str,
        /// All units.
        total: u64,
        /// Units found complete.
        done: u64,
    },
    /// Units were finished.
    Advanced {
        /// The stage.
        stage: &'static str,
        /// Newly finished units.
        units: u64,
        /// Tokens processed for them.
        tokens: u64,
    },
    /// A stage ended.
    StageFinished {
        /// The stage.
        stage: &'static str,
        /// One line that says what came out.
        summary: String,
        /// Seconds that it took in this process.
        seconds: f64,
    },
    /// Something that the person should know, short of an error.
    Warning(String),
}

/// Receives events.
pub trait Reporter: Sync {
    /// Takes one event. Must return quickly.
    fn report(&self, event: Event);

    /// Whether the run should stop at the next unit (a signal came). The run then ends as interrupted and can be resumed.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Ignores everything.
#[derive(Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}
