//! Where every row and position of a pass lies.

use glassbox_kernels::backend::AttentionShape;

use crate::batch::TokenBatch;
use crate::config::ModelConfig;

/// Rows, slots and positions of one pass.
///
/// A pass computes `queries` new positions in each of `batch` rows. They take the slots from `first_slot` on; the
/// slots before are in the cache. Row b's position p lies in slot `first_key[b] + p`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassLayout {
    queries: usize,
    first_slot: usize,
    first_key: Vec<u32>,
    prompt_lengths: Vec<u32>,
    row_ids: Vec<u32>,
    position_ids: Vec<u32>,
}

impl PassLayout {
    /// Lays out a pass whose new positions take the slots from `first_slot` on.
    /// `prompt_lengths` and `row_ids` default to all positions so far, and to 0, 1, 2, ….
    pub(crate) fn fill(
        &mut self,
        batch: &TokenBatch,
        first_slot: usize,
        first_key: Option<&[u32]>,
        prompt_lengths: Option<&[u32]>,
        row_ids: Option<&[u32]>,
    ) {
        self.queries = batch.width();
        self.first_slot = first_slot;
        self.first_key.clear();
        match first_key {
            Some(first_key) => self.first_key.extend_from_slice(first_key),
            None => self.first_key.extend(batch.padding()),
        }
        let keys = self.keys() as u32;
        self.prompt_lengths.clear();
        match prompt_lengths {
            Some(lengths) => self.prompt_lengths.extend_from_slice(lengths),
            None => self
                .prompt_lengths
                .extend(self.first_key.iter().map(|first| keys.saturating_sub(*first))),
        }
        self.row_ids.clear();
        match row_ids {
            Some(ids) => self.row_ids.extend_from_slice(ids),
            None => self.row_ids.extend(0..batch.rows() as u32),
        }
        self.position_ids.clear();
        for &first in &self.first_key {
            for query in 0..self.queries {
                self.position_ids
                    .push(((self.first_slot + query) as u32).saturating_sub(first));
            }
        }
    }

    /// Rows of the batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.first_key.len()
    }

    /// New positions per row, padding included.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Slots per row, cached and new ones.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.first_slot + self.queries
    }

    /// Slot of the first new position.
    #[must_use]
    pub fn first_slot(&self) -> usize {
        self.first_slot
    }

    /// Slot of each row's position 0.
    #[must_use]
    pub fn first_key(&self) -> &[u32] {
        &self.first_key
    }

    /// The caller's number of a batch row. Differs from the row's place once finished rows have been dropped.
    #[must_use]
    pub fn row_id(&self, row: usize) -> u32 {
        self.row_ids[row]
    }

    /// Prompt tokens of a row.
    #[must_use]
    pub fn prompt_length(&self, row: usize) -> u32 {
        self.prompt_lengths[row]
    }

    /// Position of a row's `query`-th new slot, counted from the row's first token; `None` for padding.
    #[must_use]
    pub fn position(&self, row: usize, query: usize) -> Option<u32> {
        ((self.first_slot + query) as u32).checked_sub(self.first_key[row])
    }

    /// Place of a row's position among the new slots; `None` if it is not computed by this pass.
    #[must_use]
    pub fn query(&self, row: usize, position: u32) -> Option<usize> {
        let slot = self.first_key.get(row)? + position;
        let query = (slot as usize).checked_sub(self.first_slot)?;
        (query < self.queries).then_some(query)
    }

    /// Position ids [batch, queries] as the embedding and the rotary tables take them; 0 in the padding.
    #[must_use]
    pub fn position_ids(&self) -> &[u32] {
        &self.position_ids
    }

    /// Rows of a [batch, pos, …] site: batch · queries.
    pub(crate) fn rows(&self) -> usize {
        self.batch() * self.queries
    }

    pub(crate) fn attention_shape(
        &self,
        config: &ModelConfig,
        layer: usize,
        capacity: usize,
    ) -> AttentionShape {
        AttentionShape {
            batch: self.batch(),
            queries: self.queries,
            heads: config.n_heads,
            kv_heads: config.n_kv_heads,
            head_dim: config.d_head,
            keys: self.keys(),
            capacity,
            first_query: self.first_slot,
            window: config.windows[layer],
            scale: config.attention_scale,
        }
    }
}
