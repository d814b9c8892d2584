//! Vectors of x86-64: AVX2 and AVX-512.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::super::elements::Element;
use super::Lanes;

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
    const TILE_ROWS: usize = 6;

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
    unsafe fn load_bf16(from: *const bf16) -> __m256 {
        // SAFETY: the caller promises AVX2 and 8 readable elements.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> __m256 {
        // SAFETY: the caller promises AVX2 with F16C, and 8 readable elements.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
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
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the caller promises FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn above(x: __m256, bound: __m256) -> u32 {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(x, bound)) as u32 }
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        // SAFETY: every x86-64 processor has the instruction, and an address that can't be read is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
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
        // SAFETY: the caller promises AVX2, rows up to `last` of `count` elements, and 8 rows of 8 to write.
        unsafe {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (r, row) in rows.iter_mut().enumerate() {
                let from = from.add(r.min(last) * from_row);
                *row = E::load_some::<Self>(from, count);
            }
            // Pairs of rows, then fours: in fours[4i + c], half h holds column 4h + c of rows 4i .. 4i + 4.
            let mut fours = rows;
            for i in 0..2 {
                let row = &rows[4 * i..4 * i + 4];
                let low = [
                    _mm256_unpacklo_ps(row[0], row[1]),
                    _mm256_unpacklo_ps(row[2], row[3]),
                ];
                let high = [
                    _mm256_unpackhi_ps(row[0], row[1]),
                    _mm256_unpackhi_ps(row[2], row[3]),
                ];
                fours[4 * i] = _mm256_shuffle_ps::<0x44>(low[0], low[1]);
                fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(low[0], low[1]);
                fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(high[0], high[1]);
                fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(high[0], high[1]);
            }
            for c in 0..4 {
                let (upper, lower) = (fours[c], fours[4 + c]);
                _mm256_storeu_ps(to.add(c * to_row), _mm256_permute2f128_ps::<0x20>(upper, lower));
                _mm256_storeu_ps(
                    to.add((4 + c) * to_row),
                    _mm256_permute2f128_ps::<0x31>(upper, lower),
                );
            }
        }
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
    const TILE_ROWS: usize = 12;

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
    unsafe fn load_bf16(from: *const bf16) -> __m512 {
        // SAFETY: the caller promises AVX-512 and 16 readable elements.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> __m512 {
        // SAFETY: the caller promises AVX-512 and 16 readable elements.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
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
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn above(x: __m512, bound: __m512) -> u32 {
        // SAFETY: the caller promises AVX-512.
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(x, bound)) }
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        // SAFETY: every x86-64 processor has the instruction, and an address that can't be read is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
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
        // SAFETY: the caller promises AVX-512, rows up to `last` of `count` elements, and 16 rows of 16 to write.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (r, row) in rows.iter_mut().enumerate() {
                let from = from.add(r.min(last) * from_row);
                *row = E::load_some::<Self>(from, count);
            }
            // Pairs of rows, then fours: in fours[4i + c], quarter q holds column 4q + c of rows 4i .. 4i + 4.
            let mut fours = rows;
            for i in 0..4 {
                let row = &rows[4 * i..4 * i + 4];
                let low = [
                    _mm512_unpacklo_ps(row[0], row[1]),
                    _mm512_unpacklo_ps(row[2], row[3]),
                ];
                let high = [
                    _mm512_unpackhi_ps(row[0], row[1]),
                    _mm512_unpackhi_ps(row[2], row[3]),
                ];
                fours[4 * i] = _mm512_shuffle_ps::<0x44>(low[0], low[1]);
                fours[4 * i + 1] = _mm512_shuffle_ps::<0xee>(low[0], low[1]);
                fours[4 * i + 2] = _mm512_shuffle_ps::<0x44>(high[0], high[1]);
                fours[4 * i + 3] = _mm512_shuffle_ps::<0xee>(high[0], high[1]);
            }
            for c in 0..4 {
                // Quarters 0 and 2, then 1 and 3, of the upper and of the lower eight rows.
                let even = [
                    _mm512_shuffle_f32x4::<0x88>(fours[c], fours[4 + c]),
                    _mm512_shuffle_f32x4::<0x88>(fours[8 + c], fours[12 + c]),
                ];
                let odd = [
                    _mm512_shuffle_f32x4::<0xdd>(fours[c], fours[4 + c]),
                    _mm512_shuffle_f32x4::<0xdd>(fours[8 + c], fours[12 + c]),
                ];
                let to = to.add(c * to_row);
                _mm512_storeu_ps(to, _mm512_shuffle_f32x4::<0x88>(even[0], even[1]));
                _mm512_storeu_ps(to.add(4 * to_row), _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]));
                _mm512_storeu_ps(to.add(8 * to_row), _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]));
                _mm512_storeu_ps(to.add(12 * to_row), _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]));
            }
        }
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
