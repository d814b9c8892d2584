//! Sharing work among threads, in pieces that depend on the shape only.

use rayon::prelude::*;

/// Elements of simple pointwise work from which on a second thread pays.
pub(crate) const POINTWISE: usize = 1 << 16;
/// Multiply-adds from which on a second thread pays.
pub(crate) const PRODUCTS: usize = 1 << 18;

/// Calls `each` with every index below `count`, on several threads when asked to.
pub(crate) fn for_each_index(count: usize, several_threads: bool, each: impl Fn(usize) + Sync + Send) {
    if several_threads && count > 1 {
        (0..count).into_par_iter().for_each(each);
    } else {
        (0..count).for_each(each);
    }
}

/// Calls `each` with the number and the content of every chunk of `out`, on several threads when asked to.
pub(crate) fn for_each_chunk(
    out: &mut [f32],
    chunk: usize,
    several_threads: bool,
    each: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if out.is_empty() || chunk == 0 {
        return;
    }
    if several_threads && out.len() > chunk {
        out.par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, out)| each(i, out));
    } else {
        out.chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, out)| each(i, out));
    }
}

/// As [`for_each_chunk`], for two outputs that are cut into equally many chunks.
pub(crate) fn for_each_chunk_pair(
    (first, first_chunk): (&mut [f32], usize),
    (second, second_chunk): (&mut [f32], usize),
    several_threads: bool,
    each: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
) {
    if first.is_empty() || first_chunk == 0 || second_chunk == 0 {
        return;
    }
    if several_threads && first.len() > first_chunk {
        first
            .par_chunks_mut(first_chunk)
            .zip(second.par_chunks_mut(second_chunk))
            .enumerate()
            .for_each(|(i, (first, second))| each(i, first, second));
    } else {
        first
            .chunks_mut(first_chunk)
            .zip(second.chunks_mut(second_chunk))
            .enumerate()
            .for_each(|(i, (first, second))| each(i, first, second));
    }
}

/// Rows per chunk, so that a chunk holds about `elements` elements.
pub(crate) fn rows_per_chunk(width: usize, elements: usize) -> usize {
    (elements / width.max(1)).max(1)
}
