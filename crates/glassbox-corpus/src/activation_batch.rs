//! Activations of some tokens.

use crate::{SourceSite, Split};

/// Activations of n tokens at S sites, with what is known of each token. Reuse one: its memory is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActivationBatch {
    /// One [n, width] per site, row-major, in the order of [`crate::ActivationSource::sites`].
    pub sites: Vec<Vec<f32>>,
    /// Token ids [n].
    pub tokens: Vec<u32>,
    /// Number of each token's document, from 0 in the order of the corpus [n].
    pub documents: Vec<u64>,
    /// Each token's place among the tokens of its document [n].
    pub document_positions: Vec<u32>,
    /// Number of each token's row, from 0 in the order of the corpus [n].
    pub rows: Vec<u64>,
    /// Each token's position in its row: what the model saw [n].
    pub positions: Vec<u32>,
    /// Which part of the corpus each token belongs to [n].
    pub splits: Vec<Split>,
}

impl ActivationBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Empties the batch and lays it out for these sites.
    pub fn reset(&mut self, sites: &[SourceSite]) {
        self.sites.resize_with(sites.len(), Vec::new);
        self.sites.iter_mut().for_each(Vec::clear);
        self.tokens.clear();
        self.documents.clear();
        self.document_positions.clear();
        self.rows.clear();
        self.positions.clear();
        self.splits.clear();
    }
}
