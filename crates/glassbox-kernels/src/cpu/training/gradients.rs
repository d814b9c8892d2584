//! Decoding codes, and the gradients of encoder and decoder by feature.

use super::super::instructions::Instructions;
use super::super::parallel::{for_each_chunk, for_each_index};
use super::super::tiles::Destination;
use super::codes::{CpuCodes, FEATURES};
use super::rows::{Table, add_rows, dots};

/// Pairs whose products are taken before their rows are added: the rows are then still near.
const NEAR: usize = 64;
/// Rows that one thread decodes at a time.
const ROWS: usize = 16;

/// y [prefixes, rows, width], y[p] = bias + Σ f · decoder row over features below `ends[p]`.
pub(super) fn decode(
    codes: &CpuCodes,
    decoder: &[f32],
    width: usize,
    bias: Option<&[f32]>,
    ends: &[u32],
    y: &mut [f32],
) {
    let instructions = Instructions::detect();
    let table = Table::new(&decoder[..codes.features * width], width);
    let prefix = codes.rows * width;
    let several_threads = codes.len() * width >= super::super::parallel::POINTWISE;
    let y = Destination::new(&mut y[..ends.len() * prefix]);
    for_each_index(codes.rows.div_ceil(ROWS), several_threads, |block| {
        for row in block * ROWS..((block + 1) * ROWS).min(codes.rows) {
            let (mut from, end) = (codes.row_offsets[row], codes.row_offsets[row + 1]);
            for (p, &limit) in ends.iter().enumerate() {
                let to = from + codes.feature[from..end].partition_point(|&feature| feature < limit);
                // SAFETY: the destination was cut to [prefixes, rows, width]; each row of it belongs to one index, and
                // the row of the prefix before, which is read, to the same. The instructions were detected here.
                unsafe {
                    let at = y.from(p * prefix + row * width).pointer();
                    let out = std::slice::from_raw_parts_mut(at, width);
                    match (p, bias) {
                        (0, Some(bias)) => out.copy_from_slice(&bias[..width]),
                        (0, None) => out.fill(0.0),
                        _ => {
                            let before = y.from((p - 1) * prefix + row * width).pointer();
                            out.copy_from_slice(std::slice::from_raw_parts(before, width));
                        }
                    }
                    add_rows(
                        instructions,
                        &table,
                        &codes.feature[from..to],
                        &codes.value[from..to],
                        out,
                    );
                }
                from = to;
            }
        }
    });
}

/// The gradient of every feature value, and of the decoder's rows.
pub(super) fn decoder_backward(
    codes: &mut CpuCodes,
    error: &[f32],
    decoder: &[f32],
    width: usize,
    ends: &[u32],
    accumulate: bool,
    d_decoder: Option<&mut [f32]>,
) {
    let instructions = Instructions::detect();
    let prefix = codes.rows * width;
    let features = codes.features;
    let d_decoder = d_decoder.map(|values| Destination::new(&mut values[..features * width]));
    codes.for_each_feature(|feature, pairs, gradient| {
        let p = ends.partition_point(|&end| end as usize <= feature);
        let table = Table::new(&error[p * prefix..(p + 1) * prefix], width);
        let vector = &decoder[feature * width..(feature + 1) * width];
        // SAFETY: the destination was cut to [features, width], of which each row belongs to one feature.
        let mut sums = d_decoder
            .map(|to| unsafe { std::slice::from_raw_parts_mut(to.from(feature * width).pointer(), width) });
        if let Some(sums) = sums.as_mut().filter(|_| !accumulate) {
            sums.fill(0.0);
        }
        for first in (0..pairs.rows.len()).step_by(NEAR) {
            let some = first..(first + NEAR).min(pairs.rows.len());
            let rows = &pairs.rows[some.clone()];
            // SAFETY: the instructions were detected here.
            unsafe { dots(instructions, &table, rows, vector, &mut gradient[some.clone()]) };
            let Some(sums) = sums.as_mut() else { continue };
            let mut values = [0.0; NEAR];
            for (value, i) in values.iter_mut().zip(some) {
                *value = pairs.value(i);
            }
            // SAFETY: as above.
            unsafe { add_rows(instructions, &table, rows, &values[..rows.len()], sums) };
        }
    });
}

