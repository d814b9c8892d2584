//! Matrix products.

use super::compare::{
    SUMS, Tolerance, agree, assert_close, content, holding, input, matrix, numbers, output, stored_matrix,
};
use crate::backend::{Backend, StoredType};
use crate::matmul::Layout;

/// Products with frozen matrices, forward and backward, and between buffers.
pub fn check_products<B: Backend>(backend: &B) {
    for n in [0, 1, 2, 3, 4, 5, 8, 13, 31, 60] {
        for (rows, columns) in [(1, 1), (3, 17), (64, 64), (37, 129), (130, 50), (0, 5), (5, 0)] {
            linear(backend, StoredType::F32, n, rows, columns);
        }
    }
    // Around the places where a backend is likely to change its way of working, in every stored type.
    for element in [StoredType::F32, StoredType::Bf16, StoredType::F16] {
        for n in [1, 2, 4, 5, 12, 17, 26] {
            linear(backend, element, n, 45, 67);
        }
        for (n, rows, columns) in [(257, 33, 20), (400, 290, 9), (7, 41, 1100), (1, 9, 1100)] {
            linear(backend, element, n, rows, columns);
        }
    }
    for (m, n, k) in [
        (1, 1, 1),
        (3, 5, 7),
        (17, 33, 65),
        (64, 1, 20),
        (0, 4, 4),
        (4, 4, 0),
    ] {
        for lhs_layout in [Layout::Normal, Layout::Transposed] {
            for rhs_layout in [Layout::Normal, Layout::Transposed] {
                for (alpha, beta) in [(0.0, 1.0), (1.0, 1.0), (0.5, -2.0)] {
                    let context = format!("matmul {m} {n} {k} {lhs_layout:?} {rhs_layout:?} {alpha} {beta}");
                    agree!(backend, SUMS, context, |b| {
                        let mut dst = output(b, m * n);
                        let (lhs, rhs) = (input(b, 1, m * k), input(b, 2, k * n));
                        b.matmul(&mut dst, m, n, &lhs, lhs_layout, &rhs, rhs_layout, k, alpha, beta)
                            .unwrap();
                        content(b, &dst)
                    });
                }
            }
        }
    }
    batched_equals_single(backend);
    nan_reaches_its_row(backend);
}

fn linear<B: Backend>(backend: &B, element: StoredType, n: usize, rows: usize, columns: usize) {
    // The rounding of a long sum in one order grows with its terms.
    let sums = |terms: usize| Tolerance {
        absolute: SUMS.absolute.max(5e-8 * terms as f32),
        ..SUMS
    };
    for with_bias in [false, true] {
        let context = format!("linear [{n}, {columns}] × {element:?} [{rows}, {columns}]ᵀ, bias {with_bias}");
        agree!(backend, sums(columns), context, |b| {
            let mut y = output(b, n * rows);
            let bias = with_bias.then(|| input(b, 3, rows));
            let matrix = stored_matrix(b, element, 2, rows, columns);
            b.linear(&input(b, 1, n * columns), n, &matrix, bias.as_ref(), &mut y)
                .unwrap();
            content(b, &y)
        });
    }
    for accumulate in [false, true] {
        let context = format!(
            "linear_backward [{n}, {rows}] × {element:?} [{rows}, {columns}], accumulate {accumulate}"
        );
        agree!(backend, sums(rows), context, |b| {
            let mut d_x = output(b, n * columns);
            let matrix = stored_matrix(b, element, 2, rows, columns);
            b.linear_backward(&input(b, 4, n * rows), n, &matrix, accumulate, &mut d_x)
                .unwrap();
            content(b, &d_x)
        });
    }
}

/// A row of a batch is what the row gives by itself, to 1e-5 of the largest element.
fn batched_equals_single<B: Backend>(backend: &B) {
    let (rows, columns) = (70, 130);
    let matrix = matrix(backend, 1, rows, columns);
    for n in [2, 7, 33, 100, 300] {
        let x = numbers(2, n * columns);
        let mut y = output(backend, n * rows);
        backend
            .linear(&holding(backend, &x), n, &matrix, None, &mut y)
            .unwrap();
        let y = content(backend, &y);
        for i in 0..n {
            let mut single = backend.zeros(rows);
            let row = backend.upload(&x[i * columns..(i + 1) * columns]);
            backend.linear(&row, 1, &matrix, None, &mut single).unwrap();
            let context = format!("row {i} of {n} by itself");
            assert_close(
                &context,
                &y[i * rows..(i + 1) * rows],
                &content(backend, &single),
                SUMS,
            );
        }
    }
}

/// A NaN or an infinity in one row of x makes that row of y not finite, and no other.
fn nan_reaches_its_row<B: Backend>(backend: &B) {
    let (rows, columns) = (19, 40);
    let matrix = matrix(backend, 1, rows, columns);
    for n in [1, 4, 70, 300] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = numbers(2, n * columns);
            let row = n / 2;
            x[row * columns + columns - 1] = bad;
            let mut y = backend.zeros(n * rows);
            backend
                .linear(&holding(backend, &x), n, &matrix, None, &mut y)
                .unwrap();
            for (i, y) in content(backend, &y).iter().enumerate() {
                assert_eq!(
                    y.is_finite(),
                    i / rows != row,
                    "linear of {n} rows with {bad} in row {row}: {i} is {y}"
                );
            }
        }
    }
}
