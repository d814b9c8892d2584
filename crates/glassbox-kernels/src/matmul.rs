//! Dense f32 matrix products on slices: the one place where the `gemm` crate is called.

use crate::error::KernelError;

/// Depth of one call of `gemm`. Below this depth it never splits k; above it the places where it does follow from
/// the sizes of the processor's caches, and so would the rounding of the results.
const DEPTH: usize = 512;

/// How a row-major slice is read as an operand of [`matmul`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The slice holds the operand itself, row after row.
    Normal,
    /// The slice holds the transpose of the operand, row after row.
    Transposed,
}

/// `dst = alpha * dst + beta * op(lhs) * op(rhs)`, all row-major.
///
/// Shapes: `dst` [m, n]; `lhs` [m, k] (or [k, m] when transposed); `rhs` [k, n] (or [n, k] when transposed).
/// With `alpha == 0` the old content of `dst` is never read, so it may hold anything.
///
/// Each output element is accumulated along k in an order that depends on the shape and the instruction set only,
/// whatever the number of threads and the sizes of the caches.
///
/// # Errors
/// [`KernelError::Shape`] if a slice is shorter than its shape needs.
pub fn matmul(
    dst: &mut [f32],
    m: usize,
    n: usize,
    lhs: &[f32],
    lhs_layout: Layout,
    rhs: &[f32],
    rhs_layout: Layout,
    k: usize,
    alpha: f32,
    beta: f32,
) -> Result<(), KernelError> {
    KernelError::check("matmul", "dst", dst.len(), m.saturating_mul(n))?;
    KernelError::check("matmul", "lhs", lhs.len(), m.saturating_mul(k))?;
    KernelError::check("matmul", "rhs", rhs.len(), k.saturating_mul(n))?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (lhs_row, lhs_column) = strides(lhs_layout, m, k);
    let (rhs_row, rhs_column) = strides(rhs_layout, k, n);
    // Below this many multiply-adds a second thread costs more than it brings.
    let parallelism = if m * n * k < 1 << 17 {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    // The first part scales what `dst` held, the others add to it. With k = 0 there's only the scaling.
    for first in (0..k.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(k - first);
        let alpha = if first == 0 { alpha } else { 1.0 };
        // SAFETY: the three slices were checked above to hold every element that the strides can reach (max
        // index (rows-1)*row_stride + (columns-1)*column_stride < rows*columns), and first + depth is at most
        // k; `dst` is borrowed mutably and so overlaps neither operand; `read_dst` is false exactly when alpha
        // is zero.
        unsafe {
            gemm::gemm(
                m,
                n,
                depth,
                dst.as_mut_ptr(),
                1,
                n as isize,
                alpha != 0.0,
                lhs.as_ptr().offset(first as isize * lhs_column),
                lhs_column,
                lhs_row,
                rhs.as_ptr().offset(first as isize * rhs_row),
                rhs_column,
                rhs_row,
                alpha,
                beta,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
    Ok(())
}

fn strides(layout: Layout, rows: usize, columns: usize) -> (isize, isize) {
    match layout {
        Layout::Normal => (columns as isize, 1),
        Layout::Transposed => (1, rows as isize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_in_all_layouts_equals_the_definition() {
        for &(m, n, k) in &[
            (1, 1, 1),
            (2, 3, 4),
            (1, 17, 5),
            (33, 7, 65),
            (64, 96, 48),
            (3, 40, 1030),
            (2, 2, 0),
        ] {
            let lhs: Vec<f32> = (0..m * k).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            let rhs: Vec<f32> = (0..k * n).map(|i| ((i * 5) % 13) as f32 - 6.0).collect();
            let transpose = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns)
                    .map(|i| x[(i % rows) * columns + i / rows])
                    .collect()
            };
            let (lhs_t, rhs_t) = (transpose(&lhs, m, k), transpose(&rhs, k, n));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| {
                    1.0 + 2.0
                        * (0..k)
                            .map(|j| lhs[(i / n) * k + j] * rhs[j * n + i % n])
                            .sum::<f32>()
                })
                .collect();
            for (a, a_layout) in [(&lhs, Layout::Normal), (&lhs_t, Layout::Transposed)] {
                for (b, b_layout) in [(&rhs, Layout::Normal), (&rhs_t, Layout::Transposed)] {
                    let mut dst = vec![1.0; m * n];
                    matmul(&mut dst, m, n, a, a_layout, b, b_layout, k, 1.0, 2.0).unwrap();
                    assert_eq!(dst, expected, "{m}x{n}x{k} {a_layout:?} {b_layout:?}");
                }
            }
        }
    }

    #[test]
    fn a_short_operand_is_refused() {
        let error = matmul(
            &mut [0.0; 4],
            2,
            2,
            &[0.0; 3],
            Layout::Normal,
            &[0.0; 4],
            Layout::Normal,
            2,
            0.0,
            1.0,
        );
        assert!(matches!(error, Err(KernelError::Shape { operand: "lhs", .. })));
    }

    #[test]
    fn zero_alpha_never_reads_the_old_content() {
        let mut dst = vec![f32::NAN; 4];
        matmul(
            &mut dst,
            2,
            2,
            &[1.0; 2],
            Layout::Normal,
            &[1.0; 2],
            Layout::Normal,
            1,
            0.0,
            1.0,
        )
        .unwrap();
        assert_eq!(dst, vec![1.0; 4]);
    }
}
