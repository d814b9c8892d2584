//! What a dictionary is to reach.

use serde::{Deserialize, Serialize};

/// Targets of a job, each checked on held-out documents. A target of `None` is not checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// Explained variance at least: 1 − Σ‖x − x̂‖² / Σ‖x − mean‖².
    pub explained_variance: Option<f64>,
    /// Mean number of active features per token at most.
    pub l0: Option<f64>,
    /// Share of features that are active on no held-out token, at most.
    pub dead_share: Option<f64>,
    /// Share of the live features whose top contexts agree more than those of controls, at least.
    pub interpretable_share: Option<f64>,
    /// Rise of the held-out explained variance over the last fifth of training, at most: more means that it was still
    /// learning.
    pub late_change: Option<f64>,
    /// Share of the cross-entropy loss recovered, against zero ablation, at least.
    pub loss_recovered: Option<f64>,
}

impl Default for Targets {
    /// What the shipped dictionaries reach; L0 is left to each job, since it depends on the width.
    fn default() -> Self {
        Self {
            explained_variance: Some(0.9),
            l0: None,
            dead_share: Some(0.1),
            interpretable_share: Some(0.8),
            late_change: Some(0.01),
            loss_recovered: None,
        }
    }
}

impl Targets {
    /// The targets that cannot be meant: `(key, what is wrong)`.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let shares = [
            ("explained_variance", self.explained_variance),
            ("dead_share", self.dead_share),
            ("interpretable_share", self.interpretable_share),
            ("late_change", self.late_change),
            ("loss_recovered", self.loss_recovered),
        ];
        for (key, value) in shares {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Some((
                    key,
                    format!("is {value}; give a number from 0 to 1, or leave the key out"),
                ));
            }
        }
        let l0 = self.l0.filter(|l0| !(l0.is_finite() && *l0 > 0.0))?;
        Some((
            "l0",
            format!("is {l0}; give a number above 0, or leave the key out"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shares() {
        assert_eq!(Targets::default().problem(), None);
        let dead_share = Some(10.0);
        let problem = Targets {
            dead_share,
            ..Targets::default()
        }
        .problem();
        assert_eq!(problem.map(|(key, _)| key), Some("dead_share"));
        let l0 = Some(f64::NAN);
        assert_eq!(
            Targets {
                l0,
                ..Targets::default()
            }
            .problem()
            .map(|(key, _)| key),
            Some("l0")
        );
    }
}
