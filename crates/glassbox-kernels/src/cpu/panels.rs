//! Products of several rows with a frozen matrix, through panels: some columns of the product at a time, whose weights
//! are first laid side by side (and widened to f32) in memory that stays in the nearest caches.
//!
//! Every element of the product is summed along the depth in one order, which depends on the depth alone: not on the
//! other rows, nor on where threads or tiles divide the work.

use std::ops::Range;

use super::elements::Element;
use super::instructions::Instructions;
use super::lanes::Lanes;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon as Baseline;
#[cfg(not(target_arch = "aarch64"))]
use super::lanes::Portable as Baseline;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::parallel::{for_each_index, threads};
use super::scratch::with_values;
use super::tiles::Destination;

/// Vectors of one row of a panel.
pub(super) const VECTORS: usize = 2;
/// The depth of a panel at most: with 32 columns 64 KiB, which the second cache holds beside rows of x.
const DEPTH: usize = 512;
/// Rows of x that share one packing of the weights, at most.
const ROWS: usize = 384;
/// Panels that are packed together for many rows, so that a tile of x is used for all of them while it is near.
const PANELS: usize = 8;
/// Up to this many rows x stays near by itself, and panels are packed one by one.
const ROWS_NEAR: usize = 256;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Steps of the depth between two looks at what should be fetched.
const STEPS: usize = 8;

/// How the weights of one product are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    /// Column j of the product belongs to row j of the weights.
    Rows,
    /// Column j of the product belongs to column j of the weights.
    Columns,
}

/// What the product is added to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    /// Nothing.
    Zero,
    /// One number for each column.
    Bias(&'a [f32]),
    /// What the destination holds.
    Destination,
}

/// out [n, width] = start + x [n, depth] · weights.
#[derive(Clone, Copy)]
pub(crate) struct PanelProduct<'a, E> {
    /// Rows.
    pub n: usize,
    /// Terms of each sum.
    pub depth: usize,
    /// Columns.
    pub width: usize,
    /// [n, depth].
    pub x: &'a [f32],
    /// [width, depth] or [depth, width], as `orientation` says.
    pub weights: &'a [E],
    /// Of the weights.
    pub orientation: Orientation,
    /// What is added.
    pub start: Start<'a>,
}

impl<E: Element> PanelProduct<'_, E> {
    /// Computes it into `out` [n, width].
    pub(crate) fn compute(&self, out: &mut [f32], several_threads: bool) {
        self.compute_with(Instructions::detect(), out, several_threads);
    }

    fn compute_with(&self, instructions: Instructions, out: &mut [f32], several_threads: bool) {
        assert!(
            self.x.len() >= self.n * self.depth,
            "rows of the panel product too short"
        );
        assert!(
            self.weights.len() >= self.width * self.depth,
            "weights of the panel product too short"
        );
        assert!(
            out.len() >= self.n * self.width,
            "destination of the panel product too short"
        );
        if let Start::Bias(bias) = self.start {
            assert!(bias.len() >= self.width, "bias of the panel product too short");
        }
        let columns = VECTORS * instructions.width();
        let group = if self.n <= ROWS_NEAR { 1 } else { PANELS };
        let groups = self.width.div_ceil(group * columns);
        let blocks = self.n.div_ceil(ROWS);
        let rows = self.n.div_ceil(blocks.max(1)).next_multiple_of(24);
        let blocks = self.n.div_ceil(rows.max(1));
        let piece = self.piece(instructions.width());
        // The same thread is likely to come to the part that lies as many parts on as there are threads.
        let apart = threads(several_threads);
        let out = Destination::new(out);
        // Blocks of rows change fastest: the weights of a group are then still in the last cache.
        for_each_index(groups * blocks, several_threads, |i| {
            let (first, row) = (i / blocks * group * columns, i % blocks * rows);
            let next = (i + apart) / blocks * group * columns;
            let part = Part {
                next,
                rows: row..(row + rows).min(self.n),
                columns: first..(first + group * columns).min(self.width),
                out,
            };
            with_values(group * piece * columns, |packed| {
                // SAFETY: the slices were just checked to hold the product, parts have elements of their own, the
                // packed panels have room, and the instruction set was detected on this processor.
                unsafe {
                    match instructions {
                        #[cfg(target_arch = "x86_64")]
                        Instructions::Avx512 => part_avx512(self, &part, packed),
                        #[cfg(target_arch = "x86_64")]
                        Instructions::Avx2 => part_avx2(self, &part, packed),
                        Instructions::Baseline => compute_part::<Baseline, E>(self, &part, packed),
                    }
                }
            });
        });
    }

    /// The depth that is packed at a time: equal pieces of whole vectors, so that each is packed in square blocks.
    #[inline(always)]
    fn piece(&self, vector: usize) -> usize {
        let pieces = self.depth.div_ceil(DEPTH).max(1);
        self.depth.div_ceil(pieces).next_multiple_of(vector)
    }

    /// Address and distance of the rows of weights behind columns `first..` and depths `from..`.
    fn place(&self, first: usize, from: usize) -> (usize, usize) {
        match self.orientation {
            Orientation::Rows => (first * self.depth + from, self.depth),
            Orientation::Columns => (from * self.width + first, self.width),
        }
    }
}

