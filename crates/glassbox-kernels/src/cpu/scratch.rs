//! Working memory that each thread keeps between operations.

use std::cell::Cell;

thread_local! {
    static VALUES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static KEYS: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Calls `with` on `len` f32 of unspecified content. The memory is taken out while in use, so a nested call
/// gets its own.
pub(crate) fn with_values<R>(len: usize, with: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut values = VALUES.take();
    if values.len() < len {
        values.resize(len, 0.0);
    }
    let result = with(&mut values[..len]);
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
