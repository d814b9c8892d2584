//! Two arms compared within prompts: estimates, intervals and tests.

use glassbox_stats::{
    Confidence, Moments, Proportion, TwoByTwo, Undefined, Yates, cochran_mantel_haenszel,
    exact_stratified_test, pooled_standard_deviation, stratified_mean_difference, stratified_risk_difference,
};

use crate::EffectsError;
use crate::tally::Known;

/// Below this distance of the counts from the ends of their possible range (Mantel and Fleiss) the test is exact.
const MANTEL_FLEISS: f64 = 5.0;

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower limit.
    pub low: f64,
    /// Upper limit; infinite where the method has no finite one.
    pub high: f64,
}

/// Which test gave a p value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestName {
    /// Exact conditional test within prompts; Fisher's for one prompt.
    Exact,
    /// Cochran–Mantel–Haenszel χ², without continuity correction.
    MantelHaenszel,
    /// Student's t with Satterthwaite's degrees of freedom; Welch's for one prompt.
    T,
    /// Mantel's extension test for a trend over doses.
    Trend,
    /// Exact or permuted trend over doses, given the margins.
    ExactTrend,
    /// t of a least-squares slope with HC3 errors.
    SlopeT,
}

impl TestName {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::MantelHaenszel => "cochran_mantel_haenszel",
            Self::T => "t",
            Self::Trend => "trend",
            Self::ExactTrend => "exact_trend",
            Self::SlopeT => "slope_t_hc3",
        }
    }
}

/// A difference with its test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// Standard normal under the hypothesis, at least in mean and variance; signed as the effect.
    pub z: f64,
    /// Two-sided p value.
    pub p: f64,
    /// The test.
    pub test: TestName,
}

/// Second minus first arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// Second minus first: difference of rates, or of means.
    pub effect: Estimate,
    /// Standard error of the difference; 0 where every rate is 0 or 1.
    pub standard_error: f64,
    /// The test; [`Undefined`] where the data carry no information, such as equal outcomes throughout.
    pub tested: Result<Tested, Undefined>,
    /// Common odds ratio, second over first, conditional maximum likelihood with exact limits at low counts, else Mantel and
    /// Haenszel's; missing for amounts.
    pub odds_ratio: Option<Estimate>,
    /// Cohen's d: the difference over the pooled standard deviation within arms and prompts, s² = Σ(n − 1)s²ᵢ / Σ(n − 1), each
    /// s²ᵢ with divisor n − 1 (ddof 1), outcomes as 0 and 1 for rates. Its interval is that of the difference over s.
    pub cohen_d: Option<Estimate>,
    /// Prompts that have trials in both arms.
    pub prompts: usize,
}

fn proportion(known: &Known) -> Result<Proportion, EffectsError> {
    Proportion::new(known.events, known.known).map_err(EffectsError::stats("a rate"))
}

/// Compares rates; one pair (first, second) per prompt. `None` if no prompt has trials in both arms.
pub(crate) fn rate_contrast(pairs: &[(Known, Known)]) -> Result<Option<Contrast>, EffectsError> {
    let mut strata = Vec::with_capacity(pairs.len());
    for (first, second) in pairs.iter().filter(|(a, b)| a.known > 0 && b.known > 0) {
        // The table's first group is the second arm: effects are second minus first.
        let table = TwoByTwo::new(proportion(second)?, proportion(first)?)
            .map_err(EffectsError::stats("a table of two arms"))?;
        strata.push(table);
    }
    let confidence = Confidence::P95;
    let Ok(difference) = stratified_risk_difference(&strata, confidence) else {
        return Ok(None);
    };
    let pooled = cochran_mantel_haenszel(&strata, Yates::No, confidence)
        .map_err(EffectsError::stats("Cochran–Mantel–Haenszel test"))?;
    let is_low = pooled.mantel_fleiss < MANTEL_FLEISS;
    let exact = if is_low {
        exact_stratified_test(&strata, confidence).ok()
    } else {
        None
    };
    let tested = pooled.z.map(|z| match (&exact, &pooled.test) {
        (Some(exact), _) => Tested {
            z,
            p: exact.test.p,
            test: TestName::Exact,
        },
        (None, Ok(test)) => Tested {
            z,
            p: test.p,
            test: TestName::MantelHaenszel,
        },
        (None, Err(_)) => Tested {
            z,
            p: 1.0,
            test: TestName::MantelHaenszel,
        },
    });
    let odds = match &exact {
        Some(exact) => exact.common_odds_ratio,
        None => pooled.common_odds_ratio,
    };
    let interval = difference.interval;
    let effect = Estimate {
        value: difference.estimate,
        low: interval.lower,
        high: interval.upper,
    };
    Ok(Some(Contrast {
        effect,
        standard_error: difference.standard_error,
        tested,
        odds_ratio: odds.ok().map(|odds| Estimate {
            value: odds.estimate,
            low: odds.interval.lower,
            high: odds.interval.upper,
        }),
        cohen_d: over_deviation(effect, rate_deviation(&strata)),
        prompts: strata.len(),
    }))
}

