//! `extract`: the activations of a corpus as files.

use std::path::PathBuf;

use glassbox_kernels::Backend;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use glassbox_store::{DiskBudget, FolderLock, Storage, write_json};

use crate::extract_folder::{Begun, Found, begin, manifest, plan, refuse_other_content};
use crate::forward_rows::ForwardRows;
use crate::model_activations::describe;
use crate::shard_file::ShardContent;
use crate::shard_writer::{ShardWriter, WriterSettings, WrittenBatch, no_room};
use crate::site_encoder::{Encoder, chunks};
use crate::{
    ACTIVATIONS_FILE, ActivationManifest, ActivationType, CorpusError, ExtractCounts, RowBatch, RowBatches,
    RowBatchesState, TokenRows,
};

/// What is extracted, and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractSettings {
    /// The sites, all of one pass.
    pub sites: Vec<Site>,
    /// How values are stored.
    pub dtype: ActivationType,
    /// Tokens to store at most, both splits together; `None` is the whole corpus.
    pub tokens: Option<u64>,
    /// Tokens of one forward pass at most, padding included.
    pub batch_tokens: usize,
    /// Size of a shard at most. A shard and as much again are held in memory.
    pub shard_bytes: u64,
}

impl ExtractSettings {
    /// Half precision, 2048 tokens per pass, shards of 32 MiB, the whole corpus.
    #[must_use]
    pub fn of_sites(sites: Vec<Site>) -> Self {
        Self {
            sites,
            dtype: ActivationType::default(),
            tokens: None,
            batch_tokens: 2048,
            shard_bytes: 32 << 20,
        }
    }
}

/// An extraction.
#[derive(Debug)]
pub struct ExtractRequest<'a, B: Backend> {
    /// The model.
    pub model: &'a Model<B>,
    /// BLAKE3 of its configuration and weights ([`glassbox_model::model_hash::model_hash`]).
    pub model_hash: String,
    /// The rows of the corpus, at their beginning.
    pub rows: TokenRows<'a>,
    /// What is extracted.
    pub settings: ExtractSettings,
    /// The folder to write.
    pub out: PathBuf,
    /// Whether to continue what is there.
    pub resume: bool,
    /// Bytes that the folder may have; `None` leaves the file system as the limit.
    pub disk_limit: Option<u64>,
}

/// What an extraction is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtractPlan {
    /// Tokens asked for.
    pub tokens: Option<u64>,
    /// Tokens that are stored already.
    pub stored_tokens: u64,
    /// Bytes of one token.
    pub bytes_per_token: u64,
    /// Bytes still to be written: exact if the tokens are limited and the corpus is long enough, else a guess from the size of the files.
    pub bytes: u64,
    /// Whether `bytes` is such a guess.
    pub is_guess: bool,
    /// Bytes free on the disk.
    pub free_bytes: u64,
}

/// Who watches an extraction. `()` watches nothing.
pub trait ExtractWatch {
    /// It begins.
    fn begun(&self, _plan: &ExtractPlan) {}
    /// So many more tokens went through the model.
    fn advanced(&self, _tokens: u64) {}
    /// Whether to stop; asked before every forward pass.
    fn should_stop(&self) -> bool {
        false
    }
}

impl ExtractWatch for () {}

/// Writes the activations of a corpus: one forward pass gives all sites, and a thread writes while the next pass runs. Killed at any
/// moment, it keeps its finished shards; resumed, it gives the same bytes as an extraction that was never stopped.
///
/// # Errors
/// A [`CorpusError`] that names the place of what is wrong: [`CorpusError::Interrupted`] if it was stopped, [`CorpusError::TooLarge`]
/// for a value that the type cannot hold, [`CorpusError::NoRoom`] and [`CorpusError::Store`] for a full disk. Finished shards are kept.
pub fn extract<B: Backend>(
    request: ExtractRequest<'_, B>,
    storage: &Storage,
    watch: &dyn ExtractWatch,
) -> Result<ActivationManifest, CorpusError> {
    let ExtractRequest {
        model,
        model_hash,
        rows,
        settings,
        out,
        resume,
        disk_limit,
    } = request;
    let forward = ForwardRows::new(model, &settings.sites)?;
    let wanted = manifest(&forward, &rows, &settings, model, model_hash)?;
    refuse_other_content(&out)?;
    let _lock = FolderLock::take(&out)?;
    let Begun { shards, last } = match begin(&out, &wanted, storage, resume)? {
        Found::Complete(manifest) => return Ok(*manifest),
        Found::Begun(begun) => *begun,
    };

    let stored_tokens: u64 = shards.iter().map(|shard| shard.tokens).sum();
    let plan = plan(&wanted, stored_tokens, &out)?;
    watch.begun(&plan);
    let budget = DiskBudget::new(storage, &out, disk_limit.unwrap_or(u64::MAX))?;
    if !plan.is_guess {
        budget.check_before(plan.bytes).map_err(no_room)?;
    }
    let mut batches = RowBatches::new(rows, settings.batch_tokens);
    let mut skip = 0;
    if let Some((state, taken)) = &last {
        batches.restore(state)?;
        skip = *taken;
    }
    let writer = WriterSettings {
        storage: storage.clone(),
        budget,
        folder: out.clone(),
        content: ShardContent {
            sites: wanted.sites.clone(),
            dtype: wanted.dtype,
            model: wanted.model.clone(),
        },
        tokens_per_shard: usize::try_from(wanted.tokens_per_shard).unwrap_or(usize::MAX),
        shards,
        batch_tokens: settings.batch_tokens,
    };
    let mut passes = Passes {
        forward,
        batches,
        limit: settings.tokens.unwrap_or(u64::MAX),
        done: stored_tokens,
        skip,
    };
    let shards = std::thread::scope(|scope| {
        let writer = ShardWriter::start(writer, scope);
        match passes.run(Some(&writer), watch) {
            Ok(Ended::Finished) => writer.finish(),
            Ok(Ended::WriterFailed) => writer.stop(),
            Ok(Ended::Stopped) => {
                let shards = writer.stop()?;
                Err(CorpusError::Interrupted {
                    folder: out.clone(),
                    shards: shards.len(),
                    tokens: shards.iter().map(|shard| shard.tokens).sum(),
                })
            }
            // What was computed before the error is kept as far as it fills shards; the writer's own error would come after this one.
            Err(error) => {
                let _ = writer.stop();
                Err(error)
            }
        }
    })?;

    let end = passes.batches.state().rows;
    let manifest = ActivationManifest {
        complete: true,
        counts: Some(ExtractCounts {
            documents: end.reader.counts,
            rows: end.counts,
            tokens: shards.iter().map(|shard| shard.tokens).sum(),
            held_out_tokens: shards.iter().map(|shard| shard.held_out_tokens).sum(),
        }),
        content: Some(end.reader.content),
        shards,
        ..wanted
    };
    write_json(storage, &out.join(ACTIVATIONS_FILE), &manifest)?;
    Ok(manifest)
}

