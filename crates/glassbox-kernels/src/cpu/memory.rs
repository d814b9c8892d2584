//! Buffers on the host, and moving rows between them.

use bytemuck::{Pod, Zeroable};

use super::elements::Element;
use super::parallel::{POINTWISE, for_each_chunk, rows_per_chunk};
use crate::backend::AttentionShape;

/// One cache line, so that rows whose width is a multiple of 16 never straddle one more line than they must.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; 16]);

/// f32 elements in host memory, aligned to 64 bytes.
#[derive(Clone)]
pub struct CpuBuffer {
    lines: Vec<Line>,
    len: usize,
}

impl std::fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuBuffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl CpuBuffer {
    /// `len` zeros. The memory is taken zeroed from the operating system, so pages are touched when first used.
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: bytemuck::allocation::zeroed_vec(len.div_ceil(16)),
            len,
        }
    }

    /// A copy of `values`.
    pub(crate) fn from_values(values: &[f32]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer.values_mut().copy_from_slice(values);
        buffer
    }

    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements.
    pub(crate) fn values(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The elements.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// dst = src, of one length.
pub(crate) fn copy(src: &[f32], dst: &mut [f32]) {
    const CHUNK: usize = 2 * POINTWISE;
    let several_threads = dst.len() >= 4 * POINTWISE;
    for_each_chunk(dst, CHUNK, several_threads, |i, dst| {
        dst.copy_from_slice(&src[i * CHUNK..][..dst.len()]);
    });
}

/// dst[i, ..] = src[rows[i], ..], widened.
pub(crate) fn gather_rows<E: Element>(src: &[E], width: usize, rows: &[u32], dst: &mut [f32]) {
    let dst = &mut dst[..rows.len() * width];
    let several_threads = dst.len() >= 4 * POINTWISE;
    let chunk = rows_per_chunk(width, POINTWISE);
    for_each_chunk(dst, chunk * width, several_threads, |i, dst| {
        for (to, &row) in dst.chunks_exact_mut(width).zip(&rows[i * chunk..]) {
            let from = row as usize * width;
            for (to, from) in to.iter_mut().zip(&src[from..from + width]) {
                *to = from.widen();
            }
        }
    });
}

/// dst[rows[i], ..] = src[i, ..]; of equal indices the last wins.
pub(crate) fn scatter_rows(src: &[f32], width: usize, rows: &[u32], dst: &mut [f32]) {
    for (from, &row) in src.chunks_exact(width).zip(rows) {
        let to = row as usize * width;
        dst[to..to + width].copy_from_slice(from);
    }
}

/// Copies the new keys or values of each batch row into its slots.
pub(crate) fn cache_write(new: &[f32], shape: &AttentionShape, cache: &mut [f32]) {
    let slot = shape.kv_heads * shape.head_dim;
    let count = shape.queries * slot;
    if count == 0 {
        return;
    }
    for (new, cache) in new
        .chunks_exact(count)
        .zip(cache.chunks_exact_mut(shape.capacity * slot))
        .take(shape.batch)
    {
        let at = shape.first_query * slot;
        cache[at..at + count].copy_from_slice(new);
    }
}

/// Copies the first `filled` slots of the selected rows; slots beyond them keep what they held.
pub(crate) fn cache_select(
    src: &[f32],
    src_capacity: usize,
    width: usize,
    filled: usize,
    rows: &[u32],
    dst_capacity: usize,
    dst: &mut [f32],
) {
    let count = filled * width;
    if count == 0 {
        return;
    }
    let dst = &mut dst[..rows.len() * dst_capacity * width];
    for_each_chunk(
        dst,
        dst_capacity * width,
        rows.len() * count >= 4 * POINTWISE,
        |i, dst| {
            let from = rows[i] as usize * src_capacity * width;
            dst[..count].copy_from_slice(&src[from..from + count]);
        },
    );
}
