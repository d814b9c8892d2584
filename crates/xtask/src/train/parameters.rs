//! The weights of the model in one flat buffer.

use crate::rng::{Draws, Split};
use crate::train::shape::{Places, Shape};

/// Weights, with their shape and places.
#[derive(Clone)]
pub struct Parameters {
    /// Sizes of the model.
    pub shape: Shape,
    /// Where each weight lies in `values`.
    pub places: Places,
    /// All weights.
    pub values: Vec<f32>,
}

impl Parameters {
    /// Fresh weights: normal with the inverse root of the input width, projections back into the residual
    /// stream scaled down by the root of their number (as in GPT-2), norms one.
    pub fn initialize(shape: Shape, seed: u64) -> Self {
        let places = Places::new(&shape);
        let mut values = vec![0.0; places.len()];
        let residual_scale = 1.0 / ((2 * shape.layers) as f64).sqrt();
        for (index, tensor) in places.tensors.iter().enumerate() {
            let weights = &mut values[tensor.range.clone()];
            let [_, width] = tensor.shape[..] else {
                weights.fill(1.0);
                continue;
            };
            let mut deviation = 0.5 / (width as f64).sqrt();
            if tensor.name.ends_with("embed_tokens.weight") {
                deviation = 0.02;
            } else if tensor.name.ends_with("o_proj.weight") || tensor.name.ends_with("down_proj.weight") {
                deviation *= residual_scale;
            }
            let mut draws = Draws::new(seed, Split::Initialization, index as u64);
            for weight in weights {
                *weight = (draws.normal() * deviation) as f32;
            }
        }
        Self {
            shape,
            places,
            values,
        }
    }
}
