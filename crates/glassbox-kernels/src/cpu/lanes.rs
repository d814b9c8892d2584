//! Vectors of f32 as the processor has them: the few operations that the product kernels need.
//!
//! The kernels are generic over [`Lanes`] and marked `inline(always)`, so that they are compiled inside a
//! function which enables the instructions. That function alone decides; see `tiles.rs`.

use half::{bf16, f16};

use super::elements::Element;

/// A vector type of the processor.
///
/// # Safety
/// All methods may be called only where the processor has the instructions of the implementing type, and the
/// caller must be compiled with them enabled for the code to be fast. Pointers must be valid for
/// [`Lanes::WIDTH`] elements, or for `count` in the partial forms; no alignment is needed.
pub(crate) trait Lanes: Copy {
    /// The vector.
    type Vector: Copy;
    /// Elements per vector.
    const WIDTH: usize;
    /// Whether there are 32 vector registers, not 16.
    const MANY_REGISTERS: bool;
    /// Rows of the largest tile of sums, two vectors wide, that the registers hold.
    const TILE_ROWS: usize;
    /// All lanes zero.
    unsafe fn zero() -> Self::Vector;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::Vector;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Reads the first `count` lanes; the others are zero.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::Vector;
    /// Reads a vector of bfloat16.
    unsafe fn load_bf16(from: *const bf16) -> Self::Vector;
    /// Reads a vector of half precision.
    unsafe fn load_f16(from: *const f16) -> Self::Vector;
    /// Writes a vector.
    unsafe fn store(to: *mut f32, x: Self::Vector);
    /// Writes the first `count` lanes.
    unsafe fn store_partial(to: *mut f32, x: Self::Vector, count: usize);
    /// a + b, lane by lane.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b + c, lane by lane.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Bit i is set where lane i of x is above that of `bound`, or either is NaN.
    unsafe fn above(x: Self::Vector, bound: Self::Vector) -> u32;
    /// Sum over the lanes of each of four vectors, in a fixed order.
    unsafe fn sum4(x: [Self::Vector; 4]) -> [f32; 4];
    /// Writes the transpose of a [WIDTH, WIDTH] block: to[p, r] = from[min(r, last), p], zero for p ≥ `count`. Rows
    /// are `from_row` and `to_row` apart.
    unsafe fn transpose<E: Element>(
        from: *const E,
        from_row: usize,
        last: usize,
        count: usize,
        to: *mut f32,
        to_row: usize,
    );
    /// Asks for the cache line at any address to be brought near.
    #[inline(always)]
    fn prefetch(_at: *const u8) {}
    /// Sum over the lanes, in the order of [`Lanes::sum4`].
    #[inline(always)]
    unsafe fn sum(x: Self::Vector) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { Self::sum4([x, Self::zero(), Self::zero(), Self::zero()])[0] }
    }
}

/// Eight lanes in plain Rust: two SSE registers on x86-64, whatever the compiler makes of it elsewhere.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub(crate) struct Portable;

impl Lanes for Portable {
    type Vector = [f32; 8];
    const WIDTH: usize = 8;
    const MANY_REGISTERS: bool = false;
    const TILE_ROWS: usize = 3;

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller promises 8 readable elements; `[f32; 8]` has the alignment of f32.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises `count` readable elements.
            *to = unsafe { *from.add(lane) };
        }
        lanes
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> [f32; 8] {
        // SAFETY: the caller promises 8 readable elements.
        unsafe { from.cast::<[bf16; 8]>().read_unaligned() }.map(Element::widen)
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> [f32; 8] {
        // SAFETY: the caller promises 8 readable elements.
        unsafe { from.cast::<[f16; 8]>().read_unaligned() }.map(Element::widen)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 8]) {
        // SAFETY: the caller promises 8 writable elements.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, x: [f32; 8], count: usize) {
        for (lane, &value) in x.iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` writable elements.
            unsafe { *to.add(lane) = value }
        }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Not fused: without the instruction for it that would be a library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn above(x: [f32; 8], bound: [f32; 8]) -> u32 {
        let above = |i: usize| x[i] > bound[i] || x[i].is_nan() || bound[i].is_nan();
        (0..8).fold(0, |bits, i| bits | u32::from(above(i)) << i)
    }

    #[inline(always)]
    unsafe fn transpose<E: Element>(
        from: *const E,
        from_row: usize,
        last: usize,
        count: usize,
        to: *mut f32,
        to_row: usize,
    ) {
        for r in 0..8 {
            // SAFETY: the caller promises rows up to `last` of `count` elements, and 8 rows of 8 to write.
            unsafe {
                let from = from.add(r.min(last) * from_row);
                for p in 0..8 {
                    let value = if p < count { (*from.add(p)).widen() } else { 0.0 };
                    *to.add(p * to_row + r) = value;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum4(x: [[f32; 8]; 4]) -> [f32; 4] {
        x.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;
