//! Student's t tests: Welch's for two independent samples, and the paired test.

use crate::error::{StatsError, Undefined, require_finite, require_same_length};
use crate::interval::{Confidence, Interval};
use crate::moments::Moments;
use crate::student_t;

/// A t statistic with its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TStatistic {
    /// The estimate divided by its standard error.
    pub t: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Two-sided p-value; 0 only where it underflows, below about 1e-308.
    pub p: f64,
    /// ln p, finite also where `p` underflows.
    pub ln_p: f64,
}

impl TStatistic {
    pub(crate) fn new(t: f64, df: f64) -> Self {
        let ln_p = student_t::ln_two_sided(t, df);
        Self {
            t,
            df,
            p: ln_p.exp(),
            ln_p,
        }
    }
}

/// A difference of means with its t test and interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanDifference {
    /// First minus second mean, or the mean of first − second for pairs.
    pub difference: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// The test of a zero difference.
    pub test: TStatistic,
    /// Student interval of the difference.
    pub interval: Interval,
}

/// Difference, standard error and Welch–Satterthwaite degrees of freedom.
fn welch_parts(first: &Moments, second: &Moments) -> Result<(f64, f64, f64), Undefined> {
    let (n1, n2) = (first.count() as f64, second.count() as f64);
    let difference = first.mean()? - second.mean()?;
    let (v1, v2) = (first.variance()? / n1, second.variance()? / n2);
    let variance = v1 + v2;
    let standard_error = variance.sqrt();
    if standard_error == 0.0 || !(difference / standard_error).is_finite() {
        return Err(Undefined::ZeroVariance);
    }
    // Shares of the variance instead of squares of it, so that no unit of measurement under- or overflows.
    let share = v1 / variance;
    let df = 1.0 / (share * share / (n1 - 1.0) + (1.0 - share) * (1.0 - share) / (n2 - 1.0));
    Ok((difference, standard_error, df))
}

/// Welch's t statistic for the difference of two means with unequal variances, without the interval: the
/// form for scans over many features.
///
/// # Errors
/// [`Undefined::TooFewObservations`] if a group has fewer than two values, [`Undefined::ZeroVariance`] if both
/// groups are constant (whether or not their means differ).
pub fn welch_t(first: &Moments, second: &Moments) -> Result<TStatistic, Undefined> {
    let (difference, standard_error, df) = welch_parts(first, second)?;
    Ok(TStatistic::new(difference / standard_error, df))
}

/// Welch's t test (B. L. Welch, 1947) with the Student interval of mean(first) − mean(second).
///
/// # Errors
/// As [`welch_t`].
pub fn welch_t_test(
    first: &Moments,
    second: &Moments,
    confidence: Confidence,
) -> Result<MeanDifference, Undefined> {
    let (difference, standard_error, df) = welch_parts(first, second)?;
    Ok(MeanDifference::new(difference, standard_error, df, confidence))
}

impl MeanDifference {
    fn new(difference: f64, standard_error: f64, df: f64, confidence: Confidence) -> Self {
        let half_width = student_t::two_sided_quantile(confidence.alpha(), df) * standard_error;
        Self {
            difference,
            standard_error,
            test: TStatistic::new(difference / standard_error, df),
            interval: Interval {
                lower: difference - half_width,
                upper: difference + half_width,
                confidence,
            },
        }
    }
}

