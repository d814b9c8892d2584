//! Do many effects differ by more than chance?

use crate::error::{StatsError, Undefined, require_finite, require_same_length};
use crate::gamma_distribution::{chi_square_quantile, ln_chi_square_lower, ln_chi_square_upper};
use crate::interval::{Confidence, Interval};
use crate::normal;

/// A weighted mean of effects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledEffect {
    /// The mean.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// estimate / standard error.
    pub z: f64,
    /// Two-sided normal p-value.
    pub p: f64,
    /// Wald interval.
    pub interval: Interval,
}

impl PooledEffect {
    fn new(estimate: f64, weight: f64, confidence: Confidence) -> Self {
        let standard_error = weight.sqrt().recip();
        let z = estimate / standard_error;
        let half_width = confidence.normal_critical() * standard_error;
        Self {
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
}

/// How much several estimates of one quantity differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heterogeneity {
    /// Cochran's Q: Σ (estimate − weighted mean)² / standard error².
    pub q: f64,
    /// Its degrees of freedom, effects − 1.
    pub df: f64,
    /// P(χ² ≥ Q); 0 only where it underflows.
    pub p: f64,
    /// ln p.
    pub ln_p: f64,
    /// I² = max(0, (Q − df)/Q): the share of the spread that is not chance.
    pub i_squared: f64,
    /// τ², the variance of the true effects by the method of moments (R. DerSimonian and N. Laird, 1986), not below 0.
    pub tau_squared: f64,
    /// Mean with weights 1/standard error²: presumes one true effect.
    pub fixed: PooledEffect,
    /// Mean with weights 1/(standard error² + τ²): allows for the spread of true effects.
    pub random: PooledEffect,
}

/// Cochran's test that all effects are equal (W. G. Cochran, 1954), with I² (Higgins and Thompson, 2002) and τ².
///
/// Standard errors count as known. With estimates of proportions near 0 or 1 they are correlated with the estimates, and Q
/// is rough there. The inner error is [`Undefined::TooFewObservations`] for fewer than two effects.
///
/// # Errors
/// [`StatsError::LengthMismatch`], [`StatsError::NonFinite`], or [`StatsError::InvalidParameter`] for a standard error that is
/// not positive.
pub fn heterogeneity(
    estimates: &[f64],
    standard_errors: &[f64],
    confidence: Confidence,
) -> Result<Result<Heterogeneity, Undefined>, StatsError> {
    require_same_length(estimates, "estimates", standard_errors, "standard_errors")?;
    require_finite(estimates, "estimates")?;
    require_finite(standard_errors, "standard_errors")?;
    if let Some(&value) = standard_errors.iter().find(|&&error| error <= 0.0) {
        return Err(StatsError::InvalidParameter {
            name: "standard_errors",
            value,
            expected: "positive numbers; leave out effects without a standard error",
        });
    }
    if estimates.len() < 2 {
        return Ok(Err(Undefined::TooFewObservations));
    }
    let weights: Vec<f64> = standard_errors
        .iter()
        .map(|error| (error * error).recip())
        .collect();
    let (mean, weight) = weighted_mean(estimates, &weights);
    let q: f64 = estimates
        .iter()
        .zip(&weights)
        .map(|(estimate, w)| w * (estimate - mean).powi(2))
        .sum();
    let squares: f64 = weights.iter().map(|w| w * (w / weight)).sum();
    let df = (estimates.len() - 1) as f64;
    if !q.is_finite() || !weight.is_finite() {
        return Err(StatsError::Overflow {
            quantity: "the sum of weights",
        });
    }
    let tau_squared = ((q - df) / (weight - squares)).max(0.0);
    let random_weights: Vec<f64> = standard_errors
        .iter()
        .map(|error| (error * error + tau_squared).recip())
        .collect();
    let (random_mean, random_weight) = weighted_mean(estimates, &random_weights);
    let ln_p = ln_chi_square_upper(q, df);
    Ok(Ok(Heterogeneity {
        q,
        df,
        p: ln_p.exp(),
        ln_p,
        i_squared: if q > 0.0 { ((q - df) / q).max(0.0) } else { 0.0 },
        tau_squared,
        fixed: PooledEffect::new(mean, weight, confidence),
        random: PooledEffect::new(random_mean, random_weight, confidence),
    }))
}

fn weighted_mean(estimates: &[f64], weights: &[f64]) -> (f64, f64) {
    let total: f64 = weights.iter().sum();
    let mean = estimates.iter().zip(weights).map(|(e, w)| e * (w / total)).sum();
    (mean, total)
}

/// The variance of z values beside the 1 that chance gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpreadOfZ {
    /// Number of z values.
    pub count: usize,
    /// Their mean: a shift that all share.
    pub mean: f64,
    /// Their variance about that mean, divisor n − 1.
    pub variance: f64,
    /// χ² interval of the variance: (n − 1)·variance over the quantiles of χ² with n − 1 degrees of freedom. Presumes normal
    /// z values, which tests of a few trials give only roughly.
    pub interval: Interval,
    /// P(χ² ≥ (n − 1)·variance): small if the values spread more than chance.
    pub p_more: f64,
    /// ln of `p_more`.
    pub ln_p_more: f64,
    /// P(χ² ≤ (n − 1)·variance): small if they spread less, as values do that repeat one another.
    pub p_less: f64,
}

