//! The encoder's product fused with the choice of pairs: pre-activations live in a tile that stays in the nearest cache.
//!
//! The encoder is laid out in panels once. Each thread then takes a block of rows through all panels; what a tile of
//! z adds to each row's pairs is decided at once, by one comparison of vectors that is almost always false.

use std::cmp::Reverse;

use super::super::instructions::Instructions;
use super::super::lanes::Lanes;
use super::super::memory::CpuBuffer;
use super::super::panels::{Ahead, Start, Tile, VECTORS, tile_of_rows};
use super::super::parallel::{for_each_index, map_indices};
use super::super::scratch::with_values;
use super::super::selection::{rank, ranked_index};
use super::super::tiles::Destination;
use super::by_instructions;
use super::codes::{CpuCodes, RowPairs};

/// Rows that one thread takes through all panels, at most: with width 512 they fill less than half of the second cache.
const ROWS: usize = 192;
/// At least so many blocks of rows, where there are enough rows.
const BLOCKS: usize = 16;
/// Rows of the largest tile of any instruction set.
const TILE: usize = 12;
/// Columns of the widest panel of any instruction set.
const MOST: usize = 32;
/// Depth steps between two calls of [`Ahead::fetch_some`] in the tile kernel.
const STEPS: usize = 8;

/// An encoder and rows for it.
#[derive(Clone, Copy)]
pub(super) struct Encoder<'a> {
    pub n: usize,
    pub width: usize,
    pub features: usize,
    /// [n, width].
    pub x: &'a [f32],
    /// [features, width].
    pub encoder: &'a [f32],
    /// [features].
    pub bias: &'a [f32],
}

/// Which pairs stay.
#[derive(Clone, Copy)]
pub(super) enum Choice<'a> {
    /// The k largest of a row that are above zero.
    TopK(usize),
    /// All above a bound [features].
    Above(&'a [f32]),
}

impl Encoder<'_> {
    /// Encodes all rows.
    pub(super) fn encode(&self, choice: Choice<'_>, codes: &mut CpuCodes) {
        self.encode_with(Instructions::detect(), choice, codes);
    }

    fn encode_with(&self, instructions: Instructions, choice: Choice<'_>, codes: &mut CpuCodes) {
        assert!(self.x.len() >= self.n * self.width, "rows to encode too short");
        assert!(
            self.encoder.len() >= self.features * self.width,
            "encoder too short"
        );
        assert!(self.bias.len() >= self.features, "encoder bias too short");
        if let Choice::Above(bound) = choice {
            assert!(bound.len() >= self.features, "bound too short");
        }
        let wide = VECTORS * instructions.width();
        let panels = self.features.div_ceil(wide);
        let panel = self.width.next_multiple_of(instructions.width()) * wide;
        let mut packed = match codes.packed.take() {
            Some(packed) if packed.len() >= panels * panel => packed,
            _ => CpuBuffer::zeros(panels * panel),
        };
        let several_threads = self.n * self.width * self.features >= super::super::parallel::PRODUCTS;
        let to = Destination::new(packed.values_mut());
        for_each_index(panels, several_threads, |i| {
            // SAFETY: the instruction set was detected on this processor, each panel has a place of its own, and the
            // encoder was checked to hold all rows.
            unsafe { pack(instructions, self, i * wide, to.from(i * panel).pointer()) };
        });
        let rows = (self.n / BLOCKS).next_multiple_of(12).clamp(12, ROWS);
        let blocks = map_indices(self.n.div_ceil(rows), several_threads, |i| {
            let first = i * rows;
            let count = rows.min(self.n - first);
            let block = Block {
                encoder: self,
                first,
                count,
                panel,
                packed: packed.values(),
            };
            match choice {
                Choice::TopK(k) => {
                    let mut largest = Largest::new(k, count, wide);
                    // SAFETY: the instruction set was detected on this processor; operands were checked above.
                    with_values(TILE * wide, |z| unsafe {
                        top_k(instructions, &block, z, &mut largest)
                    });
                    largest.finish()
                }
                Choice::Above(bound) => {
                    let mut above = Above::new(bound, count);
                    // SAFETY: as above.
                    with_values(TILE * wide, |z| unsafe {
                        all_above(instructions, &block, z, &mut above)
                    });
                    above.finish()
                }
            }
        });
        codes.packed = Some(packed);
        codes.fill(self.n, self.features, &blocks);
    }
}