/// The forward passes of an extraction and nothing else: the same batches, stopped after the same block, with no site read and no file
/// written. Its time is what [`extract`] is measured against. Returns the tokens that are data.
///
/// # Errors
/// As [`extract`], but for those of writing.
pub fn forward_only<B: Backend>(
    model: &Model<B>,
    rows: TokenRows<'_>,
    settings: &ExtractSettings,
    watch: &dyn ExtractWatch,
) -> Result<u64, CorpusError> {
    let mut passes = Passes {
        forward: ForwardRows::new(model, &settings.sites)?,
        batches: RowBatches::new(rows, settings.batch_tokens),
        limit: settings.tokens.unwrap_or(u64::MAX),
        done: 0,
        skip: 0,
    };
    passes.run(None, watch)?;
    Ok(passes.done)
}

/// How the passes ended.
enum Ended {
    /// The corpus, or the tokens asked for, are through.
    Finished,
    /// The watch asked for a stop.
    Stopped,
    /// The writer has failed, and will say why.
    WriterFailed,
}

/// The forward passes over a corpus.
struct Passes<'a, B: Backend> {
    forward: ForwardRows<'a, B>,
    batches: RowBatches<'a>,
    /// Tokens asked for.
    limit: u64,
    /// Tokens that are through.
    done: u64,
    /// Tokens of the next batch that were stored before.
    skip: usize,
}

impl<B: Backend> Passes<'_, B> {
    fn run(
        &mut self,
        writer: Option<&ShardWriter<'_>>,
        watch: &dyn ExtractWatch,
    ) -> Result<Ended, CorpusError> {
        // An extraction that goes on reads the batch in which it ended even if nothing of it is left, so that it counts the same.
        while self.done < self.limit || self.skip > 0 {
            if watch.should_stop() {
                return Ok(Ended::Stopped);
            }
            let before = self.batches.state();
            let Some(batch) = self.batches.next_batch()? else {
                break;
            };
            let skip = std::mem::take(&mut self.skip);
            let left = (batch.kept() - skip) as u64;
            let take = left.min(self.limit - self.done) as usize;
            if take > 0 && !self.pass(&batch, before, skip, take, writer)? {
                return Ok(Ended::WriterFailed);
            }
            self.done += take as u64;
            watch.advanced(take as u64);
        }
        Ok(Ended::Finished)
    }

    /// Runs one batch; `false` if the writer has failed.
    fn pass(
        &mut self,
        batch: &RowBatch,
        before: RowBatchesState,
        skip: usize,
        take: usize,
        writer: Option<&ShardWriter<'_>>,
    ) -> Result<bool, CorpusError> {
        let Some(writer) = writer else {
            self.forward.run(batch, None)?;
            return Ok(true);
        };
        let mut buffer = writer.buffer();
        describe(batch, &mut buffer.tokens);
        let sites = self.forward.sites().to_vec();
        let runs = chunks(&batch.kept_runs(), &sites);
        let mut encoder = Encoder {
            sites: &sites,
            runs: &runs,
            batch,
            buffer: &mut buffer,
        };
        self.forward.run(batch, Some(&mut encoder))?;
        Ok(writer.send(WrittenBatch {
            buffer,
            skip,
            take,
            before,
        }))
    }
}
