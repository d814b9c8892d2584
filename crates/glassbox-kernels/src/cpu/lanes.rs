//! Vectors of f32 as the processor has them: the few operations that the product kernels need.
//!
//! The kernels are generic over [`Lanes`] and marked `inline(always)`, so that they are compiled inside a
//! function which enables the instructions. That function alone decides; see `tiles.rs`.

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
    /// All lanes zero.
    unsafe fn zero() -> Self::Vector;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::Vector;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Reads the first `count` lanes; the others are zero.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::Vector;
    /// Writes a vector.
    unsafe fn store(to: *mut f32, x: Self::Vector);
    /// Writes the first `count` lanes.
    unsafe fn store_partial(to: *mut f32, x: Self::Vector, count: usize);
    /// a · b + c, lane by lane.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Sum over the lanes of each of four vectors, in a fixed order.
    unsafe fn sum4(x: [Self::Vector; 4]) -> [f32; 4];
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
    unsafe fn multiply_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Not fused: without the instruction for it that would be a library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn sum4(x: [[f32; 8]; 4]) -> [f32; 4] {
        x.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Eight lanes of AVX2 with fused multiply-add.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// Sixteen lanes of AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    /// Sums of four vectors of eight lanes.
    #[inline(always)]
    unsafe fn sum4_256(x: [__m256; 4]) -> [f32; 4] {
        // SAFETY: only called where AVX2 is there; the store writes the 4 elements of `sums`.
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
            let total = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), total);
            sums
        }
    }

    /// A mask of AVX2 with the first `count` lanes on.
    #[inline(always)]
    unsafe fn mask_256(count: usize) -> __m256i {
        // SAFETY: only called where AVX2 is there.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
        }
    }

    impl Lanes for Avx2 {
        type Vector = __m256;
        const WIDTH: usize = 8;
        const MANY_REGISTERS: bool = false;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: the caller promises AVX2.
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the caller promises AVX2.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller promises AVX2 and 8 readable elements.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_partial(from: *const f32, count: usize) -> __m256 {
            // SAFETY: the caller promises AVX2 and `count` readable elements; masked lanes are not touched.
            unsafe { _mm256_maskload_ps(from, mask_256(count)) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            // SAFETY: the caller promises AVX2 and 8 writable elements.
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_partial(to: *mut f32, x: __m256, count: usize) {
            // SAFETY: the caller promises AVX2 and `count` writable elements; masked lanes are not touched.
            unsafe { _mm256_maskstore_ps(to, mask_256(count), x) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the caller promises FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn sum4(x: [__m256; 4]) -> [f32; 4] {
            // SAFETY: the caller promises AVX2.
            unsafe { sum4_256(x) }
        }
    }

    /// A mask of AVX-512 with the first `count` lanes on.
    #[inline(always)]
    fn mask_512(count: usize) -> __mmask16 {
        ((1u32 << count.min(16)) - 1) as __mmask16
    }

    impl Lanes for Avx512 {
        type Vector = __m512;
        const WIDTH: usize = 16;
        const MANY_REGISTERS: bool = true;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller promises AVX-512.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller promises AVX-512.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller promises AVX-512 and 16 readable elements.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_partial(from: *const f32, count: usize) -> __m512 {
            // SAFETY: the caller promises AVX-512 and `count` readable elements; masked lanes are not touched.
            unsafe { _mm512_maskz_loadu_ps(mask_512(count), from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller promises AVX-512 and 16 writable elements.
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_partial(to: *mut f32, x: __m512, count: usize) {
            // SAFETY: the caller promises AVX-512 and `count` writable elements; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, mask_512(count), x) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller promises AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn sum4(x: [__m512; 4]) -> [f32; 4] {
            // SAFETY: the caller promises AVX-512, and every processor with it has AVX2.
            unsafe {
                let half = |v: __m512| {
                    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
                    _mm256_add_ps(_mm512_castps512_ps256(v), high)
                };
                sum4_256([half(x[0]), half(x[1]), half(x[2]), half(x[3])])
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Lanes;
    use std::arch::aarch64::*;

    /// Four lanes of NEON, which every arm64 processor has.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    impl Lanes for Neon {
        type Vector = float32x4_t;
        const WIDTH: usize = 4;
        const MANY_REGISTERS: bool = true;

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
        unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: arm64 has NEON.
            unsafe { vfmaq_f32(c, a, b) }
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
}
