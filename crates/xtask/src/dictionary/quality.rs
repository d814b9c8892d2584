//! How well a thresholded dictionary stands for held-out activations.

use anyhow::Result;
use serde::Serialize;

use crate::dictionary::activations::Place;
use crate::dictionary::weights::Dictionary;

/// Figures of one dictionary on one set of activations.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Tokens after position 0.
    pub tokens: usize,
    /// 1 - sum |x - x̂|² / sum |x - mean|², without position 0.
    pub explained_variance: f64,
    /// Mean number of active features per token, without position 0.
    pub mean_l0: f64,
    /// Share of features that are active on no token, position 0 left out.
    pub dead_share: f64,
    /// Explained variance with position 0 counted in.
    pub explained_variance_with_bos: f64,
    /// Mean number of active features with position 0 counted in.
    pub mean_l0_with_bos: f64,
    /// Explained variance at the last prompt token alone (mean taken over those tokens).
    pub explained_variance_last_prompt: f64,
    /// Mean number of active features at the last prompt token.
    pub mean_l0_last_prompt: f64,
    /// Explained variance over response tokens alone (mean taken over those tokens).
    pub explained_variance_response: f64,
    /// Mean number of active features over response tokens.
    pub mean_l0_response: f64,
}

/// Sums over a set of tokens.
struct Sums {
    tokens: f64,
    error: f64,
    square: f64,
    active: f64,
    mean: Vec<f64>,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self {
            tokens: 0.0,
            error: 0.0,
            square: 0.0,
            active: 0.0,
            mean: vec![0.0; d],
        }
    }

    fn add(&mut self, x: &[f32], reconstruction: &[f32], active: usize) {
        self.tokens += 1.0;
        self.active += active as f64;
        for ((&x, &y), mean) in x.iter().zip(reconstruction).zip(&mut self.mean) {
            self.error += f64::from(x - y).powi(2);
            self.square += f64::from(x).powi(2);
            *mean += f64::from(x);
        }
    }

    fn explained_variance(&self) -> f64 {
        let around_zero = self.mean.iter().map(|sum| sum * sum).sum::<f64>() / self.tokens;
        1.0 - self.error / (self.square - around_zero)
    }

    fn l0(&self) -> f64 {
        self.active / self.tokens
    }
}

/// Measures a dictionary with its threshold on activations [n, d_model] that include position 0.
///
/// # Errors
/// If encoding fails.
pub fn measure(dictionary: &Dictionary, x: &[f32], places: &[Place]) -> Result<Quality> {
    let (d, features) = (dictionary.d_model, dictionary.features);
    let mut fired = vec![false; features];
    let [mut all, mut with_begin, mut cue, mut response] = [(); 4].map(|()| Sums::new(d));
    let mut scores = Vec::new();
    let mut reconstruction = vec![0.0; d];
    for (x, places) in x.chunks(1024 * d).zip(places.chunks(1024)) {
        dictionary.scores(&mut scores, x)?;
        for ((x, scores), place) in x.chunks_exact(d).zip(scores.chunks_exact(features)).zip(places) {
            reconstruction.copy_from_slice(&dictionary.decoder_bias);
            let mut active = 0;
            for (feature, &score) in scores.iter().enumerate() {
                if score > dictionary.threshold[feature] {
                    active += 1;
                    fired[feature] |= *place != Place::Begin;
                    let row = &dictionary.decoder[feature * d..(feature + 1) * d];
                    reconstruction
                        .iter_mut()
                        .zip(row)
                        .for_each(|(y, &w)| *y += score * w);
                }
            }
            with_begin.add(x, &reconstruction, active);
            if *place != Place::Begin {
                all.add(x, &reconstruction, active);
            }
            match place {
                Place::Cue => cue.add(x, &reconstruction, active),
                Place::Response => response.add(x, &reconstruction, active),
                Place::Begin | Place::Prompt => {}
            }
        }
    }
    Ok(Quality {
        tokens: all.tokens as usize,
        explained_variance: all.explained_variance(),
        mean_l0: all.l0(),
        dead_share: fired.iter().filter(|&&fired| !fired).count() as f64 / features as f64,
        explained_variance_with_bos: with_begin.explained_variance(),
        mean_l0_with_bos: with_begin.l0(),
        explained_variance_last_prompt: cue.explained_variance(),
        mean_l0_last_prompt: cue.l0(),
        explained_variance_response: response.explained_variance(),
        mean_l0_response: response.l0(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_and_a_silent_dictionary_get_one_and_zero() {
        // Two axis features, each sign of one axis; the data has mean zero along the axis.
        let mut dictionary = Dictionary {
            d_model: 2,
            features: 2,
            encoder: vec![1.0, 0.0, -1.0, 0.0],
            encoder_bias: vec![0.0; 2],
            decoder: vec![1.0, 0.0, -1.0, 0.0],
            decoder_bias: vec![0.0, 3.0],
            threshold: vec![0.5; 2],
        };
        let x = [1.0, 3.0, -1.0, 3.0, 2.0, 3.0, -2.0, 3.0];
        let places = [Place::Prompt, Place::Cue, Place::Cue, Place::Response];
        let quality = measure(&dictionary, &x, &places).unwrap();
        assert!((quality.explained_variance - 1.0).abs() < 1e-12);
        assert_eq!(
            (quality.mean_l0, quality.dead_share, quality.tokens),
            (1.0, 0.0, 4)
        );
        dictionary.threshold = vec![5.0; 2];
        let quality = measure(&dictionary, &x, &places).unwrap();
        assert!(quality.explained_variance.abs() < 1e-12);
        assert_eq!((quality.mean_l0, quality.dead_share), (0.0, 1.0));
    }
}
