//! Exit codes, part of the program's interface.

/// Everything was done.
pub const DONE: u8 = 0;
/// The work was done, and a stated check of the science failed.
pub const CHECK_FAILED: u8 = 1;
/// Bad input or usage.
pub const BAD_INPUT: u8 = 2;
/// Interrupted or partial; `--resume` continues.
pub const PARTIAL: u8 = 3;
