//! Adam (Kingma and Ba 2015) for one tensor.

use std::ops::Range;

/// Moments of one tensor.
pub struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    step: i32,
}

impl Adam {
    /// Zero moments.
    pub fn new(len: usize) -> Self {
        Self {
            first: vec![0.0; len],
            second: vec![0.0; len],
            step: 0,
        }
    }

    /// Sets the moments of some entries back to zero.
    pub fn forget(&mut self, entries: Range<usize>) {
        self.first[entries.clone()].fill(0.0);
        self.second[entries].fill(0.0);
    }

    /// One update of `values`.
    pub fn update(&mut self, values: &mut [f32], gradient: &[f32], rate: f32) {
        const BETAS: (f32, f32) = (0.9, 0.999);
        self.step += 1;
        let (c1, c2) = (1.0 - BETAS.0.powi(self.step), 1.0 - BETAS.1.powi(self.step));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
            *m = BETAS.0 * *m + (1.0 - BETAS.0) * g;
            *v = BETAS.1 * *v + (1.0 - BETAS.1) * g * g;
            *value -= rate * (*m / c1) / ((*v / c2).sqrt() + 1e-8);
        }
    }
}
