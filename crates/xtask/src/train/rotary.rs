//! Rotary position embedding (Su et al. 2021), half-split as in Hugging Face Llama: dimension `i` of a head
//! turns together with dimension `i + head_dim / 2`.

use std::ops::Range;

/// Cosines and sines, [max position, head_dim / 2] each.
#[derive(Clone)]
pub struct Rotary {
    half: usize,
    cosine: Vec<f32>,
    sine: Vec<f32>,
}

impl Rotary {
    /// Tables for positions `0..positions`.
    pub fn new(head_dim: usize, theta: f64, positions: usize) -> Self {
        let half = head_dim / 2;
        let angles = (0..positions).flat_map(|position| {
            (0..half).map(move |i| position as f64 * theta.powf(-(i as f64) / half as f64))
        });
        let (cosine, sine) = angles
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip();
        Self { half, cosine, sine }
    }

    /// Turns `x` [n, heads * head_dim] in place, each document from position 0. `direction` is 1 forward and
    /// -1 for the gradient.
    pub fn turn(&self, x: &mut [f32], width: usize, documents: &[Range<usize>], direction: f32) {
        for document in documents {
            for (position, row) in document.clone().enumerate() {
                let table = position * self.half..(position + 1) * self.half;
                let (cosine, sine) = (&self.cosine[table.clone()], &self.sine[table]);
                for head in x[row * width..(row + 1) * width].chunks_exact_mut(2 * self.half) {
                    let (first, second) = head.split_at_mut(self.half);
                    for ((a, b), (&c, &s)) in first.iter_mut().zip(second).zip(cosine.iter().zip(sine)) {
                        let s = s * direction;
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
            }
        }
    }
}
