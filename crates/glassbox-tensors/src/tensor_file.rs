//! The named tensors of a file, whatever its container.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use glassbox_kernels::MappedFile;
use glassbox_kernels::backend::StoredValues;

use crate::element_type::ElementType;
use crate::error::{Result, TensorFileError};
use crate::npy;
use crate::npz::{is_npz, read_npy, read_npz};
use crate::safetensors_header::{SafetensorsHeader, looks_like_safetensors};
use crate::stored_tensor::{Packing, Run, StoredTensor, widen};
use crate::torch_file::TorchFile;
use crate::zip_directory::read_directory;

/// Kinds of files that hold tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A safetensors file.
    Safetensors,
    /// What `torch.save` writes, in an archive or (before 1.6) as pickles one after another.
    Torch,
    /// A NumPy archive (`.npz`) or a single array (`.npy`).
    Numpy,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Container {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch",
            Self::Numpy => "NumPy",
        }
    }
}

/// Type and shape of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// How its elements are stored.
    pub element_type: ElementType,
    /// Its shape.
    pub shape: &'a [usize],
}

/// Tensors and the runs of bytes in which they lie.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    pub(crate) runs: Vec<Run>,
    names: Vec<String>,
    tensors: Vec<StoredTensor>,
    by_name: HashMap<String, usize>,
}

impl Tensors {
    pub(crate) fn push(&mut self, name: String, tensor: StoredTensor) -> Result<(), String> {
        if self.by_name.insert(name.clone(), self.tensors.len()).is_some() {
            return Err(format!("two tensors are named `{name}`"));
        }
        self.names.push(name);
        self.tensors.push(tensor);
        Ok(())
    }
}

/// The named tensors of a file.
#[derive(Debug)]
pub struct TensorFile {
    file: Arc<MappedFile>,
    container: Container,
    tensors: Tensors,
}

