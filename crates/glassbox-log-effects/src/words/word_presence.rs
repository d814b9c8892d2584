//! Responses that have a word against responses that have not: does the outcome differ?

use glassbox_stats::{
    Confidence, Proportion, TwoByTwo, Yates, benjamini_hochberg, cochran_mantel_haenszel,
    exact_stratified_test,
};
use rayon::prelude::*;
use serde::Serialize;

use crate::EffectsError;

use super::word_cells::WordCells;

/// One word against an outcome, within conditions (prompt, arm and dose). What an intervention changes in both does not show here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresenceRow {
    /// The word.
    pub word: String,
    /// Responses with the word.
    pub present: u64,
    /// Responses without it, in conditions where both occur.
    pub absent: u64,
    /// Rate of the outcome among responses with the word.
    pub rate_present: f64,
    /// Rate among responses without it.
    pub rate_absent: f64,
    /// Common odds ratio, present over absent; missing where it is infinite or not defined.
    pub odds_ratio: Option<f64>,
    /// Lower limit of its 95 % interval.
    pub odds_low: Option<f64>,
    /// Upper limit; missing where infinite.
    pub odds_high: Option<f64>,
    /// Two-sided p value within conditions.
    pub p: f64,
    /// Benjamini–Hochberg q value over all words.
    pub q: f64,
}

/// All words that enough responses have, those with the smallest p first.
pub(crate) fn presence(cells: &WordCells, fewest: u64) -> Result<Vec<PresenceRow>, EffectsError> {
    let mut rows: Vec<PresenceRow> = (0..cells.words.len())
        .into_par_iter()
        .filter_map(|word| presence_row(cells, word, fewest).transpose())
        .collect::<Result<_, EffectsError>>()?;
    let p: Vec<f64> = rows.iter().map(|row| row.p).collect();
    let q = benjamini_hochberg(&p).map_err(EffectsError::stats("the family of words and outcomes"))?;
    for (row, q) in rows.iter_mut().zip(q) {
        row.q = q;
    }
    rows.sort_by(|a, b| a.p.total_cmp(&b.p).then_with(|| a.word.cmp(&b.word)));
    Ok(rows)
}

fn presence_row(cells: &WordCells, word: usize, fewest: u64) -> Result<Option<PresenceRow>, EffectsError> {
    let mut strata = Vec::new();
    let (mut present, mut absent, mut events_present, mut events_absent) = (0, 0, 0, 0);
    for condition in cells.presence.values() {
        let seen = condition.words[word];
        let without = condition.known - seen.present;
        if seen.present == 0 || without == 0 {
            continue;
        }
        present += seen.present;
        absent += without;
        events_present += seen.events;
        events_absent += condition.events - seen.events;
        let side = |events: u64, n: u64| Proportion::new(events, n).map_err(EffectsError::stats("a rate"));
        let table = TwoByTwo::new(
            side(seen.events, seen.present)?,
            side(condition.events - seen.events, without)?,
        )
        .map_err(EffectsError::stats("a word's table"))?;
        strata.push(table);
    }
    if present < fewest || absent < fewest {
        return Ok(None);
    }
    let pooled = cochran_mantel_haenszel(&strata, Yates::No, Confidence::P95)
        .map_err(EffectsError::stats("a word and the outcome"))?;
    let exact = if pooled.mantel_fleiss < 5.0 {
        exact_stratified_test(&strata, Confidence::P95).ok()
    } else {
        None
    };
    let (p, odds) = match &exact {
        Some(exact) => (exact.test.p, exact.common_odds_ratio),
        None => (pooled.test.map_or(1.0, |test| test.p), pooled.common_odds_ratio),
    };
    let finite = |value: f64| value.is_finite().then_some(value);
    let odds = odds.ok();
    Ok(Some(PresenceRow {
        word: cells.words[word].clone(),
        present,
        absent,
        rate_present: events_present as f64 / present as f64,
        rate_absent: events_absent as f64 / absent as f64,
        odds_ratio: odds.and_then(|odds| finite(odds.estimate)),
        odds_low: odds.and_then(|odds| finite(odds.interval.lower)),
        odds_high: odds.and_then(|odds| finite(odds.interval.upper)),
        p,
        q: 1.0,
    }))
}
