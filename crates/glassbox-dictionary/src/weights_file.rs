//! A dictionary's safetensors file.

use std::path::Path;

use glassbox_kernels::MappedFile;
use glassbox_kernels::backend::StoredValues;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{DictionaryError, Result};
use crate::parts::{scan, widen};

/// Bytes of the number in front of the header.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// An opened safetensors file whose header is consistent with its length. It is mapped: a tensor's bytes come into
/// memory when they are used.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    file: MappedFile,
    /// Where the tensors' bytes begin.
    data: usize,
    metadata: Metadata,
}

impl WeightsFile {
    /// Opens a file and checks its header against its length.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let broken = |cause: String| DictionaryError::Weights {
            path: path.to_path_buf(),
            cause,
        };
        let bytes = file.as_bytes();
        let Some((number, rest)) = bytes.split_first_chunk::<LENGTH>() else {
            return Err(broken(format!(
                "it is {} bytes long, too short for a header",
                bytes.len()
            )));
        };
        let header = u64::from_le_bytes(*number);
        if header > LONGEST_HEADER || header > rest.len() as u64 {
            return Err(broken(format!(
                "it states a header of {header} bytes (at offset 0), the file has {} bytes",
                bytes.len()
            )));
        }
        let header = header as usize;
        let metadata: Metadata = serde_json::from_slice(&rest[..header])
            .map_err(|cause| broken(format!("its header (at offset {LENGTH}) is damaged: {cause}")))?;
        let data = LENGTH + header;
        let expected = data + metadata.data_len();
        if expected != bytes.len() {
            return Err(broken(format!(
                "it is {} bytes long, its header describes {expected}",
                bytes.len()
            )));
        }
        Ok(Self { data, metadata, file })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// BLAKE3 checksum of the whole file.
    pub(crate) fn checksum(&self) -> String {
        blake3::hash(self.file.as_bytes()).to_hex().to_string()
    }

    /// Bytes of all tensors.
    pub(crate) fn data_length(&self) -> u64 {
        self.metadata.data_len() as u64
    }

    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.metadata.info(tensor).is_some()
    }

    /// Refuses tensors that aren't among the expected ones.
    pub(crate) fn check_names(&self, expected: &[&str]) -> Result<()> {
        match self
            .metadata
            .offset_keys()
            .into_iter()
            .find(|name| !expected.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(tensor) => Err(DictionaryError::UnknownTensor {
                path: self.path().to_path_buf(),
                tensor,
                expected: expected.join(", "),
            }),
        }
    }

    /// Checks that a tensor of this shape is there; `axes` names the axes in messages.
    pub(crate) fn find(&self, tensor: &str, shape: &[usize], axes: &'static str) -> Result<&TensorInfo> {
        let info = self
            .metadata
            .info(tensor)
            .ok_or_else(|| DictionaryError::MissingTensor {
                path: self.path().to_path_buf(),
                tensor: tensor.to_owned(),
                expected: axes.to_owned(),
                present: self.metadata.offset_keys().join(", "),
            })?;
        if info.shape != shape {
            return Err(DictionaryError::TensorShape {
                path: self.path().to_path_buf(),
                tensor: tensor.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
                names: axes,
            });
        }
        match info.dtype {
            Dtype::F32 | Dtype::BF16 | Dtype::F16 => Ok(info),
            other => Err(DictionaryError::TensorType {
                path: self.path().to_path_buf(),
                tensor: tensor.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// The values of a tensor of this shape, which are finite.
    pub(crate) fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        axes: &'static str,
    ) -> Result<StoredValues<'_>> {
        let info = self.find(tensor, shape, axes)?;
        let (start, end) = info.data_offsets;
        let bytes = &self.file.as_bytes()[self.data + start..self.data + end];
        let values = match info.dtype {
            Dtype::BF16 => StoredValues::Bf16(bytes),
            Dtype::F16 => StoredValues::F16(bytes),
            // `find` lets no other type through.
            _ => StoredValues::F32(bytes),
        };
        self.check_finite(tensor, &values, shape)?;
        Ok(values)
    }

    /// Name of a tensor's type, `F32` for example.
    pub(crate) fn type_name(&self, tensor: &str) -> String {
        self.metadata
            .info(tensor)
            .map_or_else(String::new, |info| format!("{:?}", info.dtype))
    }

    /// A vector of finite values.
    pub(crate) fn vector(&self, tensor: &str, length: usize, axes: &'static str) -> Result<Vec<f32>> {
        let values = self.tensor(tensor, &[length], axes)?;
        let mut vector = vec![0.0; length];
        widen(&values, 0, &mut vector);
        Ok(vector)
    }

    /// A vector of finite values of at least zero.
    pub(crate) fn thresholds(&self, tensor: &str, length: usize, axes: &'static str) -> Result<Vec<f32>> {
        let vector = self.vector(tensor, length, axes)?;
        match vector.iter().position(|value| *value < 0.0) {
            None => Ok(vector),
            Some(i) => Err(DictionaryError::TensorValue {
                path: self.path().to_path_buf(),
                tensor: tensor.to_owned(),
                index: vec![i],
                value: vector[i],
                expected: "a threshold of at least 0",
            }),
        }
    }

    /// Refuses NaN and infinities, with their place in the tensor.
    fn check_finite(&self, tensor: &str, values: &StoredValues<'_>, shape: &[usize]) -> Result<()> {
        let found = scan(values, |first, values| {
            values
                .iter()
                .position(|value| !value.is_finite())
                .map(|at| (first + at, values[at]))
        });
        let Some((mut flat, value)) = found else {
            return Ok(());
        };
        let mut index = vec![0; shape.len()];
        for (place, size) in index.iter_mut().zip(shape).rev() {
            *place = flat % size;
            flat /= size;
        }
        Err(DictionaryError::TensorValue {
            path: self.path().to_path_buf(),
            tensor: tensor.to_owned(),
            index,
            value,
            expected: "finite values",
        })
    }
}
