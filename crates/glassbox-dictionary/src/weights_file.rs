//! A dictionary's weights, whatever file they lie in.

use std::path::Path;

use glassbox_kernels::backend::StoredValues;
use glassbox_tensors::{TensorFile, TensorFileError, TensorInfo};

use crate::error::{DictionaryError, Result};
use crate::parts::{scan, widen};

/// The named tensors of an opened file. It is mapped: a tensor's bytes come into memory when they are used.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    file: TensorFile,
}

impl WeightsFile {
    /// Opens a file of any container: safetensors, `torch.save` or NumPy.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self::new(TensorFile::open(path)?))
    }

    /// The tensors of a file that is open already.
    pub(crate) fn new(file: TensorFile) -> Self {
        Self { file }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// BLAKE3 checksum of the whole file.
    pub(crate) fn checksum(&self) -> String {
        blake3::hash(self.file.bytes()).to_hex().to_string()
    }

    /// Bytes of all tensors.
    pub(crate) fn data_length(&self) -> u64 {
        self.file.data_length()
    }

    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.file.info(tensor).is_some()
    }

    /// Shape of a tensor, for formats whose sizes are only there.
    pub(crate) fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.file.info(tensor).map(|info| info.shape)
    }

    /// Rows and columns of a matrix, for formats whose sizes are only there; `axes` names the axes in messages.
    pub(crate) fn matrix_shape(&self, tensor: &str, axes: &'static str) -> Result<[usize; 2]> {
        match self.shape(tensor) {
            None => Err(self.missing(tensor, axes)),
            Some(&[rows, columns]) => Ok([rows, columns]),
            Some(shape) => Err(self.wrong(tensor, format!("its shape is {shape:?}; expected {axes}"))),
        }
    }

    fn wrong(&self, tensor: &str, what: String) -> DictionaryError {
        TensorFileError::Tensor {
            path: self.path().to_path_buf(),
            tensor: tensor.to_owned(),
            what,
        }
        .into()
    }

    fn missing(&self, tensor: &str, axes: &str) -> DictionaryError {
        DictionaryError::MissingTensor {
            path: self.path().to_path_buf(),
            tensor: tensor.to_owned(),
            expected: axes.to_owned(),
            present: self.file.names().join(", "),
        }
    }

    /// Refuses tensors that aren't among the expected ones.
    pub(crate) fn check_names(&self, expected: &[&str]) -> Result<()> {
        match self
            .file
            .names()
            .iter()
            .find(|name| !expected.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(tensor) => Err(DictionaryError::UnknownTensor {
                path: self.path().to_path_buf(),
                tensor: tensor.clone(),
                expected: expected.join(", "),
            }),
        }
    }

    /// Checks that a tensor of this shape is there; `axes` names the axes in messages.
    pub(crate) fn find(&self, tensor: &str, shape: &[usize], axes: &'static str) -> Result<TensorInfo<'_>> {
        let info = self.file.info(tensor).ok_or_else(|| self.missing(tensor, axes))?;
        if info.shape != shape {
            return Err(DictionaryError::TensorShape {
                path: self.path().to_path_buf(),
                tensor: tensor.to_owned(),
                found: info.shape.to_vec(),
                expected: shape.to_vec(),
                names: axes,
            });
        }
        if info.element_type.is_float() {
            return Ok(info);
        }
        Err(DictionaryError::TensorType {
            path: self.path().to_path_buf(),
            tensor: tensor.to_owned(),
            found: info.element_type.to_string(),
        })
    }

    /// The values of a tensor of this shape, whatever they are: for who reads parts of it and checks those.
    pub(crate) fn unchecked(
        &self,
        tensor: &str,
        shape: &[usize],
        axes: &'static str,
    ) -> Result<StoredValues<'_>> {
        self.find(tensor, shape, axes)?;
        Ok(self.file.values(tensor)?)
    }

    /// The values of a tensor of this shape, which are finite.
    pub(crate) fn tensor(
        &self,
        tensor: &str,
        shape: &[usize],
        axes: &'static str,
    ) -> Result<StoredValues<'_>> {
        let values = self.unchecked(tensor, shape, axes)?;
        self.check_finite(tensor, &values, shape)?;
        Ok(values)
    }

    /// Name of a tensor's type, `F32` for example.
    pub(crate) fn type_name(&self, tensor: &str) -> String {
        self.file
            .info(tensor)
            .map_or_else(String::new, |info| info.element_type.to_string())
    }

    /// The single number of a tensor of any type; `expected` says what it is in messages.
    pub(crate) fn scalar(&self, tensor: &str, expected: &'static str) -> Result<f64> {
        let shape = self.shape(tensor).ok_or_else(|| self.missing(tensor, expected))?;
        if shape.iter().any(|length| *length != 1) {
            return Err(self.wrong(
                tensor,
                format!("its shape is {shape:?}; expected one number, {expected}"),
            ));
        }
        match self.file.numbers(tensor)?.as_slice() {
            [number] if number.is_finite() => Ok(*number),
            numbers => Err(self.wrong(
                tensor,
                format!("it holds {numbers:?}; expected a finite number, {expected}"),
            )),
        }
    }

    /// A small matrix of finite values, row after row.
    pub(crate) fn matrix_rows(
        &self,
        tensor: &str,
        shape: [usize; 2],
        axes: &'static str,
    ) -> Result<Vec<f32>> {
        let values = self.tensor(tensor, &shape, axes)?;
        let mut rows = vec![0.0; shape[0] * shape[1]];
        widen(&values, 0, &mut rows);
        Ok(rows)
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
