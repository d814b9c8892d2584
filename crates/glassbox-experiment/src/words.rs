//! The *words* stage: which words and amounts a feature adds to the responses or removes from them.
//!
//! A word is counted once per response, never per token: the tokens of one response are not independent. Value B is
//! compared with value A over pairs of responses that share prompt, trial and random numbers.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_stats::{Confidence, PairedTable, Proportion, TwoByTwo, log_odds_ratio, mcnemar_test};
use regex::Regex;

use crate::arm::Arm;
use crate::calibration::check;
use crate::causal::{CONTROL_VS_CONTROL, Comparison, VALUE_VS_VALUE};
use crate::contrast::{count, known_share};
use crate::error::ExperimentError;
use crate::scenario::WordSettings;
use crate::tables::{CheckRow, TrialRow, WordRow};
use crate::test_family::adjust_family;
use crate::trial_index::Treatment;

/// Counts of the words of every response. The responses of one prompt are held at a time: memory grows with features and
/// words, not with trials.
#[derive(Debug)]
pub struct ResponseWords {
    pattern: Regex,
    names: Vec<String>,
    ids: BTreeMap<String, u32>,
    /// Family and id of the prompt whose responses are held.
    prompt: (String, String),
    /// Words of the responses held, by treatment and trial.
    responses: BTreeMap<Treatment, BTreeMap<u32, BTreeSet<u32>>>,
    /// Counts over the prompts before, by the treatment of the pairs' first side.
    counts: BTreeMap<Treatment, PairCounts>,
}

/// Pairs of responses, and in how many of them each word occurs.
#[derive(Debug, Default)]
struct PairCounts {
    pairs: u64,
    words: BTreeMap<u32, WordCounts>,
}

/// The comparison that begins with an arm, and the role of its features; `None` for an arm that begins none.
fn comparison_from(arm: Arm) -> Option<(&'static str, Comparison)> {
    match arm {
        Arm::ValueA => Some(("selected", VALUE_VS_VALUE)),
        Arm::ControlA => Some(("control", CONTROL_VS_CONTROL)),
        _ => None,
    }
}

