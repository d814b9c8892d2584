//! The result of one work.

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bench_peers::measurement::{Pair, median};
use crate::bench_peers::work::{Target, Work};

/// One row of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the work.
    pub work: String,
    /// What `glassbox` and `peer` count.
    pub unit: &'static str,
    /// Median rate of glassbox.
    pub glassbox: f64,
    /// Median rate of the peer.
    pub peer: f64,
    /// Who the peer is.
    pub peer_name: &'static str,
    /// Median over pairs of glassbox's rate over the peer's; for `record_overhead` of time recorded over time not
    /// recorded.
    pub ratio: f64,
    /// What the ratio is to reach.
    pub target: f64,
    /// Whether the target is a least or a most.
    pub target_is: &'static str,
    /// Whether it is reached.
    pub reached: bool,
    /// Interval of the median ratio.
    pub interval: [f64; 2],
    /// Probability with which such an interval holds the true median.
    pub interval_coverage: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// Threads of either side.
    pub threads: u32,
    /// What was compared before timing.
    pub check: String,
    /// What else to know.
    pub note: String,
    /// Programs.
    pub versions: String,
    /// Machine.
    pub machine: String,
    /// Processes that wanted to run in the minute before the first work, where the system says: near 0 on an idle machine.
    pub load_before: Option<f64>,
}

/// What the measurement of a work gives.
pub struct Measured {
    /// Seconds in turns.
    pub pairs: Vec<Pair>,
    /// Units in one run of glassbox and of the peer.
    pub units: (f64, f64),
    /// See [`Outcome::check`].
    pub check: String,
    /// See [`Outcome::note`].
    pub note: String,
    /// See [`Outcome::versions`].
    pub versions: String,
    /// See [`Outcome::machine`].
    pub machine: String,
    /// See [`Outcome::threads`].
    pub threads: u32,
    /// See [`Outcome::load_before`].
    pub load_before: Option<f64>,
}

impl Outcome {
    /// The row of a work.
    ///
    /// # Errors
    /// If there are no pairs.
    pub fn new(work: Work, measured: Measured) -> Result<Self> {
        let Measured { pairs, units, .. } = &measured;
        let of = |value: &dyn Fn(&Pair) -> f64| {
            median(&pairs.iter().map(value).collect::<Vec<_>>()).context("a work without measurements")
        };
        let glassbox = of(&|pair| units.0 / pair.glassbox)?;
        let peer = of(&|pair| units.1 / pair.peer)?;
        let ratio = of(&|pair| match work.target() {
            Target::AtLeast(_) => (units.0 / pair.glassbox) / (units.1 / pair.peer),
            Target::AtMost(_) => (pair.glassbox / units.0) / (pair.peer / units.1),
        })?;
        Ok(Self {
            work: work.to_string(),
            unit: work.unit(),
            glassbox: glassbox.value,
            peer: peer.value,
            peer_name: work.peer_name(),
            ratio: ratio.value,
            target: work.target().value(),
            target_is: match work.target() {
                Target::AtLeast(_) => "at least",
                Target::AtMost(_) => "at most",
            },
            reached: work.target().reached_by(ratio.value),
            interval: [ratio.low, ratio.high],
            interval_coverage: ratio.coverage,
            pairs: pairs.len(),
            threads: measured.threads,
            check: measured.check,
            note: measured.note,
            versions: measured.versions,
            machine: measured.machine,
            load_before: measured.load_before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(work: Work, pairs: Vec<Pair>, units: (f64, f64)) -> Outcome {
        let measured = Measured {
            pairs,
            units,
            check: String::new(),
            note: String::new(),
            versions: String::new(),
            machine: String::new(),
            threads: 2,
            load_before: None,
        };
        Outcome::new(work, measured).unwrap()
    }

    #[test]
    fn rates_are_compared_and_times_of_the_overhead() {
        let pair = Pair {
            glassbox: 2.0,
            peer: 1.0,
        };
        let sweep = outcome(Work::SweepVsLoop, vec![pair], (2048.0, 16.0));
        assert_eq!((sweep.glassbox, sweep.peer, sweep.ratio), (1024.0, 16.0, 64.0));
        assert!(sweep.reached);
        let overhead = outcome(Work::RecordOverhead, vec![pair], (1.0, 1.0));
        assert_eq!(overhead.ratio, 2.0);
        assert!(!overhead.reached);
    }

    #[test]
    fn the_ratio_is_taken_within_pairs() {
        // The machine was twice as slow in the second pair, for both.
        let pairs = [(1.0, 3.0), (2.0, 6.0)].map(|(glassbox, peer)| Pair { glassbox, peer });
        let outcome = outcome(Work::Decode1, pairs.to_vec(), (64.0, 64.0));
        assert_eq!((outcome.ratio, outcome.interval), (3.0, [3.0, 3.0]));
    }
}
