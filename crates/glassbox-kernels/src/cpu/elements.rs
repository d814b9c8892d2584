//! Types in which weights are stored, widened to f32 on their way into the registers.

use half::{bf16, f16};

use super::lanes::Lanes;

/// More than the widest vector's lanes.
const LANES: usize = 16;

/// A stored number.
///
/// # Safety
/// The loads have the conditions of [`Lanes`], for pointers to the stored type.
pub(crate) trait Element: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// As f32, without loss.
    fn widen(self) -> f32;
    /// Reads a vector.
    unsafe fn load<L: Lanes>(from: *const Self) -> L::Vector;
    /// Reads the first `count` lanes; the others are zero.
    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(from: *const Self, count: usize) -> L::Vector {
        let mut lanes = [0.0; LANES];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller promises `count` readable elements.
            *to = unsafe { *from.add(lane) }.widen();
        }
        // SAFETY: `lanes` holds as many elements as the widest vector.
        unsafe { L::load(lanes.as_ptr()) }
    }
    /// Reads the first `count` lanes, all of them if there are more; the others are zero.
    #[inline(always)]
    unsafe fn load_some<L: Lanes>(from: *const Self, count: usize) -> L::Vector {
        // SAFETY: the caller's promise.
        unsafe {
            if count >= L::WIDTH {
                Self::load::<L>(from)
            } else {
                Self::load_partial::<L>(from, count)
            }
        }
    }
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: the caller's promise.
        unsafe { L::load(from) }
    }

    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(from: *const Self, count: usize) -> L::Vector {
        // SAFETY: the caller's promise.
        unsafe { L::load_partial(from, count) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        // The upper half of an f32; unlike `to_f32` this keeps the payload of a NaN, as the vectors do.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: the caller's promise.
        unsafe { L::load_bf16(from) }
    }
}

impl Element for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::Vector {
        // SAFETY: the caller's promise.
        unsafe { L::load_f16(from) }
    }
}

/// The elements of a matrix in the type in which they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Elements<'a> {
    /// IEEE single precision.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
}

/// Runs `$body` with `$values` standing for the slice inside `$elements`, of whichever type.
macro_rules! with_elements {
    ($elements:expr, $values:ident => $body:expr) => {
        match $elements {
            $crate::cpu::elements::Elements::F32($values) => $body,
            $crate::cpu::elements::Elements::Bf16($values) => $body,
            $crate::cpu::elements::Elements::F16($values) => $body,
        }
    };
}
pub(crate) use with_elements;
