//! Words by features: the log odds of the most distinct ones, for heat maps.

use std::collections::BTreeMap;

use glassbox_logs::FeatureId;
use serde::Serialize;

use crate::EffectsError;

use super::word_cells::WordCells;
use super::word_groups::WordGroups;
use super::word_settings::WordSettings;
use super::word_tests::{TestedWords, WordTest};

/// Features and words of a grid, at most.
const MOST_FEATURES: usize = 24;
const MOST_WORDS: usize = 24;

/// The log odds of some words and features under one comparison on one kind of prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordGrid {
    /// What is compared: second_vs_first.
    pub comparison: String,
    /// Kind of prompt.
    pub prompt: String,
    /// The features, in order. All grids of an analysis have the same.
    pub features: Vec<String>,
    /// The words, those with the smallest p first. All grids of an analysis have the same.
    pub words: Vec<String>,
    /// By word, then by feature; missing where too few responses have the word for a test.
    pub cells: Vec<Vec<Option<WordGridCell>>>,
}

/// One word and feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WordGridCell {
    /// Log odds ratio with the prior, second over first.
    pub log_odds: f64,
    /// q value.
    pub q: f64,
    /// Share of the first's responses that have the word.
    pub share_1: f64,
    /// Share of the second's.
    pub share_2: f64,
}

/// The features and words that grids show.
#[derive(Debug)]
pub(crate) struct GridAxes {
    features: Vec<FeatureId>,
    words: Vec<u32>,
}

impl GridAxes {
    /// The features with the smallest p of a comparison, and the words with the smallest p of these.
    pub(crate) fn of(tested: &TestedWords<'_>) -> Self {
        let smallest = |most: usize, key: &dyn Fn(&WordTest) -> Option<u64>| {
            let mut best: BTreeMap<u64, f64> = BTreeMap::new();
            for test in &tested.tests {
                if let Some(key) = key(test) {
                    let p = best.entry(key).or_insert(f64::INFINITY);
                    *p = p.min(test.p);
                }
            }
            let mut order: Vec<(u64, f64)> = best.into_iter().collect();
            order.sort_by(|a, b| a.1.total_cmp(&b.1));
            order.truncate(most);
            order.into_iter().map(|(key, _)| key)
        };
        let packed = |feature: FeatureId| u64::from(feature.layer) << 32 | u64::from(feature.feature);
        let mut features: Vec<FeatureId> = smallest(MOST_FEATURES, &|test| Some(packed(test.feature)))
            .map(|key| FeatureId {
                layer: (key >> 32) as u32,
                feature: key as u32,
            })
            .collect();
        features.sort_unstable();
        let is_shown = |test: &WordTest| features.binary_search(&test.feature).is_ok();
        let words = smallest(MOST_WORDS, &|test| is_shown(test).then_some(u64::from(test.word)))
            .map(|key| key as u32)
            .collect();
        Self { features, words }
    }
}

/// One grid per kind of prompt on which the comparison was tested for the features and words of the axes.
pub(crate) fn word_grids(
    tested: &TestedWords<'_>,
    axes: &GridAxes,
    cells: &WordCells,
    groups: &WordGroups<'_>,
    settings: &WordSettings,
) -> Result<Vec<WordGrid>, EffectsError> {
    let mut grids: BTreeMap<u16, WordGrid> = BTreeMap::new();
    let name = tested.comparison.name(groups.reference());
    for test in &tested.tests {
        let (Ok(column), Some(row)) = (
            axes.features.binary_search(&test.feature),
            axes.words.iter().position(|word| *word == test.word),
        ) else {
            continue;
        };
        let made = tested.row(test, &name, cells, groups, settings)?;
        let share = |with: u64, of: u64| with as f64 / of.max(1) as f64;
        let grid = grids.entry(test.kind).or_insert_with(|| WordGrid {
            comparison: name.clone(),
            prompt: made.prompt.clone(),
            features: axes.features.iter().map(FeatureId::to_string).collect(),
            words: axes
                .words
                .iter()
                .map(|word| cells.words[*word as usize].clone())
                .collect(),
            cells: vec![vec![None; axes.features.len()]; axes.words.len()],
        });
        grid.cells[row][column] = Some(WordGridCell {
            log_odds: made.log_odds,
            q: test.q,
            share_1: share(made.responses_1, made.n_1),
            share_2: share(made.responses_2, made.n_2),
        });
    }
    Ok(grids.into_values().collect())
}
