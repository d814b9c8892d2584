//! Vectors of arm64.

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::super::elements::Element;
use super::Lanes;

/// Four lanes of NEON, which every arm64 processor has.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

impl Lanes for Neon {
    type Vector = float32x4_t;
    const WIDTH: usize = 4;
    const MANY_REGISTERS: bool = true;
    const TILE_ROWS: usize = 12;

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: arm64 has NEON.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        // SAFETY: arm64 has NEON.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller promises 4 readable elements.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0; 4];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises `count` readable elements.
            *to = unsafe { *from.add(lane) };
        }
        // SAFETY: `lanes` holds 4 elements.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> float32x4_t {
        // SAFETY: the caller promises 4 readable elements; arm64 has NEON.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> float32x4_t {
        // SAFETY: the caller promises 4 readable elements.
        let lanes = unsafe { from.cast::<[f16; 4]>().read_unaligned() }.map(Element::widen);
        // SAFETY: `lanes` holds 4 elements.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: float32x4_t) {
        // SAFETY: the caller promises 4 writable elements.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, x: float32x4_t, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: `lanes` holds 4 elements.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), x) };
        for (lane, &value) in lanes.iter().enumerate().take(count) {
            // SAFETY: the caller promises `count` writable elements.
            unsafe { *to.add(lane) = value }
        }
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: arm64 has NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: arm64 has NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn above(x: float32x4_t, bound: float32x4_t) -> u32 {
        const BITS: [u32; 4] = [1, 2, 4, 8];
        // SAFETY: arm64 has NEON; `BITS` holds 4 elements.
        unsafe { vaddvq_u32(vbicq_u32(vld1q_u32(BITS.as_ptr()), vcleq_f32(x, bound))) }
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
        // SAFETY: the caller promises rows up to `last` of `count` elements, and 4 rows of 4 to write.
        unsafe {
            let row = |r: usize| {
                let from = from.add(r.min(last) * from_row);
                E::load_some::<Self>(from, count)
            };
            let rows = [row(0), row(1), row(2), row(3)];
            let wide = |x: float32x4_t| vreinterpretq_f64_f32(x);
            let even = [vtrn1q_f32(rows[0], rows[1]), vtrn1q_f32(rows[2], rows[3])].map(wide);
            let odd = [vtrn2q_f32(rows[0], rows[1]), vtrn2q_f32(rows[2], rows[3])].map(wide);
            let columns = [
                vtrn1q_f64(even[0], even[1]),
                vtrn1q_f64(odd[0], odd[1]),
                vtrn2q_f64(even[0], even[1]),
                vtrn2q_f64(odd[0], odd[1]),
            ];
            for (p, column) in columns.into_iter().enumerate() {
                vst1q_f32(to.add(p * to_row), vreinterpretq_f32_f64(column));
            }
        }
    }

    #[inline(always)]
    unsafe fn sum4(x: [float32x4_t; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: arm64 has NEON; `sums` holds 4 elements.
        unsafe {
            let pairs = vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]));
            vst1q_f32(sums.as_mut_ptr(), pairs);
        }
        sums
    }
}