by_instructions! {
    /// Lays the encoder rows `first..` side by side: to[p, c], zero where there are none.
    unsafe fn pack = pack_lanes(encoder: &Encoder<'_>, first: usize, to: *mut f32)
}

#[inline(always)]
unsafe fn pack_lanes<L: Lanes>(encoder: &Encoder<'_>, first: usize, to: *mut f32) {
    let (wide, width) = (VECTORS * L::WIDTH, encoder.width);
    for vector in 0..VECTORS {
        let column = first + vector * L::WIDTH;
        let count = encoder.features.saturating_sub(column).min(L::WIDTH);
        for p in (0..width).step_by(L::WIDTH) {
            // SAFETY: the caller promises the rows of these features and room for whole vectors of the depth.
            unsafe {
                let to = to.add(p * wide + vector * L::WIDTH);
                if count == 0 {
                    for step in 0..L::WIDTH {
                        L::store(to.add(step * wide), L::zero());
                    }
                    continue;
                }
                let from = encoder.encoder.as_ptr().add(column * width + p);
                L::transpose(from, width, count - 1, (width - p).min(L::WIDTH), to, wide);
            }
        }
    }
}

/// Rows that one thread encodes.
struct Block<'a> {
    encoder: &'a Encoder<'a>,
    first: usize,
    count: usize,
    /// Values of a panel.
    panel: usize,
    packed: &'a [f32],
}

/// What takes the pre-activations. A trait and not a closure: its method is inlined where the instructions are enabled.
trait Chooser {
    /// Takes `columns` z of a row of the block, those of the features from `first` on.
    ///
    /// # Safety
    /// Whole vectors can be read at `z`, and the processor has the instructions of L.
    unsafe fn take<L: Lanes>(&mut self, row: usize, first: usize, columns: usize, z: *const f32);
}

