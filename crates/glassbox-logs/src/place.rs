//! Where a row is.

use serde::Serialize;

/// Where a row is. Files are numbered in the order in which they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Number of the file: index into [`Logs::files`](crate::Logs::files).
    pub file: u32,
    /// Number of the row, from 1: a line, an element of an array, an entry of an object, a row of a table.
    pub row: u64,
    /// Where the row begins, in bytes of the (decompressed) text; `None` in tables and within objects that are read as a
    /// whole.
    pub offset: Option<u64>,
}
