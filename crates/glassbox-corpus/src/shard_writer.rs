//! The thread that puts batches together to shards and writes them, while the next forward pass runs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use glassbox_store::{DiskBudget, Storage, StoreError, write_json};

use crate::activation_manifest::{ShardRecord, bytes_per_token, record_file, shard_file};
use crate::shard_buffer::ShardBuffer;
use crate::shard_file::{ShardContent, ShardPiece, held_out, write_shard};
use crate::{CorpusError, RowBatchesState, ShardEntry};

/// Batches that wait for the writer at most, unless they would need more than a shard's memory.
const QUEUE: usize = 64;

/// What the writer needs to know.
#[derive(Clone, Debug)]
pub(crate) struct WriterSettings {
    pub(crate) storage: Storage,
    pub(crate) budget: DiskBudget,
    pub(crate) folder: PathBuf,
    pub(crate) content: ShardContent,
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
                    return assembly.finish(&give_back);
                };
                assembly.add(*batch, &give_back)?;
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
            Err(_) => ShardBuffer::new(&self.settings.content.sites, self.settings.content.dtype),
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

/// The far end: the shard that is being put together. Batches stay in the memory that the pass wrote them to; the file is where they
/// come together.
struct Assembly {
    settings: WriterSettings,
    /// Batches, with what is to be stored of them.
    batches: VecDeque<WrittenBatch>,
    /// Tokens of these that are to be stored.
    tokens: usize,
}

impl Assembly {
    fn new(settings: WriterSettings) -> Self {
        Self {
            settings,
            batches: VecDeque::new(),
            tokens: 0,
        }
    }

    fn add(&mut self, batch: WrittenBatch, give_back: &Sender<ShardBuffer>) -> Result<(), CorpusError> {
        self.tokens += batch.take;
        self.batches.push_back(batch);
        while self.tokens >= self.settings.tokens_per_shard {
            self.write(self.settings.tokens_per_shard, give_back)?;
        }
        Ok(())
    }

    fn finish(mut self, give_back: &Sender<ShardBuffer>) -> Result<Vec<ShardEntry>, CorpusError> {
        if self.tokens > 0 {
            self.write(self.tokens, give_back)?;
        }
        Ok(self.settings.shards)
    }

    /// Writes the first so many tokens as a shard, then the record that says it is there.
    fn write(&mut self, tokens: usize, give_back: &Sender<ShardBuffer>) -> Result<(), CorpusError> {
        let settings = &mut self.settings;
        let mut left = tokens;
        let mut last = None;
        let mut pieces = Vec::new();
        for batch in &self.batches {
            let taken = left.min(batch.take);
            if taken == 0 {
                break;
            }
            left -= taken;
            let end = batch.skip + taken;
            pieces.push(ShardPiece {
                buffer: &batch.buffer,
                range: batch.skip..end,
            });
            last = Some((batch.before.clone(), end));
        }
        let Some((batches, taken)) = last else {
            return Ok(());
        };
        let number = settings.shards.len();
        let needed = tokens as u64 * bytes_per_token(&settings.content.sites, settings.content.dtype);
        settings.budget.check_before(needed).map_err(no_room)?;
        let file = shard_file(number);
        let path = settings.folder.join(&file);
        let written = write_shard(&settings.storage, &path, number, &settings.content, &pieces)?;
        let shard = ShardEntry {
            file,
            tokens: tokens as u64,
            held_out_tokens: held_out(&pieces),
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
        self.drop_stored(tokens, give_back);
        Ok(())
    }

    /// Gives back the memory of the first so many tokens.
    fn drop_stored(&mut self, tokens: usize, give_back: &Sender<ShardBuffer>) {
        self.tokens -= tokens;
        let mut left = tokens;
        while let Some(batch) = self.batches.front_mut() {
            let stored = left.min(batch.take);
            batch.skip += stored;
            batch.take -= stored;
            left -= stored;
            if batch.take > 0 {
                break;
            }
            if let Some(batch) = self.batches.pop_front() {
                // If nobody takes it back, its memory is not needed any more.
                let _ = give_back.send(batch.buffer);
            }
        }
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
