//! Trials that a log holds more than once: which of them count.

use std::collections::BTreeMap;
use std::str::FromStr;

use glassbox_logs::{FeatureId, Logs, Place, ReadWatch, TrialRecord};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::EffectsError;
use crate::cell::CellKey;
use crate::cells::CellNumbers;

/// Which rows of a repeated trial count. Rows are repeats if feature, condition, dose, prompt, trial number and attempt are the
/// same: what a run writes again when it is started again in append mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeats {
    /// The first in the order of the files. The default: later rows were written by a run that did not know of the first, so
    /// dropping them selects nothing.
    #[default]
    First,
    /// The last in the order of the files. The logs are read twice.
    Last,
    /// All of them, as if they were trials of their own.
    All,
    /// None: repeats are an error.
    Refuse,
}

impl Repeats {
    /// The name of the choice.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::All => "all",
            Self::Refuse => "refuse",
        }
    }
}

impl FromStr for Repeats {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        [Self::First, Self::Last, Self::All, Self::Refuse]
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or_else(|| EffectsError::Choice {
                what: "policy for repeated trials",
                text: text.to_owned(),
                choices: "first, last, all or refuse",
            })
    }
}

/// Which attempts of a trial count, where a log keeps retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempts {
    /// The first. The default: trying again until an answer can be parsed selects for answers that can.
    #[default]
    First,
    /// All of them, as trials of their own.
    All,
}

impl FromStr for Attempts {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        match text {
            "first" => Ok(Self::First),
            "all" => Ok(Self::All),
            _ => Err(EffectsError::Choice {
                what: "policy for attempts",
                text: text.to_owned(),
                choices: "first or all",
            }),
        }
    }
}

/// Which trial of its cell a row is, and where the row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrialIdentity {
    /// `None` for trials without a number.
    trial: Option<u64>,
    attempt: Option<u64>,
    place: Place,
}

impl TrialIdentity {
    pub(crate) fn of(trial: &TrialRecord<'_>) -> Self {
        Self {
            trial: trial.trial,
            attempt: trial.attempt,
            place: trial.place,
        }
    }
}

/// What the filter has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RepeatCounts {
    /// Rows with a trial.
    pub rows: u64,
    /// Rows that count.
    pub kept: u64,
    /// Rows that repeat a trial.
    pub repeats: u64,
    /// Rows with a later attempt of a trial.
    pub later_attempts: u64,
    /// Rows without a trial number: whether they repeat one another cannot be told, and all count.
    pub unnumbered: u64,
    /// Repeats by feature, those with most first.
    pub features: Vec<(String, u64)>,
}

/// Decides row by row which trials count.
#[derive(Debug)]
pub(crate) struct RepeatFilter {
    repeats: Repeats,
    attempts: Attempts,
    /// Numbers of the cells.
    numbers: BTreeMap<CellKey, u32>,
    /// By number of the cell.
    seen: Vec<SeenTrials>,
    /// Where each trial of a cell comes last, for [`Repeats::Last`].
    last: FxHashMap<(u32, u64, Option<u64>), Place>,
    counts: RepeatCounts,
}

/// The trials of one cell that were seen.
#[derive(Debug, Default)]
struct SeenTrials {
    /// Trials below [`FEW`] without an attempt, one bit each.
    bits: Vec<u64>,
    /// Further ones.
    others: FxHashSet<(u64, Option<u64>)>,
    /// First attempt of every trial that has attempts.
    first_attempt: FxHashMap<u64, u64>,
    repeats: u64,
}

/// Trials of a cell are numbered from 0 or 1 nearly always; from here on a number costs more than a bit.
const FEW: u64 = 1 << 16;

