//! Streaming mean and variance.

use crate::error::{StatsError, Undefined, checked_total};

/// Count, mean and sum of squared deviations of a stream of finite values.
///
/// Updated by Welford's recurrence and merged by the pairwise formula of Chan, Golub and LeVeque (1983), so
/// that one pass over shards gives the same result, to rounding, as one pass over all values. 24 bytes per
/// variable; a table of features is a `Vec<Moments>`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    squared_deviations: f64,
}

impl Moments {
    /// No observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moments of a slice.
    ///
    /// # Errors
    /// [`StatsError::NonFinite`] at the first NaN or infinity, [`StatsError::Overflow`] if squares overflow.
    pub fn from_slice(values: &[f64]) -> Result<Self, StatsError> {
        let mut moments = Self::new();
        for (index, &value) in values.iter().enumerate() {
            moments.push(value).map_err(|error| match error {
                StatsError::NonFinite { quantity, value, .. } => StatsError::NonFinite {
                    quantity,
                    index,
                    value,
                },
                other => other,
            })?;
        }
        Ok(moments)
    }

    /// Moments of `count` copies of one value, for instance the zeros of a sparse activation.
    ///
    /// # Errors
    /// [`StatsError::NonFinite`] if the value is NaN or infinite, [`StatsError::CountTooLarge`] above 2^53.
    pub fn repeated(value: f64, count: u64) -> Result<Self, StatsError> {
        checked_total(&[count], "count")?;
        if !value.is_finite() {
            return Err(StatsError::NonFinite {
                quantity: "values",
                index: 0,
                value,
            });
        }
        Ok(if count == 0 {
            Self::new()
        } else {
            Self {
                count,
                mean: value,
                squared_deviations: 0.0,
            }
        })
    }

    /// Moments from a published summary: count, mean and standard deviation with divisor n − 1.
    ///
    /// # Errors
    /// [`StatsError::InvalidParameter`] for a negative or non-finite deviation or a non-finite mean, and for a
    /// non-zero deviation of fewer than two observations; [`StatsError::CountTooLarge`] above 2^53.
    pub fn from_summary(count: u64, mean: f64, standard_deviation: f64) -> Result<Self, StatsError> {
        checked_total(&[count], "count")?;
        if !mean.is_finite() {
            return Err(StatsError::InvalidParameter {
                name: "mean",
                value: mean,
                expected: "a finite number",
            });
        }
        let squared_deviations = standard_deviation * standard_deviation * (count.max(1) - 1) as f64;
        let possible = standard_deviation >= 0.0 && squared_deviations.is_finite();
        if !possible || (count < 2 && standard_deviation > 0.0) {
            return Err(StatsError::InvalidParameter {
                name: "standard_deviation",
                value: standard_deviation,
                expected: "a finite number, not negative, and 0 for fewer than two observations",
            });
        }
        Ok(if count == 0 {
            Self::new()
        } else {
            Self {
                count,
                mean,
                squared_deviations,
            }
        })
    }

    /// Adds one value.
    ///
    /// # Errors
    /// [`StatsError::NonFinite`] (index = number of values already seen) or [`StatsError::Overflow`]; on error
    /// nothing is added.
    pub fn push(&mut self, value: f64) -> Result<(), StatsError> {
        if !value.is_finite() {
            return Err(StatsError::NonFinite {
                quantity: "values",
                index: self.count as usize,
                value,
            });
        }
        let count = self.count + 1;
        let delta = value - self.mean;
        let mean = self.mean + delta / count as f64;
        let squared_deviations = self.squared_deviations + delta * (value - mean);
        self.replace(count, mean, squared_deviations)
    }

    /// Adds all observations of `other`.
    ///
    /// # Errors
    /// [`StatsError::Overflow`] if squares overflow, [`StatsError::CountTooLarge`] above 2^53; on error nothing is
    /// added.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if other.count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            *self = *other;
            return Ok(());
        }
        let count = checked_total(&[self.count, other.count], "count")?;
        let (own, added) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        let mean = self.mean + delta * (added / count as f64);
        let between = delta * delta * (own * (added / count as f64));
        self.replace(
            count,
            mean,
            self.squared_deviations + other.squared_deviations + between,
        )
    }

    fn replace(&mut self, count: u64, mean: f64, squared_deviations: f64) -> Result<(), StatsError> {
        if !mean.is_finite() || !squared_deviations.is_finite() {
            return Err(StatsError::Overflow {
                quantity: "the sum of squared deviations",
            });
        }
        *self = Self {
            count,
            mean,
            squared_deviations,
        };
        Ok(())
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean, for at least one observation.
    ///
    /// # Errors
    /// [`Undefined::TooFewObservations`] without observations.
    pub fn mean(&self) -> Result<f64, Undefined> {
        if self.count == 0 {
            Err(Undefined::TooFewObservations)
        } else {
            Ok(self.mean)
        }
    }

    /// Variance with divisor n − 1.
    ///
    /// # Errors
    /// [`Undefined::TooFewObservations`] for n < 2.
    pub fn variance(&self) -> Result<f64, Undefined> {
        if self.count < 2 {
            return Err(Undefined::TooFewObservations);
        }
        Ok(self.squared_deviations / (self.count - 1) as f64)
    }

    /// Standard deviation with divisor n − 1.
    ///
    /// # Errors
    /// [`Undefined::TooFewObservations`] for n < 2.
    pub fn standard_deviation(&self) -> Result<f64, Undefined> {
        self.variance().map(f64::sqrt)
    }

    /// Σ (x − mean)².
    pub(crate) fn squared_deviations(&self) -> f64 {
        self.squared_deviations
    }
}

