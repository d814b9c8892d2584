//! Rotary position embedding, half-split convention.

use super::elementary::multiply_add;
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk, rows_per_chunk};

/// Turns the pairs (x[j], x[j + half]) of every head by the angles of the row's position.
pub(crate) fn rotary(
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
    positions: &[u32],
    inverse: bool,
) {
    let width = heads * head_dim;
    let rows = rows_per_chunk(width, 1 << 14);
    let several_threads = x.len() >= POINTWISE;
    for_each_chunk(x, rows * width, several_threads, |i, x| {
        turn_rows(
            x,
            heads,
            head_dim,
            cos,
            sin,
            half,
            &positions[i * rows..],
            inverse,
        );
    });
}

multiversion! {
    fn turn_rows<FUSED>(
        x: &mut [f32],
        heads: usize,
        head_dim: usize,
        cos: &[f32],
        sin: &[f32],
        half: usize,
        positions: &[u32],
        inverse: bool,
    ) {
        let sign = if inverse { -1.0 } else { 1.0 };
        for (row, &position) in x.chunks_exact_mut(heads * head_dim).zip(positions) {
            let at = position as usize * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in row.chunks_exact_mut(head_dim) {
                let (first, rest) = head.split_at_mut(half);
                for (((a, b), &cos), &sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                    let sin = sign * sin;
                    let (left, right) = (*a, *b);
                    *a = multiply_add::<FUSED>(left, cos, -(right * sin));
                    *b = multiply_add::<FUSED>(right, cos, left * sin);
                }
            }
        }
    }
}
