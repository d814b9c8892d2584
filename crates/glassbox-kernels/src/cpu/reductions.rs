//! Sums and maxima over one row, in lanes, so that the order depends on the length only.

/// Partial results kept side by side: enough for two AVX-512 registers or four AVX2 ones.
const LANES: usize = 32;

/// Folds `x` into lanes with `step(lane, x)`, starting from `start`, then the lanes with `join`.
#[inline(always)]
pub(crate) fn fold(
    x: &[f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, x);
    }
    join_lanes(lanes, join)
}

/// As [`fold`] over pairs of elements of two rows of equal length.
#[inline(always)]
pub(crate) fn fold_pairs(
    x: &[f32],
    y: &[f32],
    start: f32,
    step: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let ((x_blocks, x_rest), (y_blocks, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = step(*lane, x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = step(*lane, x, y);
    }
    join_lanes(lanes, join)
}

/// Joins halves until one is left.
#[inline(always)]
fn join_lanes(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ x.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    fold(x, 0.0, |lane, x| lane + x, |a, b| a + b)
}

/// Σ x · y.
#[inline(always)]
pub(crate) fn dot<const FUSED: bool>(x: &[f32], y: &[f32]) -> f32 {
    fold_pairs(
        x,
        y,
        0.0,
        |lane, x, y| super::elementary::multiply_add::<FUSED>(x, y, lane),
        |a, b| a + b,
    )
}

/// The largest element that is not NaN; −∞ if there is none.
#[inline(always)]
pub(crate) fn max_ignoring_nan(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    fold(x, f32::NEG_INFINITY, larger, larger)
}
