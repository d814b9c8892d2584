//! What a training step remembers between batches, besides weights and moments.

use serde::{Deserialize, Serialize};

/// Saved with every checkpoint: what follows depends on all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counters {
    /// Steps made.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Share of pairs that were active in the last batch.
    pub density: f64,
    /// BatchTopK: the running mean of the least value kept.
    pub threshold: Option<f64>,
    /// BatchTopK: below this no pair is looked at first.
    pub bound: Option<f32>,
    /// JumpReLU: width of the kernel in unit scale, once the first thresholds are known.
    pub bandwidth: Option<f32>,
}

/// Least weight of a new batch in the running mean of the least value kept.
const THRESHOLD_RATE: f64 = 0.02;
/// While fewer batches have been seen, the last fifth of them, about, makes the mean: the first ones lie far above.
const RECENT: f64 = 5.0;

impl Counters {
    /// Takes a batch's least value into the running mean.
    pub fn follow_threshold(&mut self, least: f64) {
        let rate = THRESHOLD_RATE.max(RECENT / (self.step as f64 + RECENT));
        self.threshold = Some(match self.threshold {
            Some(mean) => mean + rate * (least - mean),
            None => least,
        });
    }
}