/// A block of the destination.
struct Part {
    /// First column of the part that this thread is likely to take next.
    next: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    out: Destination,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn part_avx512<E: Element>(product: &PanelProduct<'_, E>, part: &Part, packed: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { compute_part::<Avx512, E>(product, part, packed) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn part_avx2<E: Element>(product: &PanelProduct<'_, E>, part: &Part, packed: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { compute_part::<Avx2, E>(product, part, packed) }
}

#[inline(always)]
unsafe fn compute_part<L: Lanes, E: Element>(product: &PanelProduct<'_, E>, part: &Part, packed: &mut [f32]) {
    let wide = VECTORS * L::WIDTH;
    let panels = part.columns.len().div_ceil(wide);
    let piece = product.piece(L::WIDTH);
    let tiles = part.rows.len().div_ceil(L::TILE_ROWS).max(1);
    let mut from = 0;
    loop {
        let depths = from..(from + piece).min(product.depth);
        let mut ahead = Ahead::new(product, part, &depths, piece, wide, tiles);
        // SAFETY: the caller promises the operands, of which `part` and `depths` are a part; `packed` has a place of
        // piece · wide elements for each panel.
        unsafe {
            for panel in 0..panels {
                let to = packed.as_mut_ptr().add(panel * piece * wide);
                pack::<L, E>(product, part, panel * wide, depths.clone(), to);
            }
            let mut row = part.rows.start;
            while row < part.rows.end {
                let left = part.rows.end - row;
                let mut done = 0;
                for panel in 0..panels {
                    let tile = Tile {
                        x: product.x.as_ptr().add(row * product.depth + depths.start),
                        x_row: product.depth,
                        depth: depths.len(),
                        panel: packed.as_ptr().add(panel * piece * wide),
                        first: part.columns.start + panel * wide,
                        columns: (part.columns.len() - panel * wide).min(wide),
                        start: if from == 0 {
                            product.start
                        } else {
                            Start::Destination
                        },
                        out: part.out.from(row * product.width),
                        out_row: product.width,
                    };
                    done = tile_of_rows::<L>(&tile, left, &mut ahead);
                }
                row += done;
            }
        }
        from += piece;
        if from >= product.depth {
            break;
        }
    }
}

/// Lays the weights of columns `first..` of the part, `depths` deep, side by side: to[p, c], zero where there are none.
#[inline(always)]
unsafe fn pack<L: Lanes, E: Element>(
    product: &PanelProduct<'_, E>,
    part: &Part,
    first: usize,
    depths: Range<usize>,
    to: *mut f32,
) {
    let wide = VECTORS * L::WIDTH;
    let first = part.columns.start + first;
    for vector in 0..VECTORS {
        let column = first + vector * L::WIDTH;
        let count = part.columns.end.saturating_sub(column).min(L::WIDTH);
        let mut p = 0;
        while p < depths.len() {
            // SAFETY: the caller promises the weights of these columns and depths, and room for whole vectors.
            unsafe {
                let to = to.add(p * wide + vector * L::WIDTH);
                if count == 0 {
                    L::store(to, L::zero());
                    p += 1;
                    continue;
                }
                let (at, row) = product.place(column, depths.start + p);
                let from = product.weights.as_ptr().add(at);
                match product.orientation {
                    Orientation::Rows => {
                        L::transpose(from, row, count - 1, (depths.len() - p).min(L::WIDTH), to, wide);
                        p += L::WIDTH;
                    }
                    Orientation::Columns => {
                        L::store(to, E::load_some::<L>(from, count));
                        p += 1;
                    }
                }
            }
        }
    }
}

/// Weights that will be needed next, fetched while the present ones are worked on.
pub(super) struct Ahead {
    at: *const u8,
    /// Bytes from one run of lines to the next.
    row: usize,
    lines_per_row: usize,
    lines_left: usize,
    rows_left: usize,
    /// Lines to ask for at a time.
    pace: usize,
}

impl Ahead {
    /// Before the panels of `part` are worked on, in `tiles` tiles of rows each: the next piece of the depth, or the
    /// part that comes next.
    #[inline(always)]
    fn new<E: Element>(
        product: &PanelProduct<'_, E>,
        part: &Part,
        depths: &Range<usize>,
        piece: usize,
        wide: usize,
        tiles: usize,
    ) -> Self {
        let size = size_of::<E>();
        let (first, from) = if depths.end < product.depth {
            (part.columns.start, depths.end)
        } else {
            (part.next, 0)
        };
        let columns = product.width.saturating_sub(first).min(part.columns.len());
        let depth = product.depth.saturating_sub(from).min(piece);
        let (rows, row) = match product.orientation {
            Orientation::Rows => (columns, depth),
            Orientation::Columns => (depth, columns),
        };
        let (at, distance) = product.place(first, from);
        let lines_per_row = (row * size).div_ceil(LINE);
        let panels = part.columns.len().div_ceil(wide);
        let chances = tiles * panels * depths.len().div_ceil(STEPS);
        Self {
            at: product.weights.as_ptr().wrapping_add(at).cast(),
            row: distance * size,
            lines_per_row,
            lines_left: lines_per_row,
            rows_left: if lines_per_row == 0 { 0 } else { rows },
            pace: (rows * lines_per_row).div_ceil(chances.max(1)),
        }
    }