impl ResponseWords {
    /// Nothing yet; words are the matches of the settings' pattern, lower-cased.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] if the pattern is no regular expression.
    pub fn new(settings: &WordSettings) -> Result<Self, ExperimentError> {
        let pattern = Regex::new(&settings.pattern).map_err(|error| ExperimentError::Data {
            stage: "words",
            what: format!("words.pattern is no regular expression: {error}"),
        })?;
        Ok(Self {
            pattern,
            names: Vec::new(),
            ids: BTreeMap::new(),
            prompt: Default::default(),
            responses: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
    }

    /// Adds the response of one trial, if its arm belongs to a value or a control. All trials of a prompt come one after
    /// the other, as in the tables.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownName`] for an unknown arm.
    pub fn add(&mut self, row: &TrialRow) -> Result<(), ExperimentError> {
        let arm = Arm::from_name(&row.arm)?;
        if matches!(arm, Arm::Baseline | Arm::ReconstructOnly) {
            return Ok(());
        }
        if (&self.prompt.0, &self.prompt.1) != (&row.family, &row.prompt_id) {
            self.count_pairs();
            self.prompt = (row.family.clone(), row.prompt_id.clone());
        }
        let mut words = BTreeSet::new();
        let found: Vec<String> = self
            .pattern
            .find_iter(&row.text)
            .map(|found| found.as_str().to_lowercase())
            .collect();
        for word in found {
            words.insert(self.id(word));
        }
        let treatment = Treatment {
            arm,
            layer: row.layer,
            feature: row.feature,
            matched_feature: row.matched_feature,
        };
        self.responses
            .entry(treatment)
            .or_default()
            .insert(row.trial, words);
        Ok(())
    }

    /// Counts the pairs of the responses held, and lets go of them.
    fn count_pairs(&mut self) {
        let responses = std::mem::take(&mut self.responses);
        for (treatment, firsts) in &responses {
            let Some((_, comparison)) = comparison_from(treatment.arm) else {
                continue;
            };
            let Some(seconds) = responses.get(&treatment.under(comparison.second)) else {
                continue;
            };
            let counts = self.counts.entry(*treatment).or_default();
            for (trial, first) in firsts {
                let Some(second) = seconds.get(trial) else {
                    continue;
                };
                counts.pairs += 1;
                for word in first.union(second) {
                    let entry = counts.words.entry(*word).or_default();
                    match (first.contains(word), second.contains(word)) {
                        (true, true) => entry.both += 1,
                        (true, false) => entry.only_first += 1,
                        (false, true) => entry.only_second += 1,
                        (false, false) => {}
                    }
                }
            }
        }
    }

    fn id(&mut self, word: String) -> u32 {
        if let Some(&id) = self.ids.get(&word) {
            return id;
        }
        let id = count(self.names.len() as u64);
        self.names.push(word.clone());
        self.ids.insert(word, id);
        id
    }

    /// Tests every word of every feature that enough responses hold. One Benjamini–Hochberg family covers all words
    /// of all selected features.
    ///
    /// # Errors
    /// [`ExperimentError::Stats`].
    pub fn test(mut self, settings: &WordSettings) -> Result<Vec<WordRow>, ExperimentError> {
        self.count_pairs();
        let mut rows = Vec::new();
        for (treatment, found) in &self.counts {
            let (Some((role, comparison)), Some(layer), Some(feature)) =
                (comparison_from(treatment.arm), treatment.layer, treatment.feature)
            else {
                continue;
            };
            for (&word, counts) in &found.words {
                if counts.total() < settings.min_responses || counts.both == found.pairs {
                    continue;
                }
                let name = &self.names[word as usize];
                rows.push(counts.row(layer, feature, role, comparison.name, name, found.pairs)?);
            }
        }
        adjust_family(
            &mut rows,
            |row| (row.role == "selected").then_some(row.p),
            |row, q| row.q = Some(q),
        )?;
        Ok(rows)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct WordCounts {
    both: u64,
    only_first: u64,
    only_second: u64,
}

impl WordCounts {
    fn total(self) -> u64 {
        self.both + self.only_first + self.only_second
    }

    fn row(
        self,
        layer: u32,
        feature: u32,
        role: &str,
        contrast: &str,
        word: &str,
        pairs: u64,
    ) -> Result<WordRow, ExperimentError> {
        let (with_first, with_second) = (self.both + self.only_first, self.both + self.only_second);
        let table = TwoByTwo::new(
            Proportion::new(with_second, pairs)?,
            Proportion::new(with_first, pairs)?,
        )?;
        let odds =
            log_odds_ratio(&table, Confidence::new(0.95)?).map_err(|undefined| ExperimentError::Data {
                stage: "words",
                what: format!("the word '{word}': {undefined}"),
            })?;
        let paired = PairedTable::new(
            self.both,
            self.only_second,
            self.only_first,
            pairs.saturating_sub(self.total()),
        )?;
        Ok(WordRow {
            layer,
            feature,
            role: role.to_owned(),
            contrast: contrast.to_owned(),
            word: word.to_owned(),
            n_1: count(pairs),
            n_2: count(pairs),
            responses_1: count(with_first),
            responses_2: count(with_second),
            log_odds: odds.estimate,
            ci_low: odds.interval.lower,
            ci_high: odds.interval.upper,
            p: mcnemar_test(&paired).exact.p,
            q: None,
            change: if with_second >= with_first {
                "added"
            } else {
                "removed"
            }
            .to_owned(),
        })
    }
}

/// How often words of random-feature controls differ, beside those of selected features.
pub fn word_checks(rows: &[WordRow], alpha: f64) -> Vec<CheckRow> {
    let share = |role: &str| {
        let of_role: Vec<&WordRow> = rows.iter().filter(|row| row.role == role).collect();
        let low = of_role.iter().filter(|row| row.p < 0.05).count() as u64;
        (low, of_role.len() as u64)
    };
    let (control, controls) = share("control");
    let (selected, all_selected) = share("selected");
    let found = rows.iter().filter(|row| row.q.is_some_and(|q| q < alpha)).count();
    vec![
        check(
            "words",
            "words_of_random_features",
            known_share(control, controls),
            None,
            None,
            format!(
                "Share of (random feature, word) tests with p < 0.05 ({control} of {controls}); among selected features it \
                 is {selected} of {all_selected}."
            ),
        ),
        check(
            "words",
            "words_found",
            Some(found as f64),
            None,
            None,
            format!("(Feature, word) pairs with q < {alpha}, each word counted once per response."),
        ),
    ]
}
