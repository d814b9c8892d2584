//! Intervals of proportions and of risk differences.

use crate::error::Undefined;
use crate::interval::{Confidence, Interval};
use crate::log_probability::ln_binomial_pmf;
use crate::root::find_root;
use crate::table::{PairedTable, Proportion, TwoByTwo};

/// A difference of two proportions with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskDifference {
    /// First minus second proportion.
    pub estimate: f64,
    /// Hybrid-score interval.
    pub interval: Interval,
}

/// Wilson's score interval of a proportion (E. B. Wilson, 1927), without continuity correction.
///
/// # Errors
/// [`Undefined::EmptyMargin`] without trials.
pub fn wilson_interval(proportion: &Proportion, confidence: Confidence) -> Result<Interval, Undefined> {
    let p = proportion.estimate()?;
    let n = proportion.trials() as f64;
    let z = confidence.normal_critical();
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half_width = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At 0 and n successes the limit is exactly 0 or 1; the formula leaves rounding there.
    let lower = if proportion.successes() == 0 {
        0.0
    } else {
        (centre - half_width).max(0.0)
    };
    let upper = if proportion.failures() == 0 {
        1.0
    } else {
        (centre + half_width).min(1.0)
    };
    Ok(Interval {
        lower,
        upper,
        confidence,
    })
}

/// Difference of two independent proportions with Newcombe's hybrid-score interval (R. G. Newcombe, 1998,
/// Statistics in Medicine 17:873, method 10).
///
/// # Errors
/// [`Undefined::EmptyMargin`] if a group has no trials.
pub fn risk_difference(table: &TwoByTwo, confidence: Confidence) -> Result<RiskDifference, Undefined> {
    let correlation = 0.0;
    square_and_add(&table.first, &table.second, correlation, None, confidence)
}

/// An interval of a proportion that covers also near 0 and 1, where Wilson's covers as little as 0.84 of the time.
///
/// From 25 trials on Wilson's interval, and where fewer than six successes or failures were seen Agresti and Coull's (1998),
/// which contains it; below 25 trials the exact limits of C. J. Clopper and E. S. Pearson (1934). Coverage at 95 % is at
/// least 0.93 at every proportion and number of trials.
///
/// # Errors
/// [`Undefined::EmptyMargin`] without trials.
pub fn covering_proportion_interval(
    proportion: &Proportion,
    confidence: Confidence,
) -> Result<Interval, Undefined> {
    let wilson = wilson_interval(proportion, confidence)?;
    if proportion.trials() < 25 {
        return Ok(clopper_pearson(proportion, confidence));
    }
    if proportion.successes().min(proportion.failures()) >= 6 {
        return Ok(wilson);
    }
    let z2 = confidence.normal_critical().powi(2);
    let trials = proportion.trials() as f64 + z2;
    let centre = (proportion.successes() as f64 + 0.5 * z2) / trials;
    let half_width = (z2 * centre * (1.0 - centre) / trials).sqrt();
    Ok(Interval {
        lower: (centre - half_width).max(0.0),
        upper: (centre + half_width).min(1.0),
        confidence,
    })
}

/// Exact limits for few trials: each puts α/2 in one tail of the binomial distribution.
fn clopper_pearson(proportion: &Proportion, confidence: Confidence) -> Interval {
    let (k, n) = (proportion.successes(), proportion.trials());
    let half_alpha = 0.5 * confidence.alpha();
    let tail = |range: std::ops::RangeInclusive<u64>, p: f64| -> f64 {
        range
            .map(|j| ln_binomial_pmf(j as f64, n as f64, p, 1.0 - p).exp())
            .sum()
    };
    let lower = if k == 0 {
        0.0
    } else {
        find_root(|p| tail(k..=n, p) - half_alpha, 0.0, 1.0).unwrap_or(0.0)
    };
    let upper = if k == n {
        1.0
    } else {
        find_root(|p| tail(0..=k, p) - half_alpha, 0.0, 1.0).unwrap_or(1.0)
    };
    Interval {
        lower,
        upper,
        confidence,
    }
}

