//! Trials by arm and feature, reduced to what the statistics need and ready to be paired.

use std::collections::BTreeMap;

use crate::arm::Arm;
use crate::error::ExperimentError;
use crate::tables::TrialRow;
use glassbox_outcome::UNKNOWN;

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

/// All trials of a sweep by treatment, nine bytes each.
#[derive(Clone, Debug, Default)]
pub struct TrialIndex {
    /// The number of every pair, counted as they come.
    pairs: BTreeMap<PairKey, usize>,
    trials: BTreeMap<Treatment, Outcomes>,
}

/// The outcomes of one treatment by number of the pair.
#[derive(Clone, Debug, Default)]
struct Outcomes {
    marks: Vec<u8>,
    /// As long as the last amount needs it.
    amounts: Vec<f64>,
}

/// Marks of an outcome that is there.
const PRESENT: u8 = 1;
const TARGET: u8 = 2;
const KNOWN: u8 = 4;
const HAS_AMOUNT: u8 = 8;

impl Outcomes {
    fn get(&self, pair: usize) -> Option<TrialOutcome> {
        let marks = *self.marks.get(pair)?;
        let is = |mark| marks & mark != 0;
        is(PRESENT).then(|| TrialOutcome {
            target: is(TARGET),
            known: is(KNOWN),
            amount: is(HAS_AMOUNT).then(|| self.amounts.get(pair).copied()).flatten(),
        })
    }

    fn set(&mut self, pair: usize, outcome: TrialOutcome) {
        let mark = |is: bool, mark| if is { mark } else { 0 };
        if self.marks.len() <= pair {
            self.marks.resize(pair + 1, 0);
        }
        self.marks[pair] = PRESENT
            | mark(outcome.target, TARGET)
            | mark(outcome.known, KNOWN)
            | mark(outcome.amount.is_some(), HAS_AMOUNT);
        if let Some(amount) = outcome.amount {
            if self.amounts.len() <= pair {
                self.amounts.resize(pair + 1, 0.0);
            }
            self.amounts[pair] = amount;
        }
    }
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
        let next = self.pairs.len();
        let outcomes = self.trials.entry(treatment).or_default();
        let pair = match self.pairs.get(&key) {
            Some(&pair) if outcomes.get(pair).is_some() => {
                return Err(ExperimentError::Data {
                    stage: "causal",
                    what: format!(
                        "the trial {treatment:?}, {key:?} occurs twice; the trial tables are damaged, run the sweep again"
                    ),
                });
            }
            Some(&pair) => pair,
            None => {
                self.pairs.insert(key, next);
                next
            }
        };
        outcomes.set(pair, outcome);
        Ok(())
    }

    /// The treatments, in a fixed order.
    pub fn treatments(&self) -> impl Iterator<Item = Treatment> + '_ {
        self.trials.keys().copied()
    }

    /// The trials of a treatment in a fixed order.
    pub fn trials(&self, treatment: Treatment) -> impl Iterator<Item = (&PairKey, TrialOutcome)> {
        let outcomes = self.trials.get(&treatment);
        self.pairs
            .iter()
            .filter_map(move |(key, &pair)| Some((key, outcomes?.get(pair)?)))
    }

    /// Pairs of trials under two treatments, in a fixed order; of one family or of all.
    pub fn pairs(&self, first: Treatment, second: Treatment, family: Option<&str>) -> Vec<Pair<'_>> {
        let (Some(firsts), Some(seconds)) = (self.trials.get(&first), self.trials.get(&second)) else {
            return Vec::new();
        };
        self.pairs
            .iter()
            .filter(|(key, _)| family.is_none_or(|family| key.family == family))
            .filter_map(|(key, &pair)| {
                Some(Pair {
                    key,
                    first: firsts.get(pair)?,
                    second: seconds.get(pair)?,
                })
            })
            .collect()
    }
}
