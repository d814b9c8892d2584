//! Safetensors files of activations: read some rows at a time, written whole or not at all.
//!
//! The tensors here may be larger than memory, so a file is never read or held as a whole.

mod read;
mod write;

pub use read::{MatrixReader, TensorFile};
pub use write::{Spool, TensorWriter};

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A tensor file that cannot be read or does not hold what was asked for.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// Reading failed.
    #[error("cannot read {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Not a safetensors file.
    #[error("{} is not a usable safetensors file: {what}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Shorter or longer than its header says.
    #[error(
        "{}: the header describes a file of {expected} bytes, but it has {found}; {}",
        path.display(),
        if found < expected { "it is cut off, copy or make it again" } else { "bytes follow the last tensor" }
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that the header describes.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// No tensor of this name.
    #[error("{}: there is no tensor `{tensor}`; the file holds {present}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
        /// The tensors there are, with types and shapes.
        present: String,
    },
    /// A tensor of another shape.
    #[error("{}: tensor `{tensor}` has shape {found:?}; expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// A tensor of a type that is not read.
    #[error("{}: tensor `{tensor}` is {found}; expected F32, BF16 or F16: convert it", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A value that is NaN or infinite.
    #[error("{}: tensor `{tensor}` holds {value} at row {row}, column {column}; every value must be finite: remove the row", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
}
