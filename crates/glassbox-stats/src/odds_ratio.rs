//! Odds ratios of a 2×2 table: corrected sample ratio, and conditional maximum likelihood with exact limits.

use crate::conditional::Conditional;
use crate::error::{StatsError, Undefined};
use crate::interval::{Confidence, Interval};
use crate::log_odds::{log_odds_ratio, wald};
use crate::table::TwoByTwo;

/// An odds ratio with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OddsRatio {
    /// Odds of success in the first group over those in the second; infinite only for the conditional
    /// estimate, where no success of the second or no failure of the first group was seen.
    pub estimate: f64,
    /// Its interval; the upper limit of the conditional one is infinite in the same case.
    pub interval: Interval,
}

/// When to add half a count to each cell before taking the ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaldaneAnscombe {
    /// To every table (Haldane 1956, Anscombe 1956); consistent across tables of one family.
    Always,
    /// Only to tables with an empty cell, as many packages do.
    WhereEmpty,
}

/// Sample odds ratio with Woolf's logit interval (B. Woolf, 1955) on the corrected cells.
///
/// # Errors
/// [`Undefined::EmptyMargin`] if a group has no trials.
pub fn odds_ratio(
    table: &TwoByTwo,
    correction: HaldaneAnscombe,
    confidence: Confidence,
) -> Result<OddsRatio, Undefined> {
    let cells = table.cells_f64();
    let corrected = correction == HaldaneAnscombe::Always || cells.contains(&0.0);
    let log_odds = if corrected {
        log_odds_ratio(table, confidence)?
    } else {
        let [a, b, c, d] = cells;
        wald(a, b, c, d, confidence)
    };
    Ok(OddsRatio {
        estimate: log_odds.estimate.exp(),
        interval: log_odds.interval.map_increasing(f64::exp),
    })
}

/// Conditional maximum-likelihood odds ratio with exact limits (R. A. Fisher, 1935; J. Cornfield, 1956):
/// given both margins the first cell is noncentral hypergeometric, and each limit puts α/2 in one tail.
/// Coverage is at least the nominal level. Time and memory grow with the smallest margin.
///
/// The inner error is [`Undefined::EmptyMargin`] if a row or column sums to zero.
///
/// # Errors
/// [`StatsError::CountTooLarge`] if the smallest margin exceeds ten million; use [`odds_ratio`] there.
pub fn conditional_odds_ratio(
    table: &TwoByTwo,
    confidence: Confidence,
) -> Result<Result<OddsRatio, Undefined>, StatsError> {
    let successes = table.first.successes() + table.second.successes();
    let margins = [
        table.first.trials(),
        table.second.trials(),
        successes,
        table.total() - successes,
    ];
    if margins.iter().all(|&margin| margin > MAX_CONDITIONAL_MARGIN) {
        let limit = MAX_CONDITIONAL_MARGIN;
        return Err(StatsError::CountTooLarge {
            quantity: "the smallest margin",
            limit,
        });
    }
    if table.has_empty_margin() {
        return Ok(Err(Undefined::EmptyMargin));
    }
    Ok(Conditional::of_table(table).odds_ratio(confidence))
}

/// Largest smallest margin for which the conditional distribution is tabulated (80 MB).
const MAX_CONDITIONAL_MARGIN: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_cells_give_one_sided_exact_limits() {
        let table = TwoByTwo::from_cells([[0, 10], [5, 5]]).unwrap();
        let or = conditional_odds_ratio(&table, Confidence::P95).unwrap().unwrap();
        assert_eq!((or.estimate, or.interval.lower), (0.0, 0.0));
        assert!(or.interval.upper > 0.0 && or.interval.upper < 1.2);
        let swapped = TwoByTwo::from_cells([[5, 5], [0, 10]]).unwrap();
        let or_swapped = conditional_odds_ratio(&swapped, Confidence::P95)
            .unwrap()
            .unwrap();
        assert_eq!(or_swapped.interval.upper, f64::INFINITY);
        assert!((or_swapped.interval.lower * or.interval.upper - 1.0).abs() < 1e-10);
    }

    #[test]
    fn correction_is_applied_where_asked() {
        let full = TwoByTwo::from_cells([[3, 7], [6, 4]]).unwrap();
        let plain = odds_ratio(&full, HaldaneAnscombe::WhereEmpty, Confidence::P95).unwrap();
        assert!((plain.estimate - 12.0 / 42.0).abs() < 1e-14);
        let always = odds_ratio(&full, HaldaneAnscombe::Always, Confidence::P95).unwrap();
        assert!((always.estimate - 3.5 * 4.5 / (7.5 * 6.5)).abs() < 1e-14);
    }

    #[test]
    fn empty_margins_are_undefined() {
        let table = TwoByTwo::from_cells([[0, 10], [0, 5]]).unwrap();
        assert_eq!(
            conditional_odds_ratio(&table, Confidence::P95),
            Ok(Err(Undefined::EmptyMargin))
        );
    }
}
