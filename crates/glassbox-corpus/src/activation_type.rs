//! The types in which activations are stored.

use std::fmt;
use std::str::FromStr;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// How activations are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationType {
    /// Half precision: a relative error of at most 2^-11, values up to 65504. Larger ones are refused.
    #[default]
    F16,
    /// bfloat16: a relative error of at most 2^-8, the range of single precision.
    Bf16,
    /// Single precision, as computed.
    F32,
}

impl ActivationType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::F32];

    /// The name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// The name in safetensors files.
    #[must_use]
    pub fn safetensors_name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        }
    }

    /// Bytes of one value.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The largest value that can be stored.
    #[must_use]
    pub fn largest(self) -> f32 {
        match self {
            Self::F16 => f16::LARGEST,
            Self::Bf16 => bf16::LARGEST,
            Self::F32 => f32::LARGEST,
        }
    }
}

impl fmt::Display for ActivationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ActivationType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|stored| stored.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("'{name}' is no type of activations; the choices are {names}")
        })
    }
}

/// Values in the type in which they are stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StoredRows {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
}

impl StoredRows {
    /// No values yet.
    pub(crate) fn new(stored: ActivationType) -> Self {
        match stored {
            ActivationType::F16 => Self::F16(Vec::new()),
            ActivationType::Bf16 => Self::Bf16(Vec::new()),
            ActivationType::F32 => Self::F32(Vec::new()),
        }
    }

    /// Sets the number of values; the content is for the caller to fill.
    pub(crate) fn resize(&mut self, count: usize) {
        match self {
            Self::F16(values) => values.resize(count, f16::ZERO),
            Self::Bf16(values) => values.resize(count, bf16::ZERO),
            Self::F32(values) => values.resize(count, 0.0),
        }
    }

    /// The values as they are written, little-endian.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::Bf16(values) => bytemuck::cast_slice(values),
            Self::F32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// A type that can be stored.
pub(crate) trait Stored: Copy + Send + Sync {
    /// The largest value that it holds.
    const LARGEST: f32;

    /// Rounds values to the nearest.
    fn encode(values: &[f32], into: &mut [Self]);
}

impl Stored for f16 {
    const LARGEST: f32 = f16::MAX.to_f32_const();

    fn encode(values: &[f32], into: &mut [Self]) {
        into.convert_from_f32_slice(values);
    }
}

impl Stored for bf16 {
    const LARGEST: f32 = bf16::MAX.to_f32_const();

    fn encode(values: &[f32], into: &mut [Self]) {
        into.convert_from_f32_slice(values);
    }
}

impl Stored for f32 {
    const LARGEST: f32 = f32::MAX;

    fn encode(values: &[f32], into: &mut [Self]) {
        into.copy_from_slice(values);
    }
}

/// Widens stored bytes, little-endian; `false` if they are not aligned or of another number.
pub(crate) fn decode(stored: ActivationType, bytes: &[u8], into: &mut [f32]) -> bool {
    match stored {
        ActivationType::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
            Ok(values) if values.len() == into.len() => values.convert_to_f32_slice(into),
            _ => return false,
        },
        ActivationType::Bf16 => match bytemuck::try_cast_slice::<u8, bf16>(bytes) {
            Ok(values) if values.len() == into.len() => values.convert_to_f32_slice(into),
            _ => return false,
        },
        ActivationType::F32 => match bytemuck::try_cast_slice::<u8, f32>(bytes) {
            Ok(values) if values.len() == into.len() => into.copy_from_slice(values),
            _ => return false,
        },
    }
    true
}

/// The first value whose magnitude is above `largest`, or that is not a number.
pub(crate) fn first_above(values: &[f32], largest: f32) -> Option<usize> {
    // Magnitudes order as their bits do, with infinities and NaN above all others. The maximum is found without a branch.
    let magnitude = |value: &f32| value.to_bits() & 0x7FFF_FFFF;
    let limit = largest.to_bits();
    let above = values
        .iter()
        .fold(0, |most: u32, value| most.max(magnitude(value)));
    if above <= limit {
        return None;
    }
    values.iter().position(|value| magnitude(value) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_found() {
        for (bad, stored) in [
            (65505.0, ActivationType::F16),
            (-65536.0, ActivationType::F16),
            (f32::MAX, ActivationType::Bf16),
            (f32::INFINITY, ActivationType::F32),
            (f32::NAN, ActivationType::F32),
            (-f32::NAN, ActivationType::F16),
        ] {
            let mut values = vec![-65504.0, 1.0, 65504.0, 0.0];
            assert_eq!(first_above(&values, stored.largest()), None);
            values.insert(2, bad);
            assert_eq!(first_above(&values, stored.largest()), Some(2), "{bad} {stored}");
        }
    }

    #[test]
    fn values_come_back_within_the_stated_error() {
        let values: Vec<f32> = (0..1000)
            .map(|i| (i as f32 - 500.0) * 1.234_567 + 0.001)
            .collect();
        fn there_and_back<T: Stored + Default + bytemuck::Pod>(
            stored: ActivationType,
            values: &[f32],
        ) -> Vec<f32> {
            let mut encoded = vec![T::default(); values.len()];
            T::encode(values, &mut encoded);
            let mut back = vec![0.0; values.len()];
            assert!(decode(stored, bytemuck::cast_slice(&encoded), &mut back));
            back
        }
        for (back, error) in [
            (
                there_and_back::<f16>(ActivationType::F16, &values),
                2.0_f32.powi(-11),
            ),
            (
                there_and_back::<bf16>(ActivationType::Bf16, &values),
                2.0_f32.powi(-8),
            ),
            (there_and_back::<f32>(ActivationType::F32, &values), 0.0),
        ] {
            for (back, value) in back.iter().zip(&values) {
                assert!((back - value).abs() <= error * value.abs(), "{back} {value}");
            }
        }
        assert!(
            "f64"
                .parse::<ActivationType>()
                .unwrap_err()
                .contains("f16, bf16, f32")
        );
    }
}
