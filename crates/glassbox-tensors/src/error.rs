//! Why a file of tensors can't be read.

use std::path::{Path, PathBuf};

use glassbox_kernels::MapError;
use thiserror::Error;

/// A file of tensors that can't be read, or doesn't hold what was asked for.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// The file can't be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Cut off, changed, or of another kind.
    #[error("{}: not a complete {container} file: {what}. Copy or download the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be: `safetensors`, `PyTorch`, `NumPy`.
        container: &'static str,
        /// What is wrong, and at which byte.
        what: String,
    },
    /// A file that is whole, but holds something that is not read.
    #[error("{}: {what}. {remedy}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it holds, and at which byte.
        what: String,
        /// What is read, or what to do.
        remedy: String,
    },
    /// A tensor whose bytes can't be had.
    #[error("{}: tensor `{tensor}`: {what}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it, and what was expected.
        what: String,
    },
}

/// Result of this crate's operations.
pub type Result<T, E = TensorFileError> = std::result::Result<T, E>;

impl TensorFileError {
    /// The file that the error is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Map(
                MapError::Open { path, .. } | MapError::NotAFile { path } | MapError::Map { path, .. },
            )
            | Self::Damaged { path, .. }
            | Self::Refused { path, .. }
            | Self::Tensor { path, .. } => path,
        }
    }
}
