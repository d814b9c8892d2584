//! Bootstrap intervals, of independent observations and of clusters.

use crate::error::{StatsError, Undefined};
use crate::interval::{Confidence, Interval};
use crate::moments::Moments;
use crate::random::{Purpose, ReplicateRng, ResampleKey};
use crate::rank::quantile_of_sorted;
use std::collections::BTreeMap;

/// A statistic with its bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapInterval {
    /// The statistic of the data themselves.
    pub estimate: f64,
    /// Standard deviation of the replicates.
    pub standard_error: f64,
    /// Percentile interval: type-7 quantiles of the replicates.
    pub interval: Interval,
    /// Replicates requested.
    pub replicates: u64,
    /// Replicates in which the statistic was undefined. They are left out, so many of them make the interval too
    /// narrow or shifted; a report should show the number.
    pub undefined_replicates: u64,
}

/// Percentile bootstrap (B. Efron, 1979) over `observations` exchangeable units.
///
/// `statistic` receives indices below `observations`, possibly repeated, and returns `None` where it is undefined,
/// for example a correlation of constant values. The inner error is [`Undefined::TooFewObservations`] for fewer
/// than two units and [`Undefined::NoInformation`] if the statistic is undefined for the data or for all but one
/// replicate.
///
/// The percentile interval is first-order correct; with few units (below about 20) it is too narrow.
///
/// # Errors
/// [`StatsError::NonFinite`] if the statistic returns NaN or an infinity, [`StatsError::InvalidParameter`] for
/// fewer than 2 replicates.
pub fn bootstrap_interval(
    observations: usize,
    replicates: u64,
    key: &ResampleKey,
    confidence: Confidence,
    statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Result<Result<BootstrapInterval, Undefined>, StatsError> {
    let units: Vec<Vec<usize>> = (0..observations).map(|index| vec![index]).collect();
    resample_units(&units, Purpose::Bootstrap, replicates, key, confidence, statistic)
}

/// Percentile bootstrap that resamples whole clusters, for instance all trials of one prompt.
///
/// `clusters[i]` is the label of observation i, in any order; observations of one cluster stay together, so the
/// interval allows for their dependence. What counts is the number of clusters: with few of them (below about 20)
/// the interval is too narrow. Otherwise as [`bootstrap_interval`], with clusters as the units.
///
/// # Errors
/// As [`bootstrap_interval`].
pub fn cluster_bootstrap_interval(
    clusters: &[u64],
    replicates: u64,
    key: &ResampleKey,
    confidence: Confidence,
    statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Result<Result<BootstrapInterval, Undefined>, StatsError> {
    let mut members: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, &cluster) in clusters.iter().enumerate() {
        members.entry(cluster).or_default().push(index);
    }
    let units: Vec<Vec<usize>> = members.into_values().collect();
    resample_units(
        &units,
        Purpose::ClusterBootstrap,
        replicates,
        key,
        confidence,
        statistic,
    )
}

fn resample_units(
    units: &[Vec<usize>],
    purpose: Purpose,
    replicates: u64,
    key: &ResampleKey,
    confidence: Confidence,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Result<Result<BootstrapInterval, Undefined>, StatsError> {
    if replicates < 2 {
        return Err(StatsError::InvalidParameter {
            name: "replicates",
            value: replicates as f64,
            expected: "at least 2; 2000 is usual",
        });
    }
    if units.len() < 2 {
        return Ok(Err(Undefined::TooFewObservations));
    }
    let mut indices: Vec<usize> = units.concat();
    indices.sort_unstable();
    let Some(estimate) = statistic(&indices) else {
        return Ok(Err(Undefined::NoInformation));
    };
    if !estimate.is_finite() {
        return Err(StatsError::NonFinite {
            quantity: "statistic of the data",
            index: 0,
            value: estimate,
        });
    }
    let mut values = Vec::new();
    let mut moments = Moments::new();
    for replicate in 0..replicates {
        let mut rng = ReplicateRng::new(key, purpose, replicate);
        indices.clear();
        for _ in 0..units.len() {
            indices.extend_from_slice(&units[rng.below(units.len())]);
        }
        let Some(value) = statistic(&indices) else {
            continue;
        };
        if !value.is_finite() {
            let index = replicate as usize;
            return Err(StatsError::NonFinite {
                quantity: "statistic of replicate",
                index,
                value,
            });
        }
        values.push(value);
        moments.push(value)?;
    }
    let undefined_replicates = replicates - values.len() as u64;
    values.sort_unstable_by(f64::total_cmp);
    let half_alpha = 0.5 * confidence.alpha();
    let limits = (
        quantile_of_sorted(&values, half_alpha),
        quantile_of_sorted(&values, 1.0 - half_alpha),
        moments.standard_deviation(),
    );
    let (Some(lower), Some(upper), Ok(standard_error)) = limits else {
        return Ok(Err(Undefined::NoInformation));
    };
    Ok(Ok(BootstrapInterval {
        estimate,
        standard_error,
        interval: Interval {
            lower,
            upper,
            confidence,
        },
        replicates,
        undefined_replicates,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ResampleKey = [5, 6, 7, 8];

    fn mean_of(values: &[f64]) -> impl FnMut(&[usize]) -> Option<f64> + '_ {
        |indices| Some(indices.iter().map(|&i| values[i]).sum::<f64>() / indices.len() as f64)
    }

    #[test]
    fn standard_error_of_a_mean_is_near_its_formula() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101)).collect();
        let result = bootstrap_interval(200, 4000, &KEY, Confidence::P95, mean_of(&values))
            .unwrap()
            .unwrap();
        let sd = Moments::from_slice(&values)
            .unwrap()
            .standard_deviation()
            .unwrap();
        assert!((result.standard_error / (sd / 200.0_f64.sqrt()) - 1.0).abs() < 0.05);
        assert!(result.interval.contains(result.estimate));
        let again = bootstrap_interval(200, 4000, &KEY, Confidence::P95, mean_of(&values))
            .unwrap()
            .unwrap();
        assert_eq!(result, again);
    }

    #[test]
    fn clusters_of_copies_widen_the_interval() {
        // Ten copies of each of 20 values: the clustered interval knows that only 20 are independent.
        let values: Vec<f64> = (0..200).map(|i| f64::from(i / 10 * 7 % 20)).collect();
        let clusters: Vec<u64> = (0..200).map(|i| 1000 - i / 10).collect();
        let naive = bootstrap_interval(200, 2000, &KEY, Confidence::P95, mean_of(&values))
            .unwrap()
            .unwrap();
        let clustered = cluster_bootstrap_interval(&clusters, 2000, &KEY, Confidence::P95, mean_of(&values));
        let clustered = clustered.unwrap().unwrap();
        assert_eq!(naive.estimate, clustered.estimate);
        let ratio = clustered.standard_error / naive.standard_error;
        assert!((ratio - 10.0_f64.sqrt()).abs() < 0.3, "{ratio}");
    }

    #[test]
    fn undefined_statistics_are_counted() {
        let mut call = 0;
        let result = bootstrap_interval(5, 10, &KEY, Confidence::P95, |_| {
            call += 1;
            (call % 2 == 1).then_some(f64::from(call))
        });
        assert_eq!(result.unwrap().unwrap().undefined_replicates, 5);
        let never = bootstrap_interval(5, 10, &KEY, Confidence::P95, |_| None).unwrap();
        assert_eq!(never, Err(Undefined::NoInformation));
    }

    #[test]
    fn degenerate_and_bad_input() {
        let one = cluster_bootstrap_interval(&[3, 3, 3], 10, &KEY, Confidence::P95, |_| Some(1.0)).unwrap();
        assert_eq!(one, Err(Undefined::TooFewObservations));
        let none = bootstrap_interval(0, 10, &KEY, Confidence::P95, |_| Some(1.0)).unwrap();
        assert_eq!(none, Err(Undefined::TooFewObservations));
        assert!(bootstrap_interval(5, 1, &KEY, Confidence::P95, |_| Some(1.0)).is_err());
        assert!(bootstrap_interval(5, 10, &KEY, Confidence::P95, |_| Some(f64::NAN)).is_err());
        let constant = bootstrap_interval(5, 10, &KEY, Confidence::P95, |_| Some(2.0))
            .unwrap()
            .unwrap();
        assert_eq!(constant.interval.width(), 0.0);
    }
}
