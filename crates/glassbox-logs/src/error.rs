//! Why logs cannot be read at all. What is wrong with single rows or files is a [`RowProblem`](crate::RowProblem).

use std::path::PathBuf;

use glassbox_outcome::ParserFileError;
use glassbox_store::StoreError;
use thiserror::Error;

/// Why logs cannot be read.
#[derive(Debug, Error)]
pub enum LogsError {
    /// None of the paths leads to a file.
    #[error(
        "there is no log to read: {}; give files (JSON, JSON lines, also as .gz or .zst, Parquet) or folders that hold them",
        what.join("; ")
    )]
    NoFiles {
        /// One sentence per path.
        what: Vec<String>,
    },
    /// A file that must be readable as a whole is not.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A parser that is neither shipped nor a file.
    #[error("there is no parser '{name}'; give the path of a parser file or one of those that are shipped: {}", shipped.join(", "))]
    UnknownParser {
        /// The name.
        name: String,
        /// The shipped parsers.
        shipped: Vec<&'static str>,
    },
    /// A parser file cannot be used.
    #[error(transparent)]
    Parser(#[from] ParserFileError),
    /// A folder to write into that holds something.
    #[error("{} is not empty; choose a new or empty folder for the tables", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What counts as a finding cannot be decided.
    #[error("{criterion}: {what}")]
    Criterion {
        /// The criterion.
        criterion: String,
        /// Why.
        what: String,
    },
    /// A watcher asked to stop.
    #[error("reading was stopped after {read} of {total} bytes; run the command again")]
    Stopped {
        /// Bytes read.
        read: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// A table cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
