//! Passes over rows that are not sparse: scaling, residuals, column sums, ReLU of whole rows.

use super::super::instructions::multiversion;
use super::super::parallel::{POINTWISE, for_each_chunk, map_indices, rows_per_chunk};
use super::super::reductions::fold;
use super::super::tiles::Destination;
use crate::training::CodeTotals;

/// Elements that one thread takes at a time.
const ELEMENTS: usize = 1 << 14;
/// Rows whose column sums are taken together; the order of the sums follows from it.
const SUMMED: usize = 64;

/// y = scale · x − shift.
pub(super) fn scale_and_shift(x: &[f32], width: usize, scale: f32, shift: Option<&[f32]>, y: &mut [f32]) {
    let rows = rows_per_chunk(width, ELEMENTS);
    let several_threads = y.len() >= POINTWISE;
    for_each_chunk(y, rows * width, several_threads, |chunk, y| {
        let x = &x[chunk * rows * width..][..y.len()];
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            match shift {
                Some(shift) => scaled_less(x, scale, &shift[..width], y),
                None => y.iter_mut().zip(x).for_each(|(y, &x)| *y = scale * x),
            }
        }
    });
}

multiversion! {
    fn scaled_less<FUSED>(x: &[f32], scale: f32, shift: &[f32], y: &mut [f32]) {
        for ((y, &x), &shift) in y.iter_mut().zip(x).zip(shift) {
            *y = scale * x - shift;
        }
    }
}

/// Turns y[p] into Σ_{q ≥ p} scales[q] · (y[q] − target) and gives the sums of squares.
pub(super) fn residual(target: &[f32], scales: &[f32], y: &mut [f32]) -> Vec<f64> {
    let count = target.len();
    let several_threads = count * scales.len() >= POINTWISE;
    let y = Destination::new(&mut y[..count * scales.len()]);
    let squares = map_indices(count.div_ceil(ELEMENTS), several_threads, |chunk| {
        let elements = chunk * ELEMENTS..((chunk + 1) * ELEMENTS).min(count);
        let target = &target[elements.clone()];
        let mut squares = vec![0.0f64; scales.len()];
        let mut later: Option<*const f32> = None;
        for (p, &scale) in scales.iter().enumerate().rev() {
            // SAFETY: the destination holds `count` elements per prefix, and each chunk of them belongs to one index.
            let y = unsafe {
                std::slice::from_raw_parts_mut(y.from(p * count + elements.start).pointer(), target.len())
            };
            // SAFETY: as above; it is another prefix.
            let added = later.map(|later| unsafe { std::slice::from_raw_parts(later, target.len()) });
            squares[p] = f64::from(scaled_difference(target, scale, added, y));
            later = Some(y.as_ptr());
        }
        squares
    });
    squares.iter().fold(vec![0.0; scales.len()], |sums, squares| {
        sums.iter()
            .zip(squares)
            .map(|(sum, square)| sum + square)
            .collect()
    })
}

multiversion! {
    fn scaled_difference<FUSED>(target: &[f32], scale: f32, later: Option<&[f32]>, y: &mut [f32]) -> f32 {
        for (y, &target) in y.iter_mut().zip(target) {
            *y -= target;
        }
        let squares = fold(y, 0.0, |lane, x| lane + x * x, |a, b| a + b);
        match later {
            Some(later) => y.iter_mut().zip(later).for_each(|(y, &later)| *y = scale * *y + later),
            None => y.iter_mut().for_each(|y| *y *= scale),
        }
        squares
    }
}

/// Σ x².
pub(super) fn sum_of_squares(x: &[f32]) -> f64 {
    let several_threads = x.len() >= POINTWISE;
    map_indices(x.len().div_ceil(ELEMENTS), several_threads, |chunk| {
        f64::from(squares(
            &x[chunk * ELEMENTS..((chunk + 1) * ELEMENTS).min(x.len())],
        ))
    })
    .into_iter()
    .sum()
}

multiversion! {
    fn squares<FUSED>(x: &[f32]) -> f32 {
        fold(x, 0.0, |lane, x| lane + x * x, |a, b| a + b)
    }
}