/// The gradient of the encoder's rows and of its bias, from the gradients kept.
pub(super) fn encoder_backward(
    codes: &CpuCodes,
    x: &[f32],
    width: usize,
    accumulate: bool,
    d_encoder: &mut [f32],
    d_bias: &mut [f32],
) {
    let instructions = Instructions::detect();
    let table = Table::new(&x[..codes.rows * width], width);
    let several_threads = codes.len() > 1 << 14;
    for_each_chunk(
        &mut d_encoder[..codes.features * width],
        FEATURES * width,
        several_threads,
        |block, chunk| {
            for (feature, sums) in (block * FEATURES..).zip(chunk.chunks_exact_mut(width)) {
                let range = codes.feature_offsets[feature]..codes.feature_offsets[feature + 1];
                if !accumulate {
                    sums.fill(0.0);
                }
                // SAFETY: the instructions were detected here.
                unsafe {
                    add_rows(
                        instructions,
                        &table,
                        &codes.row[range.clone()],
                        &codes.gradient[range],
                        sums,
                    );
                }
            }
        },
    );
    for (feature, sum) in d_bias[..codes.features].iter_mut().enumerate() {
        let range = codes.feature_offsets[feature]..codes.feature_offsets[feature + 1];
        *sum = codes.gradient[range].iter().sum();
    }
}

/// (d_f + l1)·[f > 0].
pub(super) fn relu_backward(codes: &mut CpuCodes, l1: f32) {
    codes.for_each_feature(|_, pairs, gradient| {
        for (i, d) in gradient.iter_mut().enumerate() {
            *d = if pairs.value(i) <= 0.0 { 0.0 } else { *d + l1 };
        }
    });
}

/// The straight-through estimate for a threshold.
pub(super) fn jump_relu_backward(
    codes: &mut CpuCodes,
    threshold: &[f32],
    bandwidth: f32,
    l0: f32,
    d_threshold: &mut [f32],
) {
    let features = codes.features;
    let to = Destination::new(&mut d_threshold[..features]);
    codes.for_each_feature(|feature, pairs, gradient| {
        let threshold = threshold[feature];
        let mut sum = 0.0;
        for (i, d) in gradient.iter_mut().enumerate() {
            let z = pairs.pre(i);
            if (z - threshold).abs() < 0.5 * bandwidth {
                sum -= (threshold * *d + l0) / bandwidth;
            }
            *d = if z <= threshold { 0.0 } else { *d };
        }
        // SAFETY: the destination has one element for each feature.
        unsafe { to.from(feature).copy_from(&[sum]) };
    });
}

/// The gradients of a gated dictionary's magnitudes.
pub(super) fn magnitude_backward(
    codes: &mut CpuCodes,
    gate_bias: &[f32],
    log_scale: &[f32],
    d_log_scale: &mut [f32],
    d_bias: &mut [f32],
) {
    let features = codes.features;
    let scales = Destination::new(&mut d_log_scale[..features]);
    let biases = Destination::new(&mut d_bias[..features]);
    codes.for_each_feature(|feature, pairs, gradient| {
        let (scale, gate_bias) = (log_scale[feature].exp(), gate_bias[feature]);
        let (mut d_scale, mut d_bias) = (0.0, 0.0);
        for (i, d) in gradient.iter_mut().enumerate() {
            if pairs.value(i) <= 0.0 {
                *d = 0.0;
                continue;
            }
            d_bias += *d;
            *d *= scale;
            d_scale += *d * (pairs.pre(i) - gate_bias);
        }
        // SAFETY: the destinations have one element for each feature.
        unsafe {
            scales.from(feature).copy_from(&[d_scale]);
            biases.from(feature).copy_from(&[d_bias]);
        }
    });
}
