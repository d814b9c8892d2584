//! Figures on tokens that were not trained on, in raw units, from the dictionary as it would be written.

use glassbox_dictionary::Dictionary;
use glassbox_kernels::Backend;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::preparation::mean_and_deviation;

/// What a dictionary does on held-out tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOutFigures {
    /// Tokens measured on.
    pub tokens: u64,
    /// 1 − Σ‖y − ŷ‖² / Σ‖y − mean y‖².
    pub explained_variance: f64,
    /// Mean of ‖y − ŷ‖².
    pub mean_squared_error: f64,
    /// Mean of ‖y − mean y‖².
    pub mean_squared_deviation: f64,
    /// Mean of ‖x‖.
    pub mean_norm: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Mean of Σ f.
    pub l1: f64,
    /// Share of the features that were never active.
    pub silent_share: f64,
}

impl HeldOutFigures {
    /// Measures rows x [n, width] and what they should become, y [n, output width]; `None` is x itself.
    ///
    /// # Errors
    /// [`crate::TrainingError::Kernel`].
    pub fn measure<B: Backend>(dictionary: &Dictionary<B>, x: &[f32], y: Option<&[f32]>) -> Result<Self> {
        let backend = dictionary.backend();
        let (width, output_width) = (dictionary.width(), dictionary.output_width());
        let features = dictionary.features();
        let target = y.unwrap_or(x);
        let n = x.len() / width;
        let (_, deviation) = mean_and_deviation(target, output_width);
        let mut active = vec![false; features];
        let (mut error, mut norm, mut l0, mut l1) = (0.0, 0.0, 0u64, 0.0);
        let piece = dictionary.rows_at_a_time();
        for first in (0..n).step_by(piece) {
            let rows = piece.min(n - first);
            let part = &x[first * width..(first + rows) * width];
            let buffer = backend.upload(part);
            let encoded = dictionary.encode(&buffer, rows)?;
            let output = dictionary.decode(&encoded.features, rows, &encoded.statistics)?;
            let mut values = vec![0.0; rows * features.max(output_width)];
            backend.read(&encoded.features, 0, &mut values[..rows * features])?;
            for row in values[..rows * features].chunks_exact(features) {
                for (active, &value) in active.iter_mut().zip(row) {
                    if value != 0.0 {
                        *active = true;
                        l0 += 1;
                        l1 += f64::from(value);
                    }
                }
            }
            let values = &mut values[..rows * output_width];
            backend.read(&output, 0, values)?;
            let target = &target[first * output_width..(first + rows) * output_width];
            for (&found, &wanted) in values.iter().zip(target) {
                error += (f64::from(wanted) - f64::from(found)).powi(2);
            }
            for row in part.chunks_exact(width) {
                norm += row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            }
        }
        let tokens = n.max(1) as f64;
        let silent = active.iter().filter(|active| !**active).count();
        Ok(Self {
            tokens: n as u64,
            explained_variance: 1.0 - error / tokens / deviation.max(f64::MIN_POSITIVE),
            mean_squared_error: error / tokens,
            mean_squared_deviation: deviation,
            mean_norm: norm / tokens,
            l0: l0 as f64 / tokens,
            l1: l1 / tokens,
            silent_share: silent as f64 / features as f64,
        })
    }
}
