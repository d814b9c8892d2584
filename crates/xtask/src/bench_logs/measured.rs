//! What was measured, and what follows from it.

use serde::Serialize;

use crate::bench_logs::process::Cost;
use crate::bench_peers::median;

/// One side's measurements of one work.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Who.
    pub name: String,
    /// Seconds, one per round.
    pub seconds: Vec<f64>,
    /// Seconds of all processors, one per round: they depend less on what else the machine does.
    pub processor: Vec<f64>,
    /// Largest memory over the rounds, in bytes.
    pub peak: u64,
}

impl Side {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            seconds: Vec::new(),
            processor: Vec::new(),
            peak: 0,
        }
    }

    pub fn add(&mut self, cost: Cost) {
        self.seconds.push(cost.seconds);
        self.processor.push(cost.processor);
        self.peak = self.peak.max(cost.peak);
    }

    /// The median of the seconds.
    pub fn median(&self) -> f64 {
        median(&self.seconds).map_or(f64::NAN, |median| median.value)
    }

    /// The median of the processors' seconds.
    pub fn processor_median(&self) -> f64 {
        median(&self.processor).map_or(f64::NAN, |median| median.value)
    }
}

/// One work, done by all sides.
#[derive(Clone, Debug, Serialize)]
pub struct Work {
    /// The verb, or `all three`.
    pub name: String,
    /// What to know of it.
    pub note: &'static str,
    /// glassbox.
    pub glassbox: Side,
    /// The styles of the peer.
    pub peers: Vec<Side>,
}

impl Work {
    /// How many times as long a peer takes: median, least and most over the rounds.
    pub fn ratio(&self, peer: &Side) -> [f64; 3] {
        let ratios: Vec<f64> = peer
            .seconds
            .iter()
            .zip(&self.glassbox.seconds)
            .map(|(peer, own)| peer / own)
            .collect();
        median(&ratios).map_or([f64::NAN; 3], |found| [found.value, found.low, found.high])
    }
}

/// A target and whether it is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What is to hold.
    pub what: String,
    /// What was measured.
    pub measured: String,
    /// Whether it holds.
    pub reached: bool,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Result {
    /// The works.
    pub works: Vec<Work>,
    /// The targets.
    pub targets: Vec<Target>,
    /// Figures that were compared, and the largest relative difference.
    pub check: String,
    /// Rows and bytes of the logs.
    pub logs: String,
    /// The machine.
    pub machine: String,
    /// Threads of glassbox, processes of the peer.
    pub threads: u32,
    /// The programs.
    pub versions: String,
    /// Load before the first measurement.
    pub load_before: Option<f64>,
}

/// Seconds that an audit may take.
const AUDIT_SECONDS: f64 = 10.0;
/// Seconds that causal effects and words may take together.
const ANALYSIS_SECONDS: f64 = 30.0;
/// Bytes that any verb may hold.
const MOST_BYTES: u64 = 1_000_000_000;
/// How many times as fast as the peer the three verbs are to be.
const LEAST_RATIO: f64 = 10.0;

/// The targets, for works in the order of the verbs and then all together.
pub fn targets(works: &[Work]) -> Vec<Target> {
    let seconds = |name: &str| {
        works
            .iter()
            .find(|work| work.name == name)
            .map_or(f64::NAN, |work| work.glassbox.median())
    };
    let at_most = |what: &str, measured: f64, most: f64| Target {
        what: format!("{what} in at most {most} s"),
        measured: format!("{measured:.1} s"),
        reached: measured <= most,
    };
    let peak = works.iter().map(|work| work.glassbox.peak).max().unwrap_or(0);
    let mut targets = vec![
        at_most("`audit`", seconds("audit"), AUDIT_SECONDS),
        at_most(
            "`causal` and `words`",
            seconds("causal") + seconds("words"),
            ANALYSIS_SECONDS,
        ),
        Target {
            what: format!("at most {} MB", MOST_BYTES / 1_000_000),
            measured: format!("{} MB", peak / 1_000_000),
            reached: peak <= MOST_BYTES,
        },
    ];
    for work in works {
        for peer in &work.peers {
            let [ratio, ..] = work.ratio(peer);
            targets.push(Target {
                what: format!(
                    "{}: {LEAST_RATIO} times as fast as the {} peer",
                    work.name, peer.name
                ),
                measured: format!("{ratio:.1}"),
                reached: ratio >= LEAST_RATIO,
            });
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_judged_by_medians_and_ratios_within_rounds() {
        let side = |seconds: &[f64], peak| Side {
            name: "plain".into(),
            seconds: seconds.to_vec(),
            processor: seconds.to_vec(),
            peak,
        };
        let work = |name: &str, own: &[f64], peer: &[f64]| Work {
            name: name.into(),
            note: "",
            glassbox: side(own, 500_000_000),
            peers: vec![side(peer, 0)],
        };
        let works = [
            work("audit", &[2.0, 1.0, 4.0], &[30.0, 8.0, 80.0]),
            work("causal", &[12.0], &[12.0]),
            work("words", &[19.0], &[190.0]),
        ];
        assert_eq!(works[0].ratio(&works[0].peers[0]), [15.0, 8.0, 20.0]);
        let reached: Vec<bool> = targets(&works).iter().map(|target| target.reached).collect();
        assert_eq!(reached, [true, false, true, true, false, true]);
    }
}