multiversion! {
    fn add_to<FUSED>(x: &[f32], sums: &mut [f32]) {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

/// sums = Σ rows, added to what is there when `accumulate`.
pub(super) fn column_sums(x: &[f32], width: usize, accumulate: bool, sums: &mut [f32]) {
    let blocks = map_indices(
        (x.len() / width).div_ceil(SUMMED),
        x.len() >= POINTWISE,
        |block| {
            let rows = &x[block * SUMMED * width..((block + 1) * SUMMED * width).min(x.len())];
            let mut sums = vec![0.0; width];
            rows.chunks_exact(width).for_each(|row| add_to(row, &mut sums));
            sums
        },
    );
    if !accumulate {
        sums.fill(0.0);
    }
    blocks.iter().for_each(|block| add_to(block, sums));
}

/// z = max(z + bias, 0).
pub(super) fn relu_rows(z: &mut [f32], features: usize, bias: &[f32], counts: &mut [u32]) -> CodeTotals {
    let rows = rows_per_chunk(features, 1 << 18);
    let chunks = (z.len() / features).div_ceil(rows);
    let several_threads = z.len() >= POINTWISE;
    let count = z.len();
    let z = Destination::new(z);
    let parts = map_indices(chunks, several_threads, |chunk| {
        let elements = chunk * rows * features..((chunk + 1) * rows * features).min(count);
        // SAFETY: each chunk belongs to one index and lies within the destination.
        let z = unsafe { std::slice::from_raw_parts_mut(z.from(elements.start).pointer(), elements.len()) };
        let mut counts = vec![0u32; features];
        let mut sum = 0.0f64;
        for row in z.chunks_exact_mut(features) {
            sum += f64::from(relu_row(row, &bias[..features], &mut counts));
        }
        (counts, sum)
    });
    let mut totals = CodeTotals::default();
    for (part, sum) in parts {
        totals.sum += sum;
        for (count, part) in counts.iter_mut().zip(part) {
            *count += part;
            totals.active += u64::from(part);
        }
    }
    totals
}

multiversion! {
    fn relu_row<FUSED>(z: &mut [f32], bias: &[f32], counts: &mut [u32]) -> f32 {
        for ((z, &bias), count) in z.iter_mut().zip(bias).zip(counts) {
            let sum = *z + bias;
            *z = if sum <= 0.0 { 0.0 } else { sum };
            *count += u32::from(*z != 0.0);
        }
        super::super::reductions::sum(z)
    }
}

/// d = (d + l1)·[f > 0].
pub(super) fn relu_rows_backward(f: &[f32], l1: f32, d: &mut [f32]) {
    let several_threads = d.len() >= POINTWISE;
    for_each_chunk(d, ELEMENTS, several_threads, |chunk, d| {
        gate(&f[chunk * ELEMENTS..][..d.len()], l1, d);
    });
}

multiversion! {
    fn gate<FUSED>(f: &[f32], l1: f32, d: &mut [f32]) {
        for (d, &f) in d.iter_mut().zip(f) {
            *d = if f <= 0.0 { 0.0 } else { *d + l1 };
        }
    }
}

/// Takes from each row its part along the row of `weights`.
pub(super) fn remove_parallel(gradient: &mut [f32], weights: &[f32], width: usize) {
    let rows = rows_per_chunk(width, ELEMENTS);
    let several_threads = gradient.len() >= POINTWISE;
    for_each_chunk(gradient, rows * width, several_threads, |chunk, gradient| {
        let weights = &weights[chunk * rows * width..][..gradient.len()];
        for (gradient, weights) in gradient.chunks_exact_mut(width).zip(weights.chunks_exact(width)) {
            remove_along(gradient, weights);
        }
    });
}

multiversion! {
    fn remove_along<FUSED>(gradient: &mut [f32], weights: &[f32]) {
        use super::super::reductions::dot;
        let square = dot::<FUSED>(weights, weights);
        if square <= 0.0 {
            return;
        }
        let along = dot::<FUSED>(gradient, weights) / square;
        for (gradient, &weight) in gradient.iter_mut().zip(weights) {
            *gradient -= along * weight;
        }
    }
}

/// x = max(x, least); NaN stays.
pub(super) fn raise_to(x: &mut [f32], least: f32) {
    x.iter_mut()
        .for_each(|x| *x = if *x < least { least } else { *x });
}
