//! Trials by arm and feature, reduced to what the statistics need and ready to be paired.

use std::collections::BTreeMap;

use crate::arm::Arm;
use crate::error::ExperimentError;
use crate::outcome::UNKNOWN;
use crate::tables::TrialRow;

/// What was done to a trial: the arm and, where it has one, the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Treatment {
    /// The arm.
    pub arm: Arm,
    /// Block index.
    pub layer: Option<u32>,
    /// Feature index.
    pub feature: Option<u32>,
    /// For controls, the selected feature they are matched to.
    pub matched_feature: Option<u32>,
}

impl Treatment {
    /// The baseline.
    pub const BASELINE: Self = Self {
        arm: Arm::Baseline,
        layer: None,
        feature: None,
        matched_feature: None,
    };

    /// The same feature under another arm.
    pub fn under(self, arm: Arm) -> Self {
        Self { arm, ..self }
    }
}

/// What pairs trials of different arms: the prompt and the trial number, which share their random numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey {
    /// Prompt family.
    pub family: String,
    /// Identity of the prompt within its family.
    pub prompt_id: String,
    /// Trial number.
    pub trial: u32,
}

/// The outcome of one trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialOutcome {
    /// Whether the outcome is the scenario's target.
    pub target: bool,
    /// Whether the parser could read an outcome.
    pub known: bool,
    /// The captured amount.
    pub amount: Option<f64>,
}

/// Two trials that differ in their treatment only.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<'a> {
    /// What they share.
    pub key: &'a PairKey,
    /// Under the first treatment.
    pub first: TrialOutcome,
    /// Under the second treatment.
    pub second: TrialOutcome,
}

/// All trials of a sweep by treatment.
#[derive(Clone, Debug, Default)]
pub struct TrialIndex {
    trials: BTreeMap<Treatment, BTreeMap<PairKey, TrialOutcome>>,
}

impl TrialIndex {
    /// An index without trials.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one trial.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownName`] for an unknown arm, [`ExperimentError::Data`] for a trial that is there already.
    pub fn add(&mut self, row: &TrialRow, target: &str) -> Result<(), ExperimentError> {
        let treatment = Treatment {
            arm: Arm::from_name(&row.arm)?,
            layer: row.layer,
            feature: row.feature,
            matched_feature: row.matched_feature,
        };
        let key = PairKey {
            family: row.family.clone(),
            prompt_id: row.prompt_id.clone(),
            trial: row.trial,
        };
        let outcome = TrialOutcome {
            target: row.outcome == target,
            known: row.outcome != UNKNOWN,
            amount: row.amount,
        };
        let described = format!("{treatment:?}, {key:?}");
        if self
            .trials
            .entry(treatment)
            .or_default()
            .insert(key, outcome)
            .is_some()
        {
            return Err(ExperimentError::Data {
                stage: "causal",
                what: format!(
                    "the trial {described} occurs twice; the trial tables are damaged, run the sweep again"
                ),
            });
        }
        Ok(())
    }

    /// The treatments, in a fixed order.
    pub fn treatments(&self) -> impl Iterator<Item = Treatment> + '_ {
        self.trials.keys().copied()
    }

    /// The trials of a treatment in a fixed order.
    pub fn trials(&self, treatment: Treatment) -> impl Iterator<Item = (&PairKey, TrialOutcome)> {
        self.trials
            .get(&treatment)
            .into_iter()
            .flatten()
            .map(|(key, outcome)| (key, *outcome))
    }

    /// Pairs of trials under two treatments, in a fixed order; of one family or of all.
    pub fn pairs(&self, first: Treatment, second: Treatment, family: Option<&str>) -> Vec<Pair<'_>> {
        let Some(seconds) = self.trials.get(&second) else {
            return Vec::new();
        };
        self.trials(first)
            .filter(|(key, _)| family.is_none_or(|family| key.family == family))
            .filter_map(|(key, outcome)| {
                seconds.get(key).map(|second| Pair {
                    key,
                    first: outcome,
                    second: *second,
                })
            })
            .collect()
    }
}
