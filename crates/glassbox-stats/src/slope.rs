//! The slope of an amount over a dose, with an intercept per prompt and errors that may differ or cluster.

use std::collections::BTreeMap;

use crate::error::{StatsError, Undefined, require_finite, require_same_length};
use crate::interval::{Confidence, Interval};
use crate::student_t;
use crate::t_test::TStatistic;

/// Where the standard error of a slope comes from. The names are those of statsmodels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SlopeErrors<'a> {
    /// Heteroskedasticity-consistent with squared residuals over (1 − leverage)² (J. G. MacKinnon and H. White, 1985,
    /// HC3), n − (strata + 1) degrees of freedom: right also where the spread grows with the dose, and the safest of its
    /// family in small samples.
    Hc3,
    /// Sums of scores within clusters, times G/(G − 1)·(n − 1)/(n − strata − 1), with G − 1 degrees of freedom
    /// (K.-Y. Liang and S. L. Zeger, 1986; statsmodels's `cov_type="cluster"`). One label per value.
    Clustered(&'a [u64]),
}

/// The slope of an amount over a dose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlopeTest {
    /// Change of the amount per unit of dose.
    pub slope: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The test of a zero slope.
    pub test: TStatistic,
    /// Student interval of the slope.
    pub interval: Interval,
    /// Values used: those of strata with at least two doses.
    pub values: usize,
}

/// Least-squares slope of `amounts` over `doses` with one intercept per stratum, as a regression on stratum dummies and
/// dose gives it, and a robust t test.
///
/// Strata with a single dose determine their own intercept and nothing else; they are left out. The inner error is
/// [`Undefined::NoInformation`] if no stratum has two doses, [`Undefined::TooFewObservations`] without degrees of freedom,
/// and [`Undefined::ZeroVariance`] if every value lies on the lines, or one value alone determines the slope.
///
/// # Errors
/// [`StatsError::LengthMismatch`] or [`StatsError::NonFinite`].
pub fn slope_test(
    doses: &[f64],
    amounts: &[f64],
    strata: &[u64],
    errors: SlopeErrors,
    confidence: Confidence,
) -> Result<Result<SlopeTest, Undefined>, StatsError> {
    require_same_length(doses, "doses", amounts, "amounts")?;
    require_same_length(doses, "doses", strata, "strata")?;
    require_finite(doses, "doses")?;
    require_finite(amounts, "amounts")?;
    if let SlopeErrors::Clustered(clusters) = errors {
        require_same_length(doses, "doses", clusters, "clusters")?;
    }
    Ok(fit(doses, amounts, strata, errors, confidence))
}

/// One value after its stratum's means are taken away.
struct Centred {
    dose: f64,
    amount: f64,
    /// Values in its stratum.
    size: f64,
    index: usize,
}

fn centre(doses: &[f64], amounts: &[f64], strata: &[u64]) -> (Vec<Centred>, usize) {
    let mut members: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, &stratum) in strata.iter().enumerate() {
        members.entry(stratum).or_default().push(index);
    }
    let mut centred = Vec::with_capacity(doses.len());
    let mut used = 0;
    for indices in members.values() {
        if indices.iter().all(|&i| doses[i] == doses[indices[0]]) {
            continue;
        }
        used += 1;
        let size = indices.len() as f64;
        let mean = |values: &[f64]| indices.iter().map(|&i| values[i] / size).sum::<f64>();
        let (dose, amount) = (mean(doses), mean(amounts));
        centred.extend(indices.iter().map(|&index| Centred {
            dose: doses[index] - dose,
            amount: amounts[index] - amount,
            size,
            index,
        }));
    }
    (centred, used)
}

