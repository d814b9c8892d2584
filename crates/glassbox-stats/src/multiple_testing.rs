//! Adjusted p-values for a family of tests.
//!
//! Every function takes the whole family, in any order, and returns adjusted values in the same order. A family
//! holds everything that was tested: a test that was tried and is undefined enters as p = 1, and preselecting
//! by p before adjusting is invalid. An empty family gives an empty result.

use crate::error::{StatsError, require_open_unit};
use crate::rank::quantile;

fn check_family(p_values: &[f64]) -> Result<(), StatsError> {
    match p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(index) => Err(StatsError::NotAPValue {
            index,
            value: p_values[index],
        }),
        None => Ok(()),
    }
}

/// Indices of the family from the smallest p-value to the largest, ties in family order.
fn ascending(p_values: &[f64]) -> Vec<usize> {
    // The values beside their indices: families have millions, and a sort that looks up each value would wait for memory.
    let mut order: Vec<(f64, usize)> = p_values.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, index)| index).collect()
}

/// Step-up adjustment: min over equal and larger p of p·m·factor/rank, at most 1. The running minimum makes
/// the result monotone in p and equal for equal p.
fn step_up(p_values: &[f64], factor: f64) -> Result<Vec<f64>, StatsError> {
    check_family(p_values)?;
    let m = p_values.len() as f64;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut running = 1.0_f64;
    for (rank, &index) in ascending(p_values).iter().enumerate().rev() {
        running = running.min(p_values[index] * (m * factor / (rank + 1) as f64));
        adjusted[index] = running;
    }
    Ok(adjusted)
}

/// Benjamini–Hochberg q-values (1995): rejecting q ≤ α controls the false discovery rate at α for independent
/// or positively dependent tests.
///
/// # Errors
/// [`StatsError::NotAPValue`] if a value is NaN or outside [0, 1].
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    step_up(p_values, 1.0)
}

/// Benjamini–Yekutieli q-values (2001): the false discovery rate under any dependence, at a price of
/// Σ 1/i, about ln m.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn benjamini_yekutieli(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    // Summed from the small end to keep the digits.
    let harmonic: f64 = (1..=p_values.len()).rev().map(|i| 1.0 / i as f64).sum();
    step_up(p_values, harmonic)
}

/// Bonferroni-adjusted p-values min(1, m·p): the family-wise error rate under any dependence.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn bonferroni(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_family(p_values)?;
    let m = p_values.len() as f64;
    Ok(p_values.iter().map(|p| (p * m).min(1.0)).collect())
}

/// Holm's step-down adjusted p-values (1979): the family-wise error rate under any dependence, never weaker
/// than Bonferroni.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_family(p_values)?;
    let m = p_values.len();
    let mut adjusted = vec![0.0; m];
    let mut running = 0.0_f64;
    for (rank, &index) in ascending(p_values).iter().enumerate() {
        running = running.max((p_values[index] * (m - rank) as f64).min(1.0));
        adjusted[index] = running;
    }
    Ok(adjusted)
}

/// Simes's combined p-value (1986), min over i of m·p₍ᵢ₎/i: the test that all hypotheses hold at once, valid for
/// independent or positively dependent tests. Use it instead of the smallest p of several conditions, which
/// is anti-conservative. An empty set gives 1.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn simes(p_values: &[f64]) -> Result<f64, StatsError> {
    Ok(benjamini_hochberg(p_values)?.into_iter().fold(1.0, f64::min))
}

/// Storey's estimate of the share of true null hypotheses, (#{p > λ} + 1) / (m (1 − λ)), at most 1 (Storey, Taylor
/// and Siegmund 2004; the +1 keeps the q-values conservative in finite families). λ = ½ is a usual choice. An
/// empty family gives 1.
///
/// # Errors
/// As [`benjamini_hochberg`], and [`StatsError::InvalidParameter`] unless 0 < λ < 1.
pub fn storey_pi0(p_values: &[f64], lambda: f64) -> Result<f64, StatsError> {
    check_family(p_values)?;
    let lambda = require_open_unit(lambda, "lambda")?;
    if p_values.is_empty() {
        return Ok(1.0);
    }
    let above = p_values.iter().filter(|&&p| p > lambda).count();
    Ok(((above + 1) as f64 / (p_values.len() as f64 * (1.0 - lambda))).min(1.0))
}

