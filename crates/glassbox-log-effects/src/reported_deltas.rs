//! What can be said of effects that a file states without counts.
//!
//! The study's summary gives, for each feature, what the safe and the risky value changed against the baseline:
//! `safe_stop_delta`, `risky_stop_delta`, and so on. Without counts nothing can be tested, but if the value mattered the two would
//! differ, and where they do not, the features' effects are one and the same shift.

use std::collections::BTreeMap;

use glassbox_logs::{FeatureId, ReportedNumber};
use serde::Serialize;

/// The stated effects of both values on one outcome, over features that have both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportedDeltas {
    /// The outcome, as the file names it: `stop_delta`.
    pub measure: String,
    /// Features with both numbers.
    pub features: usize,
    /// Features with one of them alone, or null.
    pub incomplete: usize,
    /// Mean stated effect of value A.
    pub mean_a: f64,
    /// Mean stated effect of value B.
    pub mean_b: f64,
    /// Correlation of the two over features; `None` if one of them does not vary.
    pub correlation: Option<f64>,
    /// Share of features whose two effects have the same sign, among those where both are not zero.
    pub same_sign: Option<f64>,
    /// Standard deviation over features of half the sum: what both values share.
    pub shared_deviation: f64,
    /// Standard deviation over features of half the difference: what the value adds.
    pub specific_deviation: f64,
}

/// The stated effects of every outcome for which a file gives both values.
pub(crate) fn reported_deltas(reported: &[ReportedNumber]) -> Vec<ReportedDeltas> {
    let mut pairs: BTreeMap<String, BTreeMap<FeatureId, [Option<f64>; 2]>> = BTreeMap::new();
    for number in reported
        .iter()
        .filter(|number| number.measure.ends_with("_delta"))
    {
        let (side, measure) = match number.measure.split_once('_') {
            Some(("safe", measure)) => (0, measure),
            Some(("risky", measure)) => (1, measure),
            _ => continue,
        };
        let pair = pairs
            .entry(measure.to_owned())
            .or_default()
            .entry(number.feature)
            .or_default();
        pair[side] = number.value.filter(|value| value.is_finite());
    }
    pairs
        .into_iter()
        .filter_map(|(measure, features)| deltas(measure, &features))
        .collect()
}

fn deltas(measure: String, features: &BTreeMap<FeatureId, [Option<f64>; 2]>) -> Option<ReportedDeltas> {
    let both: Vec<(f64, f64)> = features
        .values()
        .filter_map(|[a, b]| Some(((*a)?, (*b)?)))
        .collect();
    if both.len() < 2 {
        return None;
    }
    let n = both.len() as f64;
    let mean = |pick: &dyn Fn(&(f64, f64)) -> f64| both.iter().map(pick).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
    let variance = |pick: &dyn Fn(&(f64, f64)) -> f64| {
        let centre = mean(pick);
        both.iter().map(|pair| (pick(pair) - centre).powi(2)).sum::<f64>() / (n - 1.0)
    };
    let (var_a, var_b) = (variance(&|pair| pair.0), variance(&|pair| pair.1));
    let covariance = both.iter().map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>() / (n - 1.0);
    let signed: Vec<bool> = both
        .iter()
        .filter(|(a, b)| *a != 0.0 && *b != 0.0)
        .map(|(a, b)| (*a > 0.0) == (*b > 0.0))
        .collect();
    let same = signed.iter().filter(|same| **same).count();
    Some(ReportedDeltas {
        measure,
        features: both.len(),
        incomplete: features.len() - both.len(),
        mean_a,
        mean_b,
        correlation: (var_a > 0.0 && var_b > 0.0).then(|| covariance / (var_a.sqrt() * var_b.sqrt())),
        same_sign: (!signed.is_empty()).then(|| same as f64 / signed.len() as f64),
        shared_deviation: variance(&|(a, b)| f64::midpoint(*a, *b)).sqrt(),
        specific_deviation: variance(&|(a, b)| 0.5 * (b - a)).sqrt(),
    })
}
