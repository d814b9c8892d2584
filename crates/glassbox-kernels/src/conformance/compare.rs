//! Operands for the checks and the comparison of results.

use half::{bf16, f16};

use crate::backend::{Backend, StoredType};

/// How far a result may be from the reference: |found − expected| ≤ absolute + relative · |expected|. NaN must
/// meet NaN, an infinity the same infinity.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Part that does not depend on the expected value.
    pub absolute: f32,
    /// Part that grows with the expected value.
    pub relative: f32,
}

/// Copies: the same value.
pub(super) const EXACT: Tolerance = Tolerance {
    absolute: 0.0,
    relative: 0.0,
};
/// One rounding or a few per element, elementary functions included.
pub(super) const POINTWISE: Tolerance = Tolerance {
    absolute: 1e-6,
    relative: 4e-6,
};
/// Sums of up to some hundreds of terms of size one.
pub(super) const SUMS: Tolerance = Tolerance {
    absolute: 1e-5,
    relative: 1e-5,
};

/// Elements that buffers have beyond what the shape needs.
const SPARE: usize = 3;
/// What outputs hold before an operation.
pub(super) const UNTOUCHED: f32 = 7.25;

/// Numbers in [−1, 1) from a linear congruential generator (Knuth's constants).
pub(super) fn numbers(seed: usize, count: usize) -> Vec<f32> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// As [`numbers`], f64.
pub(super) fn wide_numbers(seed: usize, count: usize) -> Vec<f64> {
    numbers(seed, count).into_iter().map(f64::from).collect()
}

/// A buffer that begins with `values`, NaN behind.
pub(super) fn holding<B: Backend>(backend: &B, values: &[f32]) -> B::Buffer {
    let mut values = values.to_vec();
    values.extend([f32::NAN; SPARE]);
    backend.upload(&values)
}

/// A buffer that begins with `count` numbers, NaN behind.
pub(super) fn input<B: Backend>(backend: &B, seed: usize, count: usize) -> B::Buffer {
    holding(backend, &numbers(seed, count))
}

/// A buffer for a result of `count` elements.
pub(super) fn output<B: Backend>(backend: &B, count: usize) -> B::Buffer {
    backend.upload(&vec![UNTOUCHED; count + SPARE])
}

/// A matrix of numbers.
pub(super) fn matrix<B: Backend>(backend: &B, seed: usize, rows: usize, columns: usize) -> B::Matrix {
    stored_matrix(backend, StoredType::F32, seed, rows, columns)
}

/// As [`matrix`], rounded to the type in which it is stored.
pub(super) fn stored_matrix<B: Backend>(
    backend: &B,
    element: StoredType,
    seed: usize,
    rows: usize,
    columns: usize,
) -> B::Matrix {
    let bytes = stored_bytes(element, &numbers(seed, rows * columns));
    backend.matrix(element.values(&bytes), rows, columns).unwrap()
}

/// Numbers as a checkpoint holds them.
pub(super) fn stored_bytes(element: StoredType, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * element.bytes());
    for &value in values {
        match element {
            StoredType::F32 => bytes.extend(value.to_le_bytes()),
            StoredType::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
            StoredType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
        }
    }
    bytes
}

/// All elements of a buffer, those behind the result too.
pub(super) fn content<B: Backend>(backend: &B, buffer: &B::Buffer) -> Vec<f32> {
    let mut values = vec![0.0; backend.len(buffer)];
    backend.read(buffer, 0, &mut values).unwrap();
    values
}

/// Panics unless `found` is `expected` within the tolerance.
pub(super) fn assert_close(context: &str, found: &[f32], expected: &[f32], tolerance: Tolerance) {
    assert_eq!(found.len(), expected.len(), "{context}: number of elements");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let close = if found.is_nan() || expected.is_nan() {
            found.is_nan() && expected.is_nan()
        } else {
            found == expected
                || (found - expected).abs() <= tolerance.absolute + tolerance.relative * expected.abs()
        };
        assert!(
            close,
            "{context}: element {i} is {found}, expected {expected} within {tolerance:?}"
        );
    }
}

/// Evaluates `$body` with `$b` standing for the backend and for the reference, and compares the vectors.
macro_rules! agree {
    ($backend:expr, $tolerance:expr, $context:expr, |$b:ident| $body:expr) => {{
        let found = {
            let $b = $backend;
            $body
        };
        let expected = {
            let $b = &$crate::reference::ReferenceBackend;
            $body
        };
        $crate::conformance::compare::assert_close(&$context, &found, &expected, $tolerance);
    }};
}
pub(super) use agree;
