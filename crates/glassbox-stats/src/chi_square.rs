//! Pearson's χ² test of a 2×2 table.

use crate::error::Undefined;
use crate::normal;
use crate::table::TwoByTwo;

/// Whether to apply Yates's continuity correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yates {
    /// Plain Pearson statistic.
    No,
    /// Every |observed − expected| reduced by ½, but not below 0 (F. Yates, 1934; as SciPy does).
    Yes,
}

/// A χ² statistic with one degree of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquareTest {
    /// The statistic, one degree of freedom.
    pub statistic: f64,
    /// Upper-tail p-value; 0 only where it underflows.
    pub p: f64,
    /// ln p.
    pub ln_p: f64,
}

impl ChiSquareTest {
    pub(crate) fn one_df(statistic: f64) -> Self {
        let z = statistic.sqrt();
        Self {
            statistic,
            p: normal::two_sided(z),
            ln_p: normal::ln_two_sided(z),
        }
    }
}

/// χ² test of a 2×2 table with the smallest expected count, by which its approximation is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoByTwoChiSquare {
    /// The test.
    pub test: ChiSquareTest,
    /// Smallest expected cell count; below 5 prefer [`crate::fisher_exact`].
    pub smallest_expected: f64,
}

/// Pearson's χ² test of equal proportions.
///
/// # Errors
/// [`Undefined::EmptyMargin`] if a row or column sums to zero.
pub fn chi_square_test(table: &TwoByTwo, yates: Yates) -> Result<TwoByTwoChiSquare, Undefined> {
    if table.has_empty_margin() {
        return Err(Undefined::EmptyMargin);
    }
    let [a, b, c, d] = table.cells_f64();
    let total = a + b + c + d;
    let (rows, columns) = ([a + b, c + d], [a + c, b + d]);
    let expected = |row: usize, column: usize| rows[row] * (columns[column] / total);
    // All four cells deviate from expectation by the same amount, (ad − bc)/n.
    let deviation = (a * (d / total) - b * (c / total)).abs();
    let deviation = if yates == Yates::Yes {
        (deviation - 0.5).max(0.0)
    } else {
        deviation
    };
    let cells = [expected(0, 0), expected(0, 1), expected(1, 0), expected(1, 1)];
    let statistic = cells.iter().map(|e| deviation * (deviation / e)).sum();
    let smallest_expected = cells.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(TwoByTwoChiSquare {
        test: ChiSquareTest::one_df(statistic),
        smallest_expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_table() {
        let table = TwoByTwo::from_cells([[10, 20], [30, 40]]).unwrap();
        let plain = chi_square_test(&table, Yates::No).unwrap();
        assert!((plain.test.statistic - 100.0 * 200.0 * 200.0 / (30.0 * 70.0 * 40.0 * 60.0)).abs() < 1e-13);
        assert_eq!(plain.smallest_expected, 12.0);
        let corrected = chi_square_test(&table, Yates::Yes).unwrap();
        assert!(corrected.test.p > plain.test.p);
    }

    #[test]
    fn the_correction_does_not_overshoot() {
        let table = TwoByTwo::from_cells([[2, 2], [2, 2]]).unwrap();
        assert_eq!(chi_square_test(&table, Yates::Yes).unwrap().test.p, 1.0);
        let empty = TwoByTwo::from_cells([[0, 2], [0, 2]]).unwrap();
        assert_eq!(chi_square_test(&empty, Yates::No), Err(Undefined::EmptyMargin));
    }
}
