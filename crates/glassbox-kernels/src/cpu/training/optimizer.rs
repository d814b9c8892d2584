//! Adam, with the length of rows restored in the same pass.

use super::super::instructions::multiversion;
use super::super::parallel::{POINTWISE, for_each_index, rows_per_chunk};
use super::super::tiles::Destination;
use crate::training::AdamStep;

/// Elements of a matrix that one thread takes at a time.
const ELEMENTS: usize = 1 << 13;

/// Numbers of a step, as every element needs them.
#[derive(Clone, Copy)]
struct Factors {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    /// 1 − beta1, rounded once.
    fresh1: f32,
    /// 1 − beta2, rounded once.
    fresh2: f32,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// One over the square root of the second moment's bias correction.
    correction: f32,
    epsilon: f32,
}

impl Factors {
    fn new(step: &AdamStep) -> Self {
        let power = step.step as f64;
        Self {
            gradient_scale: step.gradient_scale,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            fresh1: (1.0 - step.beta1) as f32,
            fresh2: (1.0 - step.beta2) as f32,
            rate: (step.learning_rate / (1.0 - step.beta1.powf(power))) as f32,
            correction: (1.0 / (1.0 - step.beta2.powf(power)).sqrt()) as f32,
            epsilon: step.epsilon as f32,
        }
    }
}

/// One step on a matrix [_, width].
pub(super) fn adam(
    (weights, first, second): (&mut [f32], &mut [f32], &mut [f32]),
    gradient: &[f32],
    width: usize,
    step: &AdamStep,
    unit_rows: bool,
) {
    let factors = Factors::new(step);
    let count = weights.len();
    let chunk = rows_per_chunk(width, ELEMENTS) * width;
    let parts = [
        Destination::new(weights),
        Destination::new(first),
        Destination::new(second),
    ];
    for_each_index(count.div_ceil(chunk.max(1)), count >= POINTWISE, |i| {
        let elements = i * chunk..((i + 1) * chunk).min(count);
        // SAFETY: the three matrices have `count` elements each, and each chunk belongs to one index.
        let [weights, first, second] = parts.map(|part| unsafe {
            std::slice::from_raw_parts_mut(part.from(elements.start).pointer(), elements.len())
        });
        let gradient = &gradient[elements];
        let rows = (weights.chunks_exact_mut(width))
            .zip(first.chunks_exact_mut(width))
            .zip(second.chunks_exact_mut(width))
            .zip(gradient.chunks_exact(width));
        for (((weights, first), second), gradient) in rows {
            adam_row(weights, first, second, gradient, factors, unit_rows);
        }
    });
}

multiversion! {
    fn adam_row<FUSED>(
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        factors: Factors,
        unit_rows: bool,
    ) {
        let Factors { gradient_scale, beta1, beta2, fresh1, fresh2, rate, correction, epsilon } = factors;
        let elements = weights.iter_mut().zip(first).zip(second).zip(gradient);
        for (((weight, first), second), &gradient) in elements {
            let gradient = gradient_scale * gradient;
            *first = beta1 * *first + fresh1 * gradient;
            *second = beta2 * *second + fresh2 * gradient * gradient;
            *weight -= rate * *first / (correction * second.sqrt() + epsilon);
        }
        if unit_rows {
            let length = super::super::reductions::dot::<FUSED>(weights, weights).sqrt();
            if length > 0.0 {
                let factor = 1.0 / length;
                for weight in weights {
                    *weight *= factor;
                }
            }
        }
    }
}
