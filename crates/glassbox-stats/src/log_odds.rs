//! Log odds ratios of words: with half a count added to each cell, and with an informative prior.

use crate::error::{StatsError, Undefined, checked_total};
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

/// A word's counts in one group of texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WordCount {
    /// How often the word was counted.
    pub word: u64,
    /// All that was counted: responses if words are counted once per response, else tokens.
    pub total: u64,
}

/// What is believed about a word before the two groups are seen, as counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WordPrior {
    /// Prior count of the word, positive.
    pub word: f64,
    /// Prior count of everything, larger than `word`.
    pub total: f64,
}

impl WordPrior {
    /// A prior worth `strength` counts with the word's share in a background of `background.total` counts. A word that the
    /// background lacks gets the share of half a count.
    ///
    /// # Errors
    /// [`StatsError::InvalidParameter`] unless strength is positive and finite and 0 ≤ word < total in the background.
    pub fn from_background(background: WordCount, strength: f64) -> Result<Self, StatsError> {
        if !(strength > 0.0 && strength.is_finite()) {
            return Err(StatsError::InvalidParameter {
                name: "prior strength",
                value: strength,
                expected: "a positive number of counts",
            });
        }
        if background.word > background.total || background.total == 0 {
            return Err(StatsError::ImpossibleCount {
                part: "background word",
                part_count: background.word,
                whole: "background total",
                whole_count: background.total,
            });
        }
        let total = background.total as f64;
        // Kept half a count away from 0 and from the total, so that both prior counts are positive.
        let share = (background.word as f64).clamp(0.5, total.max(1.0) - 0.5) / total.max(1.0);
        Ok(Self {
            word: strength * share,
            total: strength,
        })
    }
}

/// Log odds ratio with an informative Dirichlet prior (B. L. Monroe, M. P. Colaresi and K. M. Quinn, "Fightin' Words", 2008,
/// equations 16 and 19): δ = ln[(y₁ + α)/(n₁ + α₀ − y₁ − α)] − ln[(y₂ + α)/(n₂ + α₀ − y₂ − α)] with the prior count α of the word
/// and α₀ of everything.
///
/// The variance is Σ over both groups of 1/(y + α) + 1/(n + α₀ − y − α). Monroe and others drop the second terms, which are
/// negligible for tokens, not where a word is counted once per response and many responses have it. The prior draws rare words
/// to the background's share, so that a word seen twice does not lead the list.
///
/// # Errors
/// [`StatsError::ImpossibleCount`] if a word occurs more often than everything, [`StatsError::InvalidParameter`] for a prior
/// outside 0 < word < total. The inner error is [`Undefined::EmptyMargin`] if a group counted nothing.
pub fn dirichlet_log_odds_ratio(
    first: WordCount,
    second: WordCount,
    prior: WordPrior,
    confidence: Confidence,
) -> Result<Result<LogOddsRatio, Undefined>, StatsError> {
    for (count, part) in [(first, "first word"), (second, "second word")] {
        if count.word > count.total {
            return Err(StatsError::ImpossibleCount {
                part,
                part_count: count.word,
                whole: "its total",
                whole_count: count.total,
            });
        }
    }
    checked_total(&[first.total, second.total], "total of both groups")?;
    if !(prior.word > 0.0 && prior.total > prior.word && prior.total.is_finite()) {
        return Err(StatsError::InvalidParameter {
            name: "prior word count",
            value: prior.word,
            expected: "more than 0 and less than the prior's total",
        });
    }
    if first.total == 0 || second.total == 0 {
        return Ok(Err(Undefined::EmptyMargin));
    }
    let cells = |count: WordCount| {
        let with = count.word as f64 + prior.word;
        let without = (count.total - count.word) as f64 + (prior.total - prior.word);
        (with, without)
    };
    let ((a, b), (c, d)) = (cells(first), cells(second));
    Ok(Ok(wald(a, b, c, d, confidence)))
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

    #[test]
    fn the_prior_draws_rare_words_to_the_background() {
        let background = WordCount {
            word: 20,
            total: 10_000,
        };
        let prior = WordPrior::from_background(background, 100.0).unwrap();
        assert_eq!(
            prior,
            WordPrior {
                word: 0.2,
                total: 100.0
            }
        );
        let of = |first: u64, second: u64| {
            let count = |word| WordCount { word, total: 300 };
            dirichlet_log_odds_ratio(count(first), count(second), prior, Confidence::P95)
                .unwrap()
                .unwrap()
        };
        assert_eq!(of(7, 7).estimate, 0.0);
        assert!(of(2, 0).z < of(60, 30).z, "two responses are no evidence");
        assert!((of(9, 3).estimate + of(3, 9).estimate).abs() < 1e-14);
    }

    #[test]
    fn impossible_counts_and_priors_are_refused() {
        let count = |word, total| WordCount { word, total };
        let prior = WordPrior {
            word: 0.5,
            total: 10.0,
        };
        let of = |first, prior| dirichlet_log_odds_ratio(first, count(1, 5), prior, Confidence::P95);
        assert!(of(count(6, 5), prior).is_err());
        assert!(of(count(1, 5), WordPrior { word: 0.0, ..prior }).is_err());
        assert!(of(count(1, 5), WordPrior { word: 10.0, ..prior }).is_err());
        assert_eq!(of(count(0, 0), prior), Ok(Err(Undefined::EmptyMargin)));
        assert!(WordPrior::from_background(count(1, 5), f64::NAN).is_err());
        assert!(WordPrior::from_background(count(0, 0), 10.0).is_err());
        for word in [0, 5] {
            let prior = WordPrior::from_background(count(word, 5), 10.0).unwrap();
            assert!(prior.word > 0.0 && prior.word < prior.total);
        }
    }
}
