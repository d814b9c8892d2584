//! Rows of token ids of unequal length as one rectangular batch, padded on the left.

use std::ops::Range;

use thiserror::Error;

/// A batch that can't be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// There is no row at all.
    #[error("the batch has no rows; give at least one row of token ids")]
    NoRows,
    /// A row has no tokens.
    #[error("row {row} of the batch has no tokens; an empty prompt must start with the model's BOS token")]
    EmptyRow {
        /// The row.
        row: usize,
    },
}

/// Token ids [rows, width], shorter rows padded on the left so that every row ends in the last column.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TokenBatch {
    width: usize,
    ids: Vec<u32>,
    lengths: Vec<u32>,
}

impl TokenBatch {
    /// Token id that stands in the padding. No real position sees it.
    pub const PADDING: u32 = 0;

    /// A batch of these rows.
    ///
    /// # Errors
    /// [`BatchError`] if there is no row, or a row has no tokens.
    pub fn from_rows<R: AsRef<[u32]>>(rows: &[R]) -> Result<Self, BatchError> {
        if rows.is_empty() {
            return Err(BatchError::NoRows);
        }
        if let Some(row) = rows.iter().position(|row| row.as_ref().is_empty()) {
            return Err(BatchError::EmptyRow { row });
        }
        let mut batch = Self::default();
        batch.fill(rows.iter().map(AsRef::as_ref));
        Ok(batch)
    }

    /// A batch of one row.
    ///
    /// # Errors
    /// [`BatchError::EmptyRow`] if it has no tokens.
    pub fn from_row(row: &[u32]) -> Result<Self, BatchError> {
        Self::from_rows(&[row])
    }

    /// Replaces the content, keeping the memory. Rows may be empty, and then are padding only.
    pub(crate) fn fill<'a>(&mut self, rows: impl Iterator<Item = &'a [u32]> + Clone) {
        self.width = rows.clone().map(<[u32]>::len).max().unwrap_or(0);
        self.ids.clear();
        self.lengths.clear();
        for row in rows {
            self.ids
                .extend(std::iter::repeat_n(Self::PADDING, self.width - row.len()));
            self.ids.extend_from_slice(row);
            self.lengths.push(row.len() as u32);
        }
    }

    /// Replaces the content by one token per row, keeping the memory.
    pub(crate) fn fill_column(&mut self, tokens: impl Iterator<Item = u32>) {
        self.width = 1;
        self.ids.clear();
        self.ids.extend(tokens);
        self.lengths.clear();
        self.lengths.resize(self.ids.len(), 1);
    }

    /// The columns of another batch, as rows of full length, padding included. Keeps the memory.
    pub(crate) fn fill_from_columns(&mut self, other: &Self, columns: Range<usize>) {
        self.width = columns.len();
        self.ids.clear();
        if other.width > 0 {
            self.ids.extend(
                other
                    .ids
                    .chunks(other.width)
                    .flat_map(|row| &row[columns.clone()]),
            );
        }
        self.lengths.clear();
        self.lengths.resize(other.rows(), columns.len() as u32);
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Columns: the length of the longest row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Token ids [rows, width], padding included.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens of each row, padding not counted.
    #[must_use]
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Columns of padding before each row's first token.
    pub fn padding(&self) -> impl Iterator<Item = u32> + '_ {
        self.lengths.iter().map(|length| self.width as u32 - length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_in_the_last_column() {
        let batch = TokenBatch::from_rows(&[vec![1, 2, 3], vec![4], vec![5, 6]]).unwrap();
        assert_eq!(batch.ids(), [1, 2, 3, 0, 0, 4, 0, 5, 6]);
        assert_eq!(batch.padding().collect::<Vec<_>>(), [0, 2, 1]);
        assert_eq!(batch.lengths(), [3, 1, 2]);
    }

    #[test]
    fn empty_input_is_refused() {
        assert_eq!(TokenBatch::from_rows::<Vec<u32>>(&[]), Err(BatchError::NoRows));
        assert_eq!(
            TokenBatch::from_rows(&[vec![1], vec![]]),
            Err(BatchError::EmptyRow { row: 1 })
        );
    }
}
