//! Do the features' effects differ by more than chance?

use glassbox_stats::{Confidence, heterogeneity, spread_of_z};
use serde::Serialize;

use crate::EffectsError;

/// The effects of many features together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Features whose effect could be tested.
    pub features: usize,
    /// Mean of the z values: a shift that all features share.
    pub mean_z: f64,
    /// Variance of the z values about their mean: 1 if the features differ by chance alone.
    pub variance_z: f64,
    /// Lower limit of its 95 % interval.
    pub variance_low: f64,
    /// Upper limit.
    pub variance_high: f64,
    /// p value of a variance this large by chance.
    pub p_more: f64,
    /// p value of a variance this small by chance: values that repeat one another spread less.
    pub p_less: f64,
    /// Mean effect, each feature weighted by its precision.
    pub mean_effect: f64,
    /// Lower limit of its 95 % interval, the spread of true effects allowed for.
    pub mean_low: f64,
    /// Upper limit.
    pub mean_high: f64,
    /// Typical standard error of one feature's effect (median).
    pub standard_error: f64,
    /// Standard deviation of the true effects that the variance of z suggests: standard error × √(variance − 1); 0 if the
    /// variance is below 1.
    pub true_deviation: f64,
    /// The largest that the interval of the variance allows.
    pub true_deviation_high: f64,
    /// Cochran's Q of the effects.
    pub q_statistic: f64,
    /// Its degrees of freedom.
    pub q_df: f64,
    /// Its p value.
    pub q_p: f64,
    /// I²: share of the spread that is not chance.
    pub i_squared: f64,
    /// τ² of DerSimonian and Laird.
    pub tau_squared: f64,
}

impl Spread {
    /// Widens the interval of the mean by the variance of something that all effects have in common.
    pub(crate) fn widen_mean(&mut self, variance: f64) {
        let half_width = 0.5 * (self.mean_high - self.mean_low);
        let critical = Confidence::P95.normal_critical();
        let widened = critical * ((half_width / critical).powi(2) + variance).sqrt();
        self.mean_low = self.mean_effect - widened;
        self.mean_high = self.mean_effect + widened;
    }
}

/// One feature's effect, as the spread needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EffectPoint {
    pub(crate) z: f64,
    pub(crate) effect: f64,
    pub(crate) standard_error: f64,
}

/// `None` for fewer than two features with a test.
pub(crate) fn spread(points: &[EffectPoint]) -> Result<Option<Spread>, EffectsError> {
    let confidence = Confidence::P95;
    let z: Vec<f64> = points.iter().map(|point| point.z).collect();
    let Ok(of_z) = spread_of_z(&z, confidence).map_err(EffectsError::stats("the spread of effects"))? else {
        return Ok(None);
    };
    // Where every outcome of an arm is the same, the effect has no standard error of its own.
    let (effects, errors): (Vec<f64>, Vec<f64>) = points
        .iter()
        .filter(|point| point.standard_error > 0.0)
        .map(|point| (point.effect, point.standard_error))
        .unzip();
    let Ok(pooled) = heterogeneity(&effects, &errors, confidence)
        .map_err(EffectsError::stats("the heterogeneity of effects"))?
    else {
        return Ok(None);
    };
    let standard_error = median(errors);
    let deviation = |variance: f64| standard_error * (variance - 1.0).max(0.0).sqrt();
    Ok(Some(Spread {
        features: of_z.count,
        mean_z: of_z.mean,
        variance_z: of_z.variance,
        variance_low: of_z.interval.lower,
        variance_high: of_z.interval.upper,
        p_more: of_z.p_more,
        p_less: of_z.p_less,
        mean_effect: pooled.random.estimate,
        mean_low: pooled.random.interval.lower,
        mean_high: pooled.random.interval.upper,
        standard_error,
        true_deviation: deviation(of_z.variance),
        true_deviation_high: deviation(of_z.interval.upper),
        q_statistic: pooled.q,
        q_df: pooled.df,
        q_p: pooled.p,
        i_squared: pooled.i_squared,
        tau_squared: pooled.tau_squared,
    }))
}

/// The middle of some values; 0 for none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
