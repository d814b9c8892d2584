//! Trends of a yes/no outcome over doses, within prompts: the large-sample test and the slope.

use crate::error::{StatsError, Undefined, checked_total};
use crate::interval::{Confidence, Interval};
use crate::normal;
use crate::table::Proportion;

/// The outcomes at one dose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoseGroup {
    /// The dose, in any unit; the test depends on the doses' spacing only.
    pub score: f64,
    /// Successes among the trials at this dose.
    pub outcome: Proportion,
}

/// The null variance of the trend statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrendVariance {
    /// Of the hypergeometric distribution given the margins, with N/(N − 1) (N. Mantel, 1963; statsmodels's
    /// `Table.test_ordinal_association`).
    Hypergeometric,
    /// Of independent binomials with the pooled proportion (W. G. Cochran 1954, P. Armitage 1955).
    Binomial,
}

/// A trend over doses, common to all strata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrendTest {
    /// Σ score·(successes − expected), summed over strata; positive if successes rise with the dose.
    pub statistic: f64,
    /// Its null variance.
    pub variance: f64,
    /// statistic / √variance.
    pub z: f64,
    /// Two-sided normal p-value; 0 only where it underflows.
    pub p: f64,
    /// ln p.
    pub ln_p: f64,
    /// Change of the proportion per unit of dose: least squares over trials with one slope and an intercept per
    /// stratum.
    pub slope: f64,
    /// Wald interval of the slope. Its variance is Σ nᵢ(xᵢ − x̄)² p̃ᵢ(1 − p̃ᵢ) / (Σ nᵢ(xᵢ − x̄)²)², where each dose
    /// keeps its own proportion p̃ᵢ = (successes + ½)/(trials + 1), so that it presumes no line and no chance.
    pub slope_interval: Interval,
    /// Standard error of the slope, as in its interval.
    pub slope_error: f64,
    /// Σ nᵢ(xᵢ − x̄)² over all strata with at least two doses: what [`crate::detectable_slope`] asks for.
    pub squares: f64,
    /// Strata with at least two doses and both outcomes.
    pub informative_strata: usize,
    /// The smaller of all successes and all failures of the informative strata. Where it is small, use
    /// [`crate::exact_trend_test`].
    pub rarer_outcomes: u64,
}

/// Mantel's extension test for a trend, stratified (N. Mantel, 1963); with one stratum and
/// [`TrendVariance::Binomial`] the Cochran–Armitage test.
///
/// Each stratum is a list of doses; a dose may occur more than once. Strata without information change nothing. The
/// inner error is [`Undefined::NoInformation`] if no stratum has two doses and both outcomes.
///
/// # Errors
/// [`StatsError::NonFinite`] for a score, [`StatsError::CountTooLarge`] above 2^53 trials.
pub fn trend_test(
    strata: &[&[DoseGroup]],
    variance: TrendVariance,
    confidence: Confidence,
) -> Result<Result<TrendTest, Undefined>, StatsError> {
    check_strata(strata)?;
    let mut sums = Sums::default();
    for groups in strata {
        sums.add(groups, variance);
    }
    if sums.variance <= 0.0 {
        return Ok(Err(Undefined::NoInformation));
    }
    let z = sums.statistic / sums.variance.sqrt();
    let slope = sums.slope_numerator / sums.squares;
    let slope_error = sums.slope_variance.sqrt() / sums.squares;
    let half_width = confidence.normal_critical() * slope_error;
    Ok(Ok(TrendTest {
        statistic: sums.statistic,
        variance: sums.variance,
        z,
        p: normal::two_sided(z),
        ln_p: normal::ln_two_sided(z),
        slope,
        slope_interval: Interval {
            lower: slope - half_width,
            upper: slope + half_width,
            confidence,
        },
        slope_error,
        squares: sums.squares,
        informative_strata: sums.informative,
        rarer_outcomes: sums.successes.min(sums.failures),
    }))
}

/// Refuses scores that are no numbers and more trials than can be counted.
pub(crate) fn check_strata(strata: &[&[DoseGroup]]) -> Result<(), StatsError> {
    for groups in strata {
        if let Some(index) = groups.iter().position(|group| !group.score.is_finite()) {
            return Err(StatsError::NonFinite {
                quantity: "score",
                index,
                value: groups[index].score,
            });
        }
    }
    let trials: Vec<u64> = strata
        .iter()
        .flat_map(|groups| groups.iter().map(|group| group.outcome.trials()))
        .collect();
    checked_total(&trials, "trials of all doses")?;
    Ok(())
}

#[derive(Default)]
struct Sums {
    statistic: f64,
    variance: f64,
    slope_numerator: f64,
    slope_variance: f64,
    /// Σ trials·(score − mean)².
    squares: f64,
    successes: u64,
    failures: u64,
    informative: usize,
}

