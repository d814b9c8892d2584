//! Ranks, quantiles, and the place of a value among reference values.

use crate::error::{StatsError, Undefined, require_finite, require_same_length};
use crate::student_t;
use statrs::function::gamma::ln_gamma;
use std::f64::consts::LN_2;

/// Ranks from 1, ties sharing the mean of their ranks (mid-ranks).
///
/// # Errors
/// [`StatsError::NonFinite`].
pub fn mid_ranks(values: &[f64]) -> Result<Vec<f64>, StatsError> {
    require_finite(values, "values")?;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        // Mean of start + 1, …, start + len.
        let rank = start as f64 + 0.5 * (tied.len() + 1) as f64;
        for &index in tied {
            ranks[index] = rank;
        }
        start += tied.len();
    }
    Ok(ranks)
}

/// Spearman's rank correlation with its test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpearmanCorrelation {
    /// Pearson correlation of the mid-ranks.
    pub rho: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// Two-sided p-value: Student's t with n − 2 degrees of freedom for |ρ| < 1, an approximation that is rough
    /// below ten pairs; for |ρ| = 1, where t is infinite, the exact permutation probability of a perfect order
    /// in either direction.
    pub p: f64,
    /// ln p.
    pub ln_p: f64,
}

/// Spearman's rank correlation, ties by mid-ranks.
///
/// The inner error is [`Undefined::TooFewObservations`] for fewer than three pairs and
/// [`Undefined::ZeroVariance`] if all values of one side are equal.
///
/// # Errors
/// [`StatsError::LengthMismatch`] or [`StatsError::NonFinite`].
pub fn spearman(first: &[f64], second: &[f64]) -> Result<Result<SpearmanCorrelation, Undefined>, StatsError> {
    require_same_length(first, "first", second, "second")?;
    require_finite(second, "second")?;
    let (x, y) = (mid_ranks(first)?, mid_ranks(second)?);
    let n = x.len();
    if n < 3 {
        return Ok(Err(Undefined::TooFewObservations));
    }
    let mean = 0.5 * (n + 1) as f64;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(&y) {
        let (a, b) = (a - mean, b - mean);
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    if xx == 0.0 || yy == 0.0 {
        return Ok(Err(Undefined::ZeroVariance));
    }
    let perfect = x == y || x.iter().zip(&y).all(|(a, b)| a + b == (n + 1) as f64);
    if perfect {
        // Orders that give this ρ: permutations within each group of ties; twice, for the other direction.
        let mut sorted = x.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let ln_ties: f64 = sorted
            .chunk_by(|a, b| a == b)
            .map(|tied| ln_gamma(tied.len() as f64 + 1.0))
            .sum();
        let ln_p = (LN_2 + ln_ties - ln_gamma(n as f64 + 1.0)).min(0.0);
        return Ok(Ok(SpearmanCorrelation {
            rho: xy.signum(),
            pairs: n,
            p: ln_p.exp(),
            ln_p,
        }));
    }
    let rho = (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0);
    let df = (n - 2) as f64;
    let t = rho * (df / ((1.0 - rho) * (1.0 + rho))).sqrt();
    let ln_p = student_t::ln_two_sided(t, df);
    Ok(Ok(SpearmanCorrelation {
        rho,
        pairs: n,
        p: ln_p.exp(),
        ln_p,
    }))
}

/// Percentile of `value` among `reference`, in [0, 100]: the share below it plus half the share equal to it
/// (mid-rank rule).
///
/// # Errors
/// [`StatsError::NonFinite`]. The inner error is [`Undefined::TooFewObservations`] for an empty reference.
pub fn percentile_in(value: f64, reference: &[f64]) -> Result<Result<f64, Undefined>, StatsError> {
    require_finite(&[value], "value")?;
    require_finite(reference, "reference")?;
    if reference.is_empty() {
        return Ok(Err(Undefined::TooFewObservations));
    }
    let below = reference.iter().filter(|&&r| r < value).count() as f64;
    let equal = reference.iter().filter(|&&r| r == value).count() as f64;
    Ok(Ok(100.0 * (below + 0.5 * equal) / reference.len() as f64))
}

/// Upper-tail p-value of `value` against reference values drawn under the null hypothesis,
/// (1 + #{reference ≥ value}) / (n + 1). An empty reference gives 1.
///
/// For a two-sided question pass absolute values.
///
/// # Errors
/// [`StatsError::NonFinite`].
pub fn upper_tail_p(value: f64, reference: &[f64]) -> Result<f64, StatsError> {
    require_finite(&[value], "value")?;
    require_finite(reference, "reference")?;
    let at_least = reference.iter().filter(|&&r| r >= value).count();
    Ok((at_least + 1) as f64 / (reference.len() + 1) as f64)
}

/// Quantile with linear interpolation between order statistics, position (n − 1)·probability (type 7 of Hyndman
/// and Fan 1996, the default of R and NumPy).
///
/// # Errors
/// [`StatsError::NonFinite`], or [`StatsError::InvalidParameter`] unless 0 ≤ probability ≤ 1. The inner error is
/// [`Undefined::TooFewObservations`] for no values.
pub fn quantile(values: &[f64], probability: f64) -> Result<Result<f64, Undefined>, StatsError> {
    require_finite(values, "values")?;
    if !(0.0..=1.0).contains(&probability) {
        return Err(StatsError::InvalidParameter {
            name: "probability",
            value: probability,
            expected: "a number from 0 to 1",
        });
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(quantile_of_sorted(&sorted, probability).ok_or(Undefined::TooFewObservations))
}

/// Type-7 quantile of ascending values; `None` for no values.
pub(crate) fn quantile_of_sorted(sorted: &[f64], probability: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = probability * last as f64;
    let index = (position.floor() as usize).min(last);
    let (low, high) = (sorted[index], sorted[(index + 1).min(last)]);
    let fraction = position - index as f64;
    // Weighted rather than low + fraction·(high − low), whose difference can overflow.
    Some(if low == high {
        low
    } else {
        low * (1.0 - fraction) + high * fraction
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(mid_ranks(&[3.0, 1.0, 3.0, 2.0]).unwrap(), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(mid_ranks(&[0.0, -0.0]).unwrap(), [1.5, 1.5]);
        assert_eq!(mid_ranks(&[]).unwrap(), Vec::<f64>::new());
        assert!(mid_ranks(&[f64::NAN]).is_err());
    }

    #[test]
    fn perfect_orders_have_their_permutation_probability() {
        let up = spearman(&[1.0, 2.0, 5.0, 9.0], &[0.1, 0.2, 0.3, 7.0])
            .unwrap()
            .unwrap();
        assert_eq!(up.rho, 1.0);
        assert!((up.p - 2.0 / 24.0).abs() < 1e-14);
        let down = spearman(&[1.0, 2.0, 2.0, 9.0], &[4.0, 3.0, 3.0, -1.0])
            .unwrap()
            .unwrap();
        assert_eq!(down.rho, -1.0);
        assert!((down.p - 4.0 / 24.0).abs() < 1e-14);
    }

    #[test]
    fn degenerate_correlations_are_undefined() {
        assert_eq!(
            spearman(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap(),
            Err(Undefined::ZeroVariance)
        );
        assert_eq!(
            spearman(&[1.0, 2.0], &[1.0, 2.0]).unwrap(),
            Err(Undefined::TooFewObservations)
        );
        assert!(spearman(&[1.0], &[]).is_err());
    }

    #[test]
    fn percentile_and_tail_follow_their_tie_rules() {
        let reference = [1.0, 2.0, 2.0, 4.0];
        assert_eq!(percentile_in(2.0, &reference).unwrap(), Ok(50.0));
        assert_eq!(percentile_in(0.0, &reference).unwrap(), Ok(0.0));
        assert_eq!(percentile_in(5.0, &reference).unwrap(), Ok(100.0));
        assert_eq!(
            percentile_in(5.0, &[]).unwrap(),
            Err(Undefined::TooFewObservations)
        );
        assert_eq!(upper_tail_p(2.0, &reference).unwrap(), 0.8);
        assert_eq!(upper_tail_p(5.0, &reference).unwrap(), 0.2);
        assert_eq!(upper_tail_p(5.0, &[]).unwrap(), 1.0);
        assert!(upper_tail_p(f64::NAN, &reference).is_err());
    }

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0).unwrap(), Ok(1.0));
        assert_eq!(quantile(&values, 1.0).unwrap(), Ok(4.0));
        assert_eq!(quantile(&values, 0.5).unwrap(), Ok(2.5));
        assert_eq!(quantile(&[], 0.5).unwrap(), Err(Undefined::TooFewObservations));
        assert!(quantile(&values, 1.1).is_err());
        assert!(quantile(&values, f64::NAN).is_err());
        assert_eq!(quantile(&[f64::MIN, f64::MAX], 0.5).unwrap(), Ok(0.0));
    }
}
