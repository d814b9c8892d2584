//! Small and strided products on one thread: the two inner kernels under linear layers of few rows and attention.
//!
//! [`product_by_rows`] multiplies by a transposed operand (dot products of rows), [`product_by_columns`] by a
//! plain one (sums of scaled rows). Each output element is accumulated along k in an order that depends on k and
//! on the instruction set only, so it does not matter which rows are computed together, or on which thread.

use super::elements::Element;
use super::instructions::Instructions;
use super::lanes::Lanes;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon as Baseline;
#[cfg(not(target_arch = "aarch64"))]
use super::lanes::Portable as Baseline;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};

/// A matrix inside a slice: element (i, j) stands at `i · row + j · column`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strides {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl Strides {
    /// Rows that are dense in themselves and `row` apart.
    pub(crate) fn rows(row: usize) -> Self {
        Self { row, column: 1 }
    }

    /// One more than the index of the last element of a [rows, columns] matrix.
    fn extent(self, rows: usize, columns: usize) -> usize {
        if rows == 0 || columns == 0 {
            0
        } else {
            (rows - 1) * self.row + (columns - 1) * self.column + 1
        }
    }
}

/// Where a kernel puts its results: rows of a slice that several threads fill, each its own part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    start: *mut f32,
    len: usize,
}

// SAFETY: a destination is only written through `product_by_rows`, `product_by_columns`, `copy_from` and, by its
// `pointer`, the panel kernels; the callers of all of them promise that parts written at the same time do not overlap.
unsafe impl Send for Destination {}
// SAFETY: as above.
unsafe impl Sync for Destination {}

impl Destination {
    /// The whole slice. The borrow ends here, so the caller must keep the slice mutably borrowed until the
    /// last write; all uses in this crate do so within one function.
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
        }
    }

    /// The first element. What is written there is the caller's responsibility, as in the products of this module.
    pub(crate) fn pointer(self) -> *mut f32 {
        self.start
    }

    /// The part from element `at` on.
    pub(crate) fn from(self, at: usize) -> Self {
        assert!(at <= self.len, "destination starts at {at} of {}", self.len);
        // SAFETY: `at` is at most the length, so the pointer stays within the slice or one past its end.
        let start = unsafe { self.start.add(at) };
        Self {
            start,
            len: self.len - at,
        }
    }

    /// Writes these values at the beginning.
    ///
    /// # Safety
    /// The slice must still be mutably borrowed by the caller's caller, and no other thread may touch the same elements.
    pub(crate) unsafe fn copy_from(self, values: &[f32]) {
        assert!(values.len() <= self.len, "destination too short");
        // SAFETY: the length was just checked; a slice that is mutably borrowed elsewhere does not overlap `values`.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start, values.len()) }
    }
}

/// out[i, j] = scale · Σ_p a[i, p] · b[j, p] for a [m, k], b [n, k], out [m, n]; rows of all three are dense
/// and `a_row`, `b_row`, `out_row` apart.
///
/// # Safety
/// `out` must still be mutably borrowed by the caller's caller, and no other thread may touch the same elements.
pub(crate) unsafe fn product_by_rows<E: Element>(
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    a_row: usize,
    b: &[E],
    b_row: usize,
    scale: f32,
    out: Destination,
    out_row: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        product_by_rows_with(
            Instructions::detect(),
            (m, n, k),
            a,
            a_row,
            b,
            b_row,
            scale,
            out,
            out_row,
        )
    }
}

unsafe fn product_by_rows_with<E: Element>(
    instructions: Instructions,
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    a_row: usize,
    b: &[E],
    b_row: usize,
    scale: f32,
    out: Destination,
    out_row: usize,
) {
    assert!(
        Strides::rows(a_row).extent(m, k) <= a.len(),
        "left operand too short"
    );
    assert!(
        Strides::rows(b_row).extent(n, k) <= b.len(),
        "right operand too short"
    );
    assert!(
        Strides::rows(out_row).extent(m, n) <= out.len,
        "destination too short"
    );
    let job = ByRows {
        m,
        n,
        k,
        a: a.as_ptr(),
        a_row,
        b: b.as_ptr(),
        b_row,
        scale,
        out: out.start,
        out_row,
    };
    // SAFETY: the three operands were just checked to hold every element the strides reach; the instruction
    // set was detected on this processor.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => by_rows_avx512(&job),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => by_rows_avx2(&job),
            Instructions::Baseline => by_rows::<Baseline, E>(&job),
        }
    }
}

