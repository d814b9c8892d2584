//! Data with known features.

use glassbox_corpus::MemoryActivations;
use glassbox_model::site::Site;

/// Rows that are sparse non-negative sums of known directions of length one, around a known mean.
pub struct Truth {
    state: u64,
    width: usize,
    share: f64,
    /// [features, width].
    pub directions: Vec<f32>,
}

impl Truth {
    /// `features` random directions, each active in `share` of the rows.
    pub fn new(seed: u64, width: usize, features: usize, share: f64) -> Self {
        let mut truth = Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            width,
            share,
            directions: Vec::new(),
        };
        for _ in 0..features {
            let row: Vec<f64> = (0..width)
                .map(|_| (0..6).map(|_| truth.uniform() - 0.5).sum())
                .collect();
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            truth.directions.extend(row.iter().map(|x| (x / length) as f32));
        }
        truth
    }

    /// A number in [0, 1) from a linear congruential generator (Knuth's constants).
    fn uniform(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next n rows [n, width].
    pub fn rows(&mut self, n: usize) -> Vec<f32> {
        let width = self.width;
        let mut rows = vec![0.0; n * width];
        for row in rows.chunks_exact_mut(width) {
            for (j, x) in row.iter_mut().enumerate() {
                *x = 2.0 + 0.1 * j as f32;
            }
            for feature in 0..self.directions.len() / width {
                if self.uniform() < self.share {
                    let value = (3.0 + 3.0 * self.uniform()) as f32;
                    for (x, d) in row.iter_mut().zip(&self.directions[feature * width..]) {
                        *x += value * d;
                    }
                }
            }
        }
        rows
    }

    /// `train` rows and `held_out` rows of one site as a source.
    #[allow(dead_code)]
    pub fn source(&mut self, site: Site, train: usize, held_out: usize) -> MemoryActivations {
        let rows = self.rows(train + held_out);
        MemoryActivations::new(vec![(site, self.width, rows)])
            .unwrap()
            .held_out_from(train)
            .with_batch(100)
    }
}
