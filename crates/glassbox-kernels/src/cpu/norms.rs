//! Normalisation of rows, forward and backward.

use super::elementary::multiply_add;
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use super::reductions::{dot, fold, sum};
use crate::backend::NormKind;

/// Elements per piece of work.
const CHUNK: usize = 1 << 14;

/// scale[i] = sqrt(mean(c²) + eps).
pub(crate) fn norm_scale(kind: NormKind, x: &[f32], width: usize, eps: f32, scale: &mut [f32]) {
    let rows = rows_per_chunk(width, CHUNK);
    for_each_chunk(scale, rows, x.len() >= POINTWISE, |i, scale| {
        scale_rows(kind, &x[i * rows * width..], width, eps, scale);
    });
}

/// What is subtracted from a row before it is scaled.
#[inline(always)]
fn centre(kind: NormKind, row: &[f32]) -> f32 {
    match kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => sum(row) / row.len() as f32,
    }
}

multiversion! {
    fn scale_rows<FUSED>(kind: NormKind, x: &[f32], width: usize, eps: f32, scale: &mut [f32]) {
        for (scale, row) in scale.iter_mut().zip(x.chunks_exact(width)) {
            let mean = centre(kind, row);
            let squares = fold(row, 0.0, |lane, x| multiply_add::<FUSED>(x - mean, x - mean, lane), |a, b| a + b);
            *scale = (squares / width as f32 + eps).sqrt();
        }
    }
}

/// y = (c / scale) · weight + bias.
pub(crate) fn norm_apply(
    kind: NormKind,
    x: &[f32],
    scale: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let rows = rows_per_chunk(width, CHUNK);
    let several_threads = y.len() >= POINTWISE;
    for_each_chunk(y, rows * width, several_threads, |i, y| {
        apply_rows(
            kind,
            &x[i * rows * width..],
            &scale[i * rows..],
            width,
            weight,
            bias,
            y,
        );
    });
}

multiversion! {
    fn apply_rows<FUSED>(
        kind: NormKind,
        x: &[f32],
        scale: &[f32],
        width: usize,
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) {
        for ((y, x), &scale) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scale) {
            let mean = centre(kind, x);
            let factor = 1.0 / scale;
            match (weight, bias) {
                (Some(weight), Some(bias)) => {
                    for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                        *y = multiply_add::<FUSED>((x - mean) * factor, weight, bias);
                    }
                }
                (Some(weight), None) => {
                    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
                        *y = (x - mean) * factor * weight;
                    }
                }
                (None, Some(bias)) => {
                    for ((y, &x), &bias) in y.iter_mut().zip(x).zip(bias) {
                        *y = multiply_add::<FUSED>(x - mean, factor, bias);
                    }
                }
                (None, None) => {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = (x - mean) * factor;
                    }
                }
            }
        }
    }
}

/// With g = d_y · weight: d_scale = −Σ g · c / scale², and d_x = g / scale, less its mean for layer norm.
pub(crate) fn norm_apply_backward(
    kind: NormKind,
    x: &[f32],
    scale: &[f32],
    d_y: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    accumulate: bool,
    d_x: &mut [f32],
    d_scale: &mut [f32],
) {
    let rows = rows_per_chunk(width, CHUNK);
    let several_threads = d_x.len() >= POINTWISE;
    for_each_chunk_pair(
        (d_x, rows * width),
        (d_scale, rows),
        several_threads,
        |i, d_x, d_scale| {
            let at = i * rows * width;
            apply_backward_rows(
                kind,
                &x[at..],
                &scale[i * rows..],
                &d_y[at..],
                width,
                weight,
                accumulate,
                d_x,
                d_scale,
            );
        },
    );
}

multiversion! {
    fn apply_backward_rows<FUSED>(
        kind: NormKind,
        x: &[f32],
        scale: &[f32],
        d_y: &[f32],
        width: usize,
        weight: Option<&[f32]>,
        accumulate: bool,
        d_x: &mut [f32],
        d_scale: &mut [f32],
    ) {
        let inputs = x.chunks_exact(width).zip(scale).zip(d_y.chunks_exact(width));
        let outputs = d_x.chunks_exact_mut(width).zip(d_scale.iter_mut());
        for (((x, &scale), d_y), (d_x, d_scale)) in inputs.zip(outputs) {
            let mean = centre(kind, x);
            let factor = 1.0 / scale;
            // Σ g · (x − mean) and Σ g, of which the second is only needed when there is a mean.
            let (against_x, total) = match weight {
                None => (dot::<FUSED>(x, d_y), if kind == NormKind::Layer { sum(d_y) } else { 0.0 }),
                Some(weight) => (
                    dot_of_three::<FUSED>(x, d_y, weight),
                    if kind == NormKind::Layer { dot::<FUSED>(d_y, weight) } else { 0.0 },
                ),
            };
            *d_scale = -(against_x - mean * total) * factor * factor;
            let offset = total / width as f32;
            for j in 0..width {
                let g = match weight {
                    Some(weight) => d_y[j] * weight[j],
                    None => d_y[j],
                };
                let d = (g - offset) * factor;
                d_x[j] = if accumulate { d_x[j] + d } else { d };
            }
        }
    }
}

/// Σ a · b · c.
#[inline(always)]
fn dot_of_three<const FUSED: bool>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0f32; LANES];
    for ((a, b), c) in a.chunks(LANES).zip(b.chunks(LANES)).zip(c.chunks(LANES)) {
        for (((lane, &a), &b), &c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane = multiply_add::<FUSED>(a * b, c, *lane);
        }
    }
    sum(&lanes)
}

/// d_x += d_scale · c / (width · scale).
pub(crate) fn norm_scale_backward(
    kind: NormKind,
    x: &[f32],
    scale: &[f32],
    d_scale: &[f32],
    width: usize,
    d_x: &mut [f32],
) {
    let rows = rows_per_chunk(width, CHUNK);
    let several_threads = d_x.len() >= POINTWISE;
    for_each_chunk(d_x, rows * width, several_threads, |i, d_x| {
        scale_backward_rows(
            kind,
            &x[i * rows * width..],
            &scale[i * rows..],
            &d_scale[i * rows..],
            width,
            d_x,
        );
    });
}

multiversion! {
    fn scale_backward_rows<FUSED>(
        kind: NormKind,
        x: &[f32],
        scale: &[f32],
        d_scale: &[f32],
        width: usize,
        d_x: &mut [f32],
    ) {
        let inputs = x.chunks_exact(width).zip(scale).zip(d_scale);
        for (((x, &scale), &d_scale), d_x) in inputs.zip(d_x.chunks_exact_mut(width)) {
            let mean = centre(kind, x);
            let factor = d_scale / (width as f32 * scale);
            for (d_x, &x) in d_x.iter_mut().zip(x) {
                *d_x = multiply_add::<FUSED>(x - mean, factor, *d_x);
            }
        }
    }
}
