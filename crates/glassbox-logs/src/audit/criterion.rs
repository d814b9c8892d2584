//! When a feature counts as a finding: what parsers are compared by.

use std::collections::BTreeMap;

use glassbox_stats::{
    Confidence, DoseGroup, Proportion, TrendVariance, TwoByTwo, Yates, benjamini_hochberg, chi_square_test,
    trend_test,
};

use crate::{Arm, BET_LABEL, FeatureId, Repeats, STOP_LABEL, TrialIndex, UNKNOWN_LABEL};

/// A rule by which features are findings or not. Analyses bring their own; two of the study's are here.
pub trait Criterion: Sync {
    /// What it tests, in a few words.
    fn name(&self) -> String;

    /// Every tested thing by name, and whether it is a finding, for the outcomes of one source.
    fn findings(&self, index: &TrialIndex, source: usize, repeats: Repeats) -> BTreeMap<String, bool>;
}

/// The study's criterion for a causal feature: the stop rate of the safe prompt under the safe patch, or the rate of bets above
/// $15 of the risky prompt under the risky patch, against the baseline: χ² with Yates's correction p < 0.05, a difference above
/// 0.1, at least 10 readable trials in each of the prompt's three conditions and 5 in each cell of the table.
///
/// It is here so that old numbers can be checked; it tests no value against another value, and corrects for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct StudyCriterion;

/// Trials of one condition.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    trials: u64,
    stop: u64,
    high: u64,
}

/// Bets above this are high: half of the balance of 30 that the study's formula has.
const HIGH_BET: f64 = 15.0;

impl StudyCriterion {
    fn is_finding(reference: Counts, patched: Counts, other: Counts, of: fn(&Counts) -> u64) -> bool {
        if [reference, patched, other]
            .iter()
            .any(|counts| counts.trials < 10)
        {
            return false;
        }
        let cells = [
            [of(&patched), patched.trials - of(&patched)],
            [of(&reference), reference.trials - of(&reference)],
        ];
        if cells.iter().flatten().any(|count| *count < 5) {
            return false;
        }
        let share = |counts: &Counts| of(counts) as f64 / counts.trials as f64;
        let difference = share(&patched) - share(&reference);
        let p = TwoByTwo::from_cells(cells)
            .ok()
            .and_then(|table| chi_square_test(&table, Yates::Yes).ok())
            .map(|result| result.test.p);
        difference.abs() > 0.1 && p.is_some_and(|p| p < 0.05)
    }
}

impl Criterion for StudyCriterion {
    fn name(&self) -> String {
        "the study's causal features".to_owned()
    }

    fn findings(&self, index: &TrialIndex, source: usize, repeats: Repeats) -> BTreeMap<String, bool> {
        // Counts by prompt and arm; a baseline without a feature belongs to all features.
        let mut features: BTreeMap<FeatureId, BTreeMap<(bool, u8), Counts>> = BTreeMap::new();
        let mut pooled: BTreeMap<(bool, u8), Counts> = BTreeMap::new();
        for (number, cell) in index.cells().iter().enumerate() {
            let is_risky = match cell.condition.prompt_type.as_deref() {
                Some("safe") => false,
                Some("risky") => true,
                _ => continue,
            };
            let arm = match cell.condition.arm {
                Arm::Baseline => 0,
                Arm::ValueA => 1,
                Arm::ValueB => 2,
                _ => continue,
            };
            let counts = match cell.feature {
                Some(feature) => features.entry(feature).or_default(),
                None => &mut pooled,
            };
            let counts = counts.entry((is_risky, arm)).or_default();
            for (_, outcome) in index.counted(number, source, repeats) {
                if outcome.label() == UNKNOWN_LABEL {
                    continue;
                }
                counts.trials += 1;
                counts.stop += u64::from(outcome.label() == STOP_LABEL);
                let is_high = outcome.amount().is_some_and(|amount| amount > HIGH_BET);
                counts.high += u64::from(outcome.label() == BET_LABEL && is_high);
            }
        }
        features
            .into_iter()
            .map(|(feature, counts)| {
                let of = |key| {
                    counts
                        .get(&key)
                        .or_else(|| pooled.get(&key))
                        .copied()
                        .unwrap_or_default()
                };
                let (safe, risky) = (
                    [0, 1, 2].map(|arm| of((false, arm))),
                    [0, 1, 2].map(|arm| of((true, arm))),
                );
                let is_finding = Self::is_finding(safe[0], safe[1], safe[2], |counts| counts.stop)
                    || Self::is_finding(risky[0], risky[2], risky[1], |counts| counts.high);
                (feature.to_string(), is_finding)
            })
            .collect()
    }
}

/// The doses of each prompt.
type Strata<'a> = BTreeMap<Option<&'a str>, Vec<DoseGroup>>;

/// A trend of the stop rate over doses, by feature and kind of prompt: Mantel's extension test with prompts as strata, two-sided
/// p < 0.05.
#[derive(Clone, Copy, Debug)]
pub struct DoseTrend {
    /// Whether p is corrected over all features and kinds of prompts (Benjamini–Hochberg).
    pub corrected: bool,
}

impl Criterion for DoseTrend {
    fn name(&self) -> String {
        if self.corrected {
            "dose trends of the stop rate, q < 0.05".to_owned()
        } else {
            "dose trends of the stop rate, p < 0.05".to_owned()
        }
    }

    fn findings(&self, index: &TrialIndex, source: usize, repeats: Repeats) -> BTreeMap<String, bool> {
        let mut groups: BTreeMap<(FeatureId, &str), Strata<'_>> = BTreeMap::new();
        for (number, cell) in index.cells().iter().enumerate() {
            let (Some(feature), Some(dose)) = (cell.feature, cell.dose) else {
                continue;
            };
            let (mut trials, mut stops) = (0, 0);
            for (_, outcome) in index.counted(number, source, repeats) {
                trials += u64::from(outcome.label() != UNKNOWN_LABEL);
                stops += u64::from(outcome.label() == STOP_LABEL);
            }
            let Ok(outcome) = Proportion::new(stops, trials) else {
                continue;
            };
            groups
                .entry((feature, cell.condition.prompt_name()))
                .or_default()
                .entry(cell.prompt_id.as_deref())
                .or_default()
                .push(DoseGroup {
                    score: dose.value(),
                    outcome,
                });
        }
        let confidence = Confidence::P95;
        let tested: Vec<(String, f64)> = groups
            .into_iter()
            .filter_map(|((feature, prompt), strata)| {
                let strata: Vec<&[DoseGroup]> = strata.values().map(Vec::as_slice).collect();
                let test = trend_test(&strata, TrendVariance::Hypergeometric, confidence);
                Some((format!("{feature} {prompt}"), test.ok()?.ok()?.p))
            })
            .collect();
        let p_values: Vec<f64> = tested.iter().map(|(_, p)| *p).collect();
        let decided = if self.corrected {
            benjamini_hochberg(&p_values).unwrap_or_else(|_| vec![1.0; p_values.len()])
        } else {
            p_values
        };
        tested
            .into_iter()
            .zip(decided)
            .map(|((name, _), p)| (name, p < 0.05))
            .collect()
    }
}
