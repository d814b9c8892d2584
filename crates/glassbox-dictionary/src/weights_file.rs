//! A dictionary's safetensors file.

use std::path::{Path, PathBuf};

use glassbox_kernels::backend::StoredValues;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::config_file::read_bytes;
use crate::error::{DictionaryError, Result};
use crate::parts::{scan, widen};

/// An opened safetensors file whose header is consistent with its length.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the tensors' bytes begin.
    data: usize,
    metadata: Metadata,
}

impl WeightsFile {
    /// Opens a file and checks its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|cause| DictionaryError::Weights {
                path: path.to_path_buf(),
                cause: cause.to_string(),
            })?;
        // The header's length is itself stored in eight bytes.
        Ok(Self {
            path: path.to_path_buf(),
            data: header + 8,
            bytes,
            metadata,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// BLAKE3 checksum of the whole file.
    pub(crate) fn checksum(&self) -> String {
        blake3::hash(&self.bytes).to_hex().to_string()
    }

    /// Bytes of all tensors.
    pub(crate) fn data_length(&self) -> u64 {
        (self.bytes.len() - self.data) as u64
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
                path: self.path.clone(),
                tensor,
                expected: expected.join(", "),
            }),
        }
    }

    /// The bytes of a tensor of this shape; `axes` names the axes in messages.
    pub(crate) fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        axes: &'static str,
    ) -> Result<StoredValues<'_>> {
        let info = self
            .metadata
            .info(tensor)
            .ok_or_else(|| DictionaryError::MissingTensor {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                expected: axes.to_owned(),
                present: self.metadata.offset_keys().join(", "),
            })?;
        if info.shape != shape {
            return Err(DictionaryError::TensorShape {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
                names: axes,
            });
        }
        self.values(tensor, info)
    }

    fn values(&self, tensor: &str, info: &TensorInfo) -> Result<StoredValues<'_>> {
        let (start, end) = info.data_offsets;
        let bytes = &self.bytes[self.data + start..self.data + end];
        match info.dtype {
            Dtype::F32 => Ok(StoredValues::F32(bytes)),
            Dtype::BF16 => Ok(StoredValues::Bf16(bytes)),
            Dtype::F16 => Ok(StoredValues::F16(bytes)),
            other => Err(DictionaryError::TensorType {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                found: format!("{other:?}"),
            }),
        }
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
        self.check_finite(tensor, &values, &[length])?;
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
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                index: vec![i],
                value: vector[i],
                expected: "a threshold of at least 0",
            }),
        }
    }

    /// Refuses NaN and infinities, with their place in the tensor.
    pub(crate) fn check_finite(
        &self,
        tensor: &str,
        values: &StoredValues<'_>,
        shape: &[usize],
    ) -> Result<()> {
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
            path: self.path.clone(),
            tensor: tensor.to_owned(),
            index,
            value,
            expected: "finite values",
        })
    }
}
