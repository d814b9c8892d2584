//! What is wrong with a row or a file. Problems are reported and reading goes on.

use std::fmt;

use serde::Serialize;

use crate::Place;

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A file or folder that is not there.
    Absent,
    /// A file that the system or the decompressor cannot read to its end.
    Unreadable,
    /// A file without rows.
    NoRows,
    /// A file in none of the known layouts. Its rows are not used.
    UnknownLayout,
    /// Text that is no JSON.
    Syntax,
    /// Text that ends within a row.
    Truncated,
    /// A row longer than the limit.
    TooLong,
    /// Bytes that are no UTF-8.
    Encoding,
    /// A value of another type than its key has.
    WrongType,
    /// A row without a key that its layout needs.
    MissingKey,
    /// A value that the key cannot have.
    BadValue,
}

impl ProblemKind {
    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::NoRows => "no rows",
            Self::UnknownLayout => "unknown layout",
            Self::Syntax => "no JSON",
            Self::Truncated => "truncated",
            Self::TooLong => "too long",
            Self::Encoding => "no UTF-8",
            Self::WrongType => "wrong type",
            Self::MissingKey => "missing key",
            Self::BadValue => "bad value",
        }
    }
}

/// A row, or a whole file, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowProblem {
    /// Which row; row 0 is the file as a whole.
    pub place: Place,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl RowProblem {
    /// A problem of a whole file.
    pub fn of_file(file: u32, kind: ProblemKind, what: impl Into<String>) -> Self {
        Self {
            place: Place {
                file,
                row: 0,
                offset: None,
            },
            kind,
            what: what.into(),
        }
    }
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.row > 0 {
            write!(f, "row {}", self.place.row)?;
            if let Some(offset) = self.place.offset {
                write!(f, " at byte {offset}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}: {}", self.kind.name(), self.what)
    }
}
