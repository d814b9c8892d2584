//! The checklist that a job ends with.

use serde::Serialize;

use crate::targets::Targets;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The target is reached.
    Met,
    /// It is not.
    Missed,
    /// The figure was not measured, since its stage was not asked for or failed.
    NotMeasured,
    /// There is no target.
    NoTarget,
}

impl Verdict {
    /// The sign in a terminal.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Met => "✓",
            Self::Missed => "✗",
            Self::NotMeasured => "–",
            Self::NoTarget => " ",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is checked.
    pub what: &'static str,
    /// What was found.
    pub found: Option<f64>,
    /// What it is to reach.
    pub target: Option<f64>,
    /// Whether the target is a least (`true`) or a most.
    pub at_least: bool,
    /// How it came out.
    pub verdict: Verdict,
}

/// What was measured of one dictionary. `None` is what was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Files that should be there, and those that are, whole.
    pub files: Option<(usize, usize)>,
    /// On held-out documents.
    pub explained_variance: Option<f64>,
    /// Mean number of active features per token.
    pub l0: Option<f64>,
    /// Share of features that were never active.
    pub dead_share: Option<f64>,
    /// Share of the cross-entropy loss recovered.
    pub loss_recovered: Option<f64>,
    /// Rise of the held-out explained variance over the last fifth of training.
    pub late_change: Option<f64>,
    /// Share of the live features that count as interpretable.
    pub interpretable_share: Option<f64>,
}

/// The lines of one dictionary, in a fixed order.
#[must_use]
pub fn checklist(measured: &Measured, targets: &Targets) -> Vec<Check> {
    let (present, expected) = match measured.files {
        Some((expected, present)) => (Some(present as f64), Some(expected as f64)),
        None => (None, None),
    };
    vec![
        check("files", present, expected, true),
        check(
            "explained variance",
            measured.explained_variance,
            targets.explained_variance,
            true,
        ),
        check("L0", measured.l0, targets.l0, false),
        check("dead share", measured.dead_share, targets.dead_share, false),
        check(
            "loss recovered",
            measured.loss_recovered,
            targets.loss_recovered,
            true,
        ),
        check("late change", measured.late_change, targets.late_change, false),
        check(
            "interpretable share",
            measured.interpretable_share,
            targets.interpretable_share,
            true,
        ),
    ]
}

fn check(what: &'static str, found: Option<f64>, target: Option<f64>, at_least: bool) -> Check {
    let verdict = match (found, target) {
        (None, _) => Verdict::NotMeasured,
        (Some(_), None) => Verdict::NoTarget,
        // A figure that is not a number reaches nothing.
        (Some(found), Some(target)) if at_least && found >= target => Verdict::Met,
        (Some(found), Some(target)) if !at_least && found <= target => Verdict::Met,
        (Some(_), Some(_)) => Verdict::Missed,
    };
    Check {
        what,
        found: found.filter(|found| found.is_finite()),
        target,
        at_least,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_held_against_its_target() {
        let measured = Measured {
            files: Some((4, 3)),
            explained_variance: Some(0.95),
            l0: Some(17.0),
            dead_share: Some(f64::NAN),
            ..Measured::default()
        };
        let targets = Targets {
            l0: Some(16.0),
            ..Targets::default()
        };
        let verdicts: Vec<Verdict> = checklist(&measured, &targets)
            .iter()
            .map(|check| check.verdict)
            .collect();
        use Verdict::{Met, Missed, NotMeasured};
        assert_eq!(
            verdicts,
            [Missed, Met, Missed, Missed, NotMeasured, NotMeasured, NotMeasured]
        );
    }
}
