//! The types of stored elements.

use std::fmt;

use safetensors::Dtype;

/// How an element is stored. Names are those of safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// A type whose values are not read.
    Other(Dtype),
}

impl ElementType {
    /// Bytes of one element; 0 for types that are not whole bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other(dtype) => dtype.bitsize() / 8,
        }
    }

    /// The type of a safetensors header.
    pub(crate) fn of_safetensors(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U64 => Self::U64,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            other => Self::Other(other),
        }
    }

    /// Whether it is a floating-point type that weights may have.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The number in the bytes of one little-endian element; exact but for 64-bit integers beyond 2^53.
    pub(crate) fn number(self, bytes: &[u8]) -> Option<f64> {
        fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
            bytes.try_into().ok()
        }
        Some(match self {
            Self::F64 => f64::from_le_bytes(fixed(bytes)?),
            Self::F32 => f64::from(f32::from_le_bytes(fixed(bytes)?)),
            Self::F16 => f64::from(half::f16::from_le_bytes(fixed(bytes)?).to_f32()),
            Self::Bf16 => f64::from(half::bf16::from_le_bytes(fixed(bytes)?).to_f32()),
            Self::I64 => i64::from_le_bytes(fixed(bytes)?) as f64,
            Self::I32 => f64::from(i32::from_le_bytes(fixed(bytes)?)),
            Self::I16 => f64::from(i16::from_le_bytes(fixed(bytes)?)),
            Self::I8 => f64::from(i8::from_le_bytes(fixed(bytes)?)),
            Self::U64 => u64::from_le_bytes(fixed(bytes)?) as f64,
            Self::U32 => f64::from(u32::from_le_bytes(fixed(bytes)?)),
            Self::U16 => f64::from(u16::from_le_bytes(fixed(bytes)?)),
            Self::U8 | Self::Bool => f64::from(*bytes.first()?),
            Self::Other(_) => return None,
        })
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::Other(dtype) => return write!(f, "{dtype}"),
        })
    }
}