/// Whether z values of many independent tests spread more (or less) than standard normal ones.
///
/// A shift that all share, for instance of a common baseline, moves the mean and leaves the variance. The inner error is
/// [`Undefined::TooFewObservations`] for fewer than two values.
///
/// # Errors
/// [`StatsError::NonFinite`] or [`StatsError::Overflow`].
pub fn spread_of_z(z: &[f64], confidence: Confidence) -> Result<Result<SpreadOfZ, Undefined>, StatsError> {
    let moments = crate::Moments::from_slice(z)?;
    let (Ok(mean), Ok(variance)) = (moments.mean(), moments.variance()) else {
        return Ok(Err(Undefined::TooFewObservations));
    };
    let df = (z.len() - 1) as f64;
    let squares = moments.squared_deviations();
    let half_alpha = 0.5 * confidence.alpha();
    let limits = chi_square_quantile(1.0 - half_alpha, df).zip(chi_square_quantile(half_alpha, df));
    let Some((high, low)) = limits else {
        return Ok(Err(Undefined::NoInformation));
    };
    let ln_p_more = ln_chi_square_upper(squares, df);
    Ok(Ok(SpreadOfZ {
        count: z.len(),
        mean,
        variance,
        interval: Interval {
            lower: squares / high,
            upper: squares / low,
            confidence,
        },
        p_more: ln_p_more.exp(),
        ln_p_more,
        p_less: ln_chi_square_lower(squares, df).exp(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_effects_have_no_heterogeneity() {
        let result = heterogeneity(&[0.3; 5], &[0.1, 0.2, 0.1, 0.4, 0.1], Confidence::P95)
            .unwrap()
            .unwrap();
        assert!(result.q < 1e-25);
        assert_eq!((result.i_squared, result.tau_squared, result.df), (0.0, 0.0, 4.0));
        assert!((result.p - 1.0).abs() < 1e-12);
        assert!((result.random.estimate - 0.3).abs() < 1e-15);
    }

    #[test]
    fn a_shared_shift_is_no_spread() {
        let z: Vec<f64> = (0..200).map(|i| f64::from(i % 21) / 6.0 - 1.6).collect();
        let shifted: Vec<f64> = z.iter().map(|v| v + 40.0).collect();
        let a = spread_of_z(&z, Confidence::P95).unwrap().unwrap();
        let b = spread_of_z(&shifted, Confidence::P95).unwrap().unwrap();
        assert!((a.variance / b.variance - 1.0).abs() < 1e-12);
        assert!((b.mean - a.mean - 40.0).abs() < 1e-12);
        assert!(a.interval.contains(a.variance) && a.interval.contains(1.0));
    }

    #[test]
    fn too_little_and_bad_input() {
        assert_eq!(
            heterogeneity(&[0.1], &[0.1], Confidence::P95).unwrap(),
            Err(Undefined::TooFewObservations)
        );
        assert!(heterogeneity(&[0.1, 0.2], &[0.1, 0.0], Confidence::P95).is_err());
        assert!(heterogeneity(&[0.1, f64::NAN], &[0.1, 0.1], Confidence::P95).is_err());
        assert_eq!(
            spread_of_z(&[0.4], Confidence::P95).unwrap(),
            Err(Undefined::TooFewObservations)
        );
        let flat = spread_of_z(&[0.4, 0.4], Confidence::P95).unwrap().unwrap();
        assert_eq!((flat.variance, flat.p_more, flat.p_less), (0.0, 1.0, 0.0));
    }
}
