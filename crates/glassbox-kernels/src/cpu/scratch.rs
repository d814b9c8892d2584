//! Working memory that each thread keeps between operations.

use std::cell::Cell;

use bytemuck::Zeroable;

use super::memory::Line;

thread_local! {
    static VALUES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static KEYS: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Calls `with` on `len` f32 of unspecified content, which begin at a cache line. The memory is taken out while in use, so a nested call
/// gets its own.
pub(crate) fn with_values<R>(len: usize, with: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut values = VALUES.take();
    let lines = len.div_ceil(16);
    if values.len() < lines {
        values.resize(lines, Line::zeroed());
    }
    let result = with(&mut bytemuck::cast_slice_mut(&mut values)[..len]);
    VALUES.set(values);
    result
}

/// Calls `with` on an empty vector whose capacity is kept.
pub(crate) fn with_keys<R>(with: impl FnOnce(&mut Vec<u64>) -> R) -> R {
    let mut keys = KEYS.take();
    keys.clear();
    let result = with(&mut keys);
    KEYS.set(keys);
    result
}
