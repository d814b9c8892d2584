//! Feature values as (row, feature, value), and what is made of them.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_kernels::Backend;
use glassbox_kernels::matmul::Layout;

use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::normalisation::{RowStatistics, read_vec};

/// The active features of some rows: row i has the entries `row_offsets[i]..row_offsets[i + 1]`, by rising feature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseFeatures {
    /// [rows + 1].
    pub row_offsets: Vec<usize>,
    /// The feature of each entry.
    pub features: Vec<u32>,
    /// The value of each entry.
    pub values: Vec<f32>,
}

/// Which entries to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseSelection {
    /// Keep values above this.
    pub above: f32,
    /// Of these keep at most so many per row, the largest; of equal values the lower feature.
    pub at_most: Option<usize>,
}

impl Default for SparseSelection {
    /// Every active feature.
    fn default() -> Self {
        Self {
            above: 0.0,
            at_most: None,
        }
    }
}

impl SparseFeatures {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.row_offsets.len().saturating_sub(1)
    }

    /// Features and values of a row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.row_offsets[row]..self.row_offsets[row + 1];
        (&self.features[range.clone()], &self.values[range])
    }

    /// All entries as (row, feature, value).
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32, f32)> {
        (0..self.rows()).flat_map(|row| {
            let (features, values) = self.row(row);
            features
                .iter()
                .zip(values)
                .map(move |(feature, value)| (row, *feature, *value))
        })
    }

    /// Adds a row from its dense feature values.
    pub fn push_row(&mut self, dense: &[f32], selection: &SparseSelection) {
        if self.row_offsets.is_empty() {
            self.row_offsets.push(0);
        }
        let mut active: Vec<(u32, f32)> = (0..)
            .zip(dense)
            .filter(|(_, value)| **value > selection.above)
            .map(|(feature, value)| (feature, *value))
            .collect();
        if let Some(limit) = selection.at_most.filter(|limit| *limit < active.len()) {
            active.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            active.truncate(limit);
            active.sort_by_key(|(feature, _)| *feature);
        }
        self.features.extend(active.iter().map(|(feature, _)| feature));
        self.values.extend(active.iter().map(|(_, value)| value));
        self.row_offsets.push(self.features.len());
    }
}

/// Rows whose decoder rows are gathered together in a sparse decode.
const DECODED_TOGETHER: usize = 64;

impl<B: Backend> Dictionary<B> {
    /// The active features of rows x [n, width], computed a piece at a time.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encode_sparse(
        &self,
        x: &B::Buffer,
        n: usize,
        selection: &SparseSelection,
    ) -> Result<SparseFeatures> {
        let backend = self.backend();
        let (width, features) = (self.width(), self.features());
        let mut sparse = SparseFeatures {
            row_offsets: vec![0],
            ..SparseFeatures::default()
        };
        let piece = self.rows_at_a_time();
        for first in (0..n).step_by(piece) {
            let rows = piece.min(n - first);
            let mut part = backend.zeros(rows * width);
            let numbers: Vec<u32> = (first as u32..(first + rows) as u32).collect();
            backend.gather_rows(x, width, &numbers, &mut part)?;
            let dense = read_vec(backend, &self.encode(&part, rows)?.features, rows * features)?;
            for row in dense.chunks_exact(features) {
                sparse.push_row(row, selection);
            }
        }
        Ok(sparse)
    }

    /// Output [n, output_width] of sparse feature values in the space of rows with these statistics: the sum over each
    /// row's entries only.
    ///
    /// # Errors
    /// [`crate::DictionaryError::FeatureOutOfRange`] if an entry names a feature that the dictionary doesn't have, and as
    /// [`Dictionary::decode`].
    pub fn decode_sparse(&self, sparse: &SparseFeatures, statistics: &RowStatistics<B>) -> Result<B::Buffer> {
        let backend = self.backend();
        let (width, n) = (self.output_width(), sparse.rows());
        let mut output = backend.upload(&self.decoder_bias().repeat(n));
        add_decoded(backend, sparse, width, &mut output, |ids| self.decoder_rows(ids))?;
        self.undo(statistics, &mut output, n)?;
        Ok(output)
    }
}

/// Adds the sum over each row's entries of value · decoder row to output [n, width]. `rows_of` gives the decoder rows
/// [ids, width] of some features.
pub(crate) fn add_decoded<B: Backend>(
    backend: &B,
    sparse: &SparseFeatures,
    width: usize,
    output: &mut B::Buffer,
    mut rows_of: impl FnMut(&[u32]) -> Result<B::Buffer>,
) -> Result<()> {
    let n = sparse.rows();
    for first in (0..n).step_by(DECODED_TOGETHER) {
        let rows = first..n.min(first + DECODED_TOGETHER);
        let used: BTreeSet<u32> = rows.clone().flat_map(|row| sparse.row(row).0).copied().collect();
        let used: Vec<u32> = used.into_iter().collect();
        let column: BTreeMap<u32, usize> = used.iter().copied().zip(0..).collect();
        let mut values = vec![0.0; rows.len() * used.len()];
        for (i, row) in rows.clone().enumerate() {
            let (features, row_values) = sparse.row(row);
            for (feature, value) in features.iter().zip(row_values) {
                values[i * used.len() + column[feature]] = *value;
            }
        }
        let decoder = rows_of(&used)?;
        let numbers: Vec<u32> = rows.clone().map(|row| row as u32).collect();
        let mut part = backend.zeros(rows.len() * width);
        backend.gather_rows(output, width, &numbers, &mut part)?;
        backend.matmul(
            &mut part,
            rows.len(),
            width,
            &backend.upload(&values),
            Layout::Normal,
            &decoder,
            Layout::Normal,
            used.len(),
            1.0,
            1.0,
        )?;
        backend.set_rows(output, width, &numbers, &part, rows.len())?;
    }
    Ok(())
}
