//! Frozen weights on the host, in the type in which they were stored.

use std::sync::Arc;

use super::elements::Elements;
use super::memory::CpuBuffer;
use crate::backend::{StoredType, StoredValues};
use crate::mapped_file::MappedFile;

/// A frozen weight matrix [rows, columns] in host memory, row after row: f32, bfloat16 or half precision, as stored.
/// Half precision is widened inside the operations, so that memory and its bandwidth are spent on 16 bits only.
#[derive(Clone)]
pub struct CpuMatrix {
    rows: usize,
    columns: usize,
    element: StoredType,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    /// Memory of its own, little endian or big as the processor is.
    Owned(CpuBuffer),
    /// A part of a file, from this byte on; aligned to the elements.
    Mapped(Arc<MappedFile>, usize),
}

impl std::fmt::Debug for CpuMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuMatrix")
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .field("element", &self.element)
            .field("mapped", &matches!(self.bytes, Bytes::Mapped(..)))
            .finish_non_exhaustive()
    }
}

impl CpuMatrix {
    /// From exactly `rows · columns` stored numbers.
    pub(crate) fn from_stored(stored: StoredValues<'_>, rows: usize, columns: usize) -> Self {
        let element = stored.element();
        let bytes = Bytes::Owned(copied(stored));
        Self {
            rows,
            columns,
            element,
            bytes,
        }
    }

    /// From the transpose [columns, rows].
    pub(crate) fn from_transposed(stored: StoredValues<'_>, rows: usize, columns: usize) -> Self {
        let element = stored.element();
        let from = copied(stored);
        let mut to = CpuBuffer::zeros(from.len());
        match element.bytes() {
            4 => transpose::<u32>(from.values(), rows, columns, to.values_mut()),
            _ => transpose::<u16>(from.values(), rows, columns, to.values_mut()),
        }
        Self {
            rows,
            columns,
            element,
            bytes: Bytes::Owned(to),
        }
    }

    /// The `rows · columns` numbers that stand in a file from byte `at` on: not copied if they are aligned to their
    /// size and this processor is little endian as the file is.
    pub(crate) fn from_mapped(
        file: &Arc<MappedFile>,
        at: usize,
        element: StoredType,
        rows: usize,
        columns: usize,
    ) -> Self {
        let bytes = &file.as_bytes()[at..at + rows * columns * element.bytes()];
        let aligned = bytes.as_ptr().addr().is_multiple_of(element.bytes());
        if cfg!(target_endian = "big") || !aligned || bytes.is_empty() {
            return Self::from_stored(element.values(bytes), rows, columns);
        }
        Self {
            rows,
            columns,
            element,
            bytes: Bytes::Mapped(Arc::clone(file), at),
        }
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// All elements, row after row.
    pub(crate) fn elements(&self) -> Elements<'_> {
        let count = self.rows * self.columns;
        let all: &[u8] = match &self.bytes {
            Bytes::Owned(buffer) => bytemuck::cast_slice(buffer.values()),
            Bytes::Mapped(file, at) => &file.as_bytes()[*at..],
        };
        // Buffers are aligned to more than any element; the place in a file was checked.
        let bytes = &all[..count * self.element.bytes()];
        match self.element {
            StoredType::F32 => Elements::F32(bytemuck::cast_slice(bytes)),
            StoredType::Bf16 => Elements::Bf16(bytemuck::cast_slice(bytes)),
            StoredType::F16 => Elements::F16(bytemuck::cast_slice(bytes)),
        }
    }
}

/// The bytes in memory of their own, in the processor's order. The buffer's f32 are only a place for them.
fn copied(stored: StoredValues<'_>) -> CpuBuffer {
    const CHUNK: usize = 1 << 20;
    let from = stored.bytes();
    let mut buffer = CpuBuffer::zeros(from.len().div_ceil(4));
    let to: &mut [u8] = &mut bytemuck::cast_slice_mut(buffer.values_mut())[..from.len()];
    for (to, from) in to.chunks_mut(CHUNK).zip(from.chunks(CHUNK)) {
        to.copy_from_slice(from);
        if cfg!(target_endian = "big") {
            to.chunks_exact_mut(stored.element().bytes())
                .for_each(<[u8]>::reverse);
        }
    }
    buffer
}

/// to [rows, columns] = the transpose of from [columns, rows], of numbers with the size of T.
fn transpose<T: bytemuck::Pod>(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    // Square tiles, so that both sides of the transposition stay in cache.
    const TILE: usize = 32;
    let count = rows * columns;
    let from: &[T] = &bytemuck::cast_slice(from)[..count];
    let to: &mut [T] = &mut bytemuck::cast_slice_mut(to)[..count];
    if count == 0 {
        return;
    }
    for (tile, to) in to.chunks_mut(TILE * columns).enumerate() {
        let first_row = tile * TILE;
        for first_column in (0..columns).step_by(TILE) {
            let last_column = (first_column + TILE).min(columns);
            for (i, row) in to.chunks_mut(columns).enumerate() {
                for column in first_column..last_column {
                    row[column] = from[column * rows + first_row + i];
                }
            }
        }
    }
}
