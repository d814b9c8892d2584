//! Confidence levels and intervals.

use crate::error::{StatsError, require_open_unit};
use crate::normal;

/// A confidence level strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Confidence {
    /// The customary 95 % level.
    pub const P95: Self = Self(0.95);
    /// The 99 % level.
    pub const P99: Self = Self(0.99);

    /// A level such as 0.95.
    ///
    /// # Errors
    /// [`StatsError::InvalidParameter`] unless 0 < level < 1.
    pub fn new(level: f64) -> Result<Self, StatsError> {
        require_open_unit(level, "confidence level").map(Self)
    }

    /// The level, for example 0.95.
    pub fn level(self) -> f64 {
        self.0
    }

    /// The two-sided error rate, 1 − level.
    pub fn alpha(self) -> f64 {
        1.0 - self.0
    }

    /// The two-sided standard normal critical value, 1.959964 at 95 %.
    pub fn normal_critical(self) -> f64 {
        normal::upper_quantile(0.5 * self.alpha())
    }
}

/// A closed interval and the confidence level it was built for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower limit.
    pub lower: f64,
    /// Upper limit; infinite only where the method says so.
    pub upper: f64,
    /// Nominal level.
    pub confidence: Confidence,
}

impl Interval {
    /// Whether `value` lies within the closed interval.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// Upper minus lower limit.
    pub fn width(&self) -> f64 {
        self.upper - self.lower
    }

    /// Applies an increasing function to both limits.
    pub(crate) fn map_increasing(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            lower: f(self.lower),
            upper: f(self.upper),
            confidence: self.confidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_outside_the_open_unit_interval_are_refused() {
        for bad in [0.0, 1.0, -0.1, 95.0, f64::NAN, f64::INFINITY] {
            assert!(Confidence::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Confidence::new(0.95).unwrap(), Confidence::P95);
    }

    #[test]
    fn critical_value_at_95_percent() {
        assert!((Confidence::P95.normal_critical() - 1.959963984540054).abs() < 1e-14);
    }
}
