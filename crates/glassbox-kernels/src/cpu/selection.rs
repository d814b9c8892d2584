//! Choosing among the elements of rows: thresholds, largest entries, vocabulary statistics, checks for NaN.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::elementary::{exp, multiply_add};
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk, for_each_index, map_indices, rows_per_chunk};
use super::reductions::{fold, max_ignoring_nan, sum};
use super::scratch::with_keys;
use crate::backend::{TopEntries, VocabularyStatistics};

/// x stays where x > threshold or where it is NaN, else 0.
pub(crate) fn threshold(x: &mut [f32], width: usize, threshold: &[f32]) {
    let several_threads = x.len() >= 4 * POINTWISE;
    for_each_chunk(
        x,
        rows_per_chunk(width, 1 << 14) * width,
        several_threads,
        |_, x| {
            for row in x.chunks_exact_mut(width) {
                for (x, &threshold) in row.iter_mut().zip(threshold) {
                    *x = if *x <= threshold { 0.0 } else { *x };
                }
            }
        },
    );
}

/// A number that orders (value, index): larger values first, NaN above all, then the lower index first.
pub(super) fn rank(value: f32, index: usize) -> u64 {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    let ordered = if value.is_nan() {
        u32::MAX
    } else if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(ordered) << 32 | u64::from(!(index as u32))
}

/// The index that a rank was made from.
pub(super) fn ranked_index(rank: u64) -> u32 {
    !(rank as u32)
}

/// Puts the ranks of the k largest elements of `x` into `ranks`, in no order.
fn largest(x: &[f32], k: usize, ranks: &mut Vec<u64>) {
    let k = k.min(x.len());
    ranks.clear();
    if k == 0 {
        return;
    }
    if k > x.len() / 8 {
        ranks.extend(x.iter().enumerate().map(|(i, &value)| rank(value, i)));
        if k < ranks.len() {
            ranks.select_nth_unstable_by_key(k - 1, |&rank| Reverse(rank));
            ranks.truncate(k);
        }
        return;
    }
    // A heap of the best so far, its top the least of them, so it holds complements. Blocks without a candidate
    // are skipped by a comparison that vectorises.
    const BLOCK: usize = 256;
    ranks.extend(x[..k].iter().enumerate().map(|(i, &value)| !rank(value, i)));
    let mut heap = BinaryHeap::from(std::mem::take(ranks));
    let least_of = |heap: &BinaryHeap<u64>| heap.peek().map_or(0, |top| !top);
    let mut least = least_of(&heap);
    let mut bound = x[ranked_index(least) as usize];
    for (block, values) in x[k..].chunks(BLOCK).enumerate() {
        if !any_above(values, bound) {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if value <= bound {
                continue;
            }
            let candidate = rank(value, k + block * BLOCK + i);
            if candidate > least {
                if let Some(mut top) = heap.peek_mut() {
                    *top = !candidate;
                }
                least = least_of(&heap);
                bound = x[ranked_index(least) as usize];
            }
        }
    }
    *ranks = heap.into_vec();
    for rank in ranks {
        *rank = !*rank;
    }
}

multiversion! {
    /// Whether some value is above `least`, or NaN.
    fn any_above<FUSED>(values: &[f32], least: f32) -> bool {
        values.iter().fold(false, |any, &value| any | (value > least) | value.is_nan())
    }
}

/// Keeps the k largest of each row, less what is below zero.
pub(crate) fn keep_top_k(x: &mut [f32], width: usize, k: usize) {
    let several_threads = x.len() >= POINTWISE / 4;
    for_each_chunk(x, width, several_threads, |_, row| {
        with_keys(|ranks| {
            largest(row, k, ranks);
            match ranks.iter().min().map(|&least| ranked_index(least) as usize) {
                None => row.fill(0.0),
                // More NaN than places: those with the lowest indices are kept.
                Some(last) if row[last].is_nan() => {
                    row[last + 1..].fill(0.0);
                    keep_above(&mut row[..=last], f32::INFINITY, false);
                }
                // Values equal to the least one kept stay up to its index.
                Some(last) => {
                    let least = row[last];
                    let (up_to_last, behind) = row.split_at_mut(last + 1);
                    keep_above(up_to_last, least, true);
                    keep_above(behind, least, false);
                }
            }
        });
    });
}

multiversion! {
    /// Zeroes what is not above zero and not above `least` (or equal to it, when `equal_stays`). NaN stays.
    fn keep_above<FUSED>(row: &mut [f32], least: f32, equal_stays: bool) {
        // With a positive least value, equal values stay if everything above the next lower number does.
        let bound = if least <= 0.0 {
            0.0
        } else if equal_stays {
            least.next_down()
        } else {
            least
        };
        for x in row {
            *x = if *x <= bound { 0.0 } else { *x };
        }
    }
}

