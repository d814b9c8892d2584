//! Where a tensor's elements lie in a file, and its bytes in row-major order.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::sync::OnceLock;

use flate2::read::DeflateDecoder;
use half::{bf16, f16};

use crate::element_type::ElementType;

/// What deflate makes of one byte at most.
const LARGEST_EXPANSION: u64 = 1032;
/// An expanded tensor (a stride of zero) may have this many elements, however few are stored.
const LARGEST_EXPANDED: usize = 1 << 24;

/// A run of bytes in a file.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its place in the file, as stored.
    pub(crate) range: Range<usize>,
    /// How it is compressed.
    pub(crate) packing: Packing,
    inflated: OnceLock<Vec<u8>>,
}

/// How a run of bytes is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As it is.
    Stored,
    /// Deflated from so many bytes with this CRC-32.
    Deflated { length: u64, checksum: u32 },
}

impl Run {
    pub(crate) fn new(range: Range<usize>, packing: Packing) -> Self {
        Self {
            range,
            packing,
            inflated: OnceLock::new(),
        }
    }

    /// Bytes after decompression, as the file states them.
    pub(crate) fn length(&self) -> u64 {
        match self.packing {
            Packing::Stored => self.range.len() as u64,
            Packing::Deflated { length, .. } => length,
        }
    }

    /// The bytes, decompressed where they need be (once).
    pub(crate) fn bytes<'a>(&'a self, file: &'a [u8]) -> Result<&'a [u8], String> {
        let raw = file
            .get(self.range.clone())
            .ok_or("it lies outside of the file")?;
        let Packing::Deflated { length, checksum } = self.packing else {
            return Ok(raw);
        };
        if let Some(bytes) = self.inflated.get() {
            return Ok(bytes);
        }
        let bytes = inflate(raw, length, Some(checksum))?;
        Ok(self.inflated.get_or_init(|| bytes))
    }

    /// The first `count` bytes, or all if there are fewer, without decompressing the rest.
    pub(crate) fn beginning<'a>(&self, file: &'a [u8], count: usize) -> Result<Cow<'a, [u8]>, String> {
        let raw = file
            .get(self.range.clone())
            .ok_or("it lies outside of the file")?;
        match self.packing {
            Packing::Stored => Ok(Cow::Borrowed(&raw[..count.min(raw.len())])),
            Packing::Deflated { length, .. } => inflate(raw, length.min(count as u64), None).map(Cow::Owned),
        }
    }
}

/// Decompresses exactly `length` bytes; with a checksum, those must be all there are, and right.
fn inflate(raw: &[u8], length: u64, checksum: Option<u32>) -> Result<Vec<u8>, String> {
    if length / LARGEST_EXPANSION > raw.len() as u64 {
        return Err(format!(
            "{} compressed bytes cannot hold the {length} bytes that they should",
            raw.len()
        ));
    }
    // The buffer grows with what really comes out: the stated length is not believed.
    let mut bytes = Vec::new();
    let limit = length.saturating_add(u64::from(checksum.is_some()));
    DeflateDecoder::new(raw)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|cause| format!("its compressed bytes are damaged: {cause}"))?;
    if bytes.len() as u64 != length {
        let more = if bytes.len() as u64 > length {
            "more"
        } else {
            "fewer"
        };
        return Err(format!(
            "it decompresses to {more} than the {length} bytes stated"
        ));
    }
    match checksum {
        Some(checksum) if check_sum(&bytes) != checksum => Err("its checksum (CRC-32) is wrong".into()),
        _ => Ok(bytes),
    }
}

/// CRC-32 of some bytes.
pub(crate) fn check_sum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// A tensor in a run of bytes.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    pub(crate) element_type: ElementType,
    pub(crate) shape: Vec<usize>,
    /// The run, by its number in the file.
    pub(crate) run: usize,
    /// Where in the run the first element begins, in bytes.
    at: usize,
    /// Steps from one index to the next along each axis, in elements; `None` for row-major order without gaps.
    strides: Option<Vec<usize>>,
    big_endian: bool,
    /// [`StoredTensor::row_major`] where it had to be made.
    copied: OnceLock<Vec<u8>>,
    /// The values as f32 where they are stored as f64.
    narrowed: OnceLock<Vec<u8>>,
}

