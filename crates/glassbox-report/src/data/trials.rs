//! The trials, counted, with one pair of responses per family to look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use glassbox_experiment::Arm;
use glassbox_experiment::tables::TrialRow;
use glassbox_outcome::UNKNOWN;
use glassbox_store::TableReader;

use super::{FeatureId, Names};
use crate::ReportError;

/// Half pairs kept while their other half is looked for. Pairs share a prompt, so their halves lie close together.
const WAITING: usize = 4096;

/// The trials of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialData {
    /// Completed units of work.
    pub units: u64,
    /// Trials.
    pub trials: u64,
    /// Counts by family and arm.
    pub by_condition: BTreeMap<(String, Arm), Tally>,
    /// Counts by arm, layer and feature, all families together.
    pub by_treatment: BTreeMap<(Arm, Option<u32>, Option<u32>), Tally>,
    /// The feature that the examples belong to.
    pub example_feature: Option<FeatureId>,
    /// Per family one pair of responses.
    pub examples: Vec<ExamplePair>,
}

/// Counts of trials.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Trials.
    pub trials: u64,
    /// Trials by outcome, `unknown` included.
    pub outcomes: BTreeMap<String, u64>,
    /// Trials with an amount.
    pub with_amount: u64,
    /// Sum of the amounts.
    pub amount_sum: f64,
}

impl Tally {
    fn add(&mut self, row: &TrialRow) {
        self.trials += 1;
        match self.outcomes.get_mut(&row.outcome) {
            Some(count) => *count += 1,
            None => {
                self.outcomes.insert(row.outcome.clone(), 1);
            }
        }
        if let Some(amount) = row.amount {
            self.with_amount += 1;
            self.amount_sum += amount;
        }
    }

    /// Trials with this outcome.
    pub fn of(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or(0)
    }

    /// Trials that the parser could not read.
    pub fn unknown(&self) -> u64 {
        self.of(UNKNOWN)
    }

    /// Share of an outcome; `None` without trials.
    pub fn share(&self, outcome: &str) -> Option<f64> {
        (self.trials > 0).then(|| self.of(outcome) as f64 / self.trials as f64)
    }

    /// Mean amount of the trials that have one.
    pub fn mean_amount(&self) -> Option<f64> {
        (self.with_amount > 0).then(|| self.amount_sum / self.with_amount as f64)
    }
}

/// Two responses to one prompt with the same random numbers, the feature at its two values.
#[derive(Clone, Debug, PartialEq)]
pub struct ExamplePair {
    /// Prompt family.
    pub family: String,
    /// Prompt.
    pub prompt_id: String,
    /// Trial number.
    pub trial: u32,
    /// Under value A.
    pub a: ExampleResponse,
    /// Under value B.
    pub b: ExampleResponse,
    /// Pairs of this family.
    pub pairs: u64,
    /// Pairs whose two outcomes differ.
    pub differing: u64,
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleResponse {
    /// The text.
    pub text: String,
    /// What the parser read.
    pub outcome: String,
    /// The captured amount.
    pub amount: Option<f64>,
}

/// Pairs responses of one feature and keeps, per family, the first pair that shows its effect best.
struct Examples<'a> {
    feature: FeatureId,
    /// Outcome under the value that the effect favours is the target.
    raises: bool,
    target: &'a str,
    waiting: BTreeMap<(String, String, u32), (Arm, ExampleResponse)>,
    best: BTreeMap<String, (u8, ExamplePair)>,
}

impl Examples<'_> {
    fn add(&mut self, row: &TrialRow) {
        let arm = match row.arm.as_str() {
            "value_a" => Arm::ValueA,
            "value_b" => Arm::ValueB,
            _ => return,
        };
        if row.layer != Some(self.feature.layer) || row.feature != Some(self.feature.feature) {
            return;
        }
        let response = ExampleResponse {
            text: row.text.clone(),
            outcome: row.outcome.clone(),
            amount: row.amount,
        };
        let key = (row.family.clone(), row.prompt_id.clone(), row.trial);
        let Some((other_arm, other)) = self.waiting.remove(&key) else {
            if self.waiting.len() < WAITING {
                self.waiting.insert(key, (arm, response));
            }
            return;
        };
        if other_arm == arm {
            return;
        }
        let (a, b) = if arm == Arm::ValueA {
            (response, other)
        } else {
            (other, response)
        };
        let (family, prompt_id, trial) = key;
        let differs = a.outcome != b.outcome;
        let rank = self.rank(&a, &b);
        let pair = ExamplePair {
            family: family.clone(),
            prompt_id,
            trial,
            a,
            b,
            pairs: 0,
            differing: 0,
        };
        match self.best.get_mut(&family) {
            None => {
                let counted = ExamplePair {
                    pairs: 1,
                    differing: u64::from(differs),
                    ..pair
                };
                self.best.insert(family, (rank, counted));
            }
            Some((best_rank, best)) => {
                let (pairs, differing) = (best.pairs + 1, best.differing + u64::from(differs));
                if rank > *best_rank {
                    *best_rank = rank;
                    *best = pair;
                }
                (best.pairs, best.differing) = (pairs, differing);
            }
        }
    }

    /// 3 if the pair differs as the effect says, 2 if its outcomes differ otherwise, 1 if only its texts differ, 0 if nothing does.
    fn rank(&self, a: &ExampleResponse, b: &ExampleResponse) -> u8 {
        let (favoured, other) = if self.raises { (b, a) } else { (a, b) };
        if favoured.outcome == self.target && other.outcome != self.target && other.outcome != UNKNOWN {
            3
        } else if a.outcome != b.outcome {
            2
        } else {
            u8::from(a.text != b.text)
        }
    }
}

pub(super) fn read_trials(
    folder: &Path,
    names: &Names,
    example: Option<(FeatureId, f64)>,
) -> Result<TrialData, ReportError> {
    let mut data = TrialData {
        example_feature: example.map(|(feature, _)| feature),
        ..TrialData::default()
    };
    let mut examples = example.map(|(feature, effect)| Examples {
        feature,
        raises: effect >= 0.0,
        target: &names.target,
        waiting: BTreeMap::new(),
        best: BTreeMap::new(),
    });
    for shard in completed_shards(folder)? {
        data.units += 1;
        for batch in TableReader::<TrialRow>::open(&shard)? {
            for row in batch? {
                data.trials += 1;
                // A row of an arm unknown here was written by another version, which the table's version number forbids.
                let Ok(arm) = Arm::from_name(&row.arm) else {
                    continue;
                };
                data.by_condition
                    .entry((row.family.clone(), arm))
                    .or_default()
                    .add(&row);
                data.by_treatment
                    .entry((arm, row.layer, row.feature))
                    .or_default()
                    .add(&row);
                if let Some(examples) = &mut examples {
                    examples.add(&row);
                }
            }
        }
    }
    data.examples = examples
        .into_iter()
        .flat_map(|examples| examples.best.into_values())
        .map(|(_, pair)| pair)
        .collect();
    Ok(data)
}

/// The shards with a completion record, in the order of their names. A shard without one is not finished.
pub(super) fn completed_shards(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |cause| ReportError::Folder {
        path: folder.to_path_buf(),
        cause,
    };
    let mut shards = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_shard = path.extension().is_some_and(|extension| extension == "parquet")
            && !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_shard && path.with_extension("json").is_file() {
            shards.push(path);
        }
    }
    shards.sort();
    Ok(shards)
}
