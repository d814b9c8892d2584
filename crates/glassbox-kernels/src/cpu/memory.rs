//! Storage on the host: buffers, frozen matrices, and moving rows between them.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use rayon::prelude::*;

use super::parallel::{POINTWISE, for_each_chunk, rows_per_chunk};
use crate::backend::{AttentionShape, StoredValues};

/// One cache line, so that rows whose width is a multiple of 16 never straddle one more line than they must.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

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

/// A frozen weight matrix [rows, columns] in host memory, row after row.
///
/// Half precision is widened to f32 when the matrix is built: every product then runs at f32 speed, for twice
/// the memory.
#[derive(Clone)]
pub struct CpuMatrix {
    rows: usize,
    columns: usize,
    values: CpuBuffer,
}

impl std::fmt::Debug for CpuMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuMatrix")
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl CpuMatrix {
    /// From exactly `rows · columns` stored numbers.
    pub(crate) fn from_stored(stored: StoredValues<'_>, rows: usize, columns: usize) -> Self {
        let mut values = CpuBuffer::zeros(rows * columns);
        widen(stored, values.values_mut());
        Self {
            rows,
            columns,
            values,
        }
    }

    /// From the transpose [columns, rows].
    pub(crate) fn from_transposed(stored: StoredValues<'_>, rows: usize, columns: usize) -> Self {
        // Square tiles, so that both sides of the transposition stay in cache.
        const TILE: usize = 32;
        let mut transposed = CpuBuffer::zeros(rows * columns);
        widen(stored, transposed.values_mut());
        let from = transposed.values();
        let mut values = CpuBuffer::zeros(rows * columns);
        for_each_chunk(
            values.values_mut(),
            TILE * columns,
            rows * columns >= POINTWISE,
            |tile, to| {
                let first_row = tile * TILE;
                for first_column in (0..columns).step_by(TILE) {
                    let last_column = (first_column + TILE).min(columns);
                    for (i, row) in to.chunks_mut(columns).enumerate() {
                        for column in first_column..last_column {
                            row[column] = from[column * rows + first_row + i];
                        }
                    }
                }
            },
        );
        Self {
            rows,
            columns,
            values,
        }
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// All elements, row after row.
    pub(crate) fn values(&self) -> &[f32] {
        self.values.values()
    }
}

/// Widens stored little-endian numbers to f32.
fn widen(stored: StoredValues<'_>, to: &mut [f32]) {
    const CHUNK: usize = 1 << 16;
    match stored {
        StoredValues::F32(bytes) => {
            to.par_chunks_mut(CHUNK)
                .zip(bytes.par_chunks(4 * CHUNK))
                .for_each(|(to, bytes)| {
                    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *to = f32::from_le_bytes(*bytes);
                    }
                });
        }
        StoredValues::Bf16(bytes) => {
            to.par_chunks_mut(CHUNK)
                .zip(bytes.par_chunks(2 * CHUNK))
                .for_each(|(to, bytes)| {
                    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *to = bf16::from_le_bytes(*bytes).to_f32();
                    }
                });
        }
        StoredValues::F16(bytes) => {
            to.par_chunks_mut(CHUNK)
                .zip(bytes.par_chunks(2 * CHUNK))
                .for_each(|(to, bytes)| {
                    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *to = f16::from_le_bytes(*bytes).to_f32();
                    }
                });
        }
    }
}

/// dst[i, ..] = src[rows[i], ..].
pub(crate) fn gather_rows(src: &[f32], width: usize, rows: &[u32], dst: &mut [f32]) {
    let dst = &mut dst[..rows.len() * width];
    let several_threads = dst.len() >= 4 * POINTWISE;
    let chunk = rows_per_chunk(width, POINTWISE);
    for_each_chunk(dst, chunk * width, several_threads, |i, dst| {
        for (to, &row) in dst.chunks_exact_mut(width).zip(&rows[i * chunk..]) {
            let from = row as usize * width;
            to.copy_from_slice(&src[from..from + width]);
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
