//! Tables stratified by prompt: Cochran–Mantel–Haenszel.

use crate::chi_square::{ChiSquareTest, Yates};
use crate::error::{StatsError, Undefined, checked_total};
use crate::interval::{Confidence, Interval};
use crate::odds_ratio::OddsRatio;
use crate::table::TwoByTwo;

/// The Cochran–Mantel–Haenszel test and the common odds ratio of several 2×2 tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CochranMantelHaenszel {
    /// χ² test, one degree of freedom, of no association within any stratum.
    ///
    /// [`Undefined::NoInformation`] if no stratum has both rows and both columns occupied.
    pub test: Result<ChiSquareTest, Undefined>,
    /// The signed square root of the statistic without continuity correction, positive if the first group has more
    /// successes: mean 0 and variance 1 over all tables with these margins.
    pub z: Result<f64, Undefined>,
    /// Mantel–Haenszel common odds ratio Σ(ad/n)/Σ(bc/n) with the Robins–Breslow–Greenland interval (1986).
    ///
    /// [`Undefined::EmptyMargin`] if either sum is zero, so that the ratio is 0, infinite or 0/0.
    pub common_odds_ratio: Result<OddsRatio, Undefined>,
    /// Strata that contribute to the test.
    pub informative_strata: usize,
    /// Mantel–Fleiss criterion (1980): the distance from the expected sum of first cells to the nearer end of
    /// its possible range. Below 5 the χ² p-value is not to be trusted; test the strata's signs by permutation
    /// within prompts instead.
    pub mantel_fleiss: f64,
}

/// Cochran–Mantel–Haenszel test (W. G. Cochran 1954, N. Mantel and W. Haenszel 1959), one table per stratum.
///
/// Small strata are no obstacle as long as the sums over strata are large; see
/// [`CochranMantelHaenszel::mantel_fleiss`]. The common odds ratio presumes one effect in all strata.
///
/// # Errors
/// [`StatsError::CountTooLarge`] if the total over all strata exceeds 2^53.
pub fn cochran_mantel_haenszel(
    strata: &[TwoByTwo],
    yates: Yates,
    confidence: Confidence,
) -> Result<CochranMantelHaenszel, StatsError> {
    let totals: Vec<u64> = strata.iter().map(TwoByTwo::total).collect();
    checked_total(&totals, "total of all strata")?;
    let mut sums = Sums::default();
    for table in strata.iter().filter(|table| table.total() > 0) {
        sums.add(table);
    }
    let test = if sums.variance > 0.0 {
        let deviation = sums.deviation.abs();
        let deviation = if yates == Yates::Yes {
            (deviation - 0.5).max(0.0)
        } else {
            deviation
        };
        Ok(ChiSquareTest::one_df(deviation * (deviation / sums.variance)))
    } else {
        Err(Undefined::NoInformation)
    };
    Ok(CochranMantelHaenszel {
        test,
        z: if sums.variance > 0.0 {
            Ok(sums.deviation / sums.variance.sqrt())
        } else {
            Err(Undefined::NoInformation)
        },
        common_odds_ratio: sums.common_odds_ratio(confidence),
        informative_strata: sums.informative,
        mantel_fleiss: sums.room_below.min(sums.room_above),
    })
}

#[derive(Default)]
struct Sums {
    /// Σ (first cell − expected).
    deviation: f64,
    /// Σ hypergeometric variance of the first cell.
    variance: f64,
    /// Σ ad/n and Σ bc/n.
    concordant: f64,
    discordant: f64,
    /// Σ of (a+d)/n and (b+c)/n with the two above, the four products of the variance formula.
    agree_concordant: f64,
    agree_discordant: f64,
    differ_concordant: f64,
    differ_discordant: f64,
    /// Σ (expected − smallest possible) and Σ (largest possible − expected) of the first cell.
    room_below: f64,
    room_above: f64,
    informative: usize,
}

impl Sums {
    fn add(&mut self, table: &TwoByTwo) {
        let [a, b, c, d] = table.cells_f64();
        let n = a + b + c + d;
        if !table.has_empty_margin() {
            let expected = (a + b) * ((a + c) / n);
            self.deviation += a - expected;
            self.variance += (a + b) / n * ((c + d) / n) * (a + c) * ((b + d) / (n - 1.0));
            self.room_below += expected - (a - d).max(0.0);
            self.room_above += (a + b).min(a + c) - expected;
            self.informative += 1;
        }
        let (r, s) = (a * (d / n), b * (c / n));
        let (agree, differ) = ((a + d) / n, (b + c) / n);
        self.concordant += r;
        self.discordant += s;
        self.agree_concordant += agree * r;
        self.agree_discordant += agree * s;
        self.differ_concordant += differ * r;
        self.differ_discordant += differ * s;
    }

    fn common_odds_ratio(&self, confidence: Confidence) -> Result<OddsRatio, Undefined> {
        let (r, s) = (self.concordant, self.discordant);
        if r == 0.0 || s == 0.0 {
            return Err(Undefined::EmptyMargin);
        }
        let variance = self.agree_concordant / (2.0 * r * r)
            + (self.agree_discordant + self.differ_concordant) / (2.0 * r * s)
            + self.differ_discordant / (2.0 * s * s);
        let log_ratio = (r / s).ln();
        let half_width = confidence.normal_critical() * variance.sqrt();
        let interval = Interval {
            lower: (log_ratio - half_width).exp(),
            upper: (log_ratio + half_width).exp(),
            confidence,
        };
        Ok(OddsRatio {
            estimate: r / s,
            interval,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(cells: [[u64; 2]; 2]) -> TwoByTwo {
        TwoByTwo::from_cells(cells).unwrap()
    }

    #[test]
    fn stratification_undoes_simpsons_paradox() {
        // Within each stratum the odds are equal; the pooled table suggests an effect.
        let strata = [table([[90, 10], [9, 1]]), table([[1, 9], [10, 90]])];
        let result = cochran_mantel_haenszel(&strata, Yates::No, Confidence::P95).unwrap();
        assert!(result.test.unwrap().statistic < 1e-20);
        assert!((result.common_odds_ratio.unwrap().estimate - 1.0).abs() < 1e-12);
        let pooled = crate::chi_square::chi_square_test(&table([[91, 19], [19, 91]]), Yates::No).unwrap();
        assert!(pooled.test.p < 1e-10);
    }

    #[test]
    fn uninformative_strata_change_nothing() {
        let strata = [table([[3, 7], [8, 2]]), table([[4, 6], [7, 3]])];
        let mut with_empty = strata.to_vec();
        with_empty.extend([
            table([[0, 0], [0, 0]]),
            table([[0, 5], [0, 5]]),
            table([[0, 0], [1, 2]]),
        ]);
        let a = cochran_mantel_haenszel(&strata, Yates::Yes, Confidence::P95).unwrap();
        let b = cochran_mantel_haenszel(&with_empty, Yates::Yes, Confidence::P95).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.informative_strata, 2);
    }

    #[test]
    fn no_information_is_reported() {
        let none = cochran_mantel_haenszel(&[], Yates::No, Confidence::P95).unwrap();
        assert_eq!(none.test, Err(Undefined::NoInformation));
        assert_eq!(none.common_odds_ratio, Err(Undefined::EmptyMargin));
        let flat = cochran_mantel_haenszel(&[table([[0, 5], [0, 5]])], Yates::No, Confidence::P95).unwrap();
        assert_eq!(flat.test, Err(Undefined::NoInformation));
    }
}
