//! One safetensors file: its header, checked against its length before any value is used.

use std::path::Path;
use std::sync::Arc;

use glassbox_kernels::MappedFile;
use glassbox_tensors::{HeaderError, SafetensorsHeader};
use safetensors::Dtype;

use crate::load_error::LoadError;

/// Bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;

/// An opened weight file.
#[derive(Debug)]
pub(super) struct WeightFile {
    bytes: Arc<MappedFile>,
    header: SafetensorsHeader,
}

impl WeightFile {
    /// Maps the file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let bytes = Arc::new(MappedFile::open(path)?);
        let header = read_header(path, bytes.as_bytes())?;
        Ok(Self { bytes, header })
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
        self.header.names()
    }

    /// The mapped file.
    pub(super) fn bytes(&self) -> &Arc<MappedFile> {
        &self.bytes
    }

    /// Element type, shape, place in the file and bytes of a tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<(Dtype, &[usize], usize, &[u8])> {
        let info = self.header.tensor(name)?;
        let (start, end) = info.data_offsets;
        let data_start = usize::try_from(self.header.data_start()).ok()?;
        let at = data_start + start;
        let data = self.bytes.as_bytes().get(at..data_start + end)?;
        Some((info.dtype, &info.shape, at, data))
    }
}

/// What the header says; the file's length is checked here, as the header promises it.
fn read_header(path: &Path, bytes: &[u8]) -> Result<SafetensorsHeader, LoadError> {
    let path = path.to_path_buf();
    let found = bytes.len() as u64;
    SafetensorsHeader::read(bytes, found).map_err(|error| match error {
        HeaderError::Length { expected, found } => LoadError::FileLength {
            path,
            expected,
            found,
        },
        HeaderError::TooShort { found } => LoadError::FileLength {
            path,
            expected: LENGTH_BYTES,
            found,
        },
        other => LoadError::Header {
            path,
            what: other.to_string(),
        },
    })
}
