//! One safetensors file: its header, checked against its length before any value is used.

use std::path::Path;
use std::sync::Arc;

use glassbox_kernels::MappedFile;
use safetensors::{Dtype, SafeTensorError, tensor::Metadata};

use crate::load_error::LoadError;

/// Bytes before the header: its length.
const LENGTH_BYTES: usize = 8;

/// An opened weight file.
#[derive(Debug)]
pub(super) struct WeightFile {
    bytes: Arc<MappedFile>,
    metadata: Metadata,
    /// Where the tensors' data begins.
    data_start: usize,
}

impl WeightFile {
    /// Maps the file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let bytes = Arc::new(MappedFile::open(path)?);
        let (data_start, metadata) = read_header(path, bytes.as_bytes())?;
        Ok(Self {
            bytes,
            metadata,
            data_start,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.bytes.as_bytes().len() as u64
    }

    /// Names of its tensors, in the order in which they lie in the file.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The mapped file.
    pub(super) fn bytes(&self) -> &Arc<MappedFile> {
        &self.bytes
    }

    /// Element type, shape, place in the file and bytes of a tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<(Dtype, &[usize], usize, &[u8])> {
        let info = self.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        let at = self.data_start + start;
        let data = self.bytes.as_bytes().get(at..self.data_start + end)?;
        Some((info.dtype, &info.shape, at, data))
    }
}

/// Where the data begins, and what the header says. The file's length is checked here, as the header promises it.
fn read_header(path: &Path, bytes: &[u8]) -> Result<(usize, Metadata), LoadError> {
    let bad = |what: String| LoadError::Header {
        path: path.to_path_buf(),
        what,
    };
    let found = bytes.len() as u64;
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Err(LoadError::FileLength {
            path: path.to_path_buf(),
            expected: LENGTH_BYTES as u64,
            found,
        });
    };
    let header = u64::from_le_bytes(*length);
    let data_start = header.saturating_add(LENGTH_BYTES as u64);
    match safetensors::SafeTensors::read_metadata(bytes) {
        // The length fits the address space, as the header was read from memory.
        Ok((header, metadata)) => Ok((header + LENGTH_BYTES, metadata)),
        Err(SafeTensorError::InvalidHeaderLength) if data_start > found && looks_like_header(bytes) => {
            Err(LoadError::FileLength {
                path: path.to_path_buf(),
                expected: data_start,
                found,
            })
        }
        Err(SafeTensorError::MetadataIncompleteBuffer) => {
            let expected = described_length(bytes, data_start)
                .ok_or_else(|| bad("its header is inconsistent".into()))?;
            Err(LoadError::FileLength {
                path: path.to_path_buf(),
                expected,
                found,
            })
        }
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Whether a JSON object begins where the header should: a file of another kind has no such place.
fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.get(LENGTH_BYTES).is_none_or(|&first| first == b'{')
}

/// The length that a header promises, itself included: the end of the tensor that ends last.
fn described_length(bytes: &[u8], data_start: u64) -> Option<u64> {
    let header = bytes.get(LENGTH_BYTES..usize::try_from(data_start).ok()?)?;
    let tensors: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = tensors
        .values()
        .filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    data_start.checked_add(ends.max().unwrap_or(0))
}
