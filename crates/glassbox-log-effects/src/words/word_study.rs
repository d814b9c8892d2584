//! The slot-machine study's own comparison of words, so that its lists can be checked.

use glassbox_logs::FeatureId;
use glassbox_stats::{Proportion, TwoByTwo, Yates, chi_square_test};
use rayon::prelude::*;

use crate::{BaselinePolicy, EffectsError};

use super::word_cells::WordCells;
use super::word_comparison::WordComparison;
use super::word_groups::{FeatureWords, WordGroups, WordSum};
use super::word_row::LogWordRow;

/// Added to both frequencies.
const FLOOR: f64 = 0.001;
/// Smallest log ratio that the study lists.
const SMALLEST_LOG_RATIO: f64 = 0.5;
const ALPHA: f64 = 0.05;
/// Words per list.
const LISTED: usize = 20;

/// The study's added and removed words of a comparison, for all features: at most twenty of each per feature and prompt.
pub(crate) fn study_words(
    cells: &WordCells,
    groups: &WordGroups<'_>,
    comparison: WordComparison,
) -> Result<Vec<LogWordRow>, EffectsError> {
    let features: Vec<_> = groups.features.iter().collect();
    let rows: Vec<Vec<LogWordRow>> = features
        .into_par_iter()
        .map(|((feature, kind), own)| of_feature(cells, groups, comparison, *feature, kind, own))
        .collect::<Result<_, EffectsError>>()?;
    Ok(rows.concat())
}

fn of_feature<'c>(
    cells: &WordCells,
    groups: &WordGroups<'c>,
    comparison: WordComparison,
    feature: FeatureId,
    kind: &'c str,
    own: &FeatureWords<'_>,
) -> Result<Vec<LogWordRow>, EffectsError> {
    let Some((first, second)) = groups.sides(comparison, feature, kind, own, BaselinePolicy::Own) else {
        return Ok(Vec::new());
    };
    let first = first.sum();
    let mut rows = Vec::new();
    for (in_first, in_second) in first.with(&second) {
        let word = in_first.word;
        if let Some((log_ratio, p)) = compare((in_first.tokens, first), (in_second.tokens, &second))? {
            rows.push(LogWordRow {
                layer: feature.layer,
                feature: feature.feature,
                prompt: kind.to_owned(),
                comparison: comparison.name(groups.reference()),
                study_name: comparison.study_name(kind).map(str::to_owned),
                word: cells.words[word as usize].clone(),
                change: if log_ratio > 0.0 { "added" } else { "removed" }.to_owned(),
                n_1: first.responses,
                n_2: second.responses,
                responses_1: in_first.tokens,
                responses_2: in_second.tokens,
                log_odds: log_ratio,
                ci_low: None,
                ci_high: None,
                z: None,
                p,
                q: None,
            });
        }
    }
    rows.sort_by(|a, b| {
        b.log_odds
            .abs()
            .total_cmp(&a.log_odds.abs())
            .then_with(|| a.word.cmp(&b.word))
    });
    let mut listed = [0; 2];
    rows.retain(|row| {
        let side = &mut listed[usize::from(row.change == "added")];
        *side += 1;
        *side <= LISTED
    });
    Ok(rows)
}

/// The study's log ratio and p, if the word would be listed.
fn compare(first: (u64, &WordSum), second: (u64, &WordSum)) -> Result<Option<(f64, f64)>, EffectsError> {
    let side = |(said, sum): (u64, &WordSum)| {
        Proportion::new(said, sum.tokens).map_err(EffectsError::stats("a word's frequency"))
    };
    let (before, after) = (side(first)?, side(second)?);
    let (Ok(f0), Ok(f1)) = (before.estimate(), after.estimate()) else {
        return Ok(None);
    };
    let log_ratio = ((f1 + FLOOR) / (f0 + FLOOR)).ln();
    if log_ratio.abs() <= SMALLEST_LOG_RATIO {
        return Ok(None);
    }
    let table = TwoByTwo::new(after, before).map_err(EffectsError::stats("a word's table"))?;
    Ok(chi_square_test(&table, Yates::Yes)
        .ok()
        .map(|test| (log_ratio, test.test.p))
        .filter(|(_, p)| *p < ALPHA))
}