fn fit(
    doses: &[f64],
    amounts: &[f64],
    strata: &[u64],
    errors: SlopeErrors,
    confidence: Confidence,
) -> Result<SlopeTest, Undefined> {
    let (centred, used) = centre(doses, amounts, strata);
    if centred.is_empty() {
        return Err(Undefined::NoInformation);
    }
    let parameters = used + 1;
    if centred.len() <= parameters {
        return Err(Undefined::TooFewObservations);
    }
    let squares: f64 = centred.iter().map(|v| v.dose * v.dose).sum();
    let slope = centred.iter().map(|v| v.dose * v.amount).sum::<f64>() / squares;
    let residual = |v: &Centred| v.amount - slope * v.dose;
    let total: f64 = centred.iter().map(|v| v.amount * v.amount).sum();
    let left: f64 = centred.iter().map(|v| residual(v).powi(2)).sum();
    let largest = amounts.iter().fold(0.0_f64, |most, y| most.max(y.abs()));
    // What rounding of the amounts and of the fit leaves.
    let rounding = (centred.len() as f64) * (8.0 * f64::EPSILON * largest).powi(2);
    if left <= rounding || left <= total * 1e-26 {
        return Err(Undefined::ZeroVariance);
    }
    let n = centred.len() as f64;
    let (meat, df) = match errors {
        SlopeErrors::Hc3 => {
            let mut meat = 0.0;
            for value in &centred {
                let room = 1.0 - 1.0 / value.size - value.dose * value.dose / squares;
                // A value that alone holds the line up has no residual of its own.
                if room <= 1e-12 {
                    return Err(Undefined::ZeroVariance);
                }
                meat += (value.dose * residual(value) / room).powi(2);
            }
            (meat, n - parameters as f64)
        }
        SlopeErrors::Clustered(clusters) => {
            let mut scores: BTreeMap<u64, f64> = BTreeMap::new();
            for value in &centred {
                *scores.entry(clusters[value.index]).or_default() += value.dose * residual(value);
            }
            let groups = scores.len() as f64;
            if groups < 2.0 {
                return Err(Undefined::TooFewObservations);
            }
            let correction = groups / (groups - 1.0) * ((n - 1.0) / (n - parameters as f64));
            (
                correction * scores.values().map(|score| score * score).sum::<f64>(),
                groups - 1.0,
            )
        }
    };
    let standard_error = meat.sqrt() / squares;
    if standard_error == 0.0 || !(slope / standard_error).is_finite() {
        return Err(Undefined::ZeroVariance);
    }
    let half_width = student_t::two_sided_quantile(confidence.alpha(), df) * standard_error;
    Ok(SlopeTest {
        slope,
        standard_error,
        test: TStatistic::new(slope / standard_error, df),
        interval: Interval {
            lower: slope - half_width,
            upper: slope + half_width,
            confidence,
        },
        values: centred.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hc3(doses: &[f64], amounts: &[f64], strata: &[u64]) -> Result<SlopeTest, Undefined> {
        slope_test(doses, amounts, strata, SlopeErrors::Hc3, Confidence::P95).unwrap()
    }

    #[test]
    fn strata_may_differ_in_level_without_a_slope() {
        // Doses rise with the level of the strata; within each stratum nothing happens.
        let doses = [0.0, 1.0, 0.0, 1.0, 5.0, 6.0, 5.0, 6.0];
        let amounts = [1.0, 1.2, 1.2, 1.0, 50.0, 50.3, 50.3, 50.0];
        let strata = [0, 0, 0, 0, 1, 1, 1, 1];
        let within = hc3(&doses, &amounts, &strata).unwrap();
        assert!(within.slope.abs() < 1e-12 && within.test.p > 0.99);
        let pooled = hc3(&doses, &amounts, &[0; 8]).unwrap();
        assert!(pooled.slope > 9.0);
    }

    #[test]
    fn what_cannot_be_fitted_is_said() {
        assert_eq!(
            hc3(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0], &[0; 3]),
            Err(Undefined::NoInformation)
        );
        assert_eq!(
            hc3(&[0.0, 1.0], &[1.0, 2.0], &[0; 2]),
            Err(Undefined::TooFewObservations)
        );
        assert_eq!(
            hc3(&[0.0, 1.0, 2.0, 3.0], &[0.1, 0.3, 0.5, 0.7], &[0; 4]),
            Err(Undefined::ZeroVariance)
        );
        // The only value at the higher dose determines the slope.
        assert_eq!(
            hc3(&[0.0, 0.0, 0.0, 1.0], &[1.0, 2.0, 4.0, 9.0], &[0; 4]),
            Err(Undefined::ZeroVariance)
        );
        let one_cluster = slope_test(
            &[0.0, 1.0, 2.0, 2.5],
            &[1.0, 2.0, 2.5, 2.0],
            &[0; 4],
            SlopeErrors::Clustered(&[7; 4]),
            Confidence::P95,
        );
        assert_eq!(one_cluster.unwrap(), Err(Undefined::TooFewObservations));
        assert!(slope_test(&[0.0], &[f64::NAN], &[0], SlopeErrors::Hc3, Confidence::P95).is_err());
        assert!(slope_test(&[0.0], &[1.0], &[], SlopeErrors::Hc3, Confidence::P95).is_err());
    }
}
