//! Keys and values of the positions that a pass has seen.

use std::ops::Range;

use glassbox_kernels::Backend;

use crate::config::ModelConfig;
use crate::forward_error::ForwardError;

/// Keys (after rotary) and values of one block, each [batch, capacity, kv_heads, d_head] or longer.
#[derive(Debug)]
struct LayerCache<B: Backend> {
    key: B::Buffer,
    value: B::Buffer,
}

/// One block's part of a cache, for a pass to write to and read from.
pub(crate) struct LayerSlots<'a, B: Backend> {
    pub(crate) key: &'a mut B::Buffer,
    pub(crate) value: &'a mut B::Buffer,
    /// Slots per batch row.
    pub(crate) capacity: usize,
}

/// Keys and values of every block for a batch whose rows all hold the same number of slots.
///
/// A row that is shorter than the others begins later: its slots before `first_key` are padding, and position p
/// of the row lies in slot `first_key + p`.
#[derive(Debug)]
pub struct KvCache<B: Backend> {
    backend: B,
    /// Elements of one slot: kv_heads · d_head.
    width: usize,
    capacity: usize,
    filled: usize,
    first_key: Vec<u32>,
    /// Blocks whose slots are all filled. A pass that starts late or stops early leaves the others out.
    complete: Range<usize>,
    layers: Vec<LayerCache<B>>,
}

impl<B: Backend> KvCache<B> {
    /// An empty cache for `batch` rows with room for `capacity` slots.
    #[must_use]
    pub fn new(backend: &B, config: &ModelConfig, batch: usize, capacity: usize) -> Self {
        let width = config.n_kv_heads * config.d_head;
        let zeros = || backend.zeros(batch * capacity * width);
        Self {
            backend: backend.clone(),
            width,
            capacity,
            filled: 0,
            first_key: vec![0; batch],
            complete: 0..config.n_layers,
            layers: (0..config.n_layers)
                .map(|_| LayerCache {
                    key: zeros(),
                    value: zeros(),
                })
                .collect(),
        }
    }