impl TensorFile {
    /// Opens a file; its first bytes say what it is. Of a PyTorch file the tensors of its outermost dict are meant
    /// ([`TorchFile`] reaches further in).
    ///
    /// # Errors
    /// [`TensorFileError`], naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path)?);
        let bytes = file.as_bytes();
        let damaged = |container: Container| {
            move |what: String| TensorFileError::Damaged {
                path: path.to_path_buf(),
                container: container.name(),
                what,
            }
        };
        let (container, tensors) = if bytes.starts_with(npy::MAGIC) {
            let tensors = read_npy(bytes).map_err(damaged(Container::Numpy))?;
            (Container::Numpy, tensors)
        } else if TorchFile::recognises(bytes) {
            if bytes.starts_with(b"PK") {
                let entries = read_directory(bytes).map_err(damaged(Container::of_name(path)))?;
                if is_npz(&entries) {
                    let tensors = read_npz(bytes, entries).map_err(damaged(Container::Numpy))?;
                    return Ok(Self::new(file, Container::Numpy, tensors));
                }
            }
            let torch = TorchFile::open(path)?;
            return torch.tensors(torch.root());
        } else {
            if Container::of_name(path) != Container::Safetensors && !looks_like_safetensors(bytes) {
                let what = "it begins as no file of tensors does".to_owned();
                return Err(damaged(Container::of_name(path))(what));
            }
            let tensors = safetensors(bytes).map_err(damaged(Container::Safetensors))?;
            (Container::Safetensors, tensors)
        };
        Ok(Self::new(file, container, tensors))
    }

    pub(crate) fn new(file: Arc<MappedFile>, container: Container, tensors: Tensors) -> Self {
        Self {
            file,
            container,
            tensors,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What kind of file it is.
    #[must_use]
    pub fn container(&self) -> Container {
        self.container
    }

    /// The whole file, as it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.file.as_bytes()
    }

    /// Names of the tensors, in the file's order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.tensors.names
    }

    /// Bytes of all tensors when they are decompressed.
    #[must_use]
    pub fn data_length(&self) -> u64 {
        let bytes = |tensor: &StoredTensor| {
            (tensor.count() as u64).saturating_mul(tensor.element_type.bytes() as u64)
        };
        self.tensors.tensors.iter().map(bytes).sum()
    }

    /// Type and shape of a tensor, if the file has it.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<TensorInfo<'_>> {
        let tensor = &self.tensors.tensors[*self.tensors.by_name.get(name)?];
        Some(TensorInfo {
            element_type: tensor.element_type,
            shape: &tensor.shape,
        })
    }

    fn find(&self, name: &str) -> Result<(&StoredTensor, &[u8])> {
        let wrong = |what: String| TensorFileError::Tensor {
            path: self.path().to_path_buf(),
            tensor: name.to_owned(),
            what,
        };
        let Some(index) = self.tensors.by_name.get(name) else {
            return Err(wrong(format!(
                "it is missing; the file holds {}",
                self.names().join(", ")
            )));
        };
        let tensor = &self.tensors.tensors[*index];
        let run = self.tensors.runs[tensor.run].bytes(self.bytes()).map_err(wrong)?;
        Ok((tensor, run))
    }

    fn wrong(&self, name: &str, what: String) -> TensorFileError {
        TensorFileError::Tensor {
            path: self.path().to_path_buf(),
            tensor: name.to_owned(),
            what,
        }
    }

    /// The values of a tensor of floats in row-major order, in place where they lie so. Double precision is rounded to
    /// single.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] if it is missing, damaged or not of floats.
    pub fn values(&self, name: &str) -> Result<StoredValues<'_>> {
        let (tensor, run) = self.find(name)?;
        let wrong = |what| self.wrong(name, what);
        Ok(match tensor.element_type {
            ElementType::F32 => StoredValues::F32(tensor.row_major(run).map_err(wrong)?),
            ElementType::F16 => StoredValues::F16(tensor.row_major(run).map_err(wrong)?),
            ElementType::Bf16 => StoredValues::Bf16(tensor.row_major(run).map_err(wrong)?),
            ElementType::F64 => StoredValues::F32(tensor.narrowed(run).map_err(wrong)?),
            other => {
                return Err(wrong(format!(
                    "its type is {other}; expected F32, F16, BF16 or F64"
                )));
            }
        })
    }

    /// All numbers of a tensor of any type, in row-major order.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`].
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let (tensor, run) = self.find(name)?;
        let bytes = tensor.row_major(run).map_err(|what| self.wrong(name, what))?;
        let size = tensor.element_type.bytes().max(1);
        bytes
            .chunks_exact(size)
            .map(|bytes| tensor.element_type.number(bytes))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                self.wrong(
                    name,
                    format!("its type is {}; expected numbers", tensor.element_type),
                )
            })
    }

    /// Rows `first` to `first + count` of a matrix of floats [rows, columns], widened to single precision. Only the
    /// bytes of these rows are touched.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] if it is missing, no matrix, or has fewer rows.
    pub fn rows(&self, name: &str, first: usize, count: usize) -> Result<Vec<f32>> {
        let values = self.values(name)?;
        let shape = self.info(name).map_or(&[][..], |info| info.shape);
        let range = match shape {
            [rows, columns] if first.checked_add(count).is_some_and(|end| end <= *rows) => {
                first * columns..(first + count) * columns
            }
            _ => {
                return Err(self.wrong(
                    name,
                    format!(
                        "its shape is {shape:?}; expected [rows, width] with at least {first} + {count} rows"
                    ),
                ));
            }
        };
        Ok(match values {
            StoredValues::F32(bytes) => widen(ElementType::F32, &bytes[range.start * 4..range.end * 4]),
            StoredValues::F16(bytes) => widen(ElementType::F16, &bytes[range.start * 2..range.end * 2]),
            StoredValues::Bf16(bytes) => widen(ElementType::Bf16, &bytes[range.start * 2..range.end * 2]),
        })
    }
}

impl Container {
    /// What a file that begins like none should have been, by its name.
    fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("npz" | "npy") => Self::Numpy,
            Some("pt" | "pth" | "bin" | "ckpt") => Self::Torch,
            _ => Self::Safetensors,
        }
    }
}

fn safetensors(bytes: &[u8]) -> Result<Tensors, String> {
    let header = SafetensorsHeader::read(bytes, bytes.len() as u64).map_err(|cause| cause.to_string())?;
    let mut tensors = Tensors::default();
    // The header was in memory, so the sum fits.
    let start = header.data_start() as usize;
    tensors.runs.push(Run::new(start..bytes.len(), Packing::Stored));
    for name in header.names() {
        if let Some(info) = header.tensor(&name) {
            let element_type = ElementType::of_safetensors(info.dtype);
            let tensor = StoredTensor::contiguous(element_type, info.shape.clone(), 0, info.data_offsets.0);
            tensors.push(name, tensor)?;
        }
    }
    Ok(tensors)
}
