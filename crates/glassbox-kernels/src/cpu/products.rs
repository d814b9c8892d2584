//! Products with frozen matrices.

use super::elements::{Element, with_elements};
use super::matrix::CpuMatrix;
use super::panels::{Orientation, PanelProduct, Start};
use super::parallel::{PRODUCTS, for_each_index, rows_per_chunk};
use super::tiles::{Destination, product_by_rows};

/// Up to this many rows of x the weights are used as they come from memory, in dot products; for more, laying them out
/// in panels pays.
const FEW_ROWS: usize = 6;

/// y [n, rows] = x [n, columns] · matrixᵀ + bias.
pub(crate) fn linear(x: &[f32], n: usize, matrix: &CpuMatrix, bias: Option<&[f32]>, y: &mut [f32]) {
    let (rows, columns) = matrix.shape();
    let bias = bias.map(|bias| &bias[..rows]);
    let y = &mut y[..n * rows];
    let several_threads = n * rows * columns >= PRODUCTS;
    if n > FEW_ROWS {
        with_elements!(matrix.elements(), weights => PanelProduct {
            n,
            depth: columns,
            width: rows,
            x,
            weights,
            orientation: Orientation::Rows,
            start: bias.map_or(Start::Zero, Start::Bias),
        }
        .compute(y, several_threads));
        return;
    }
    if y.is_empty() {
        return;
    }
    with_elements!(matrix.elements(), weights => {
        linear_few_rows(&x[..n * columns], n, weights, (rows, columns), several_threads, y);
    });
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(rows) {
            for (y, bias) in row.iter_mut().zip(bias) {
                *y += bias;
            }
        }
    }
}

/// The product alone, weights read once, each thread a block of the matrix's rows.
fn linear_few_rows<E: Element>(
    x: &[f32],
    n: usize,
    weights: &[E],
    (rows, columns): (usize, usize),
    several_threads: bool,
    y: &mut [f32],
) {
    // Whole tiles of 4 rows, 128 KiB of weights in f32.
    let block = rows_per_chunk(columns, 1 << 15).next_multiple_of(4);
    let destination = Destination::new(y);
    for_each_index(rows.div_ceil(block), several_threads, |i| {
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
pub(crate) fn linear_backward(d_y: &[f32], n: usize, matrix: &CpuMatrix, accumulate: bool, d_x: &mut [f32]) {
    let (rows, columns) = matrix.shape();
    with_elements!(matrix.elements(), weights => PanelProduct {
        n,
        depth: rows,
        width: columns,
        x: d_y,
        weights,
        orientation: Orientation::Columns,
        start: if accumulate { Start::Destination } else { Start::Zero },
    }
    .compute(&mut d_x[..n * columns], n * rows * columns >= PRODUCTS));
}
