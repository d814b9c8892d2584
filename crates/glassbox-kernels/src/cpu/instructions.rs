//! Which vector instructions the processor has, found at run time.

/// Vector instruction sets that the kernels are compiled for, from narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// What every processor of the target has.
    Baseline,
    /// AVX2 with fused multiply-add and conversion of half precision, as all its processors have.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 foundation.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The widest set that this processor has.
    #[inline]
    pub(crate) fn detect() -> Self {
        #[cfg(test)]
        if let Some(chosen) = tests::chosen() {
            return chosen;
        }
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// Every set that this processor has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        match Self::detect() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Baseline, Self::Avx2, Self::Avx512],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Baseline, Self::Avx2],
            Self::Baseline => vec![Self::Baseline],
        }
    }

    /// Elements of a vector, as [`Lanes::WIDTH`](super::lanes::Lanes::WIDTH).
    pub(crate) fn width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Baseline if cfg!(target_arch = "aarch64") => 4,
            Self::Baseline => 8,
        }
    }

    /// Architecture and instruction set, `x86-64 avx512f` for example.
    pub(crate) fn describe(self) -> String {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "x86-64",
            other => other,
        };
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => format!("{architecture} avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => format!("{architecture} avx2 fma"),
            Self::Baseline if cfg!(target_arch = "aarch64") => format!("{architecture} neon"),
            Self::Baseline => architecture.to_owned(),
        }
    }
}

/// Defines a function whose body is compiled once for each instruction set and chosen at run time.
///
/// The body sees a constant, named between `<` and `>` after the function's name, that says whether a fused
/// multiply-add is one instruction; it should be passed on to [`multiply_add`](super::elementary::multiply_add).
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$fused:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const $fused: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                match $crate::cpu::instructions::Instructions::detect() {
                    // SAFETY: the processor was just found to have these instructions.
                    $crate::cpu::instructions::Instructions::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::instructions::Instructions::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::instructions::Instructions::Baseline => {}
                }
            }
            // On arm64 the fused form is one instruction; on x86-64 without FMA it would be a library call.
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{CpuBackend, conformance};

    /// One more than the place in `available()` of the set that all threads use; zero to let them detect it.
    /// Other tests that run meanwhile only see another set that the processor has.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn chosen() -> Option<Instructions> {
        match CHOSEN.load(Ordering::Relaxed) {
            0 => None,
            chosen => Some(widest_to(chosen)),
        }
    }

    fn widest_to(chosen: usize) -> Instructions {
        match chosen {
            #[cfg(target_arch = "x86_64")]
            3 => Instructions::Avx512,
            #[cfg(target_arch = "x86_64")]
            2 => Instructions::Avx2,
            _ => Instructions::Baseline,
        }
    }

    #[test]
    fn the_suite_passes_with_every_instruction_set() {
        let available = Instructions::available();
        for (place, &instructions) in available.iter().enumerate() {
            CHOSEN.store(place + 1, Ordering::Relaxed);
            assert_eq!(Instructions::detect(), instructions);
            conformance::check(&CpuBackend);
            conformance::check_training(&CpuBackend);
        }
        CHOSEN.store(0, Ordering::Relaxed);
    }
}
