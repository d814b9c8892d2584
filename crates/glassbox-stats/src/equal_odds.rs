//! Do several 2×2 tables share one odds ratio? Breslow and Day's test.

use crate::Yates;
use crate::error::{StatsError, Undefined};
use crate::gamma_distribution::ln_chi_square_upper;
use crate::interval::Confidence;
use crate::stratified::cochran_mantel_haenszel;
use crate::table::TwoByTwo;

/// Whether to subtract Tarone's correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tarone {
    /// The statistic of Breslow and Day.
    No,
    /// Less (Σ (a − E a))² / Σ Var a, since the common odds ratio is not the efficient one (R. E. Tarone, 1985).
    Yes,
}

/// A χ² statistic with several degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EqualOddsTest {
    /// The statistic.
    pub statistic: f64,
    /// Informative strata − 1.
    pub df: f64,
    /// Upper-tail p-value; 0 only where it underflows.
    pub p: f64,
    /// ln p.
    pub ln_p: f64,
}

/// Test that the odds ratio is the same in all strata (N. E. Breslow and N. E. Day, 1980).
///
/// Strata with an empty row or column carry no information and are left out. Needs strata of a reasonable size: the
/// expected cells under the common ratio should be about 5 or more.
///
/// # Errors
/// The inner error is [`Undefined::NoInformation`] for fewer than two informative strata and [`Undefined::EmptyMargin`]
/// if the common odds ratio is 0 or infinite; the outer one [`StatsError::CountTooLarge`] above 2^53 trials.
pub fn equal_odds_test(
    strata: &[TwoByTwo],
    tarone: Tarone,
) -> Result<Result<EqualOddsTest, Undefined>, StatsError> {
    let informative: Vec<TwoByTwo> = strata.iter().filter(|t| !t.has_empty_margin()).copied().collect();
    let pooled = cochran_mantel_haenszel(&informative, Yates::No, Confidence::P95)?;
    if informative.len() < 2 {
        return Ok(Err(Undefined::NoInformation));
    }
    let ratio = match pooled.common_odds_ratio {
        Ok(odds) => odds.estimate,
        Err(undefined) => return Ok(Err(undefined)),
    };
    let (mut statistic, mut deviation, mut variance) = (0.0, 0.0, 0.0);
    for table in &informative {
        let [a, b, c, d] = table.cells_f64();
        let expected = expected_first_cell([a + b, c + d], a + c, ratio);
        // The four expected cells, each from the margin that keeps it positive.
        let cells = [expected, a + b - expected, a + c - expected, d - a + expected];
        let own = cells.iter().map(|cell| cell.recip()).sum::<f64>().recip();
        statistic += (a - expected).powi(2) / own;
        deviation += a - expected;
        variance += own;
    }
    if tarone == Tarone::Yes {
        statistic -= deviation * deviation / variance;
    }
    let statistic = statistic.max(0.0);
    let df = (informative.len() - 1) as f64;
    let ln_p = ln_chi_square_upper(statistic, df);
    Ok(Ok(EqualOddsTest {
        statistic,
        df,
        p: ln_p.exp(),
        ln_p,
    }))
}

/// The first cell at which a table with these rows and this first column has the odds ratio: the root of
/// (1 − ψ)x² + (n₂ − m + ψ(n₁ + m))x − ψ n₁ m within the possible range.
fn expected_first_cell(rows: [f64; 2], column: f64, ratio: f64) -> f64 {
    let [first, second] = rows;
    let (a, b, c) = (
        1.0 - ratio,
        second - column + ratio * (first + column),
        -ratio * first * column,
    );
    // −2c/(b + √(b² − 4ac)) is the root in range for either sign of 1 − ψ, and b/… does not cancel; b is negative only
    // where ψ < 1 and the other form is safe.
    let root = (b * b - 4.0 * a * c).sqrt();
    if b >= 0.0 {
        -2.0 * c / (b + root)
    } else {
        (root - b) / (2.0 * a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_table_has_the_wanted_ratio() {
        for ratio in [1e-3, 0.2, 1.0, 1.0 + 1e-12, 3.0, 500.0_f64] {
            for (rows, column) in [([10.0, 30.0], 8.0), ([30.0, 10.0], 38.0), ([5.0, 5.0], 5.0)] {
                let a = expected_first_cell(rows, column, ratio);
                let [b, c] = [rows[0] - a, column - a];
                let d = rows[1] - c;
                assert!(a > 0.0 && b > 0.0 && c > 0.0 && d > 0.0, "{ratio} {a}");
                assert!((a * d / (b * c) / ratio - 1.0).abs() < 1e-7, "{ratio}");
            }
        }
    }

    #[test]
    fn too_little_information() {
        let table = |cells| TwoByTwo::from_cells(cells).unwrap();
        let one = [table([[3, 7], [8, 2]]), table([[0, 7], [0, 2]])];
        assert_eq!(
            equal_odds_test(&one, Tarone::No).unwrap(),
            Err(Undefined::NoInformation)
        );
        let extreme = [table([[3, 7], [0, 2]]), table([[3, 7], [0, 2]])];
        assert_eq!(
            equal_odds_test(&extreme, Tarone::No).unwrap(),
            Err(Undefined::EmptyMargin)
        );
    }
}