impl Sums {
    fn add(&mut self, groups: &[DoseGroup], kind: TrendVariance) {
        let trials = groups.iter().map(|group| group.outcome.trials()).sum::<u64>() as f64;
        let successes: u64 = groups.iter().map(|group| group.outcome.successes()).sum();
        let failures: u64 = groups.iter().map(|group| group.outcome.failures()).sum();
        if trials < 2.0 {
            return;
        }
        let weighted = |f: &dyn Fn(&DoseGroup) -> f64| groups.iter().map(f).sum::<f64>();
        let mean = weighted(&|g| g.outcome.trials() as f64 * (g.score / trials));
        let squares = weighted(&|g| g.outcome.trials() as f64 * (g.score - mean).powi(2));
        let largest = groups.iter().fold(0.0_f64, |most, g| most.max(g.score.abs()));
        // Equal doses may leave rounding in their mean.
        if squares <= trials * (4.0 * f64::EPSILON * largest).powi(2) {
            return;
        }
        let numerator = weighted(&|g| g.outcome.successes() as f64 * (g.score - mean));
        self.squares += squares;
        self.slope_numerator += numerator;
        self.slope_variance += weighted(&|g| {
            let n = g.outcome.trials() as f64;
            let p = (g.outcome.successes() as f64 + 0.5) / (n + 1.0);
            n * (g.score - mean).powi(2) * p * (1.0 - p)
        });
        if successes == 0 || failures == 0 {
            return;
        }
        let (p, q) = (successes as f64 / trials, failures as f64 / trials);
        let per_trial = match kind {
            TrendVariance::Hypergeometric => p * q * (trials / (trials - 1.0)),
            TrendVariance::Binomial => p * q,
        };
        self.statistic += numerator;
        self.variance += per_trial * squares;
        self.successes += successes;
        self.failures += failures;
        self.informative += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(score: f64, successes: u64, trials: u64) -> DoseGroup {
        DoseGroup {
            score,
            outcome: Proportion::new(successes, trials).unwrap(),
        }
    }

    fn test(strata: &[&[DoseGroup]], variance: TrendVariance) -> TrendTest {
        trend_test(strata, variance, Confidence::P95).unwrap().unwrap()
    }

    #[test]
    fn two_doses_are_pearsons_test_of_two_proportions() {
        let groups = [group(0.0, 10, 30), group(1.0, 30, 70)];
        let trend = test(&[&groups], TrendVariance::Binomial);
        let table = crate::TwoByTwo::from_cells([[30, 40], [10, 20]]).unwrap();
        let pearson = crate::chi_square_test(&table, crate::Yates::No).unwrap();
        assert!((trend.z * trend.z / pearson.test.statistic - 1.0).abs() < 1e-13);
        assert!((trend.slope - (30.0 / 70.0 - 10.0 / 30.0)).abs() < 1e-14);
        let mantel = test(&[&groups], TrendVariance::Hypergeometric);
        assert!((trend.variance / mantel.variance - 99.0 / 100.0).abs() < 1e-14);
    }

    #[test]
    fn the_unit_and_the_origin_of_the_dose_do_not_matter() {
        let groups = [group(0.3, 4, 30), group(0.5, 9, 30), group(2.0, 12, 28)];
        let shifted: Vec<DoseGroup> = groups
            .iter()
            .map(|g| DoseGroup {
                score: 1000.0 * g.score - 7.0,
                ..*g
            })
            .collect();
        let a = test(&[&groups], TrendVariance::Hypergeometric);
        let b = test(&[&shifted], TrendVariance::Hypergeometric);
        assert!((a.z / b.z - 1.0).abs() < 1e-11);
        assert!((a.slope / (1000.0 * b.slope) - 1.0).abs() < 1e-11);
    }

    #[test]
    fn strata_without_information_change_nothing_but_the_slope() {
        let informative = [group(0.0, 3, 10), group(1.0, 6, 10)];
        let one_dose = [group(0.7, 3, 10), group(0.7, 8, 10)];
        let all_failed = [group(0.0, 0, 10), group(1.0, 0, 10)];
        let alone = test(&[&informative], TrendVariance::Hypergeometric);
        let with = test(
            &[&informative, &one_dose, &[], &[group(3.0, 1, 1)]],
            TrendVariance::Hypergeometric,
        );
        assert_eq!(alone, with);
        let flat = test(&[&informative, &all_failed], TrendVariance::Hypergeometric);
        assert_eq!(flat.z, alone.z);
        assert!((flat.slope - 0.5 * alone.slope).abs() < 1e-14, "no slope there");
        assert_eq!(
            trend_test(&[&all_failed], TrendVariance::Binomial, Confidence::P95).unwrap(),
            Err(Undefined::NoInformation)
        );
        assert_eq!(
            trend_test(&[], TrendVariance::Binomial, Confidence::P95).unwrap(),
            Err(Undefined::NoInformation)
        );
    }

    #[test]
    fn scores_must_be_numbers() {
        let groups = [group(0.0, 3, 10), group(f64::NAN, 6, 10)];
        let error = trend_test(&[&groups], TrendVariance::Binomial, Confidence::P95).unwrap_err();
        assert!(matches!(error, StatsError::NonFinite { index: 1, .. }));
    }
}
