//! Edits of single rows, as interventions make them.

use super::elementary::multiply_add;
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk};
use super::reductions::dot;
use super::scratch::with_values;
use crate::backend::FeatureDelta;

/// x[rows[i], ..] = values[i mod k, ..].
pub(crate) fn set_rows(x: &mut [f32], width: usize, rows: &[u32], values: &[f32]) {
    for (&row, value) in rows.iter().zip(values.chunks_exact(width).cycle()) {
        x[row as usize * width..][..width].copy_from_slice(value);
    }
}

/// x[rows[i], ..] += values[i mod k, ..].
pub(crate) fn add_rows(x: &mut [f32], width: usize, rows: &[u32], values: &[f32]) {
    for (&row, value) in rows.iter().zip(values.chunks_exact(width).cycle()) {
        for (x, value) in x[row as usize * width..][..width].iter_mut().zip(value) {
            *x += value;
        }
    }
}

/// x[rows[i], ..] *= factor; a factor of zero writes zeros.
pub(crate) fn scale_rows(x: &mut [f32], width: usize, rows: &[u32], factor: f32) {
    for &row in rows {
        let row = &mut x[row as usize * width..][..width];
        if factor == 0.0 {
            row.fill(0.0);
        } else {
            for x in row {
                *x *= factor;
            }
        }
    }
}

/// Encoder and decoder rows and the activation rule of the features that deltas name.
#[derive(Clone, Copy)]
pub(crate) struct Features<'a> {
    pub encoder: &'a [f32],
    pub decoder: &'a [f32],
    pub bias: &'a [f32],
    pub threshold: &'a [f32],
}

/// x += (value − f(x)) · decoder. All activations are read before the first row is changed.
pub(crate) fn feature_delta(x: &mut [f32], width: usize, features: Features<'_>, deltas: &[FeatureDelta]) {
    with_values(deltas.len(), |factors| {
        let before: &[f32] = x;
        for_each_chunk(factors, 16, deltas.len() * width >= POINTWISE, |i, factors| {
            for (factor, delta) in factors.iter_mut().zip(&deltas[i * 16..]) {
                *factor = delta.value - activation(before, width, features, delta).unwrap_or(0.0);
            }
        });
        for (delta, &factor) in deltas.iter().zip(factors.iter()) {
            let from = &features.decoder[delta.feature as usize * width..][..width];
            add_scaled(factor, from, &mut x[delta.row as usize * width..][..width]);
        }
    });
}

/// d −= (decoder·d) · encoder where the feature was active on x. All products are taken before d is changed.
pub(crate) fn feature_delta_backward(
    x: &[f32],
    d: &mut [f32],
    width: usize,
    features: Features<'_>,
    deltas: &[FeatureDelta],
) {
    with_values(deltas.len(), |factors| {
        let before: &[f32] = d;
        for_each_chunk(factors, 16, deltas.len() * width >= POINTWISE, |i, factors| {
            for (factor, delta) in factors.iter_mut().zip(&deltas[i * 16..]) {
                *factor = match activation(x, width, features, delta) {
                    Some(_) => -row_dot(
                        &before[delta.row as usize * width..][..width],
                        &features.decoder[delta.feature as usize * width..][..width],
                    ),
                    None => 0.0,
                };
            }
        });
        for (delta, &factor) in deltas.iter().zip(factors.iter()) {
            if factor != 0.0 {
                let from = &features.encoder[delta.feature as usize * width..][..width];
                add_scaled(factor, from, &mut d[delta.row as usize * width..][..width]);
            }
        }
    });
}

/// The feature's activation on its row of x, or `None` where it is not active.
fn activation(x: &[f32], width: usize, features: Features<'_>, delta: &FeatureDelta) -> Option<f32> {
    let feature = delta.feature as usize;
    let encoder = &features.encoder[feature * width..][..width];
    let z = row_dot(&x[delta.row as usize * width..][..width], encoder) + features.bias[feature];
    (z > features.threshold[feature]).then_some(z)
}

multiversion! {
    fn row_dot<FUSED>(x: &[f32], y: &[f32]) -> f32 {
        dot::<FUSED>(x, y)
    }
}

multiversion! {
    fn add_scaled<FUSED>(factor: f32, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = multiply_add::<FUSED>(factor, x, *y);
        }
    }
}