/// Difference of two means within strata, first minus second: Σ w(x̄₁ − x̄₂)/Σ w with w = n₁n₂/(n₁ + n₂), each group with its own
/// variance in each stratum, and Satterthwaite's degrees of freedom (F. E. Satterthwaite, 1946). With one stratum this is
/// Welch's test. Strata without a value in both groups are left out.
///
/// # Errors
/// [`Undefined::NoInformation`] without a stratum that has both groups, [`Undefined::TooFewObservations`] if a group of a
/// stratum has a single value, [`Undefined::ZeroVariance`] if all groups are constant.
pub fn stratified_mean_difference(
    strata: &[(Moments, Moments)],
    confidence: Confidence,
) -> Result<MeanDifference, Undefined> {
    let used = || strata.iter().filter(|(a, b)| a.count() > 0 && b.count() > 0);
    let weight = |a: &Moments, b: &Moments| {
        let (n1, n2) = (a.count() as f64, b.count() as f64);
        n1 * (n2 / (n1 + n2))
    };
    let total: f64 = used().map(|(a, b)| weight(a, b)).sum();
    if total == 0.0 {
        return Err(Undefined::NoInformation);
    }
    let (mut difference, mut variance) = (0.0, 0.0);
    let mut parts = Vec::new();
    for (a, b) in used() {
        let share = weight(a, b) / total;
        difference += share * (a.mean()? - b.mean()?);
        for group in [a, b] {
            let part = share * share * (group.variance()? / group.count() as f64);
            variance += part;
            parts.push((part, group.count() as f64 - 1.0));
        }
    }
    let standard_error = variance.sqrt();
    if standard_error == 0.0 || !(difference / standard_error).is_finite() {
        return Err(Undefined::ZeroVariance);
    }
    let df = parts
        .iter()
        .map(|(part, df)| (part / variance).powi(2) / df)
        .sum::<f64>()
        .recip();
    Ok(MeanDifference::new(difference, standard_error, df, confidence))
}

/// Moments of the differences first − second, with a constant difference recognised despite rounding.
///
/// # Errors
/// [`StatsError::LengthMismatch`], [`StatsError::NonFinite`] or [`StatsError::Overflow`].
pub(crate) fn difference_moments(first: &[f64], second: &[f64]) -> Result<Moments, StatsError> {
    require_same_length(first, "first", second, "second")?;
    require_finite(first, "first")?;
    require_finite(second, "second")?;
    let mut moments = Moments::new();
    let mut scale = 0.0_f64;
    for (&a, &b) in first.iter().zip(second) {
        let difference = a - b;
        if !difference.is_finite() {
            return Err(StatsError::Overflow {
                quantity: "first − second",
            });
        }
        moments.push(difference)?;
        scale = scale.max(a.abs()).max(b.abs());
    }
    // 0.3 − 0.1 and 0.4 − 0.2 differ in the last bit; such a spread is rounding, not variance.
    let spread = (moments.squared_deviations() / moments.count().max(1) as f64).sqrt();
    match moments.mean() {
        Ok(mean) if spread <= 4.0 * f64::EPSILON * scale => Moments::repeated(mean, moments.count()),
        _ => Ok(moments),
    }
}

/// The paired t test of mean(first − second) = 0 with its Student interval, n − 1 degrees of freedom.
///
/// The inner error is [`Undefined::TooFewObservations`] for fewer than two pairs and
/// [`Undefined::ZeroVariance`] when all differences are equal, up to rounding of the inputs.
///
/// # Errors
/// [`StatsError::LengthMismatch`], [`StatsError::NonFinite`] or [`StatsError::Overflow`].
pub fn paired_t_test(
    first: &[f64],
    second: &[f64],
    confidence: Confidence,
) -> Result<Result<MeanDifference, Undefined>, StatsError> {
    Ok(one_sample_t_test(&difference_moments(first, second)?, confidence))
}

