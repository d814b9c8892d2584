//! Where every row and position of a pass lies.

use glassbox_kernels::backend::AttentionShape;

use crate::batch::TokenBatch;
use crate::config::ModelConfig;

/// Rows, slots and positions of one pass.
///
/// A pass computes `queries` new positions in each of `batch` rows. They take the slots from `first_slot` on; the
/// slots before are in the cache. Row b's position p lies in slot `origin[b] + p`. Where rows share the slots of a
/// prompt, these are not counted, and the origin of a row is negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassLayout {
    queries: usize,
    first_slot: usize,
    first_key: Vec<u32>,
    origin: Vec<i64>,
    /// Rows that are computed at this point of the pass: the first of all.
    active: usize,
    prompt_lengths: Vec<u32>,
    row_ids: Vec<u32>,
    position_ids: Vec<u32>,
}

impl PassLayout {
    /// Lays out a pass whose new positions take the slots from `first_slot` on.
    /// `origin` defaults to `first_key`, `prompt_lengths` and `row_ids` to all positions so far, and to 0, 1, 2, ….
    pub(crate) fn fill(
        &mut self,
        batch: &TokenBatch,
        first_slot: usize,
        first_key: Option<&[u32]>,
        origin: Option<&[i64]>,
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
        self.active = self.first_key.len();
        self.origin.clear();
        match origin {
            Some(origin) => self.origin.extend_from_slice(origin),
            None => self
                .origin
                .extend(self.first_key.iter().map(|&first| i64::from(first))),
        }
        let keys = self.keys() as i64;
        self.prompt_lengths.clear();
        match prompt_lengths {
            Some(lengths) => self.prompt_lengths.extend_from_slice(lengths),
            None => self
                .prompt_lengths
                .extend(self.origin.iter().map(|origin| (keys - origin).max(0) as u32)),
        }
        self.row_ids.clear();
        match row_ids {
            Some(ids) => self.row_ids.extend_from_slice(ids),
            None => self.row_ids.extend(0..batch.rows() as u32),
        }
        self.position_ids.clear();
        for &origin in &self.origin {
            for query in 0..self.queries {
                let position = (self.first_slot + query) as i64 - origin;
                self.position_ids.push(position.max(0) as u32);
            }
        }
    }

    /// Lets only the first `rows` rows count from now on.
    pub(crate) fn activate(&mut self, rows: usize) {
        self.active = rows.min(self.first_key.len());
    }

    /// Lets all rows count.
    pub(crate) fn activate_all(&mut self) {
        self.active = self.first_key.len();
    }

    /// Rows of the batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.active
    }

    /// New positions per row, padding included.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Slots per row, cached and new ones; those of a shared prompt are not counted.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.first_slot + self.queries
    }

    /// Slot of the first new position.
    #[must_use]
    pub fn first_slot(&self) -> usize {
        self.first_slot
    }

    /// First slot of each row that is not padding.
    #[must_use]
    pub fn first_key(&self) -> &[u32] {
        &self.first_key[..self.active]
    }

    /// Slot of a row's position 0; negative where the row continues a shared prompt.
    #[must_use]
    pub fn origin(&self, row: usize) -> i64 {
        self.origin[row]
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
        u32::try_from((self.first_slot + query) as i64 - self.origin[row]).ok()
    }

    /// Place of a row's position among the new slots; `None` if it is not computed by this pass.
    #[must_use]
    pub fn query(&self, row: usize, position: u32) -> Option<usize> {
        let slot = self.origin.get(row)? + i64::from(position);
        let query = usize::try_from(slot - self.first_slot as i64).ok()?;
        (query < self.queries).then_some(query)
    }

    /// Position ids [batch, queries] as the embedding and the rotary tables take them; 0 in the padding.
    #[must_use]
    pub fn position_ids(&self) -> &[u32] {
        &self.position_ids[..self.active * self.queries]
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
