//! The word table: per feature the words it adds and removes most clearly.

use std::collections::BTreeMap;
use std::path::Path;

use glassbox_experiment::tables::WordRow;
use glassbox_store::TableReader;

use super::{Contrast, FeatureId};
use crate::ReportError;

/// Words kept per feature and direction.
const KEPT_WORDS: usize = 8;
/// Rows kept for the table.
const KEPT_ROWS: usize = 1000;

/// What *words* found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordData {
    /// Per selected feature its clearest words, value B against value A: added ones first, by falling |log odds|.
    pub by_feature: BTreeMap<FeatureId, Vec<WordRow>>,
    /// Significant rows of selected features and any contrast, smallest q first.
    pub rows: Vec<WordRow>,
    /// Significant rows there are.
    pub significant: u64,
    /// Tests of selected features.
    pub selected: WordTally,
    /// Tests of random-feature controls.
    pub controls: WordTally,
    /// False discovery rate, if the scenario is known.
    pub alpha: Option<f64>,
}

/// Counts of word tests, all contrasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordTally {
    /// Tests.
    pub tested: u64,
    /// Tests with p below 0.05.
    pub nominal: u64,
}

impl WordData {
    /// Adds one row.
    pub fn add(&mut self, row: WordRow) {
        let tally = if row.role == "control" {
            &mut self.controls
        } else {
            &mut self.selected
        };
        tally.tested += 1;
        tally.nominal += u64::from(row.p < 0.05);
        let significant = row.q.is_some_and(|q| self.alpha.is_some_and(|alpha| q < alpha));
        if row.role == "control" || !significant {
            return;
        }
        self.significant += 1;
        if Contrast::from_name(&row.contrast) == Some(Contrast::BAgainstA) {
            let words = self
                .by_feature
                .entry(FeatureId {
                    layer: row.layer,
                    feature: row.feature,
                })
                .or_default();
            words.push(row.clone());
            if words.len() >= 8 * KEPT_WORDS {
                keep_clearest(words);
            }
        }
        self.rows.push(row);
        if self.rows.len() >= 4 * KEPT_ROWS {
            self.prune();
        }
    }

    /// Sorts, and drops what is not shown.
    pub fn prune(&mut self) {
        self.by_feature.values_mut().for_each(keep_clearest);
        self.rows.sort_by(|one, other| {
            let names = |row: &WordRow| (row.layer, row.feature, row.contrast.clone(), row.word.clone());
            one.p
                .total_cmp(&other.p)
                .then_with(|| names(one).cmp(&names(other)))
        });
        self.rows.truncate(KEPT_ROWS);
    }
}

fn keep_clearest(words: &mut Vec<WordRow>) {
    words.sort_by(|one, other| {
        one.p
            .total_cmp(&other.p)
            .then(other.log_odds.abs().total_cmp(&one.log_odds.abs()))
            .then_with(|| one.word.cmp(&other.word))
    });
    let (mut added, mut removed): (Vec<WordRow>, Vec<WordRow>) =
        words.drain(..).partition(|row| row.log_odds >= 0.0);
    added.truncate(KEPT_WORDS);
    removed.truncate(KEPT_WORDS);
    added.sort_by(|one, other| {
        other
            .log_odds
            .total_cmp(&one.log_odds)
            .then_with(|| one.word.cmp(&other.word))
    });
    removed.sort_by(|one, other| {
        other
            .log_odds
            .total_cmp(&one.log_odds)
            .then_with(|| one.word.cmp(&other.word))
    });
    words.extend(added);
    words.extend(removed);
}

pub(super) fn read_words(path: &Path, alpha: Option<f64>) -> Result<WordData, ReportError> {
    let mut data = WordData {
        alpha,
        ..WordData::default()
    };
    for batch in TableReader::<WordRow>::open(path)? {
        batch?.into_iter().for_each(|row| data.add(row));
    }
    data.prune();
    Ok(data)
}
