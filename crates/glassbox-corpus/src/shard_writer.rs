//! The thread that puts batches together to shards and writes them, while the next forward pass runs.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use glassbox_store::{DiskBudget, Storage, StoreError, write_json};

use crate::activation_manifest::{ShardRecord, bytes_per_token, record_file, shard_file};
use crate::shard_buffer::ShardBuffer;
use crate::{ActivationType, CorpusError, RowBatchesState, ShardEntry, SourceSite};

/// Batches that wait for the writer at most, unless they would need more than a shard's memory.
const QUEUE: usize = 64;

/// What the writer needs to know.
#[derive(Clone, Debug)]
pub(crate) struct WriterSettings {
    pub(crate) storage: Storage,
    pub(crate) budget: DiskBudget,
    pub(crate) folder: PathBuf,
    pub(crate) sites: Vec<SourceSite>,
    pub(crate) dtype: ActivationType,
    pub(crate) model: String,
    pub(crate) tokens_per_shard: usize,
    /// Shards that are there already.
    pub(crate) shards: Vec<ShardEntry>,
    /// Tokens of one batch at most.
    pub(crate) batch_tokens: usize,
}

/// A batch for the writer.
pub(crate) struct WrittenBatch {
    pub(crate) buffer: ShardBuffer,
    /// Tokens at the start of the batch that are stored already.
    pub(crate) skip: usize,
    /// Tokens after these that are to be stored.
    pub(crate) take: usize,
    /// Where the corpus stood before the batch.
    pub(crate) before: RowBatchesState,
}

/// The near end of the writer.
pub(crate) struct ShardWriter<'scope> {
    batches: SyncSender<Option<Box<WrittenBatch>>>,
    used: Receiver<ShardBuffer>,
    thread: ScopedJoinHandle<'scope, Result<Vec<ShardEntry>, CorpusError>>,
    settings: WriterSettings,
}

impl<'scope> ShardWriter<'scope> {
    /// Starts the thread.
    pub(crate) fn start<'env>(settings: WriterSettings, scope: &'scope Scope<'scope, 'env>) -> Self {
        let waiting = (settings.tokens_per_shard / settings.batch_tokens.max(1)).clamp(1, QUEUE);
        let (batches, received) = sync_channel::<Option<Box<WrittenBatch>>>(waiting);
        let (give_back, used) = channel();
        let of_thread = settings.clone();
        let thread = scope.spawn(move || {
            let mut assembly = Assembly::new(of_thread);
            for message in received {
                let Some(batch) = message else {
                    return assembly.finish();
                };
                assembly.add(&batch)?;
                // If nobody takes it back, its memory is not needed any more.
                let _ = give_back.send(batch.buffer);
            }
            // The near end was dropped: what is not a whole shard is given up.
            Ok(assembly.settings.shards)
        });
        Self {
            batches,
            used,
            thread,
            settings,
        }
    }

    /// An empty buffer for a batch: one that the writer has done with, if there is one.
    pub(crate) fn buffer(&self) -> ShardBuffer {
        match self.used.try_recv() {
            Ok(mut buffer) => {
                buffer.clear();
                buffer
            }
            Err(_) => ShardBuffer::new(&self.settings.sites, self.settings.dtype, 0),
        }
    }

    /// Hands a batch over; waits if too many are waiting already. `false` if the writer has failed, which [`ShardWriter::finish`] tells.
    pub(crate) fn send(&self, batch: WrittenBatch) -> bool {
        self.batches.send(Some(Box::new(batch))).is_ok()
    }

    /// Writes what is left as the last shard, and gives the list of all.
    ///
    /// # Errors
    /// What the writer failed at.
    pub(crate) fn finish(self) -> Result<Vec<ShardEntry>, CorpusError> {
        // If the writer is gone, it has failed, and says why below.
        let _ = self.batches.send(None);
        self.stop()
    }

    /// Waits for the whole shards among what was sent, gives up the rest, and gives the list of all.
    ///
    /// # Errors
    /// What the writer failed at.
    pub(crate) fn stop(self) -> Result<Vec<ShardEntry>, CorpusError> {
        drop(self.batches);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The far end: the shard that is being put together.
struct Assembly {
    settings: WriterSettings,
    shard: ShardBuffer,
    /// Where the last batch stood, and how many of its tokens are stored.
    last: Option<(RowBatchesState, usize)>,
}

impl Assembly {
    fn new(settings: WriterSettings) -> Self {
        Self {
            shard: ShardBuffer::new(&settings.sites, settings.dtype, settings.tokens_per_shard),
            settings,
            last: None,
        }
    }

    fn add(&mut self, batch: &WrittenBatch) -> Result<(), CorpusError> {
        let (mut done, end) = (batch.skip, batch.skip + batch.take);
        while done < end {
            let room = self.settings.tokens_per_shard - self.shard.len();
            let taken = room.min(end - done);
            self.shard
                .extend_from(&batch.buffer, done..done + taken, &self.settings.sites);
            done += taken;
            if self.shard.len() == self.settings.tokens_per_shard {
                self.write(batch.before.clone(), done)?;
            }
        }
        self.last = Some((batch.before.clone(), done));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ShardEntry>, CorpusError> {
        if self.shard.len() > 0
            && let Some((before, taken)) = self.last.take()
        {
            self.write(before, taken)?;
        }
        Ok(self.settings.shards)
    }

    /// Writes the shard, then the record that says it is there.
    fn write(&mut self, batches: RowBatchesState, taken: usize) -> Result<(), CorpusError> {
        let settings = &mut self.settings;
        let (number, tokens) = (settings.shards.len(), self.shard.len() as u64);
        let needed = tokens * bytes_per_token(&settings.sites, settings.dtype);
        settings.budget.check_before(needed).map_err(no_room)?;
        let file = shard_file(number);
        let path = settings.folder.join(&file);
        let written = self.shard.write(
            &settings.storage,
            &path,
            &settings.sites,
            settings.dtype,
            &settings.model,
            number,
        )?;
        let shard = ShardEntry {
            file,
            tokens,
            held_out_tokens: self.shard.held_out(),
            bytes: written.bytes,
            checksum: written.checksum,
        };
        let record = ShardRecord {
            shard: shard.clone(),
            batches,
            taken,
        };
        write_json(
            &settings.storage,
            &settings.folder.join(record_file(number)),
            &record,
        )?;
        settings.shards.push(shard);
        self.shard.clear();
        Ok(())
    }
}

/// The error for a full disk, with what helps here.
pub(crate) fn no_room(error: StoreError) -> CorpusError {
    match error {
        StoreError::NoRoom {
            folder,
            needed,
            available,
            reason,
        } => CorpusError::NoRoom {
            folder,
            needed,
            available,
            reason,
        },
        other => other.into(),
    }
}
