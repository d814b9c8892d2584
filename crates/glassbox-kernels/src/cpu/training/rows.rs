//! Sums of scaled rows of a table, and products of one row with many: what sparse codes need of a matrix.

use super::super::lanes::Lanes;
use super::by_instructions;

/// Rows ahead of the present one that are fetched.
const AHEAD: usize = 4;
/// f32 in a cache line.
const LINE: usize = 16;

/// Rows of `width` f32.
#[derive(Clone, Copy)]
pub(super) struct Table {
    start: *const f32,
    rows: usize,
    width: usize,
}

// SAFETY: a table is only read.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Send for Table {}

impl Table {
    /// The rows of a slice, which must stay borrowed while the table is used.
    pub(super) fn new(values: &[f32], width: usize) -> Self {
        Self {
            start: values.as_ptr(),
            rows: values.len().checked_div(width).unwrap_or(0),
            width,
        }
    }

    fn check(&self, rows: &[u32]) {
        assert!(
            rows.iter().all(|&row| (row as usize) < self.rows),
            "row outside of the table"
        );
    }
}

by_instructions! {
    /// out [width] += Σ_i weights[i] · table[rows[i]], in the order given. Panics where a row is outside of the table.
    pub(super) unsafe fn add_rows = add_rows_lanes(table: &Table, rows: &[u32], weights: &[f32], out: &mut [f32])
}

#[inline(always)]
unsafe fn add_rows_lanes<L: Lanes>(table: &Table, rows: &[u32], weights: &[f32], out: &mut [f32]) {
    assert!(
        rows.len() == weights.len() && out.len() == table.width,
        "sum of rows: sizes differ"
    );
    table.check(rows);
    let mut column = 0;
    macro_rules! blocks {
        ($($vectors:literal),*) => {
            $(while column + $vectors * L::WIDTH <= table.width {
                // SAFETY: the rows and the columns were just checked.
                unsafe { add_columns::<L, $vectors>(table, rows, weights, column, out.as_mut_ptr().add(column)) };
                column += $vectors * L::WIDTH;
            })*
        };
    }
    if L::MANY_REGISTERS {
        blocks!(16);
    }
    blocks!(8, 4, 2, 1);
    for (column, out) in out.iter_mut().enumerate().skip(column) {
        for (&row, &weight) in rows.iter().zip(weights) {
            // SAFETY: the rows and the columns were just checked.
            *out += weight * unsafe { *table.start.add(row as usize * table.width + column) };
        }
    }
}

#[inline(always)]
unsafe fn add_columns<L: Lanes, const V: usize>(
    table: &Table,
    rows: &[u32],
    weights: &[f32],
    column: usize,
    out: *mut f32,
) {
    // SAFETY: the caller promises rows of the table, and V vectors from `column` on in them and in `out`.
    unsafe {
        let mut sums = [L::zero(); V];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = L::load(out.add(v * L::WIDTH));
        }
        for (i, (&row, &weight)) in rows.iter().zip(weights).enumerate() {
            if let Some(&later) = rows.get(i + AHEAD) {
                let later = table.start.add(later as usize * table.width + column);
                for line in 0..(V * L::WIDTH).div_ceil(LINE) {
                    L::prefetch(later.wrapping_add(line * LINE).cast());
                }
            }
            let from = table.start.add(row as usize * table.width + column);
            let weight = L::splat(weight);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = L::multiply_add(weight, L::load(from.add(v * L::WIDTH)), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            L::store(out.add(v * L::WIDTH), *sum);
        }
    }
}

by_instructions! {
    /// out[i] = vector · table[rows[i]], each summed in one order. Panics where a row is outside of the table.
    pub(super) unsafe fn dots = dots_lanes(table: &Table, rows: &[u32], vector: &[f32], out: &mut [f32])
}

#[inline(always)]
unsafe fn dots_lanes<L: Lanes>(table: &Table, rows: &[u32], vector: &[f32], out: &mut [f32]) {
    assert!(
        rows.len() == out.len() && vector.len() == table.width,
        "products of rows: sizes differ"
    );
    table.check(rows);
    let last = rows.len().saturating_sub(1);
    let at = |i: usize| table.start.wrapping_add(rows[i.min(last)] as usize * table.width);
    for i in (0..rows.len()).step_by(4) {
        let from = [at(i), at(i + 1), at(i + 2), at(i + 3)];
        let later = [at(i + 4), at(i + 5), at(i + 6), at(i + 7)];
        let mut p = 0;
        // SAFETY: the rows were just checked, and p stays within the width.
        unsafe {
            let mut sums = [L::zero(); 4];
            while p + L::WIDTH <= table.width {
                let right = L::load(vector.as_ptr().add(p));
                for (r, sum) in sums.iter_mut().enumerate() {
                    L::prefetch(later[r].wrapping_add(p).cast());
                    *sum = L::multiply_add(L::load(from[r].add(p)), right, *sum);
                }
                p += L::WIDTH;
            }
            if p < table.width {
                let count = table.width - p;
                let right = L::load_partial(vector.as_ptr().add(p), count);
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = L::multiply_add(L::load_partial(from[r].add(p), count), right, *sum);
                }
            }
            let totals = L::sum4(sums);
            let count = (rows.len() - i).min(4);
            out[i..i + count].copy_from_slice(&totals[..count]);
        }
    }
}