by_instructions! {
    /// The k largest of each row of the block.
    unsafe fn top_k = through_panels(block: &Block<'_>, z: &mut [f32], chooser: &mut Largest)
}

by_instructions! {
    /// All pairs of the block above the bound.
    unsafe fn all_above = through_panels(block: &Block<'_>, z: &mut [f32], chooser: &mut Above<'_>)
}

/// Computes z panel by panel and hands it on; `z` is room for a tile.
#[inline(always)]
unsafe fn through_panels<L: Lanes>(block: &Block<'_>, z: &mut [f32], chooser: &mut impl Chooser) {
    let encoder = block.encoder;
    let wide = VECTORS * L::WIDTH;
    assert!(z.len() >= L::TILE_ROWS * wide, "room for a tile too short");
    let panels = encoder.features.div_ceil(wide);
    let tiles = block.count.div_ceil(L::TILE_ROWS);
    for i in 0..panels {
        let first = i * wide;
        let columns = wide.min(encoder.features - first);
        let panel = block.packed.as_ptr().wrapping_add(i * block.panel);
        let next = block.packed.as_ptr().wrapping_add((i + 1) % panels * block.panel);
        let mut ahead = Ahead::run(next, block.panel, tiles * encoder.width.div_ceil(STEPS));
        let mut row = 0;
        while row < block.count {
            let out = Destination::new(z);
            // SAFETY: rows first + row.. and the panel exist, `z` has room for a whole tile.
            unsafe {
                let tile = Tile {
                    x: encoder.x.as_ptr().add((block.first + row) * encoder.width),
                    x_row: encoder.width,
                    depth: encoder.width,
                    panel,
                    first: 0,
                    columns,
                    start: Start::Bias(&encoder.bias[first..]),
                    out,
                    out_row: wide,
                };
                let done = tile_of_rows::<L>(&tile, block.count - row, &mut ahead);
                for r in 0..done {
                    chooser.take::<L>(row + r, first, columns, out.pointer().add(r * wide));
                }
                row += done;
            }
        }
    }
}

/// Bit i is set for column i of `columns` where z is above the bound, or NaN.
#[inline(always)]
unsafe fn above_mask<L: Lanes>(z: *const f32, columns: usize, bound: [L::Vector; VECTORS]) -> u64 {
    let mut mask = 0;
    for (vector, bound) in bound.into_iter().enumerate() {
        // SAFETY: the caller promises whole vectors of z.
        let above = unsafe { L::above(L::load(z.add(vector * L::WIDTH)), bound) };
        mask |= u64::from(above) << (vector * L::WIDTH);
    }
    // What stands behind the last column has no meaning.
    mask & (u64::MAX >> (64 - columns))
}

/// The k largest of each row above zero, as ranks.
struct Largest {
    k: usize,
    /// Ranks that a row has room for: at least k and one panel more.
    room: usize,
    ranks: Vec<u64>,
    filled: Vec<usize>,
    /// Below this, or equal to it, a later feature is not among the k largest.
    bounds: Vec<f32>,
}

impl Largest {
    fn new(k: usize, rows: usize, wide: usize) -> Self {
        let room = (2 * k).max(k + 2 * wide);
        Self {
            k,
            room,
            ranks: vec![0; rows * room],
            filled: vec![0; rows],
            bounds: vec![0.0; rows],
        }
    }

    /// Adds the z whose bits are set, and drops what can't be among the k largest when the next panel may not fit.
    fn add(&mut self, row: usize, first: usize, z: &[f32], mut mask: u64, wide: usize) {
        let ranks = &mut self.ranks[row * self.room..(row + 1) * self.room];
        let mut count = self.filled[row];
        while mask != 0 {
            let column = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            ranks[count] = rank(z[column], first + column);
            count += 1;
        }
        if count + wide > self.room {
            // A later feature must be above the least of these: of equal values the lower feature stays.
            let least = *ranks[..count]
                .select_nth_unstable_by_key(self.k - 1, |&rank| Reverse(rank))
                .1;
            self.bounds[row] = ranked_value(least);
            count = self.k;
        }
        self.filled[row] = count;
    }

    fn finish(mut self) -> RowPairs {
        let k = self.k;
        let mut pairs = RowPairs::default();
        for (ranks, &count) in self.ranks.chunks_exact_mut(self.room).zip(&self.filled) {
            let ranks = &mut ranks[..count];
            if count > k {
                ranks.select_nth_unstable_by_key(k - 1, |&rank| Reverse(rank));
            }
            let kept = &mut ranks[..k.min(count)];
            kept.sort_unstable_by_key(|&rank| ranked_index(rank));
            pairs.counts.push(kept.len());
            pairs.feature.extend(kept.iter().map(|&rank| ranked_index(rank)));
            pairs.pre.extend(kept.iter().map(|&rank| ranked_value(rank)));
        }
        pairs
    }
}

impl Chooser for Largest {
    #[inline(always)]
    unsafe fn take<L: Lanes>(&mut self, row: usize, first: usize, columns: usize, z: *const f32) {
        // SAFETY: the caller's promise.
        unsafe {
            let bound = L::splat(self.bounds[row]);
            let mask = above_mask::<L>(z, columns, [bound; VECTORS]);
            if mask != 0 {
                let z = std::slice::from_raw_parts(z, columns);
                self.add(row, first, z, mask, VECTORS * L::WIDTH);
            }
        }
    }
}

/// The value that a rank was made from: one above zero, or NaN.
fn ranked_value(rank: u64) -> f32 {
    match (rank >> 32) as u32 {
        u32::MAX => f32::NAN,
        ordered => f32::from_bits(ordered & (u32::MAX >> 1)),
    }
}

/// All pairs above a bound.
struct Above<'a> {
    bound: &'a [f32],
    pairs: Vec<Vec<(u32, f32)>>,
}

impl<'a> Above<'a> {
    fn new(bound: &'a [f32], rows: usize) -> Self {
        Self {
            bound,
            pairs: vec![Vec::new(); rows],
        }
    }

    fn finish(self) -> RowPairs {
        let counts: Vec<usize> = self.pairs.iter().map(Vec::len).collect();
        let total = counts.iter().sum();
        let mut pairs = RowPairs {
            counts,
            feature: Vec::with_capacity(total),
            pre: Vec::with_capacity(total),
        };
        for (feature, z) in self.pairs.into_iter().flatten() {
            pairs.feature.push(feature);
            pairs.pre.push(z);
        }
        pairs
    }
}

impl Chooser for Above<'_> {
    #[inline(always)]
    unsafe fn take<L: Lanes>(&mut self, row: usize, first: usize, columns: usize, z: *const f32) {
        let bound = &self.bound[first..first + columns];
        let mut bounds = [0.0; MOST];
        bounds[..columns].copy_from_slice(bound);
        // SAFETY: the caller's promise; `bounds` holds two of the widest vectors.
        unsafe {
            let bound = [L::load(bounds.as_ptr()), L::load(bounds.as_ptr().add(L::WIDTH))];
            let mut mask = above_mask::<L>(z, columns, bound);
            let pairs = &mut self.pairs[row];
            while mask != 0 {
                let column = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                pairs.push(((first + column) as u32, *z.add(column)));
            }
        }
    }
}