/// The k largest of each row in order.
pub(crate) fn top_entries(x: &[f32], n: usize, width: usize, k: usize) -> Vec<TopEntries> {
    let of_row = |i: usize| {
        let row = &x[i * width..(i + 1) * width];
        with_keys(|ranks| {
            largest(row, k, ranks);
            ranks.sort_unstable_by_key(|&rank| Reverse(rank));
            let indices: Vec<u32> = ranks.iter().map(|&rank| ranked_index(rank)).collect();
            let values = indices.iter().map(|&i| row[i as usize]).collect();
            TopEntries { indices, values }
        })
    };
    map_rows(n, width, of_row)
}

/// Log-sum-exp, entropy, argmax of each row. NaN counts as the largest value.
pub(crate) fn vocabulary_statistics(logits: &[f32], n: usize, width: usize) -> Vec<VocabularyStatistics> {
    map_rows(n, width, |i| row_statistics(&logits[i * width..(i + 1) * width]))
}

fn map_rows<T: Send + Sync>(n: usize, width: usize, of_row: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    map_indices(n, n * width >= POINTWISE / 2, of_row)
}

fn row_statistics(row: &[f32]) -> VocabularyStatistics {
    let (max, has_nan) = max_and_nan(row);
    let argmax = row
        .iter()
        .position(|&x| if has_nan { x.is_nan() } else { x == max })
        .unwrap_or(0) as u32;
    if has_nan {
        return VocabularyStatistics {
            log_sum_exp: f32::NAN,
            entropy: f32::NAN,
            argmax,
            max: f32::NAN,
        };
    }
    if max.is_infinite() {
        return VocabularyStatistics {
            log_sum_exp: max,
            entropy: f32::NAN,
            argmax,
            max,
        };
    }
    // Blocks are summed in f32 lanes, their totals in f64.
    let (mut total, mut weighted) = (0.0f64, 0.0f64);
    for block in row.chunks(EXP_BLOCK) {
        let (block_total, block_weighted) = exp_sums(block, max);
        total += f64::from(block_total);
        weighted += f64::from(block_weighted);
    }
    let log_total = total.ln();
    VocabularyStatistics {
        log_sum_exp: (f64::from(max) + log_total) as f32,
        entropy: (log_total - weighted / total) as f32,
        argmax,
        max,
    }
}

const EXP_BLOCK: usize = 1024;

multiversion! {
    fn max_and_nan<FUSED>(row: &[f32]) -> (f32, bool) {
        // Zero for numbers, NaN as soon as one is NaN or infinite: the second look is rarely needed.
        let probe = fold(row, 0.0, |lane, x| multiply_add::<FUSED>(x, 0.0, lane), |a, b| a + b);
        (max_ignoring_nan(row), probe.is_nan() && row.iter().any(|x| x.is_nan()))
    }
}

multiversion! {
    /// Σ e and Σ e · s of one block, with s = x − max and e = exp(s).
    fn exp_sums<FUSED>(block: &[f32], max: f32) -> (f32, f32) {
        let mut exponentials = [0.0f32; EXP_BLOCK];
        let mut weighted = [0.0f32; EXP_BLOCK];
        for ((e, w), &x) in exponentials.iter_mut().zip(&mut weighted).zip(block) {
            let shifted = x - max;
            // −∞ would give 0 · ∞; below −200 the exponential is zero anyway.
            let shifted = if shifted < -200.0 { -200.0 } else { shifted };
            *e = exp::<FUSED>(shifted);
            *w = *e * shifted;
        }
        (sum(&exponentials[..block.len()]), sum(&weighted[..block.len()]))
    }
}

/// Index of the first element that is NaN or infinite.
pub(crate) fn first_non_finite(x: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1 << 14;
    let first = AtomicUsize::new(usize::MAX);
    for_each_index(x.len().div_ceil(BLOCK), x.len() >= 8 * POINTWISE, |block| {
        let values = &x[block * BLOCK..((block + 1) * BLOCK).min(x.len())];
        // Checked without an early end first, which vectorises.
        let any = values.iter().fold(false, |any, value| any | !value.is_finite());
        if any && let Some(i) = values.iter().position(|value| !value.is_finite()) {
            first.fetch_min(block * BLOCK + i, Ordering::Relaxed);
        }
    });
    let first = first.into_inner();
    (first < x.len()).then_some(first)
}
