//! One document, and where it came from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A document of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its number among all documents of the corpus, from 0; those that the filters leave out have numbers too.
    pub number: u64,
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: DocumentPlace,
}

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPlace {
    /// The file.
    pub file: Arc<PathBuf>,
    /// The place in it.
    pub within: PlaceInFile,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceInFile {
    /// All of it.
    Whole,
    /// From this line on, counted from 1.
    Line(u64),
    /// A row of a table.
    Row {
        /// The row group, from 0.
        group: usize,
        /// The row in the whole file, from 0.
        row: u64,
    },
}

impl fmt::Display for DocumentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.within {
            PlaceInFile::Whole => Ok(()),
            PlaceInFile::Line(line) => write!(f, ", line {line}"),
            PlaceInFile::Row { group, row } => write!(f, ", row group {group}, row {row}"),
        }
    }
}
