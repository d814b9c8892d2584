//! Mixes the rows of a source.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ActivationBatch, ActivationSource, CorpusError, SourceSite, Split};

/// How rows are mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleSettings {
    /// Rows that the buffer holds: each batch is drawn from that many.
    pub capacity: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// The part of the corpus whose rows are given; the others are passed over.
    pub split: Split,
    /// Passes over the source; `None` is without end. Rows of one pass mix with those of the next.
    pub passes: Option<u32>,
}

/// A buffer that holds `capacity` rows of every site and gives them in random order.
///
/// Each batch is a random draw, without replacement, from all rows in the buffer; rows of the source then take the places that
/// became free. In every pass every row of the source is given exactly once; after the last pass the buffer is emptied. The rows of
/// all sites stay together: row i of each site belongs to the same token.
///
/// The memory is allocated once: `capacity` rows of every site, and a permutation of the places, which is all that is ever shuffled.
/// The draws come from ChaCha with 8 rounds, keyed by the seed, one stream per batch; no batch depends on the number of threads.
#[derive(Debug)]
pub struct ShuffleBuffer<S> {
    source: S,
    settings: ShuffleSettings,
    pub(crate) progress: Progress,
    /// One [capacity, width] per site.
    pub(crate) places: Vec<Vec<f32>>,
    /// A permutation of the places; the first `progress.live` of it hold a row.
    pub(crate) order: Vec<u32>,
    /// Rows of the source that have no place yet, those of other splits left out.
    pub(crate) incoming: Vec<Vec<f32>>,
    batch: ActivationBatch,
}

/// How far a buffer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Batches given.
    pub(crate) batches: u64,
    /// Rows given.
    pub(crate) rows: u64,
    /// Rows in the buffer.
    pub(crate) live: usize,
    /// Rows in `incoming`, and how many of them have a place already.
    pub(crate) incoming: usize,
    pub(crate) taken: usize,
    /// Passes that were begun before this one.
    pub(crate) pass: u32,
    /// Rows of the split that this pass has given so far.
    pub(crate) of_this_pass: u64,
    /// Whether the last pass has ended.
    pub(crate) ended: bool,
}

impl<S: ActivationSource> ShuffleBuffer<S> {
    /// An empty buffer in front of a source, which is filled by the first batch.
    ///
    /// # Errors
    /// [`CorpusError::BufferTooSmall`] if the capacity is 0.
    pub fn new(source: S, settings: ShuffleSettings) -> Result<Self, CorpusError> {
        let capacity = settings.capacity;
        if capacity == 0 || u32::try_from(capacity).is_err() {
            return Err(CorpusError::BufferTooSmall { capacity, batch: 1 });
        }
        let places = source
            .sites()
            .iter()
            .map(|site| vec![0.0; capacity * site.width])
            .collect();
        Ok(Self {
            places,
            order: (0..capacity as u32).collect(),
            incoming: vec![Vec::new(); source.sites().len()],
            batch: ActivationBatch::new(),
            progress: Progress::default(),
            source,
            settings,
        })
    }

    /// The sites of every batch, in this order.
    #[must_use]
    pub fn sites(&self) -> &[SourceSite] {
        self.source.sites()
    }