impl SeenTrials {
    /// Whether the trial is new.
    fn insert(&mut self, trial: u64, attempt: Option<u64>) -> bool {
        if trial >= FEW || attempt.is_some() {
            return self.others.insert((trial, attempt));
        }
        let (word, bit) = ((trial / 64) as usize, 1 << (trial % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }
}

impl RepeatFilter {
    /// A filter; for [`Repeats::Last`] the logs are read once for it.
    pub(crate) fn new(
        repeats: Repeats,
        attempts: Attempts,
        logs: &Logs,
        watch: &dyn ReadWatch,
    ) -> Result<Self, EffectsError> {
        let mut filter = Self {
            repeats,
            attempts,
            numbers: BTreeMap::new(),
            seen: Vec::new(),
            last: FxHashMap::default(),
            counts: RepeatCounts::default(),
        };
        if repeats == Repeats::Last {
            logs.read(
                |batch| {
                    let mut cells = CellNumbers::default();
                    let trials: Vec<(u32, TrialIdentity)> = batch
                        .trials
                        .iter()
                        .map(|trial| (cells.number(trial), TrialIdentity::of(trial)))
                        .collect();
                    (cells.keys, trials)
                },
                |(keys, trials)| {
                    let numbers = filter.numbers_of(&keys);
                    for (cell, identity) in trials {
                        if let Some(trial) = identity.trial {
                            let key = (numbers[cell as usize], trial, identity.attempt);
                            filter.last.insert(key, identity.place);
                        }
                    }
                    Ok(())
                },
                watch,
            )?;
        }
        Ok(filter)
    }

    /// The numbers of some cells, for [`RepeatFilter::keep`].
    pub(crate) fn numbers_of(&mut self, cells: &[CellKey]) -> Vec<u32> {
        let number = |key: &CellKey| match self.numbers.get(key) {
            Some(&number) => number,
            None => {
                let number = self.seen.len() as u32;
                self.numbers.insert(key.clone(), number);
                self.seen.push(SeenTrials::default());
                number
            }
        };
        cells.iter().map(number).collect()
    }

    /// Whether a row of a cell counts. Rows come in the order of the files.
    pub(crate) fn keep(&mut self, cell: u32, identity: &TrialIdentity) -> bool {
        self.counts.rows += 1;
        let keep = self.judge(cell, identity);
        self.counts.kept += u64::from(keep);
        keep
    }

    fn judge(&mut self, cell: u32, identity: &TrialIdentity) -> bool {
        let Some(trial) = identity.trial else {
            self.counts.unnumbered += 1;
            return true;
        };
        let seen = &mut self.seen[cell as usize];
        if let (Some(attempt), Attempts::First) = (identity.attempt, self.attempts)
            && *seen.first_attempt.entry(trial).or_insert(attempt) != attempt
        {
            self.counts.later_attempts += 1;
            return false;
        }
        let is_new = seen.insert(trial, identity.attempt);
        if !is_new {
            self.counts.repeats += 1;
            seen.repeats += 1;
        }
        match self.repeats {
            Repeats::All => true,
            Repeats::First | Repeats::Refuse => is_new,
            Repeats::Last => self.last.get(&(cell, trial, identity.attempt)) == Some(&identity.place),
        }
    }

    /// What was seen.
    ///
    /// # Errors
    /// [`EffectsError::RepeatedTrials`] if there were repeats and the policy is to refuse them.
    pub(crate) fn finish(mut self) -> Result<RepeatCounts, EffectsError> {
        let mut by_feature: BTreeMap<Option<FeatureId>, u64> = BTreeMap::new();
        for (key, &number) in &self.numbers {
            let repeats = self.seen[number as usize].repeats;
            if repeats > 0 {
                *by_feature.entry(key.feature).or_default() += repeats;
            }
        }
        let mut features: Vec<(String, u64)> = by_feature
            .iter()
            .map(|(feature, count)| {
                let name = feature.map_or("no feature".to_owned(), |feature| feature.to_string());
                (name, *count)
            })
            .collect();
        features.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        if self.repeats == Repeats::Refuse && self.counts.repeats > 0 {
            let most: Vec<String> = features
                .iter()
                .take(5)
                .map(|(name, count)| format!("{name} ({count})"))
                .collect();
            let more = if features.len() > 5 { ", …" } else { "" };
            return Err(EffectsError::RepeatedTrials {
                repeats: self.counts.repeats,
                features: format!("{}{more}", most.join(", ")),
            });
        }
        self.counts.features = features;
        Ok(self.counts)
    }
}
