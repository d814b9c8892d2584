//! Keys and values of the positions that a pass has seen.

use std::ops::Range;
use std::sync::Arc;

use glassbox_kernels::Backend;
use glassbox_kernels::backend::SharedKeys;

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
    /// What the rows see before their own slots.
    pub(crate) shared: Option<SharedKeys<'a, B::Buffer>>,
}

/// The slots of prompts that the rows of a cache continue.
#[derive(Debug)]
struct SharedSlots<B: Backend> {
    prompts: Arc<KvCache<B>>,
    /// Slots that are seen: all but the last, which each row has of its own.
    end: usize,
    /// Prompt of each row.
    prompt: Vec<u32>,
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
    shared: Option<SharedSlots<B>>,
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
            shared: None,
        }
    }

    /// An empty cache with room for `rows` rows of `capacity` slots that will continue prompts of `prompts`, which holds
    /// whole prompts: a row sees all slots of its prompt but the last. It has no rows yet, see [`KvCache::admit`].
    pub(crate) fn continuing(
        backend: &B,
        config: &ModelConfig,
        prompts: Arc<Self>,
        rows: usize,
        capacity: usize,
    ) -> Self {
        let mut cache = Self::new(backend, config, rows, capacity);
        cache.first_key.clear();
        cache.shared = Some(SharedSlots {
            end: prompts.filled.saturating_sub(1),
            prompts,
            prompt: Vec::new(),
        });
        cache
    }

    /// Adds rows that continue these prompts. Their own slots begin with the next that is filled.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub(crate) fn admit(&mut self, prompts: &[u32]) -> Result<(), ForwardError> {
        let rows = self.batch() + prompts.len();
        let needed = rows * self.capacity * self.width;
        for layer in &mut self.layers {
            for buffer in [&mut layer.key, &mut layer.value] {
                let held = self.backend.len(buffer);
                if held < needed {
                    let mut larger = self.backend.zeros(needed);
                    self.backend.copy(buffer, held, &mut larger)?;
                    *buffer = larger;
                }
            }
        }
        self.first_key.resize(rows, self.filled as u32);
        if let Some(shared) = &mut self.shared {
            shared.prompt.extend_from_slice(prompts);
        }
        Ok(())
    }

    /// Gives rows, which have no slots of their own yet, their prompt's last position in the next slot: in all blocks
    /// before `blocks[i]` for row `first_row + i`. The pass that fills this slot computes the other blocks only.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub(crate) fn take_last_of_prompt(
        &mut self,
        first_row: usize,
        blocks: &[u32],
    ) -> Result<(), ForwardError> {
        self.reserve(self.filled + 1)?;
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let mut moved = self.backend.zeros(blocks.len() * self.width);
        for (l, layer) in self.layers.iter_mut().enumerate() {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for (row, _) in (first_row..)
                .zip(blocks)
                .filter(|(_, block)| **block as usize > l)
            {
                from.push(shared.prompt[row] * shared.prompts.capacity as u32 + shared.end as u32);
                to.push((row * self.capacity + self.filled) as u32);
            }
            if from.is_empty() {
                break;
            }
            let prompts = &shared.prompts.layers[l];
            for (source, buffer) in [(&prompts.key, &mut layer.key), (&prompts.value, &mut layer.value)] {
                self.backend.gather_rows(source, self.width, &from, &mut moved)?;
                self.backend.scatter_rows(&moved, self.width, &to, buffer)?;
            }
        }
        Ok(())
    }

    /// Moves all rows to the front where slots that no row sees any more are a quarter of all and room is needed for the
    /// next slot.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub(crate) fn reuse_slots(&mut self) -> Result<(), ForwardError> {
        let filled = self.filled as u32;
        let unseen = self.first_key.iter().copied().min().unwrap_or(filled) as usize;
        if self.filled < self.capacity || unseen * 4 < self.capacity {
            return Ok(());
        }
        let rows = self.batch();
        let slots = |first: usize, end: usize| -> Vec<u32> {
            (0..rows)
                .flat_map(|row| row * self.capacity + first..row * self.capacity + end)
                .map(|slot| slot as u32)
                .collect()
        };
        let (from, to) = (slots(unseen, self.filled), slots(0, self.filled - unseen));
        let mut moved = self.backend.zeros(from.len() * self.width);
        for layer in &mut self.layers {
            for buffer in [&mut layer.key, &mut layer.value] {
                self.backend.gather_rows(buffer, self.width, &from, &mut moved)?;
                self.backend.scatter_rows(&moved, self.width, &to, buffer)?;
            }
        }
        self.filled -= unseen;
        for first in &mut self.first_key {
            *first -= unseen as u32;
        }
        Ok(())
    }

    /// Whether rows see slots of a prompt before their own.
    pub(crate) fn shares_keys(&self) -> bool {
        self.shared.is_some()
    }

    /// Slot of each row's position 0 where rows continue prompts; negative, since the prompts' slots are not counted.
    pub(crate) fn origin(&self) -> Option<Vec<i64>> {
        let shared = self.shared.as_ref()?;
        let origin = |(&first, &prompt): (&u32, &u32)| {
            let before = shared.end as i64 - i64::from(shared.prompts.first_key[prompt as usize]);
            i64::from(first) - before
        };
        Some(self.first_key.iter().zip(&shared.prompt).map(origin).collect())
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
        let shared = self.shared.as_ref().and_then(|shared| {
            let of_layer = shared.prompts.layers.get(layer)?;
            Some(SharedKeys {
                key: &of_layer.key,
                value: &of_layer.value,
                capacity: shared.prompts.capacity,
                prompt: &shared.prompt,
                first: &shared.prompts.first_key,
                end: shared.end,
            })
        });
        Some(LayerSlots {
            key,
            value,
            capacity: self.capacity,
            shared,
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
            shared: self.shared.as_ref().map(|shared| SharedSlots {
                prompts: Arc::clone(&shared.prompts),
                end: shared.end,
                prompt: rows.iter().map(|&row| shared.prompt[row as usize]).collect(),
            }),
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
        let kept = |of_rows: &[u32]| rows.iter().map(|&row| of_rows[row as usize]).collect();
        self.first_key = kept(&self.first_key);
        if let Some(shared) = &mut self.shared {
            shared.prompt = kept(&shared.prompt);
        }
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