impl StoredTensor {
    /// A tensor without gaps in row-major order, little endian.
    pub(crate) fn contiguous(element_type: ElementType, shape: Vec<usize>, run: usize, at: usize) -> Self {
        Self {
            element_type,
            shape,
            run,
            at,
            strides: None,
            big_endian: false,
            copied: OnceLock::new(),
            narrowed: OnceLock::new(),
        }
    }

    /// A tensor of any strides; checks that it lies within `available` bytes of its run.
    pub(crate) fn strided(
        element_type: ElementType,
        shape: Vec<usize>,
        strides: Vec<usize>,
        run: usize,
        at: usize,
        available: u64,
        big_endian: bool,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!(
                "shape {shape:?} and strides {strides:?} do not fit each other"
            ));
        }
        let size = element_type.bytes();
        let too_large = || format!("shape {shape:?} with strides {strides:?} is too large");
        let count = element_count(&shape).ok_or_else(too_large)?;
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(0_usize, |last, (length, stride)| {
                last.checked_add(length.saturating_sub(1).checked_mul(*stride)?)
            });
        let elements = if count == 0 {
            Some(0)
        } else {
            last.and_then(|last| last.checked_add(1))
        };
        let end = elements
            .and_then(|elements| elements.checked_mul(size))
            .and_then(|bytes| bytes.checked_add(at))
            .ok_or_else(too_large)?;
        if end as u64 > available {
            return Err(format!(
                "it ends at byte {end} of its storage, which has only {available} bytes"
            ));
        }
        if count > LARGEST_EXPANDED && Some(count) > elements {
            return Err(format!(
                "shape {shape:?} with strides {strides:?} repeats its elements; save it with .contiguous()"
            ));
        }
        count.checked_mul(size).ok_or_else(too_large)?;
        let row_major = row_major_strides(&shape);
        // The stride of an axis of one element says nothing.
        let contiguous = count == 0
            || (shape.iter().zip(&strides).zip(&row_major))
                .all(|((length, stride), expected)| *length == 1 || stride == expected);
        Ok(Self {
            strides: (!contiguous).then_some(strides),
            big_endian: big_endian && size > 1,
            ..Self::contiguous(element_type, shape, run, at)
        })
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The little-endian bytes of all elements in row-major order, in place where they lie so.
    pub(crate) fn row_major<'a>(&'a self, run: &'a [u8]) -> Result<&'a [u8], String> {
        let size = self.element_type.bytes();
        let length = self.count() * size;
        let ends = "it ends beyond its storage";
        if self.strides.is_none() && !self.big_endian {
            return run.get(self.at..self.at + length).ok_or_else(|| ends.to_owned());
        }
        if let Some(bytes) = self.copied.get() {
            return Ok(bytes);
        }
        let mut bytes = Vec::with_capacity(length);
        let row_major = row_major_strides(&self.shape);
        let strides = self.strides.as_deref().unwrap_or(&row_major);
        let mut index = vec![0_usize; self.shape.len()];
        for _ in 0..self.count() {
            let place: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
            let at = self.at + place * size;
            let element = run.get(at..at + size).ok_or(ends)?;
            if self.big_endian {
                bytes.extend(element.iter().rev());
            } else {
                bytes.extend_from_slice(element);
            }
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(self.copied.get_or_init(|| bytes))
    }

    /// Double-precision values rounded to single precision.
    pub(crate) fn narrowed<'a>(&'a self, run: &'a [u8]) -> Result<&'a [u8], String> {
        if let Some(bytes) = self.narrowed.get() {
            return Ok(bytes);
        }
        let wide = self.row_major(run)?;
        let bytes = wide
            .as_chunks::<8>()
            .0
            .iter()
            .flat_map(|value| (f64::from_le_bytes(*value) as f32).to_le_bytes())
            .collect();
        Ok(self.narrowed.get_or_init(|| bytes))
    }
}

/// Product of a shape, if it fits.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, length| count.checked_mul(*length))
}

/// Strides of a tensor without gaps, in elements.
fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The values of some stored floats, widened to single precision.
pub(crate) fn widen(element_type: ElementType, bytes: &[u8]) -> Vec<f32> {
    match element_type {
        ElementType::Bf16 => (bytes.as_chunks::<2>().0.iter())
            .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
            .collect(),
        ElementType::F16 => (bytes.as_chunks::<2>().0.iter())
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
        _ => (bytes.as_chunks::<4>().0.iter())
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
    }
}
