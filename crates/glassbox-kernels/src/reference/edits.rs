//! Feature deltas.

use crate::backend::FeatureDelta;

/// Encoder and decoder rows and the activation rule of the features that deltas name.
#[derive(Clone, Copy)]
pub(crate) struct Features<'a> {
    pub encoder: &'a [f64],
    pub decoder: &'a [f64],
    pub bias: &'a [f32],
    pub threshold: &'a [f32],
}

impl Features<'_> {
    /// z of a feature on a row.
    fn pre_activation(&self, row: &[f64], feature: usize) -> f64 {
        let encoder = &self.encoder[feature * row.len()..];
        row.iter().zip(encoder).map(|(x, w)| x * w).sum::<f64>() + f64::from(self.bias[feature])
    }

    /// Whether z is above the threshold.
    fn active(&self, z: f64, feature: usize) -> bool {
        z > f64::from(self.threshold[feature])
    }
}

/// x + (value − f(x)) · decoder on each delta's row, all activations taken from the x given.
pub(crate) fn feature_delta(
    x: &[f64],
    width: usize,
    features: Features<'_>,
    deltas: &[FeatureDelta],
) -> Vec<f64> {
    let mut edited = x.to_vec();
    for delta in deltas {
        let (at, feature) = (delta.row as usize * width, delta.feature as usize);
        let z = features.pre_activation(&x[at..at + width], feature);
        let activation = if features.active(z, feature) { z } else { 0.0 };
        for j in 0..width {
            edited[at + j] += (f64::from(delta.value) - activation) * features.decoder[feature * width + j];
        }
    }
    edited
}

/// d − (decoder·d) · f'(x) · encoder on each delta's row, all products taken from the d given.
pub(crate) fn feature_delta_backward(
    x: &[f64],
    d: &[f64],
    width: usize,
    features: Features<'_>,
    deltas: &[FeatureDelta],
) -> Vec<f64> {
    let mut d_x = d.to_vec();
    for delta in deltas {
        let (at, feature) = (delta.row as usize * width, delta.feature as usize);
        let z = features.pre_activation(&x[at..at + width], feature);
        if features.active(z, feature) {
            let along: f64 = (0..width)
                .map(|j| d[at + j] * features.decoder[feature * width + j])
                .sum();
            for j in 0..width {
                d_x[at + j] -= along * features.encoder[feature * width + j];
            }
        }
    }
    d_x
}
