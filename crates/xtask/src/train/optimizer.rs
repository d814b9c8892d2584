//! AdamW (Loshchilov and Hutter 2019) with clipping of the global gradient norm.

use crate::train::shape::Places;

/// Moments of every weight.
pub struct AdamW {
    first: Vec<f32>,
    second: Vec<f32>,
    step: i32,
    /// Decay of the moments.
    betas: (f32, f32),
    weight_decay: f32,
}

impl AdamW {
    /// Zero moments.
    pub fn new(weights: usize, betas: (f32, f32), weight_decay: f32) -> Self {
        Self {
            first: vec![0.0; weights],
            second: vec![0.0; weights],
            step: 0,
            betas,
            weight_decay,
        }
    }

    /// One update. The gradient is scaled down to norm `clip` if it is longer; matrices decay, norms do not.
    /// Returns the norm before clipping.
    pub fn update(
        &mut self,
        values: &mut [f32],
        gradient: &[f32],
        places: &Places,
        rate: f32,
        clip: f32,
    ) -> f32 {
        self.step += 1;
        let norm = gradient
            .iter()
            .map(|&g| f64::from(g) * f64::from(g))
            .sum::<f64>()
            .sqrt() as f32;
        let shrink = if norm > clip { clip / norm } else { 1.0 };
        let (b1, b2) = self.betas;
        let (c1, c2) = (1.0 - b1.powi(self.step), 1.0 - b2.powi(self.step));
        for tensor in &places.tensors {
            let keep = if tensor.shape.len() > 1 {
                1.0 - rate * self.weight_decay
            } else {
                1.0
            };
            let range = tensor.range.clone();
            let moments = self.first[range.clone()]
                .iter_mut()
                .zip(&mut self.second[range.clone()]);
            for ((value, &g), (m, v)) in values[range.clone()]
                .iter_mut()
                .zip(&gradient[range])
                .zip(moments)
            {
                let g = g * shrink;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *value = *value * keep - rate * (*m / c1) / ((*v / c2).sqrt() + 1e-8);
            }
        }
        norm
    }
}
