//! Softmax over rows, forward and backward.

use super::elementary::{exp, multiply_add};
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk, rows_per_chunk};
use super::reductions::{dot, max_ignoring_nan, sum};

/// Elements per piece of work.
const CHUNK: usize = 1 << 13;

/// Softmax of each row in place.
pub(crate) fn softmax(x: &mut [f32], width: usize) {
    let several_threads = x.len() >= POINTWISE / 2;
    for_each_chunk(
        x,
        rows_per_chunk(width, CHUNK) * width,
        several_threads,
        |_, x| softmax_rows(x, width),
    );
}

multiversion! {
    /// Softmax of each row in place, on this thread. A row of −∞ only becomes zeros, a row with NaN becomes NaN.
    pub(crate) fn softmax_rows<FUSED>(x: &mut [f32], width: usize) {
        for row in x.chunks_exact_mut(width) {
            let max = max_ignoring_nan(row);
            if max == f32::NEG_INFINITY {
                let value = if row.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 };
                row.fill(value);
                continue;
            }
            for x in row.iter_mut() {
                *x = exp::<FUSED>(*x - max);
            }
            let factor = 1.0 / sum(row);
            for x in row.iter_mut() {
                *x *= factor;
            }
        }
    }
}

/// d_x = y · (d_y − Σ d_y · y), in place on d_y.
pub(crate) fn softmax_backward(y: &[f32], width: usize, d_y: &mut [f32]) {
    let rows = rows_per_chunk(width, CHUNK);
    let several_threads = d_y.len() >= POINTWISE;
    for_each_chunk(d_y, rows * width, several_threads, |i, d_y| {
        backward_rows(&y[i * rows * width..], width, d_y);
    });
}

multiversion! {
    fn backward_rows<FUSED>(y: &[f32], width: usize, d_y: &mut [f32]) {
        for (y, d_y) in y.chunks_exact(width).zip(d_y.chunks_exact_mut(width)) {
            let mean = dot::<FUSED>(y, d_y);
            for (d, &y) in d_y.iter_mut().zip(y) {
                *d = multiply_add::<FUSED>(y, *d, -(y * mean));
            }
        }
    }
}