    /// Rows of the batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.first_key.len()
    }

    /// Slots per row that are filled, padding included.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Slots per row that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slot of each row's first token; what lies before is padding.
    #[must_use]
    pub fn first_key(&self) -> &[u32] {
        &self.first_key
    }

    /// Bytes on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| (self.backend.len(&layer.key) + self.backend.len(&layer.value)) * size_of::<f32>())
            .sum()
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> Option<LayerSlots<'_, B>> {
        let LayerCache { key, value } = self.layers.get_mut(layer)?;
        Some(LayerSlots {
            key,
            value,
            capacity: self.capacity,
        })
    }

    /// Makes room for at least `capacity` slots, keeping what is there. Grows by half at least, so that adding slots
    /// one by one seldom copies.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub fn reserve(&mut self, capacity: usize) -> Result<(), ForwardError> {
        if capacity <= self.capacity {
            return Ok(());
        }
        let capacity = capacity.max(self.capacity + self.capacity / 2);
        let rows: Vec<u32> = (0..self.batch() as u32).collect();
        // One buffer at a time, so that the old and the new cache are never both whole in memory.
        for layer in &mut self.layers {
            for buffer in [&mut layer.key, &mut layer.value] {
                let mut larger = self.backend.zeros(rows.len() * capacity * self.width);
                self.backend.cache_select(
                    buffer,
                    self.capacity,
                    self.width,
                    self.filled,
                    &rows,
                    capacity,
                    &mut larger,
                )?;
                *buffer = larger;
            }
        }
        self.capacity = capacity;
        Ok(())
    }

    /// A new cache of which row i holds what row `rows[i]` of this one holds, with room for `capacity` slots
    /// (at least those that are filled). Rows may repeat: one prefilled prompt becomes many trials.
    ///
    /// # Errors
    /// [`ForwardError::CacheRow`] if a row does not exist.
    pub fn fork(&self, rows: &[u32], capacity: usize) -> Result<Self, ForwardError> {
        self.fork_part(rows, 0..self.layers.len(), self.filled, capacity)
    }

    /// As [`KvCache::fork`], but only the first `filled` slots (at most those that are filled here) of these blocks. The
    /// others take no memory, and a pass that computes them is refused.
    ///
    /// # Errors
    /// [`ForwardError::CacheRow`] if a row does not exist.
    pub fn fork_part(
        &self,
        rows: &[u32],
        layers: Range<usize>,
        filled: usize,
        capacity: usize,
    ) -> Result<Self, ForwardError> {
        self.check_rows(rows)?;
        let filled = filled.min(self.filled);
        let capacity = capacity.max(filled);
        let select = |source: &B::Buffer, layer: usize| -> Result<B::Buffer, ForwardError> {
            if !layers.contains(&layer) {
                return Ok(self.backend.zeros(0));
            }
            let mut selected = self.backend.zeros(rows.len() * capacity * self.width);
            self.backend.cache_select(
                source,
                self.capacity,
                self.width,
                filled,
                rows,
                capacity,
                &mut selected,
            )?;
            Ok(selected)
        };
        let forked = self
            .layers
            .iter()
            .enumerate()
            .map(|(l, layer)| {
                Ok(LayerCache {
                    key: select(&layer.key, l)?,
                    value: select(&layer.value, l)?,
                })
            })
            .collect::<Result<_, ForwardError>>()?;
        Ok(Self {
            backend: self.backend.clone(),
            width: self.width,
            capacity,
            filled,
            first_key: rows.iter().map(|&row| self.first_key[row as usize]).collect(),
            complete: self.complete.start.max(layers.start)..self.complete.end.min(layers.end),
            layers: forked,
        })
    }

    /// Keeps only these rows, in this order. Only rows whose place changes are moved, so dropping a finished row
    /// by putting the last one into its place costs one row.
    ///
    /// # Errors
    /// [`ForwardError::CacheRow`] if a row does not exist.
    pub fn retain(&mut self, rows: &[u32]) -> Result<(), ForwardError> {
        self.check_rows(rows)?;
        if rows.len() > self.batch() {
            *self = self.fork(rows, self.capacity)?;
            return Ok(());
        }
        let (to, from): (Vec<u32>, Vec<u32>) = (0_u32..)
            .zip(rows.iter().copied())
            .filter(|(to, from)| to != from)
            .unzip();
        let row_width = self.capacity * self.width;
        if !to.is_empty() && row_width > 0 {
            let mut moved = self.backend.zeros(to.len() * row_width);
            for layer in &mut self.layers {
                for buffer in [&mut layer.key, &mut layer.value] {
                    self.backend.gather_rows(buffer, row_width, &from, &mut moved)?;
                    self.backend.scatter_rows(&moved, row_width, &to, buffer)?;
                }
            }
        }
        self.first_key = rows.iter().map(|&row| self.first_key[row as usize]).collect();
        Ok(())
    }

    /// Forgets all slots from `filled` on.
    pub fn truncate(&mut self, filled: usize) {
        self.filled = self.filled.min(filled);
        if self.filled == 0 {
            self.complete = 0..self.layers.len();
            self.first_key.fill(0);
        }
    }

    /// Checks that blocks `layers` can continue from here.
    pub(crate) fn check_layers(&self, layers: &Range<usize>) -> Result<(), ForwardError> {
        if self.filled > 0
            && !layers.is_empty()
            && (layers.start < self.complete.start || layers.end > self.complete.end)
        {
            return Err(ForwardError::CacheLayers {
                wanted: layers.clone(),
                complete: self.complete.clone(),
            });
        }
        Ok(())
    }

    /// Counts `queries` slots as filled in blocks `layers`.
    pub(crate) fn commit(&mut self, first_key: &[u32], queries: usize, layers: &Range<usize>) {
        if self.filled == 0 {
            self.first_key.copy_from_slice(first_key);
        }
        self.filled += queries;
        self.complete = self.complete.start.max(layers.start)..self.complete.end.min(layers.end);
    }

    fn check_rows(&self, rows: &[u32]) -> Result<(), ForwardError> {
        match rows.iter().find(|&&row| row as usize >= self.batch()) {
            Some(&row) => Err(ForwardError::CacheRow {
                row,
                batch: self.batch(),
            }),
            None => Ok(()),
        }
    }
}
