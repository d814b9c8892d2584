//! Matrix products.

use crate::matmul::Layout;

/// x [n, columns] · matrixᵀ + bias.
pub(crate) fn linear(
    x: &[f64],
    n: usize,
    matrix: &[f64],
    rows: usize,
    columns: usize,
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let mut y = vec![0.0; n * rows];
    for i in 0..n {
        for row in 0..rows {
            let product: f64 = (0..columns)
                .map(|c| x[i * columns + c] * matrix[row * columns + c])
                .sum();
            y[i * rows + row] = product + bias.map_or(0.0, |bias| bias[row]);
        }
    }
    y
}

/// d_y [n, rows] · matrix.
pub(crate) fn linear_backward(
    d_y: &[f64],
    n: usize,
    matrix: &[f64],
    rows: usize,
    columns: usize,
) -> Vec<f64> {
    let mut d_x = vec![0.0; n * columns];
    for i in 0..n {
        for c in 0..columns {
            d_x[i * columns + c] = (0..rows)
                .map(|row| d_y[i * rows + row] * matrix[row * columns + c])
                .sum();
        }
    }
    d_x
}

/// op(lhs) [m, k] · op(rhs) [k, n].
pub(crate) fn matmul(
    (m, n, k): (usize, usize, usize),
    lhs: &[f64],
    lhs_layout: Layout,
    rhs: &[f64],
    rhs_layout: Layout,
) -> Vec<f64> {
    let element = |x: &[f64],
                   layout: Layout,
                   (row, column): (usize, usize),
                   (rows, columns): (usize, usize)| match layout {
        Layout::Normal => x[row * columns + column],
        Layout::Transposed => x[column * rows + row],
    };
    let mut dst = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            dst[i * n + j] = (0..k)
                .map(|p| element(lhs, lhs_layout, (i, p), (m, k)) * element(rhs, rhs_layout, (p, j), (k, n)))
                .sum();
        }
    }
    dst
}