struct ByRows<E> {
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_row: usize,
    b: *const E,
    b_row: usize,
    scale: f32,
    out: *mut f32,
    out_row: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn by_rows_avx512<E: Element>(job: &ByRows<E>) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<Avx512, E>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_rows_avx2<E: Element>(job: &ByRows<E>) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<Avx2, E>(job) }
}

/// Walks the output in tiles of up to 6 rows (2 with few registers) by 4 columns. The rows of b change slowest:
/// they are the weights, which come from far and should be read once. While four of them are first worked on, the
/// next four are fetched.
#[inline(always)]
unsafe fn by_rows<L: Lanes, E: Element>(job: &ByRows<E>) {
    let mut j = 0;
    while j < job.n {
        let columns = (job.n - j).min(4);
        let mut i = 0;
        while i < job.m {
            // SAFETY: the caller of the kernel promises valid operands; i and j stay within m and n.
            i += unsafe {
                if columns < 4 {
                    for column in 0..columns {
                        by_rows_tile::<L, E, 1, 1, false>(job, i, j + column);
                    }
                    1
                } else if i == 0 {
                    by_rows_tiles::<L, E, true>(job, i, j)
                } else {
                    by_rows_tiles::<L, E, false>(job, i, j)
                }
            };
        }
        j += columns;
    }
}

/// As many rows by 4 columns as the registers hold; gives how many.
#[inline(always)]
unsafe fn by_rows_tiles<L: Lanes, E: Element, const AHEAD: bool>(
    job: &ByRows<E>,
    i: usize,
    j: usize,
) -> usize {
    let left = job.m - i;
    // SAFETY: the caller's promise.
    unsafe {
        if L::MANY_REGISTERS && left >= 6 {
            by_rows_tile::<L, E, 6, 4, AHEAD>(job, i, j);
            6
        } else if L::MANY_REGISTERS && left >= 4 {
            by_rows_tile::<L, E, 4, 4, AHEAD>(job, i, j);
            4
        } else if left >= 2 {
            by_rows_tile::<L, E, 2, 4, AHEAD>(job, i, j);
            2
        } else {
            by_rows_tile::<L, E, 1, 4, AHEAD>(job, i, j);
            1
        }
    }
}

#[inline(always)]
unsafe fn by_rows_tile<L: Lanes, E: Element, const R: usize, const C: usize, const AHEAD: bool>(
    job: &ByRows<E>,
    i: usize,
    j: usize,
) {
    // SAFETY: rows i..i+R of a, j..j+C of b and the matching outputs exist, as the caller promises; p + WIDTH
    // or p + rest stays within k.
    unsafe {
        let a = job.a.add(i * job.a_row);
        let b = job.b.add(j * job.b_row);
        let mut sums = [[L::zero(); C]; R];
        let mut p = 0;
        while p + L::WIDTH <= job.k {
            let mut right = [L::zero(); C];
            for (c, right) in right.iter_mut().enumerate() {
                let from = b.add(c * job.b_row + p);
                if AHEAD {
                    L::prefetch(from.wrapping_add(C * job.b_row).cast());
                }
                *right = E::load::<L>(from);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = L::load(a.add(r * job.a_row + p));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = L::multiply_add(left, right, *sum);
                }
            }
            p += L::WIDTH;
        }
        let rest = job.k - p;
        if rest > 0 {
            let mut right = [L::zero(); C];
            for (c, right) in right.iter_mut().enumerate() {
                *right = E::load_partial::<L>(b.add(c * job.b_row + p), rest);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = L::load_partial(a.add(r * job.a_row + p), rest);
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = L::multiply_add(left, right, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let out = job.out.add((i + r) * job.out_row + j);
            if C == 4 {
                let totals = L::sum4([sums[0], sums[1 % C], sums[2 % C], sums[3 % C]]);
                for (c, total) in totals.into_iter().enumerate() {
                    *out.add(c) = job.scale * total;
                }
            } else {
                for (c, &sum) in sums.iter().enumerate() {
                    *out.add(c) = job.scale * L::sum(sum);
                }
            }
        }
    }
}

/// out[i, j] = scale · Σ_p a[i, p] · b[p, j] for a [m, k], b [k, n], out [m, n], added to out when `accumulate`.
/// Rows of b and out are dense, `b_row` and `out_row` apart; a has any strides, so it may be a transpose.
///
/// # Safety
/// As for [`product_by_rows`].
pub(crate) unsafe fn product_by_columns(
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_row: usize,
    scale: f32,
    accumulate: bool,
    out: Destination,
    out_row: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        product_by_columns_with(
            Instructions::detect(),
            (m, n, k),
            a,
            a_strides,
            b,
            b_row,
            scale,
            accumulate,
            out,
            out_row,
        );
    }
}