/// Difference of two paired proportions with Newcombe's interval for pairs (R. G. Newcombe, 1998, Statistics
/// in Medicine 17:2635, method 10): Wilson limits joined through the correlation φ of the pair, whose
/// numerator is reduced by n/2 towards zero when positive.
///
/// # Errors
/// [`Undefined::EmptyMargin`] without pairs.
pub fn paired_risk_difference(
    table: &PairedTable,
    confidence: Confidence,
) -> Result<RiskDifference, Undefined> {
    if table.pairs() == 0 {
        return Err(Undefined::EmptyMargin);
    }
    let (e, f) = (table.both() as f64, table.only_first() as f64);
    let (g, h) = (table.only_second() as f64, table.neither() as f64);
    let n = table.pairs() as f64;
    let margins = ((e + f) * (g + h)).sqrt() * ((e + g) * (f + h)).sqrt();
    let association = e * h - f * g;
    let numerator = if association > 0.0 {
        (association - 0.5 * n).max(0.0)
    } else {
        association
    };
    let correlation = if margins > 0.0 { numerator / margins } else { 0.0 };
    // From the discordant pairs, so that exchanging the members changes the sign only.
    let estimate = (f - g) / n;
    square_and_add(
        &table.first(),
        &table.second(),
        correlation,
        Some(estimate),
        confidence,
    )
}

fn square_and_add(
    first: &Proportion,
    second: &Proportion,
    correlation: f64,
    estimate: Option<f64>,
    confidence: Confidence,
) -> Result<RiskDifference, Undefined> {
    let (p1, p2) = (first.estimate()?, second.estimate()?);
    let (w1, w2) = (
        wilson_interval(first, confidence)?,
        wilson_interval(second, confidence)?,
    );
    let estimate = estimate.unwrap_or(p1 - p2);
    let join = |a: f64, b: f64| (a * a - 2.0 * correlation * a * b + b * b).max(0.0).sqrt();
    let below = join(p1 - w1.lower, w2.upper - p2);
    let above = join(w1.upper - p1, p2 - w2.lower);
    let interval = Interval {
        lower: (estimate - below).max(-1.0),
        upper: (estimate + above).min(1.0),
        confidence,
    };
    Ok(RiskDifference { estimate, interval })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(e: u64, f: u64, g: u64, h: u64) -> RiskDifference {
        paired_risk_difference(&PairedTable::new(e, f, g, h).unwrap(), Confidence::P95).unwrap()
    }

    #[test]
    fn paired_interval_matches_published_examples() {
        // Newcombe 1998, table of worked examples.
        let a = paired(36, 12, 2, 0);
        assert!((a.estimate - 0.20).abs() < 1e-12);
        assert!((a.interval.lower - 0.0569).abs() < 5e-5, "{a:?}");
        assert!((a.interval.upper - 0.3404).abs() < 5e-5, "{a:?}");
        // Airway hyper-responsiveness, Fagerland, Lydersen and Laake 2014.
        let b = paired(1, 1, 7, 12);
        assert!((b.interval.lower + 0.507).abs() < 5e-4, "{b:?}");
        assert!((b.interval.upper + 0.026).abs() < 5e-4, "{b:?}");
    }

    #[test]
    fn independent_interval_matches_a_published_example() {
        // 56/70 against 48/80, Newcombe 1998: 0.0524 to 0.3339.
        let table = TwoByTwo::from_cells([[56, 14], [48, 32]]).unwrap();
        let rd = risk_difference(&table, Confidence::P95).unwrap();
        assert!((rd.interval.lower - 0.0524).abs() < 5e-5, "{rd:?}");
        assert!((rd.interval.upper - 0.3339).abs() < 5e-5, "{rd:?}");
    }

    #[test]
    fn extremes_stay_within_the_possible_range() {
        for table in [
            [[0, 5], [5, 0]],
            [[5, 0], [0, 5]],
            [[0, 1], [0, 1]],
            [[1, 0], [1, 0]],
        ] {
            let rd = risk_difference(&TwoByTwo::from_cells(table).unwrap(), Confidence::P99).unwrap();
            assert!(rd.interval.lower >= -1.0 && rd.interval.upper <= 1.0);
            assert!(rd.interval.contains(rd.estimate));
        }
        let none = PairedTable::new(0, 0, 0, 0).unwrap();
        assert_eq!(
            paired_risk_difference(&none, Confidence::P95),
            Err(Undefined::EmptyMargin)
        );
        assert_eq!(paired(0, 0, 0, 9).estimate, 0.0);
    }
}