/// The t test of a zero mean, for differences that were streamed into [`Moments`].
///
/// # Errors
/// [`Undefined::TooFewObservations`] for fewer than two values, [`Undefined::ZeroVariance`] if all are equal.
pub fn one_sample_t_test(differences: &Moments, confidence: Confidence) -> Result<MeanDifference, Undefined> {
    let n = differences.count() as f64;
    let difference = differences.mean()?;
    let standard_error = (differences.variance()? / n).sqrt();
    if standard_error == 0.0 || !(difference / standard_error).is_finite() {
        return Err(Undefined::ZeroVariance);
    }
    Ok(MeanDifference::new(
        difference,
        standard_error,
        n - 1.0,
        confidence,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f64]) -> Moments {
        Moments::from_slice(values).unwrap()
    }

    #[test]
    fn constant_groups_are_undefined_and_one_constant_group_is_not() {
        let constant = moments(&[2.0, 2.0, 2.0]);
        let varied = moments(&[1.0, 2.0, 4.0]);
        assert_eq!(
            welch_t(&constant, &moments(&[5.0, 5.0])),
            Err(Undefined::ZeroVariance)
        );
        assert_eq!(
            welch_t(&constant, &moments(&[5.0])),
            Err(Undefined::TooFewObservations)
        );
        assert_eq!(welch_t(&constant, &varied).unwrap().df, 2.0);
    }

    #[test]
    fn a_constant_difference_is_undefined_despite_rounding() {
        let first = [0.3, 0.4, 0.7];
        let second = [0.1, 0.2, 0.5];
        assert!(
            first
                .iter()
                .zip(second)
                .any(|(a, b)| a - b != first[0] - second[0])
        );
        assert_eq!(
            paired_t_test(&first, &second, Confidence::P95).unwrap(),
            Err(Undefined::ZeroVariance)
        );
        assert_eq!(
            paired_t_test(&first[..1], &second[..1], Confidence::P95).unwrap(),
            Err(Undefined::TooFewObservations)
        );
        assert_eq!(
            paired_t_test(&[], &[], Confidence::P95).unwrap(),
            Err(Undefined::TooFewObservations)
        );
    }

    #[test]
    fn one_stratum_is_welchs_test_and_levels_of_strata_do_not_matter() {
        let (a, b) = (moments(&[1.0, 2.0, 4.0]), moments(&[0.5, 3.0, 3.5, 9.0]));
        let welch = welch_t_test(&a, &b, Confidence::P95).unwrap();
        let one = stratified_mean_difference(&[(a, b)], Confidence::P95).unwrap();
        assert!((one.test.t / welch.test.t - 1.0).abs() < 1e-14);
        assert!((one.test.df / welch.test.df - 1.0).abs() < 1e-14);
        let high = (
            moments(&[101.0, 102.0, 104.0]),
            moments(&[100.5, 103.0, 103.5, 109.0]),
        );
        let two = stratified_mean_difference(&[(a, b), high, (a, moments(&[]))], Confidence::P95).unwrap();
        assert!((two.difference / one.difference - 1.0).abs() < 1e-12);
        assert!((two.standard_error * 2.0_f64.sqrt() / one.standard_error - 1.0).abs() < 1e-12);
        assert!((two.test.df / (2.0 * one.test.df) - 1.0).abs() < 1e-10);
        let single = (a, moments(&[1.0]));
        assert_eq!(
            stratified_mean_difference(&[single], Confidence::P95),
            Err(Undefined::TooFewObservations)
        );
        assert_eq!(
            stratified_mean_difference(&[(a, moments(&[]))], Confidence::P95),
            Err(Undefined::NoInformation)
        );
    }

    #[test]
    fn unequal_lengths_and_non_finite_values_are_refused() {
        assert!(matches!(
            paired_t_test(&[1.0], &[1.0, 2.0], Confidence::P95),
            Err(StatsError::LengthMismatch {
                first_len: 1,
                second_len: 2,
                ..
            })
        ));
        assert!(matches!(
            paired_t_test(&[1.0, 2.0], &[1.0, f64::INFINITY], Confidence::P95),
            Err(StatsError::NonFinite {
                quantity: "second",
                index: 1,
                ..
            })
        ));
    }

    #[test]
    fn the_interval_excludes_zero_exactly_when_p_is_below_alpha() {
        let first = moments(&[1.0, 2.0, 3.0, 4.0, 5.5]);
        for shift in [0.0, 1.0, 2.0, 2.3, 2.4, 2.5, 3.0, 5.0] {
            let second = moments(&[1.0 + shift, 2.2 + shift, 2.9 + shift, 4.1 + shift]);
            let result = welch_t_test(&first, &second, Confidence::P95).unwrap();
            assert_eq!(result.interval.contains(0.0), result.test.p > 0.05, "{shift}");
        }
    }
}
