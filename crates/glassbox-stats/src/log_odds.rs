//! The log odds ratio with half a count added to each cell.

use crate::error::Undefined;
use crate::interval::{Confidence, Interval};
use crate::normal;
use crate::table::TwoByTwo;

/// A log odds ratio with its Wald test and interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogOddsRatio {
    /// ln[(a + ½)(d + ½) / ((b + ½)(c + ½))], positive if the first group has more successes.
    pub estimate: f64,
    /// √(Σ 1/(cell + ½)).
    pub standard_error: f64,
    /// estimate / standard error.
    pub z: f64,
    /// Two-sided normal p-value of z.
    pub p: f64,
    /// Wald interval.
    pub interval: Interval,
}

/// Log odds ratio of document frequencies: how much more often a word occurs in the first group's responses
/// than in the second's. A success is a response that contains the word at least once, so that repeats within
/// one response do not count as independent evidence.
///
/// Half a count is added to each cell (Haldane 1956, Anscombe 1956), which keeps the estimate finite and
/// removes its first-order bias; the interval is Wald's on that scale (Gart 1966).
///
/// # Errors
/// [`Undefined::EmptyMargin`] if a group has no responses.
pub fn log_odds_ratio(table: &TwoByTwo, confidence: Confidence) -> Result<LogOddsRatio, Undefined> {
    if table.first.trials() == 0 || table.second.trials() == 0 {
        return Err(Undefined::EmptyMargin);
    }
    let [a, b, c, d] = table.cells_f64().map(|cell| cell + 0.5);
    Ok(wald(a, b, c, d, confidence))
}

/// Wald inference from four positive, possibly corrected cells.
pub(crate) fn wald(a: f64, b: f64, c: f64, d: f64, confidence: Confidence) -> LogOddsRatio {
    let estimate = (a / b).ln() - (c / d).ln();
    let standard_error = (1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d).sqrt();
    let z = estimate / standard_error;
    let half_width = confidence.normal_critical() * standard_error;
    LogOddsRatio {
        estimate,
        standard_error,
        z,
        p: normal::two_sided(z),
        interval: Interval {
            lower: estimate - half_width,
            upper: estimate + half_width,
            confidence,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_words_give_finite_values() {
        let table = TwoByTwo::from_cells([[0, 30], [12, 18]]).unwrap();
        let lo = log_odds_ratio(&table, Confidence::P95).unwrap();
        let expected = (0.5 * 18.5 / (30.5 * 12.5_f64)).ln();
        assert!((lo.estimate - expected).abs() < 1e-14);
        assert!(lo.interval.upper < 0.0);
        let empty = TwoByTwo::from_cells([[0, 0], [1, 1]]).unwrap();
        assert_eq!(
            log_odds_ratio(&empty, Confidence::P95),
            Err(Undefined::EmptyMargin)
        );
    }

    #[test]
    fn equal_frequencies_give_zero_and_p_one() {
        let table = TwoByTwo::from_cells([[7, 9], [7, 9]]).unwrap();
        let lo = log_odds_ratio(&table, Confidence::P95).unwrap();
        assert_eq!(lo.estimate, 0.0);
        assert_eq!(lo.p, 1.0);
    }
}