/// Pooled standard deviation of outcomes 0 and 1 within all groups.
fn rate_deviation(strata: &[TwoByTwo]) -> Option<f64> {
    let (mut squares, mut df) = (0.0, 0.0);
    for group in strata.iter().flat_map(|table| [table.first, table.second]) {
        let (n, k) = (group.trials() as f64, group.successes() as f64);
        squares += k * ((n - k) / n);
        df += n - 1.0;
    }
    (df > 0.0 && squares > 0.0).then(|| (squares / df).sqrt())
}

fn over_deviation(effect: Estimate, deviation: Option<f64>) -> Option<Estimate> {
    let deviation = deviation?;
    Some(Estimate {
        value: effect.value / deviation,
        low: effect.low / deviation,
        high: effect.high / deviation,
    })
}

/// Compares mean amounts; one pair (first, second) per prompt. `None` if no prompt has two amounts in both arms, or all are equal.
pub(crate) fn amount_contrast(pairs: &[(Moments, Moments)]) -> Option<Contrast> {
    // A group of one amount has no variance; such prompts are left out.
    let strata: Vec<(Moments, Moments)> = pairs
        .iter()
        .filter(|(a, b)| a.count() > 1 && b.count() > 1)
        .map(|(a, b)| (*b, *a))
        .collect();
    let difference = stratified_mean_difference(&strata, Confidence::P95).ok()?;
    let effect = Estimate {
        value: difference.difference,
        low: difference.interval.lower,
        high: difference.interval.upper,
    };
    let z = normal_score(difference.test.p, difference.test.t);
    Some(Contrast {
        effect,
        standard_error: difference.standard_error,
        tested: Ok(Tested {
            z,
            p: difference.test.p,
            test: TestName::T,
        }),
        odds_ratio: None,
        cohen_d: over_deviation(effect, amount_deviation(&strata)),
        prompts: strata.len(),
    })
}

fn amount_deviation(strata: &[(Moments, Moments)]) -> Option<f64> {
    let (mut squares, mut df) = (0.0, 0.0);
    for (a, b) in strata {
        let own = (a.count() + b.count() - 2) as f64;
        squares += pooled_standard_deviation(a, b).ok()?.powi(2) * own;
        df += own;
    }
    (df > 0.0 && squares > 0.0).then(|| (squares / df).sqrt())
}

/// The standard normal value with the same two-sided p, signed as the statistic; the statistic itself where p is so small that it
/// leaves the range of levels.
pub(crate) fn normal_score(p: f64, statistic: f64) -> f64 {
    match Confidence::new(1.0 - p) {
        Ok(level) => level.normal_critical().copysign(statistic),
        Err(_) if p >= 1.0 => 0.0,
        Err(_) => statistic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(events: u64, known: u64) -> Known {
        Known {
            events,
            known,
            unknown: 0,
        }
    }

    #[test]
    fn effects_are_second_minus_first() {
        let contrast = rate_contrast(&[(known(10, 100), known(40, 100)), (known(50, 100), known(80, 100))])
            .unwrap()
            .unwrap();
        assert!((contrast.effect.value - 0.3).abs() < 1e-12);
        assert!(contrast.effect.low > 0.15 && contrast.effect.high < 0.45);
        let tested = contrast.tested.unwrap();
        assert!(tested.z > 5.0 && tested.p < 1e-6 && tested.test == TestName::MantelHaenszel);
        assert!(contrast.odds_ratio.unwrap().low > 1.0);
        // s² = (9 + 24 + 25 + 16)/396.
        let d = 0.3 / (74.0_f64 / 396.0).sqrt();
        assert!((contrast.cohen_d.unwrap().value - d).abs() < 1e-12);
        let amounts = |values: &[f64]| Moments::from_slice(values).unwrap();
        let pair = (amounts(&[5.0, 10.0, 15.0]), amounts(&[20.0, 30.0, 20.0, 40.0]));
        let contrast = amount_contrast(&[pair]).unwrap();
        assert!((contrast.effect.value - 17.5).abs() < 1e-12);
    }

    #[test]
    fn low_counts_are_tested_exactly_and_no_information_is_said() {
        let low = rate_contrast(&[(known(0, 30), known(3, 30))]).unwrap().unwrap();
        assert_eq!(low.tested.unwrap().test, TestName::Exact);
        let none = rate_contrast(&[(known(0, 30), known(0, 30))]).unwrap().unwrap();
        assert!(none.tested.is_err() && none.cohen_d.is_none());
        assert!(none.effect.low < -0.05 && none.effect.high > 0.05);
        assert!(rate_contrast(&[(known(0, 0), known(3, 30))]).unwrap().is_none());
        let single = (
            Moments::from_slice(&[1.0]).unwrap(),
            Moments::from_slice(&[1.0, 2.0]).unwrap(),
        );
        assert!(amount_contrast(&[single]).is_none());
    }

    #[test]
    fn normal_scores_have_the_same_p() {
        assert!((normal_score(0.05, -2.3) + 1.959963984540054).abs() < 1e-12);
        assert_eq!(normal_score(1.0, 0.1), 0.0);
        assert_eq!(normal_score(1e-300, 40.0), 40.0);
    }
}