    /// The `values` f32 from `at` on, over `chances` calls of [`Ahead::fetch_some`].
    #[inline(always)]
    pub(super) fn run(at: *const f32, values: usize, chances: usize) -> Self {
        let lines = (values * size_of::<f32>()).div_ceil(LINE);
        Self {
            at: at.cast(),
            row: 0,
            lines_per_row: lines,
            lines_left: lines,
            rows_left: usize::from(lines > 0),
            pace: lines.div_ceil(chances.max(1)),
        }
    }

    #[inline(always)]
    fn fetch_some<L: Lanes>(&mut self) {
        for _ in 0..self.pace {
            if self.rows_left == 0 {
                return;
            }
            L::prefetch(
                self.at
                    .wrapping_add((self.lines_per_row - self.lines_left) * LINE),
            );
            self.lines_left -= 1;
            if self.lines_left == 0 {
                self.rows_left -= 1;
                self.lines_left = self.lines_per_row;
                self.at = self.at.wrapping_add(self.row);
            }
        }
    }
}

/// Some rows by one panel.
pub(super) struct Tile<'a> {
    pub x: *const f32,
    pub x_row: usize,
    pub depth: usize,
    pub panel: *const f32,
    /// Column of the product at which the panel begins.
    pub first: usize,
    /// Columns of the panel that the product has.
    pub columns: usize,
    pub start: Start<'a>,
    pub out: Destination,
    pub out_row: usize,
}

