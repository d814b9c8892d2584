//! Reading: the header at once, values by rows.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use glassbox_tensors::{HeaderError, SafetensorsHeader};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::TensorFileError;

/// A safetensors file whose header was read and agrees with the file's length.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    header: SafetensorsHeader,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`TensorFileError::Io`], [`TensorFileError::Header`], [`TensorFileError::Length`].
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let failed = |cause| TensorFileError::Io {
            path: path.to_path_buf(),
            cause,
        };
        let wrong = |what: String| TensorFileError::Header {
            path: path.to_path_buf(),
            what,
        };
        let mut file = File::open(path).map_err(failed)?;
        let description = file.metadata().map_err(failed)?;
        if !description.is_file() {
            return Err(wrong("it is not a file".into()));
        }
        let bytes = description.len();
        let header = SafetensorsHeader::read(&mut file, bytes).map_err(|error| match error {
            HeaderError::Io(cause) => failed(cause),
            HeaderError::Length { expected, found } => TensorFileError::Length {
                path: path.to_path_buf(),
                expected,
                found,
            },
            HeaderError::TooShort { .. } | HeaderError::Malformed(_) => wrong(error.to_string()),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes,
            header,
        })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Names, types and shapes, in the order in which the tensors lie in the file.
    pub fn tensors(&self) -> Vec<(String, Dtype, Vec<usize>)> {
        let described = |name: String| {
            let info = self.header.tensor(&name)?;
            let (dtype, shape) = (info.dtype, info.shape.clone());
            Some((name, dtype, shape))
        };
        self.header.names().into_iter().filter_map(described).collect()
    }

    /// A two-dimensional tensor of floats, to be read by rows.
    ///
    /// # Errors
    /// [`TensorFileError::Missing`], [`TensorFileError::Shape`], [`TensorFileError::Type`].
    pub fn matrix(self, name: &str) -> Result<MatrixReader, TensorFileError> {
        let path = self.path.clone();
        let tensor = name.to_owned();
        let Some(TensorInfo {
            dtype,
            shape,
            data_offsets,
        }) = self.header.tensor(name)
        else {
            let names: Vec<String> = self
                .tensors()
                .iter()
                .map(|(name, dtype, shape)| format!("{name} {dtype} {shape:?}"))
                .collect();
            let present = if names.is_empty() {
                "no tensor".into()
            } else {
                names.join(", ")
            };
            return Err(TensorFileError::Missing {
                path,
                tensor,
                present,
            });
        };
        let float = match dtype {
            Dtype::F32 => Float::F32,
            Dtype::BF16 => Float::Bf16,
            Dtype::F16 => Float::F16,
            other => {
                return Err(TensorFileError::Type {
                    path,
                    tensor,
                    found: other.to_string(),
                });
            }
        };
        let &[rows, columns] = shape.as_slice() else {
            let (found, expected) = (shape.clone(), "two axes, [rows, width]".into());
            return Err(TensorFileError::Shape {
                path,
                tensor,
                found,
                expected,
            });
        };
        let start = self.header.data_start() + data_offsets.0 as u64;
        Ok(MatrixReader {
            path,
            tensor,
            file: self.file,
            start,
            float,
            rows,
            columns,
            bytes: Vec::new(),
        })
    }
}

/// How a value is stored.
#[derive(Clone, Copy, Debug)]
enum Float {
    F32,
    Bf16,
    F16,
}

impl Float {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A matrix [rows, columns] on disk.
#[derive(Debug)]
pub struct MatrixReader {
    path: PathBuf,
    tensor: String,
    file: File,
    start: u64,
    float: Float,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

impl MatrixReader {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Reads `count` rows from row `first` on into `values` [count, columns], widened to single precision.
    ///
    /// # Errors
    /// [`TensorFileError::Io`], and [`TensorFileError::NotFinite`] with the row in the file.
    pub fn read(&mut self, first: usize, count: usize, values: &mut Vec<f32>) -> Result<(), TensorFileError> {
        let row_bytes = self.columns * self.float.bytes();
        self.bytes.resize(count * row_bytes, 0);
        let start = self.start + (first * row_bytes) as u64;
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(&mut self.bytes))
            .map_err(|cause| TensorFileError::Io {
                path: self.path.clone(),
                cause,
            })?;
        values.clear();
        match self.float {
            Float::F32 => values.extend(
                self.bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes)),
            ),
            Float::Bf16 => {
                values.extend(
                    self.bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|bytes| bf16::from_le_bytes(*bytes).to_f32()),
                );
            }
            Float::F16 => values.extend(
                self.bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| f16::from_le_bytes(*bytes).to_f32()),
            ),
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(place) => Err(TensorFileError::NotFinite {
                path: self.path.clone(),
                tensor: self.tensor.clone(),
                row: first + place / self.columns,
                column: place % self.columns,
                value: values[place],
            }),
        }
    }
}
