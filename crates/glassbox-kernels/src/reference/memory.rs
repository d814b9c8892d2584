//! Storage of the reference backend.

use crate::backend::StoredValues;

/// f32 elements.
#[derive(Clone, Debug)]
pub struct ReferenceBuffer {
    pub(super) values: Vec<f32>,
}

/// A weight matrix [rows, columns].
#[derive(Clone, Debug)]
pub struct ReferenceMatrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Vec<f32>,
}

impl ReferenceBuffer {
    /// The first `n` elements as f64.
    pub(super) fn wide(&self, n: usize) -> Vec<f64> {
        wide(&self.values[..n])
    }

    /// Replaces the leading elements.
    pub(super) fn store(&mut self, values: &[f64]) {
        for (to, &from) in self.values.iter_mut().zip(values) {
            *to = from as f32;
        }
    }

    /// Adds to the leading elements.
    pub(super) fn accumulate(&mut self, values: &[f64]) {
        for (to, &from) in self.values.iter_mut().zip(values) {
            *to = (f64::from(*to) + from) as f32;
        }
    }
}

impl ReferenceMatrix {
    /// All elements as f64.
    pub(super) fn wide(&self) -> Vec<f64> {
        wide(&self.values)
    }
}

/// As f64.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Stored numbers as f32.
pub(super) fn widen(stored: StoredValues<'_>) -> Vec<f32> {
    match stored {
        StoredValues::F32(bytes) => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        // A bfloat16 is the upper half of an f32.
        StoredValues::Bf16(bytes) => bytes
            .chunks_exact(2)
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))
            .collect(),
        StoredValues::F16(bytes) => bytes
            .chunks_exact(2)
            .map(|b| half_precision(u16::from_le_bytes([b[0], b[1]])))
            .collect(),
    }
}

/// The value of an IEEE 754 binary16: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
fn half_precision(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match bits >> 10 & 0x1f {
        0 => sign * fraction * 2.0f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * 2.0f32.powi(i32::from(exponent) - 15),
    }
}
