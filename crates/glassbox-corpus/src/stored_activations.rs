//! Stored activations as a source.

use std::sync::Arc;

use glassbox_model::site::Site;
use glassbox_store::hash_bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{
    ActivationBatch, ActivationOrigin, ActivationSource, ActivationStore, CorpusError, SourceSite,
    SourceState, Split,
};

/// Tokens that are read together.
const BLOCK: usize = 256;

/// In which order stored activations are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredOrder {
    /// As they lie on disk.
    #[default]
    AsStored,
    /// Blocks of 256 tokens in an order drawn anew for every pass: with a [`crate::ShuffleBuffer`] behind it, rows are mixed over the whole
    /// corpus.
    Shuffled {
        /// Seed of the draws.
        seed: u64,
    },
}

/// Activations from disk, at some or all sites of the folder and of one split or both.
#[derive(Debug)]
pub struct StoredActivations {
    store: Arc<ActivationStore>,
    sites: Vec<SourceSite>,
    /// Places of the sites among those of the store.
    places: Vec<usize>,
    split: Option<Split>,
    order: StoredOrder,
    /// What tells this source from all others.
    identity: String,
    /// Numbers of the blocks in the order of this pass.
    blocks: Vec<u64>,
    pass: u64,
    next: usize,
    /// A block's values, where not all of them are wanted.
    scratch: Vec<f32>,
}

impl StoredActivations {
    /// Activations of a folder at these sites (all of them if none is named), of one split or both.
    ///
    /// # Errors
    /// [`CorpusError::WrongActivations`] if the folder has no such site.
    pub fn new(
        store: Arc<ActivationStore>,
        sites: &[Site],
        split: Option<Split>,
        order: StoredOrder,
    ) -> Result<Self, CorpusError> {
        let places = if sites.is_empty() {
            (0..store.sites().len()).collect()
        } else {
            sites
                .iter()
                .map(|&site| store.site(site))
                .collect::<Result<Vec<_>, _>>()?
        };
        let shards = store.manifest().shards.iter();
        let checksums: String = shards.map(|shard| shard.checksum.to_string()).collect();
        let identity = hash_bytes(format!("{checksums}{places:?}{split:?}{order:?}").as_bytes());
        let mut source = Self {
            identity: identity.to_string(),
            sites: places.iter().map(|&place| store.sites()[place]).collect(),
            places,
            store,
            split,
            order,
            blocks: Vec::new(),
            pass: 0,
            next: 0,
            scratch: Vec::new(),
        };
        source.begin_pass(0);
        Ok(source)
    }

    fn blocks_per_shard(&self) -> u64 {
        self.store
            .manifest()
            .tokens_per_shard
            .div_ceil(BLOCK as u64)
            .max(1)
    }

    fn begin_pass(&mut self, pass: u64) {
        let (per_shard, mut blocks) = (self.blocks_per_shard(), Vec::new());
        for (shard, entry) in self.store.manifest().shards.iter().enumerate() {
            let first = shard as u64 * per_shard;
            blocks.extend(first..first + entry.tokens.div_ceil(BLOCK as u64));
        }
        if let StoredOrder::Shuffled { seed } = self.order {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(pass);
            for left in (2..=blocks.len()).rev() {
                let drawn = (u128::from(generator.next_u64()) * left as u128) >> 64;
                blocks.swap(drawn as usize, left - 1);
            }
        }
        (self.blocks, self.pass, self.next) = (blocks, pass, 0);
    }

    /// Reads the tokens of one block that belong to the split.
    fn read(&mut self, block: u64, batch: &mut ActivationBatch) -> Result<(), CorpusError> {
        let per_shard = self.blocks_per_shard();
        let shard = self.store.shard((block / per_shard) as usize)?;
        let first = (block % per_shard) as usize * BLOCK;
        let range = first..shard.tokens().min(first + BLOCK);
        let wanted = |row: &usize| self.split.is_none_or(|split| shard.splits()[*row] == split);
        let rows: Vec<usize> = range.clone().filter(wanted).collect();
        if rows.is_empty() {
            return Ok(());
        }
        for ((into, site), &place) in batch.sites.iter_mut().zip(&self.sites).zip(&self.places) {
            self.scratch.resize(range.len() * site.width, 0.0);
            shard.read(place, first, &mut self.scratch)?;
            if rows.len() == range.len() {
                into.extend_from_slice(&self.scratch);
            } else {
                for row in &rows {
                    let start = (row - first) * site.width;
                    into.extend_from_slice(&self.scratch[start..start + site.width]);
                }
            }
        }
        for row in rows {
            batch.tokens.push(shard.token_ids()[row]);
            batch.documents.push(shard.documents()[row]);
            batch.document_positions.push(shard.document_positions()[row]);
            batch.rows.push(shard.rows()[row]);
            batch.positions.push(shard.positions()[row]);
            batch.splits.push(shard.splits()[row]);
        }
        Ok(())
    }
}

impl ActivationSource for StoredActivations {
    fn sites(&self) -> &[SourceSite] {
        &self.sites
    }

    fn origin(&self) -> ActivationOrigin {
        let manifest = self.store.manifest();
        ActivationOrigin {
            model: Some(manifest.model.clone()),
            tokenizer: Some(manifest.tokenizer.clone()),
            documents: Some(manifest.corpus.clone()),
            content: manifest.content,
            batch_tokens: None,
            rows: Some(manifest.rows.clone()),
        }
    }

    fn tokens_per_pass(&self) -> Option<u64> {
        Some(self.store.manifest().tokens(self.split))
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        batch.reset(&self.sites);
        while batch.is_empty() {
            let Some(&block) = self.blocks.get(self.next) else {
                return Ok(false);
            };
            self.read(block, batch)?;
            self.next += 1;
        }
        Ok(true)
    }

    fn state(&self) -> SourceState {
        SourceState::Stored {
            identity: self.identity.clone(),
            pass: self.pass,
            block: self.next as u64,
        }
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        match state {
            SourceState::Stored {
                identity,
                pass,
                block,
            } if *identity == self.identity => {
                self.begin_pass(*pass);
                self.next = usize::try_from(*block)
                    .unwrap_or(usize::MAX)
                    .min(self.blocks.len());
                Ok(())
            }
            other => Err(CorpusError::StateMismatch {
                found: other.kind().to_owned(),
                expected: format!(
                    "the activations in {} with other contents, sites, split or order",
                    self.store.folder().display()
                ),
            }),
        }
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        self.begin_pass(self.pass + 1);
        Ok(())
    }
}