/// Computes the most of the `left` rows that the registers hold; gives how many.
///
/// # Safety
/// The tile must have `left` rows of x and of the destination, a panel of whole vectors, and columns; the processor must
/// have the instructions of L.
#[inline(always)]
pub(super) unsafe fn tile_of_rows<L: Lanes>(tile: &Tile<'_>, left: usize, ahead: &mut Ahead) -> usize {
    macro_rules! try_rows {
        ($($rows:literal),*) => {
            $(if L::TILE_ROWS >= $rows && left >= $rows {
                // SAFETY: the caller promises `left` rows.
                unsafe { compute_tile::<L, $rows>(tile, ahead) };
                return $rows;
            })*
        };
    }
    try_rows!(12, 8, 6, 4, 3, 2, 1);
    1
}

#[inline(always)]
unsafe fn compute_tile<L: Lanes, const R: usize>(tile: &Tile<'_>, ahead: &mut Ahead) {
    // SAFETY: the caller promises R rows of x and of the destination, a panel of whole vectors, and columns.
    unsafe {
        let mut sums = [[L::zero(); VECTORS]; R];
        let mut p = 0;
        while p + STEPS <= tile.depth {
            ahead.fetch_some::<L>();
            for step in 0..STEPS {
                add_step::<L, R>(tile, p + step, &mut sums);
            }
            p += STEPS;
        }
        while p < tile.depth {
            add_step::<L, R>(tile, p, &mut sums);
            p += 1;
        }
        store_column::<L, R, 0>(tile, &sums);
        store_column::<L, R, 1>(tile, &sums);
    }
}

/// Writes one vector of every row. Its number is a constant, so that the sums stay in registers.
#[inline(always)]
unsafe fn store_column<L: Lanes, const R: usize, const VECTOR: usize>(
    tile: &Tile<'_>,
    sums: &[[L::Vector; VECTORS]; R],
) {
    let column = VECTOR * L::WIDTH;
    let count = tile.columns.saturating_sub(column).min(L::WIDTH);
    if count == 0 {
        return;
    }
    let column = tile.first + column;
    // SAFETY: the caller promises R rows of the destination, and columns.
    unsafe {
        let bias = match tile.start {
            Start::Bias(bias) => f32::load_some::<L>(bias.as_ptr().add(column), count),
            Start::Zero | Start::Destination => L::zero(),
        };
        for (r, sums) in sums.iter().enumerate() {
            let to = tile.out.pointer().add(r * tile.out_row + column);
            let sum = match tile.start {
                Start::Zero => sums[VECTOR],
                Start::Bias(_) => L::add(sums[VECTOR], bias),
                Start::Destination => L::add(sums[VECTOR], f32::load_some::<L>(to, count)),
            };
            if count == L::WIDTH {
                L::store(to, sum);
            } else {
                L::store_partial(to, sum, count);
            }
        }
    }
}

/// One term of every sum.
#[inline(always)]
unsafe fn add_step<L: Lanes, const R: usize>(
    tile: &Tile<'_>,
    p: usize,
    sums: &mut [[L::Vector; VECTORS]; R],
) {
    // SAFETY: the caller promises R rows of x, and that p is below the depth.
    unsafe {
        let panel = tile.panel.add(p * VECTORS * L::WIDTH);
        let mut right = [L::zero(); VECTORS];
        for (vector, right) in right.iter_mut().enumerate() {
            *right = L::load(panel.add(vector * L::WIDTH));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let left = L::splat(*tile.x.add(r * tile.x_row + p));
            for (sum, &right) in sums.iter_mut().zip(&right) {
                *sum = L::multiply_add(left, right, *sum);
            }
        }
    }
}
