//! What became of every file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::{Layout, RowProblem, TextForm};

/// What reading one file gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its bytes on disk.
    pub bytes: u64,
    /// How its text is made of rows; `None` for tables and for what is no text.
    pub form: Option<TextForm>,
    /// Rows, those that cannot be used included.
    pub rows: u64,
    /// Rows by layout.
    pub layouts: BTreeMap<Layout, u64>,
    /// Trials.
    pub trials: u64,
    /// Features.
    pub features: u64,
    /// Counted cells.
    pub aggregates: u64,
    /// Rows, or the whole file, that cannot be used.
    pub unusable: u64,
    /// The first of these.
    pub first_problems: Vec<RowProblem>,
    /// Rows in which NaN or Infinity was read as null.
    pub repaired: u64,
}

impl FileReport {
    /// Problems that a report keeps of one file; all of them are in an import's list.
    pub const KEPT_PROBLEMS: usize = 3;
}

/// What reading all files gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReadReport {
    /// One entry per file, in the order of reading.
    pub files: Vec<FileReport>,
    /// Paths that are not there, or cannot be searched, with the reason.
    pub absent: Vec<(PathBuf, String)>,
    /// Files of folders that were passed over: no log has such a name.
    pub passed_over: Vec<PathBuf>,
}

impl ReadReport {
    /// Trials of all files.
    pub fn trials(&self) -> u64 {
        self.files.iter().map(|file| file.trials).sum()
    }

    /// Rows that cannot be used, of all files.
    pub fn unusable(&self) -> u64 {
        self.files.iter().map(|file| file.unusable).sum()
    }

    /// The path of a problem's file.
    pub fn path_of(&self, problem: &RowProblem) -> Option<&PathBuf> {
        self.files.get(problem.place.file as usize).map(|file| &file.path)
    }
}
