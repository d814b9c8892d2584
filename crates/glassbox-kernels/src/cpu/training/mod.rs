//! What training a dictionary needs: sparse codes, their gradients by feature, Adam.

mod backend;
mod codes;
mod dense;
mod encode;
mod gradients;
mod optimizer;
mod rows;

pub use codes::CpuCodes;

/// Defines a function over [`Lanes`](super::lanes::Lanes) that is compiled once for each instruction set; the copy for
/// the instructions given is called.
///
/// # Safety
/// The processor must have the instructions; besides, what the body's own safety section says.
macro_rules! by_instructions {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$meta])*
        $vis unsafe fn $name(instructions: $crate::cpu::instructions::Instructions, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<$crate::cpu::lanes::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<$crate::cpu::lanes::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            use $crate::cpu::lanes::Neon as Baseline;
            #[cfg(not(target_arch = "aarch64"))]
            use $crate::cpu::lanes::Portable as Baseline;
            // SAFETY: the caller's promise.
            unsafe {
                match instructions {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::instructions::Instructions::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::instructions::Instructions::Avx2 => avx2($($arg),*),
                    $crate::cpu::instructions::Instructions::Baseline => $body::<Baseline>($($arg),*),
                }
            }
        }
    };
}
use by_instructions;
