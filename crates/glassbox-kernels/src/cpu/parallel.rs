//! Sharing work among threads, in pieces that depend on the shape only.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::team::Team;

/// Elements of simple pointwise work from which on a second thread pays.
pub(crate) const POINTWISE: usize = 1 << 15;
/// Multiply-adds from which on a second thread pays.
pub(crate) const PRODUCTS: usize = 1 << 18;

/// How many threads an operation that is called here may use.
///
/// On a thread of a rayon pool that is the pool's business; on any other thread it is the process's [`Team`].
pub(crate) fn threads(several_threads: bool) -> usize {
    if several_threads {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Calls `each` with every index below `count`, on several threads when asked to.
pub(crate) fn for_each_index(count: usize, several_threads: bool, each: impl Fn(usize) + Sync + Send) {
    if count < 2 || threads(several_threads) < 2 {
        (0..count).for_each(each);
    } else if rayon::current_thread_index().is_some() {
        (0..count).into_par_iter().for_each(each);
    } else {
        Team::of_process().run(count, &each);
    }
}

/// Calls `each` with every index below `count`, shared among the threads that the operations of a pass use: for work between two of
/// them, which would wait for another pool's threads to wake and keep these from staying awake.
pub fn for_each_piece(count: usize, each: impl Fn(usize) + Sync + Send) {
    for_each_index(count, true, each);
}

/// The results of `of` for every index below `count`, on several threads when asked to.
pub(crate) fn map_indices<T: Send + Sync>(
    count: usize,
    several_threads: bool,
    of: impl Fn(usize) -> T + Sync + Send,
) -> Vec<T> {
    let results: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
    for_each_index(count, several_threads, |i| {
        results[i].get_or_init(|| of(i));
    });
    results.into_iter().filter_map(OnceLock::into_inner).collect()
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
    let chunks = Chunks::new(out, chunk);
    for_each_index(chunks.count(), several_threads, |i| {
        // SAFETY: `out` is borrowed for the whole call, and every index comes once.
        each(i, unsafe { chunks.get(i) });
    });
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
    let (first, second) = (Chunks::new(first, first_chunk), Chunks::new(second, second_chunk));
    for_each_index(first.count().min(second.count()), several_threads, |i| {
        // SAFETY: both are borrowed for the whole call, and every index comes once.
        let (first, second) = unsafe { (first.get(i), second.get(i)) };
        each(i, first, second);
    });
}

/// A slice cut into chunks that threads take one by one.
struct Chunks {
    start: *mut f32,
    len: usize,
    chunk: usize,
}

// SAFETY: the chunks do not overlap, and `get` is called once for each.
unsafe impl Sync for Chunks {}
// SAFETY: as above.
unsafe impl Send for Chunks {}

impl Chunks {
    fn new(slice: &mut [f32], chunk: usize) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            chunk,
        }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    /// The i-th chunk; the last may be shorter.
    ///
    /// # Safety
    /// The slice must still be mutably borrowed by the caller of `new`, and each chunk be taken once.
    #[expect(
        clippy::mut_from_ref,
        reason = "each chunk is taken once, as the caller promises"
    )]
    unsafe fn get(&self, i: usize) -> &mut [f32] {
        let at = (i * self.chunk).min(self.len);
        // SAFETY: the part lies within the slice, and no other reference to it exists, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), self.chunk.min(self.len - at)) }
    }
}

/// Rows per chunk, so that a chunk holds about `elements` elements.
pub(crate) fn rows_per_chunk(width: usize, elements: usize) -> usize {
    (elements / width.max(1)).max(1)
}
