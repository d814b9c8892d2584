//! The activations of one forward pass on their way to a shard.

use crate::activation_type::StoredRows;
use crate::{ActivationBatch, ActivationType, SourceSite};

/// Values of some tokens as they are stored, with what is known of each token.
#[derive(Clone, Debug)]
pub(crate) struct ShardBuffer {
    /// One [n, width] per site.
    pub(crate) values: Vec<StoredRows>,
    /// What is known of the tokens; its own values stay empty.
    pub(crate) tokens: ActivationBatch,
}

impl ShardBuffer {
    /// An empty buffer.
    pub(crate) fn new(sites: &[SourceSite], dtype: ActivationType) -> Self {
        Self {
            values: sites.iter().map(|_| StoredRows::new(dtype)).collect(),
            tokens: ActivationBatch::new(),
        }
    }

    /// Makes room for another batch. Values keep their length, since each batch writes all of its own: what is not made longer
    /// need not be zeroed.
    pub(crate) fn clear(&mut self) {
        self.tokens.reset(&[]);
    }
}