/// Storey's π₀ with λ chosen from 0.05, 0.10, …, 0.95 by the least estimated mean squared error around the 10 %
/// quantile of the estimates (the closed form of Storey, Taylor and Siegmund's bootstrap). Here the count is
/// #{p ≥ λ} without the added one, as in their work on the choice of λ; the result is at most 1.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn storey_pi0_over_grid(p_values: &[f64]) -> Result<f64, StatsError> {
    check_family(p_values)?;
    if p_values.is_empty() {
        return Ok(1.0);
    }
    let m = p_values.len() as f64;
    let grid: Vec<(f64, f64, f64)> = (1..20)
        .map(|step| {
            let lambda = f64::from(step) * 0.05;
            let above = p_values.iter().filter(|&&p| p >= lambda).count() as f64;
            (lambda, above, above / (m * (1.0 - lambda)))
        })
        .collect();
    let estimates: Vec<f64> = grid.iter().map(|&(_, _, pi0)| pi0).collect();
    // Nineteen finite values always have a quantile.
    let target = quantile(&estimates, 0.1)?.unwrap_or(1.0);
    let error = |&(lambda, above, pi0): &(f64, f64, f64)| {
        above / (m * m * (1.0 - lambda).powi(2)) * (1.0 - above / m) + (pi0 - target).powi(2)
    };
    let best = grid.iter().min_by(|a, b| error(a).total_cmp(&error(b)));
    Ok(best.map_or(1.0, |&(_, _, pi0)| pi0.min(1.0)))
}

/// Storey q-values: Benjamini–Hochberg values times an estimate of π₀ in (0, 1].
///
/// # Errors
/// As [`benjamini_hochberg`], and [`StatsError::InvalidParameter`] for a π₀ outside (0, 1].
pub fn storey_q_values(p_values: &[f64], pi0: f64) -> Result<Vec<f64>, StatsError> {
    if !(pi0 > 0.0 && pi0 <= 1.0) {
        return Err(StatsError::InvalidParameter {
            name: "pi0",
            value: pi0,
            expected: "a number in (0, 1]",
        });
    }
    step_up(p_values, pi0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example_with_ties_and_unsorted_input() {
        let p = [0.03, 0.001, 0.03, 0.8, 0.02];
        let q = benjamini_hochberg(&p).unwrap();
        let expected = [0.0375, 0.005, 0.0375, 0.8, 0.0375];
        for (q, e) in q.iter().zip(expected) {
            assert!((q - e).abs() < 1e-15, "{q} {e}");
        }
        let h = holm(&p).unwrap();
        for (h, e) in h.iter().zip([0.09, 0.005, 0.09, 0.8, 0.08]) {
            assert!((h - e).abs() < 1e-15, "{h} {e}");
        }
    }

    #[test]
    fn values_that_are_no_p_values_are_refused() {
        for bad in [f64::NAN, -1e-9, 1.0 + 1e-9, f64::INFINITY] {
            for adjust in [benjamini_hochberg, benjamini_yekutieli, bonferroni, holm] {
                assert!(matches!(
                    adjust(&[0.5, bad]),
                    Err(StatsError::NotAPValue { index: 1, .. })
                ));
            }
        }
        assert_eq!(benjamini_hochberg(&[]).unwrap(), Vec::<f64>::new());
        assert!(storey_pi0(&[0.5], 1.0).is_err());
        assert!(storey_q_values(&[0.5], 0.0).is_err());
    }

    #[test]
    fn simes_lies_between_bonferroni_and_the_largest_p() {
        assert!((simes(&[0.04, 0.05]).unwrap() - 0.05).abs() < 1e-15);
        assert!((simes(&[0.01, 0.9]).unwrap() - 0.02).abs() < 1e-15);
        assert_eq!(simes(&[]).unwrap(), 1.0);
    }

    #[test]
    fn pi0_sees_a_uniform_family_and_a_mixture() {
        let uniform: Vec<f64> = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0).collect();
        assert!((storey_pi0(&uniform, 0.5).unwrap() - 1.0).abs() < 1e-12);
        let mixture: Vec<f64> = uniform
            .iter()
            .map(|&p| if p < 0.3 { p * 1e-4 } else { (p - 0.3) / 0.7 })
            .collect();
        let pi0 = storey_pi0(&mixture, 0.5).unwrap();
        assert!((pi0 - 0.7).abs() < 0.01, "{pi0}");
        let over_grid = storey_pi0_over_grid(&mixture).unwrap();
        assert!((over_grid - 0.7).abs() < 0.02, "{over_grid}");
        assert_eq!(storey_pi0(&[], 0.5).unwrap(), 1.0);
    }
}
