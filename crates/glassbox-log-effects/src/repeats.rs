//! Trials that a log holds more than once: which of them count.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use glassbox_logs::{FeatureId, Logs, Place, ReadWatch, TrialRecord};
use serde::Serialize;

use crate::EffectsError;

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

/// The identity of a trial within its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrialIdentity {
    /// Hash of everything that names the trial, the attempt left out; `None` for trials without a number.
    trial: Option<u64>,
    attempt: Option<u64>,
    pub(crate) place: Place,
    feature: Option<FeatureId>,
}

impl TrialIdentity {
    pub(crate) fn of(trial: &TrialRecord<'_>) -> Self {
        let key = trial.trial.map(|number| {
            let mut hasher = DefaultHasher::new();
            trial.feature.hash(&mut hasher);
            trial.matched_feature.hash(&mut hasher);
            trial.condition.hash(&mut hasher);
            trial.scale.map(f64::to_bits).hash(&mut hasher);
            trial.prompt_id.hash(&mut hasher);
            number.hash(&mut hasher);
            hasher.finish()
        });
        Self {
            trial: key,
            attempt: trial.attempt,
            place: trial.place,
            feature: trial.feature,
        }
    }

    fn with_attempt(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (self.trial?, self.attempt).hash(&mut hasher);
        Some(hasher.finish())
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
    /// Attempts seen, by trial and attempt.
    seen: HashSet<u64>,
    /// First attempt of every trial that has attempts.
    first_attempt: HashMap<u64, u64>,
    /// Where each trial comes last, for [`Repeats::Last`].
    last: HashMap<u64, Place>,
    counts: RepeatCounts,
    by_feature: BTreeMap<Option<FeatureId>, u64>,
}

impl RepeatFilter {
    /// A filter; for [`Repeats::Last`] the logs are read once for it.
    pub(crate) fn new(
        repeats: Repeats,
        attempts: Attempts,
        logs: &Logs,
        watch: &dyn ReadWatch,
    ) -> Result<Self, EffectsError> {
        let mut last = HashMap::new();
        if repeats == Repeats::Last {
            logs.read(
                |batch| batch.trials.iter().map(TrialIdentity::of).collect::<Vec<_>>(),
                |identities| {
                    for identity in identities {
                        if let Some(key) = identity.with_attempt() {
                            last.insert(key, identity.place);
                        }
                    }
                    Ok(())
                },
                watch,
            )?;
        }
        Ok(Self {
            repeats,
            attempts,
            seen: HashSet::new(),
            first_attempt: HashMap::new(),
            last,
            counts: RepeatCounts::default(),
            by_feature: BTreeMap::new(),
        })
    }

    /// Whether the row counts. Rows come in the order of the files.
    pub(crate) fn keep(&mut self, identity: &TrialIdentity) -> bool {
        self.counts.rows += 1;
        let keep = self.judge(identity);
        self.counts.kept += u64::from(keep);
        keep
    }

    fn judge(&mut self, identity: &TrialIdentity) -> bool {
        let (Some(trial), Some(key)) = (identity.trial, identity.with_attempt()) else {
            self.counts.unnumbered += 1;
            return true;
        };
        if let (Some(attempt), Attempts::First) = (identity.attempt, self.attempts)
            && *self.first_attempt.entry(trial).or_insert(attempt) != attempt
        {
            self.counts.later_attempts += 1;
            return false;
        }
        let is_new = self.seen.insert(key);
        if !is_new {
            self.counts.repeats += 1;
            *self.by_feature.entry(identity.feature).or_default() += 1;
        }
        match self.repeats {
            Repeats::All => true,
            Repeats::First | Repeats::Refuse => is_new,
            Repeats::Last => self.last.get(&key) == Some(&identity.place),
        }
    }

    /// What was seen.
    ///
    /// # Errors
    /// [`EffectsError::RepeatedTrials`] if there were repeats and the policy is to refuse them.
    pub(crate) fn finish(mut self) -> Result<RepeatCounts, EffectsError> {
        let mut features: Vec<(String, u64)> = self
            .by_feature
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