unsafe fn product_by_columns_with(
    instructions: Instructions,
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_row: usize,
    scale: f32,
    accumulate: bool,
    out: Destination,
    out_row: usize,
) {
    assert!(a_strides.extent(m, k) <= a.len(), "left operand too short");
    assert!(
        Strides::rows(b_row).extent(k, n) <= b.len(),
        "right operand too short"
    );
    assert!(
        Strides::rows(out_row).extent(m, n) <= out.len,
        "destination too short"
    );
    let job = ByColumns {
        m,
        n,
        k,
        a: a.as_ptr(),
        a_strides,
        b: b.as_ptr(),
        b_row,
        scale,
        accumulate,
        out: out.start,
        out_row,
    };
    // SAFETY: the three operands were just checked to hold every element the strides reach; the instruction
    // set was detected on this processor.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => by_columns_avx512(&job),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => by_columns_avx2(&job),
            Instructions::Baseline => by_columns::<Baseline>(&job),
        }
    }
}

struct ByColumns {
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    a_strides: Strides,
    b: *const f32,
    b_row: usize,
    scale: f32,
    accumulate: bool,
    out: *mut f32,
    out_row: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn by_columns_avx512(job: &ByColumns) {
    // SAFETY: the caller's promise.
    unsafe { by_columns::<Avx512>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn by_columns_avx2(job: &ByColumns) {
    // SAFETY: the caller's promise.
    unsafe { by_columns::<Avx2>(job) }
}

#[inline(always)]
unsafe fn by_columns<L: Lanes>(job: &ByColumns) {
    let wide = if L::MANY_REGISTERS { 4 } else { 2 };
    let mut j = 0;
    while j < job.n {
        let left = job.n - j;
        // SAFETY: the caller of the kernel promises valid operands; j stays within n.
        let done = unsafe {
            if left >= wide * L::WIDTH {
                if L::MANY_REGISTERS {
                    by_columns_panel::<L, 4>(job, j, L::WIDTH);
                } else {
                    by_columns_panel::<L, 2>(job, j, L::WIDTH);
                }
                wide * L::WIDTH
            } else {
                let lanes = left.min(L::WIDTH);
                by_columns_panel::<L, 1>(job, j, lanes);
                lanes
            }
        };
        j += done;
    }
}

/// All rows of a panel of C vectors of columns; of each vector, `lanes` lanes are used.
#[inline(always)]
unsafe fn by_columns_panel<L: Lanes, const C: usize>(job: &ByColumns, j: usize, lanes: usize) {
    let mut i = 0;
    while i < job.m {
        let left = job.m - i;
        // SAFETY: the caller's promise; i stays within m.
        let done = unsafe {
            if left >= 6 {
                by_columns_tile::<L, 6, C>(job, i, j, lanes);
                6
            } else if left >= 3 {
                by_columns_tile::<L, 3, C>(job, i, j, lanes);
                3
            } else {
                by_columns_tile::<L, 1, C>(job, i, j, lanes);
                1
            }
        };
        i += done;
    }
}

#[inline(always)]
unsafe fn by_columns_tile<L: Lanes, const R: usize, const C: usize>(
    job: &ByColumns,
    i: usize,
    j: usize,
    lanes: usize,
) {
    // SAFETY: rows i..i+R and columns j..j+(C-1)·WIDTH+lanes exist, as the caller promises.
    unsafe {
        let partial = lanes < L::WIDTH;
        let a = job.a.add(i * job.a_strides.row);
        let b = job.b.add(j);
        let mut sums = [[L::zero(); C]; R];
        for p in 0..job.k {
            let from = b.add(p * job.b_row);
            let mut right = [L::zero(); C];
            for (c, right) in right.iter_mut().enumerate() {
                let from = from.add(c * L::WIDTH);
                *right = if partial {
                    L::load_partial(from, lanes)
                } else {
                    L::load(from)
                };
            }
            let a = a.add(p * job.a_strides.column);
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = L::splat(*a.add(r * job.a_strides.row));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = L::multiply_add(left, right, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let to = job.out.add((i + r) * job.out_row + j);
            for (c, &sum) in sums.iter().enumerate() {
                let to = to.add(c * L::WIDTH);
                let old = match (job.accumulate, partial) {
                    (false, _) => L::zero(),
                    (true, true) => L::load_partial(to, lanes),
                    (true, false) => L::load(to),
                };
                let sum = L::multiply_add(L::splat(job.scale), sum, old);
                if partial {
                    L::store_partial(to, sum, lanes);
                } else {
                    L::store(to, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + seed * 104_729) % 31) as f32 - 15.0) * 0.25)
            .collect()
    }

    #[test]
    fn all_instruction_sets_agree_with_the_definition_on_odd_shapes() {
        for instructions in Instructions::available() {
            for m in [1, 2, 3, 5, 7, 13] {
                for n in [1, 3, 4, 9, 16, 37, 70] {
                    for k in [0, 1, 7, 8, 16, 31, 50] {
                        let (a, b_rows, b_columns) =
                            (numbers(m * k, 1), numbers(n * (k + 3), 2), numbers(k * n, 3));
                        let mut out = vec![9.0; m * (n + 2)];
                        let destination = Destination::new(&mut out);
                        // SAFETY: `out` lives on and no other thread has it.
                        unsafe {
                            product_by_rows_with(
                                instructions,
                                (m, n, k),
                                &a,
                                k,
                                &b_rows,
                                k + 3,
                                0.5,
                                destination,
                                n + 2,
                            );
                        }
                        for i in 0..m {
                            for j in 0..n {
                                let expected: f32 =
                                    (0..k).map(|p| a[i * k + p] * b_rows[j * (k + 3) + p]).sum();
                                assert_eq!(
                                    out[i * (n + 2) + j],
                                    0.5 * expected,
                                    "{instructions:?} {m} {n} {k}"
                                );
                            }
                            assert_eq!(&out[i * (n + 2) + n..(i + 1) * (n + 2)], &[9.0, 9.0]);
                        }
                        // The left operand read as a transpose, added to what is there.
                        let mut out = vec![9.0; m * (n + 2)];
                        let destination = Destination::new(&mut out);
                        // SAFETY: `out` lives on and no other thread has it.
                        unsafe {
                            product_by_columns_with(
                                instructions,
                                (m, n, k),
                                &a,
                                Strides { row: 1, column: m },
                                &b_columns,
                                n,
                                0.5,
                                true,
                                destination,
                                n + 2,
                            );
                        }
                        for i in 0..m {
                            for j in 0..n {
                                let expected: f32 = (0..k).map(|p| a[p * m + i] * b_columns[p * n + j]).sum();
                                assert_eq!(
                                    out[i * (n + 2) + j],
                                    9.0 + 0.5 * expected,
                                    "{instructions:?} {m} {n} {k}"
                                );
                            }
                            assert_eq!(&out[i * (n + 2) + n..(i + 1) * (n + 2)], &[9.0, 9.0]);
                        }
                    }
                }
            }
        }
    }
}
