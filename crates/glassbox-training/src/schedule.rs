//! How learning rate and penalties change over a run.

use serde::{Deserialize, Serialize};

/// The course of the learning rate after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine from the full rate to zero at the end.
    Cosine,
    /// Full for the first four fifths of the run, then in a straight line to zero at the end.
    Linear,
}

/// Where the straight line begins, as a share of the run.
const LINEAR_FROM: f64 = 0.8;

impl Schedule {
    /// The factor on the learning rate in step `step` of `steps`, counted from 0. The first `warm_up` steps rise to one.
    pub fn factor(self, step: u64, steps: u64, warm_up: u64) -> f64 {
        let rise = rising(step, warm_up);
        let done = step as f64 / steps.max(1) as f64;
        let fall = match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
            Self::Linear => ((1.0 - done) / (1.0 - LINEAR_FROM)).clamp(0.0, 1.0),
        };
        rise * fall
    }
}

/// A straight line from above zero to one in the first `steps` steps.
pub(crate) fn rising(step: u64, steps: u64) -> f64 {
    ((step + 1) as f64 / steps.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_stay_and_fall() {
        let at = |schedule: Schedule, step| schedule.factor(step, 100, 10);
        for schedule in [Schedule::Constant, Schedule::Linear] {
            assert_eq!(at(schedule, 0), 0.1);
            assert_eq!(at(schedule, 9), 1.0);
            assert_eq!(at(schedule, 80), 1.0);
        }
        assert_eq!(at(Schedule::Constant, 99), 1.0);
        assert!((at(Schedule::Linear, 90) - 0.5).abs() < 1e-12);
        assert!((at(Schedule::Cosine, 50) - 0.5).abs() < 1e-12);
        assert!(at(Schedule::Cosine, 99) < 1e-3);
    }
}