/// Pooled standard deviation √(((n₁−1)s₁² + (n₂−1)s₂²)/(n₁+n₂−2)), both variances with divisor n − 1.
///
/// # Errors
/// [`Undefined::TooFewObservations`] if a group is empty or n₁ + n₂ < 3. A group of one contributes its mean
/// but no variance.
pub fn pooled_standard_deviation(first: &Moments, second: &Moments) -> Result<f64, Undefined> {
    if first.count == 0 || second.count == 0 || first.count + second.count < 3 {
        return Err(Undefined::TooFewObservations);
    }
    let df = (first.count + second.count - 2) as f64;
    Ok(((first.squared_deviations + second.squared_deviations) / df).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_offset_keeps_its_digits() {
        let values: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 10)).collect();
        let variance = Moments::from_slice(&values).unwrap().variance().unwrap();
        let exact = 8.25 * 1000.0 / 999.0;
        // The mean near 1e9 is known to 1e-7, the naive sum of squares would be off by more than 10.
        assert!((variance / exact - 1.0).abs() < 1e-8, "{variance}");
    }

    #[test]
    fn bad_values_are_refused_with_their_index() {
        let error = Moments::from_slice(&[1.0, f64::NAN]).unwrap_err();
        assert!(matches!(error, StatsError::NonFinite { index: 1, .. }), "{error}");
        assert!(matches!(
            Moments::from_slice(&[1e200, -1e200]),
            Err(StatsError::Overflow { .. })
        ));
        let mut moments = Moments::from_slice(&[1.0, 2.0]).unwrap();
        let before = moments;
        assert!(moments.push(f64::INFINITY).is_err());
        assert_eq!(moments, before);
    }

    #[test]
    fn too_few_observations_have_no_variance() {
        assert_eq!(Moments::new().mean(), Err(Undefined::TooFewObservations));
        let one = Moments::from_slice(&[3.0]).unwrap();
        assert_eq!(one.mean(), Ok(3.0));
        assert_eq!(one.variance(), Err(Undefined::TooFewObservations));
        assert_eq!(
            pooled_standard_deviation(&one, &one),
            Err(Undefined::TooFewObservations)
        );
    }

    #[test]
    fn repeated_values_equal_pushed_ones() {
        let mut sparse = Moments::from_slice(&[1.5, 2.5]).unwrap();
        sparse.merge(&Moments::repeated(0.0, 98).unwrap()).unwrap();
        let mut dense = vec![0.0; 98];
        dense.extend([1.5, 2.5]);
        let dense = Moments::from_slice(&dense).unwrap();
        assert_eq!(sparse.count(), 100);
        assert!((sparse.variance().unwrap() / dense.variance().unwrap() - 1.0).abs() < 1e-13);
    }

    #[test]
    fn summaries_rebuild_the_moments() {
        let values = [1.0, 4.0, 9.0];
        let moments = Moments::from_slice(&values).unwrap();
        let sd = moments.standard_deviation().unwrap();
        let rebuilt = Moments::from_summary(3, moments.mean().unwrap(), sd).unwrap();
        assert!((rebuilt.variance().unwrap() - moments.variance().unwrap()).abs() < 1e-12);
        assert!(Moments::from_summary(3, 0.0, -1.0).is_err());
        assert!(Moments::from_summary(1, 0.0, 1.0).is_err());
        assert!(Moments::from_summary(5, f64::NAN, 1.0).is_err());
        assert!(Moments::from_summary(u64::MAX, 0.0, 1.0).is_err());
        let mut large = Moments::repeated(0.0, 1 << 53).unwrap();
        assert!(large.merge(&moments).is_err() && Moments::repeated(0.0, u64::MAX).is_err());
    }
}
