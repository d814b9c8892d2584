//! Products with frozen matrices and between buffers.

use super::memory::CpuMatrix;
use super::parallel::{PRODUCTS, for_each_chunk, for_each_index, rows_per_chunk};
use super::tiles::{Destination, Strides, product_by_columns, product_by_rows};
use crate::backend::Result;
use crate::matmul::{Layout, matmul};

/// Up to this many rows of x the weights are streamed once through our own kernel; for more, packing them into
/// blocks pays (measured on Zen 5 with AVX-512: even at 128 to 200 rows).
const FEW_ROWS: usize = 96;

/// As [`FEW_ROWS`] for the backward product, whose weights need no packing.
const FEW_ROWS_BACKWARD: usize = 1;

/// y [n, rows] = x [n, columns] · matrixᵀ + bias.
pub(crate) fn linear(
    x: &[f32],
    n: usize,
    matrix: &CpuMatrix,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<()> {
    let (rows, columns) = matrix.shape();
    let bias = bias.map(|bias| &bias[..rows]);
    let y = &mut y[..n * rows];
    if y.is_empty() {
        return Ok(());
    }
    if n <= FEW_ROWS {
        linear_few_rows(&x[..n * columns], n, matrix, y);
        if let Some(bias) = bias {
            add_bias(bias, y);
        }
        return Ok(());
    }
    // The product is added to the bias, which saves a pass over y.
    let alpha = match bias {
        Some(bias) => {
            for_each_chunk(y, rows, y_is_large(n * rows), |_, y| y.copy_from_slice(bias));
            1.0
        }
        None => 0.0,
    };
    matmul(
        y,
        n,
        rows,
        x,
        Layout::Normal,
        matrix.values(),
        Layout::Transposed,
        columns,
        alpha,
        1.0,
    )
}

fn y_is_large(elements: usize) -> bool {
    elements >= PRODUCTS
}

fn add_bias(bias: &[f32], y: &mut [f32]) {
    for row in y.chunks_exact_mut(bias.len()) {
        for (y, bias) in row.iter_mut().zip(bias) {
            *y += bias;
        }
    }
}

/// The product alone, weights read once, each thread a block of the matrix's rows.
fn linear_few_rows(x: &[f32], n: usize, matrix: &CpuMatrix, y: &mut [f32]) {
    let (rows, columns) = matrix.shape();
    let weights = matrix.values();
    // Whole tiles of 4 rows, 128 KiB of weights.
    let block = rows_per_chunk(columns, 1 << 15).next_multiple_of(4);
    let destination = Destination::new(y);
    for_each_index(rows.div_ceil(block), n * rows * columns >= PRODUCTS, |i| {
        let first = i * block;
        let count = block.min(rows - first);
        // SAFETY: `y` is borrowed for the whole call; block i writes columns first..first+count of it only.
        unsafe {
            product_by_rows(
                (n, count, columns),
                x,
                columns,
                &weights[first * columns..],
                columns,
                1.0,
                destination.from(first),
                rows,
            );
        }
    });
}

/// d_x [n, columns] = d_y [n, rows] · matrix, added to d_x when `accumulate`.
pub(crate) fn linear_backward(
    d_y: &[f32],
    n: usize,
    matrix: &CpuMatrix,
    accumulate: bool,
    d_x: &mut [f32],
) -> Result<()> {
    let (rows, columns) = matrix.shape();
    let d_x = &mut d_x[..n * columns];
    if d_x.is_empty() {
        return Ok(());
    }
    if n > FEW_ROWS_BACKWARD {
        let alpha = if accumulate { 1.0 } else { 0.0 };
        return matmul(
            d_x,
            n,
            columns,
            d_y,
            Layout::Normal,
            matrix.values(),
            Layout::Normal,
            rows,
            alpha,
            1.0,
        );
    }
    const BLOCK: usize = 64;
    let destination = Destination::new(d_x);
    for_each_index(columns.div_ceil(BLOCK), n * rows * columns >= PRODUCTS, |i| {
        let first = i * BLOCK;
        // SAFETY: `d_x` is borrowed for the whole call; block i writes its own columns only.
        unsafe {
            product_by_columns(
                (n, BLOCK.min(columns - first), rows),
                d_y,
                Strides::rows(rows),
                matrix.values().get(first..).unwrap_or_default(),
                columns,
                1.0,
                accumulate,
                destination.from(first),
                columns,
            );
        }
    });
    Ok(())
}
