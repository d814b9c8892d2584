//! A chosen subset of a dictionary's features, encoded without the others where the rule allows it.

use std::sync::Arc;

use glassbox_kernels::matmul::Layout;
use glassbox_kernels::{Backend, CpuBackend, KernelError};

use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::feature_encoder::all_rows;

/// Some features of a dictionary, in the order they were asked for.
///
/// With a threshold the value of a feature needs its own encoder row only, and only those rows are kept here. With
/// TopK it needs the pre-activations of all features, and gets them.
#[derive(Debug)]
pub struct FeatureSubset<B: Backend = CpuBackend> {
    dictionary: Arc<Dictionary<B>>,
    ids: Vec<u32>,
    rows: Option<ThresholdedRows<B>>,
}

#[derive(Debug)]
struct ThresholdedRows<B: Backend> {
    /// [ids, width].
    encoder: B::Buffer,
    /// [ids].
    bias: B::Buffer,
    /// [ids].
    threshold: B::Buffer,
}

impl<B: Backend> FeatureSubset<B> {
    pub(crate) fn new(dictionary: &Arc<Dictionary<B>>, ids: &[u32]) -> Result<Self> {
        for id in ids {
            dictionary.description().check_feature(*id)?;
        }
        let backend = dictionary.backend();
        let chosen = |values: &[f32]| -> B::Buffer {
            backend.upload(&ids.iter().map(|id| values[*id as usize]).collect::<Vec<_>>())
        };
        let rows = match dictionary.threshold() {
            Some(threshold) => Some(ThresholdedRows {
                encoder: dictionary.encoder_rows(ids)?,
                bias: chosen(dictionary.folded_bias()),
                threshold: chosen(threshold),
            }),
            None => None,
        };
        Ok(Self {
            dictionary: Arc::clone(dictionary),
            ids: ids.to_vec(),
            rows,
        })
    }

    /// These features, picked from the encoding of all.
    pub(crate) fn picked(dictionary: &Arc<Dictionary<B>>, ids: &[u32]) -> Result<Self> {
        for id in ids {
            dictionary.description().check_feature(*id)?;
        }
        Ok(Self {
            dictionary: Arc::clone(dictionary),
            ids: ids.to_vec(),
            rows: None,
        })
    }

    /// The features, in the order of the columns.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The dictionary that they belong to.
    pub fn dictionary(&self) -> &Arc<Dictionary<B>> {
        &self.dictionary
    }

    /// Values [n, ids] of the features on rows x [n, width].
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn encode(&self, x: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        let (normalised, _) = self.dictionary.normalise(x, n)?;
        self.encode_normalised(normalised.as_ref().unwrap_or(x), n)
    }

    /// Values [n, ids] on rows that are normalised already.
    pub(crate) fn encode_normalised(&self, y: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        let backend = self.dictionary.backend();
        let chosen = self.ids.len();
        let mut values = backend.zeros(n * chosen);
        match &self.rows {
            Some(rows) => {
                backend.matmul(
                    &mut values,
                    n,
                    chosen,
                    y,
                    Layout::Normal,
                    &rows.encoder,
                    Layout::Transposed,
                    self.dictionary.width(),
                    0.0,
                    1.0,
                )?;
                backend.add_rows(&mut values, chosen, &all_rows(n), &rows.bias, 1)?;
                backend.threshold(&mut values, n, chosen, &rows.threshold)?;
            }
            None => {
                let features = self.dictionary.features();
                let columns: Vec<u32> = self.ids.to_vec();
                let width = self.dictionary.width();
                let piece = self.dictionary.rows_at_a_time();
                for first in (0..n).step_by(piece) {
                    let rows = piece.min(n - first);
                    let mut part = backend.zeros(rows * width);
                    let numbers: Vec<u32> = (first as u32..(first + rows) as u32).collect();
                    backend.gather_rows(y, width, &numbers, &mut part)?;
                    let all = self.dictionary.encode_normalised(&part, rows)?;
                    // Single elements are rows of width one.
                    let at: Vec<u32> = (0..rows as u32)
                        .flat_map(|row| columns.iter().map(move |column| row * features as u32 + column))
                        .collect();
                    let mut picked = backend.zeros(rows * chosen);
                    backend.gather_rows(&all, 1, &at, &mut picked)?;
                    backend.scatter_rows(&picked, chosen, &numbers, &mut values)?;
                }
            }
        }
        Ok(values)
    }
}