    /// How rows are mixed.
    #[must_use]
    pub fn settings(&self) -> &ShuffleSettings {
        &self.settings
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Rows given so far.
    #[must_use]
    pub fn rows_given(&self) -> u64 {
        self.progress.rows
    }

    /// The pass that rows now come from, from 0.
    #[must_use]
    pub fn pass(&self) -> u32 {
        self.progress.pass
    }

    /// Puts the next batch of at most `batch` rows into `into`, one [rows, width] per site, and returns the number of rows. Fewer than
    /// `batch` come only at the end of the last pass, and 0 after it.
    ///
    /// # Errors
    /// [`CorpusError::BufferTooSmall`] if the batch is larger than the buffer, [`CorpusError::NoTokens`] if a whole pass has no row of the
    /// split, and those of the source.
    pub fn next_batch(&mut self, batch: usize, into: &mut [Vec<f32>]) -> Result<usize, CorpusError> {
        let capacity = self.settings.capacity;
        if batch > capacity || batch == 0 {
            return Err(CorpusError::BufferTooSmall { capacity, batch });
        }
        self.fill()?;
        let live = self.progress.live;
        let rows = batch.min(live);
        self.draw(rows);
        let drawn = &self.order[live - rows..live];
        for ((into, places), site) in into.iter_mut().zip(&self.places).zip(self.source.sites()) {
            into.resize(rows * site.width, 0.0);
            into.par_chunks_exact_mut(site.width)
                .with_min_len(64)
                .zip(drawn)
                .for_each(|(row, &place)| {
                    let first = place as usize * site.width;
                    row.copy_from_slice(&places[first..first + site.width]);
                });
        }
        self.progress.live -= rows;
        self.progress.rows += rows as u64;
        self.progress.batches += u64::from(rows > 0);
        Ok(rows)
    }

    /// Moves `rows` random places among the live ones to their end: the last steps of a Fisher-Yates shuffle.
    fn draw(&mut self, rows: usize) {
        let mut generator = ChaCha8Rng::seed_from_u64(self.settings.seed);
        generator.set_stream(self.progress.batches);
        let live = self.progress.live;
        for i in 0..rows {
            let left = live - i;
            // With fewer than 2^32 places the bias of this product is below 2^-32.
            let drawn = (u128::from(generator.next_u64()) * left as u128) >> 64;
            self.order.swap(drawn as usize, left - 1);
        }
    }

    /// Fills the free places, as far as the source reaches.
    fn fill(&mut self) -> Result<(), CorpusError> {
        while self.progress.live < self.settings.capacity {
            if self.progress.taken == self.progress.incoming && !self.fetch()? {
                break;
            }
            let Progress {
                live,
                taken,
                incoming,
                ..
            } = self.progress;
            let count = (self.settings.capacity - live).min(incoming - taken);
            let free = &self.order[live..live + count];
            for ((places, rows), site) in self
                .places
                .iter_mut()
                .zip(&self.incoming)
                .zip(self.source.sites())
            {
                let rows = rows[taken * site.width..].chunks_exact(site.width);
                for (&place, row) in free.iter().zip(rows) {
                    let first = place as usize * site.width;
                    places[first..first + site.width].copy_from_slice(row);
                }
            }
            self.progress.live += count;
            self.progress.taken += count;
        }
        Ok(())
    }

    /// Gets rows of the split from the source, going on to the next pass where one ends. `false` after the last pass.
    fn fetch(&mut self) -> Result<bool, CorpusError> {
        let split = self.settings.split;
        while !self.progress.ended {
            if !self.source.next(&mut self.batch)? {
                self.end_pass()?;
                continue;
            }
            let ours = |&given: &Split| given == split;
            let count = self.batch.splits.iter().filter(|given| ours(given)).count();
            if count == 0 {
                continue;
            }
            if count == self.batch.len() {
                // The source gets our old memory for its next batch.
                std::mem::swap(&mut self.incoming, &mut self.batch.sites);
            } else {
                for ((into, rows), site) in self
                    .incoming
                    .iter_mut()
                    .zip(&self.batch.sites)
                    .zip(self.source.sites())
                {
                    into.clear();
                    rows.chunks_exact(site.width)
                        .zip(&self.batch.splits)
                        .filter(|(_, given)| ours(given))
                        .for_each(|(row, _)| into.extend_from_slice(row));
                }
            }
            (self.progress.incoming, self.progress.taken) = (count, 0);
            self.progress.of_this_pass += count as u64;
            return Ok(true);
        }
        Ok(false)
    }

    fn end_pass(&mut self) -> Result<(), CorpusError> {
        if self.progress.of_this_pass == 0 {
            let split = self.settings.split.name();
            return Err(CorpusError::NoTokens { split });
        }
        let next = self.progress.pass.saturating_add(1);
        if self.settings.passes.is_some_and(|passes| next >= passes) {
            self.progress.ended = true;
            return Ok(());
        }
        self.source.rewind()?;
        (self.progress.pass, self.progress.of_this_pass) = (next, 0);
        Ok(())
    }
}
