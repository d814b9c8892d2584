//! Who watches a job.

use crate::stage::Stage;

/// Hears of progress and may ask for a stop. `()` watches nothing.
pub trait JobWatch: Sync {
    /// A stage begins: so many units, of which some are done already.
    fn begun(&self, _stage: Stage, _unit: &'static str, _total: u64, _done: u64) {}
    /// So many units more; `note` says how it stands, where there is something to say.
    fn advanced(&self, _stage: Stage, _units: u64, _note: Option<String>) {}
    /// A stage has ended.
    fn ended(&self, _stage: Stage, _summary: String, _seconds: f64) {}
    /// A dictionary failed; the others go on.
    fn failed(&self, _stage: Stage, _dictionary: &str, _why: &str) {}
    /// Whether to stop.
    fn should_stop(&self) -> bool {
        false
    }
}

impl JobWatch for () {}
