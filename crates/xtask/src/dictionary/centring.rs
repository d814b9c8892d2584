//! Centring and scaling of activations, and its removal from a finished dictionary.

use crate::dictionary::weights::Dictionary;

/// The map from raw activations to those that the trainer sees: mean zero and mean squared norm one, so that one
/// learning rate serves all layers and no feature is spent on the mean.
pub struct Centring {
    /// Subtracted from raw activations, [d_model].
    pub mean: Vec<f32>,
    scale: f32,
}

impl Centring {
    /// Measures rows `x` [n, d].
    pub fn of(x: &[f32], d: usize) -> Self {
        let n = (x.len() / d) as f64;
        let mut mean = vec![0.0f64; d];
        let mut square = 0.0f64;
        for row in x.chunks_exact(d) {
            for (m, &v) in mean.iter_mut().zip(row) {
                *m += f64::from(v) / n;
                square += f64::from(v).powi(2) / n;
            }
        }
        let variance = square - mean.iter().map(|m| m * m).sum::<f64>();
        let scale = (1.0 / variance.max(1e-30)).sqrt() as f32;
        Self {
            mean: mean.into_iter().map(|m| m as f32).collect(),
            scale,
        }
    }

    /// One row, from raw to centred.
    pub fn apply(&self, out: &mut [f32], x: &[f32]) {
        for ((y, &v), &m) in out.iter_mut().zip(x).zip(&self.mean) {
            *y = (v - m) * self.scale;
        }
    }

    /// Makes a dictionary for raw activations. Decoder rows stay as they are, so that feature activations count in
    /// units of the residual stream.
    pub fn fold_into(&self, dictionary: &mut Dictionary) {
        let rows = dictionary.encoder.chunks_exact(dictionary.d_model);
        for (bias, row) in dictionary.encoder_bias.iter_mut().zip(rows) {
            let along: f32 = row.iter().zip(&self.mean).map(|(&w, &m)| w * m).sum();
            *bias = *bias / self.scale - along;
        }
        for (bias, &m) in dictionary.decoder_bias.iter_mut().zip(&self.mean) {
            *bias = *bias / self.scale + m;
        }
    }
}
