//! The folder of an extraction: what is there, and what is to come.

use std::path::Path;

use glassbox_kernels::Backend;
use glassbox_model::model::Model;
use glassbox_store::{FolderLock, Storage, free_bytes, hash_file, write_json};

use crate::activation_manifest::{ShardRecord, bytes_per_token, record_file};
use crate::forward_rows::ForwardRows;
use crate::{
    ACTIVATIONS_FILE, ActivationManifest, CorpusError, DocumentFormat, ExtractPlan, ExtractSettings,
    RowBatchesState, ShardEntry, TokenRows,
};

/// The manifest of an extraction that has not begun.
///
/// # Errors
/// Those of reading the corpus.
pub(crate) fn manifest<B: Backend>(
    forward: &ForwardRows<'_, B>,
    rows: &TokenRows<'_>,
    settings: &ExtractSettings,
    model: &Model<B>,
    model_hash: String,
) -> Result<ActivationManifest, CorpusError> {
    let sites = forward.sites().to_vec();
    let per_token = bytes_per_token(&sites, settings.dtype);
    Ok(ActivationManifest {
        format: ActivationManifest::format(),
        glassbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        instruction_set: model.backend().instruction_set(),
        model: model_hash,
        tokenizer: rows.tokenizer().hash().to_owned(),
        corpus: rows.documents().source().clone(),
        files: rows.documents().files().to_vec(),
        fingerprint: rows.documents().fingerprint()?,
        rows: rows.options().clone(),
        tokens_per_shard: (settings.shard_bytes / per_token).max(1),
        sites,
        dtype: settings.dtype,
        tokens_asked: settings.tokens,
        batch_tokens: settings.batch_tokens,
        complete: false,
        counts: None,
        content: None,
        shards: Vec::new(),
    })
}

/// What is in the folder already.
pub(crate) enum Found {
    /// A whole extraction.
    Complete(Box<ActivationManifest>),
    /// The beginning of one, if no more than its manifest.
    Begun(Box<Begun>),
}

/// Shards that are there.
#[derive(Default)]
pub(crate) struct Begun {
    pub(crate) shards: Vec<ShardEntry>,
    /// Where the last of them ended.
    pub(crate) last: Option<(RowBatchesState, usize)>,
}

/// Looks at the folder, and begins an extraction in it if there is none.
pub(crate) fn begin(
    out: &Path,
    wanted: &ActivationManifest,
    storage: &Storage,
    resume: bool,
) -> Result<Found, CorpusError> {
    let path = out.join(ACTIVATIONS_FILE);
    let stored = if path.exists() {
        Some(ActivationManifest::read(out)?)
    } else {
        None
    };
    let stored = match stored {
        Some(stored) if stored.complete || read_record(out, 0).is_some() => stored,
        // Nothing is there, or the beginning of one that wrote no shard: it is begun anew.
        _ => {
            write_json(storage, &path, wanted)?;
            return Ok(Found::Begun(Box::default()));
        }
    };
    if !resume {
        return Err(CorpusError::ActivationsExist {
            folder: out.to_path_buf(),
        });
    }
    stored.ensure_same(wanted, out)?;
    if stored.complete && first_damaged(out, &stored.shards).is_none() {
        return Ok(Found::Complete(Box::new(stored)));
    }
    let mut records = Vec::new();
    while let Some(record) = read_record(out, records.len()) {
        records.push(record);
    }
    // What comes after a damaged shard is made again with it.
    let shards: Vec<ShardEntry> = records.iter().map(|record| record.shard.clone()).collect();
    if let Some(damaged) = first_damaged(out, &shards) {
        records.truncate(damaged);
    }
    if stored.complete {
        // It is one no longer until the missing shards are there.
        write_json(storage, &path, wanted)?;
    }
    let last = records
        .last()
        .map(|record| (record.batches.clone(), record.taken));
    let shards = records.into_iter().map(|record| record.shard).collect();
    Ok(Found::Begun(Box::new(Begun { shards, last })))
}

/// The first shard that is not there with its content.
fn first_damaged(out: &Path, shards: &[ShardEntry]) -> Option<usize> {
    let is_whole =
        |shard: &ShardEntry| hash_file(&out.join(&shard.file)).is_ok_and(|found| found == shard.checksum);
    shards.iter().position(|shard| !is_whole(shard))
}

/// The record of a shard, if the shard is there with the recorded size.
fn read_record(out: &Path, number: usize) -> Option<ShardRecord> {
    let bytes = std::fs::read(out.join(record_file(number))).ok()?;
    let record: ShardRecord = serde_json::from_slice(&bytes).ok()?;
    let metadata = std::fs::metadata(out.join(&record.shard.file)).ok()?;
    (metadata.len() == record.shard.bytes).then_some(record)
}

/// Refuses a folder with other things in it, before anything is put there.
pub(crate) fn refuse_other_content(out: &Path) -> Result<(), CorpusError> {
    let failed = |cause| CorpusError::read(out, cause);
    if !out.exists() || out.join(ACTIVATIONS_FILE).exists() {
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(out).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !FolderLock::is_lock_file(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    names.truncate(5);
    Err(CorpusError::OtherContent {
        folder: out.to_path_buf(),
        entries: names,
    })
}

/// What is to be written, before anything is.
pub(crate) fn plan(
    wanted: &ActivationManifest,
    stored_tokens: u64,
    out: &Path,
) -> Result<ExtractPlan, CorpusError> {
    /// Bytes of English text per token, roughly; Parquet files hold about twice their size in text.
    const TEXT_PER_TOKEN: u64 = 4;
    let bytes_per_token = wanted.bytes_per_token();
    let in_files: u64 = wanted
        .files
        .iter()
        .map(|file| match file.format {
            DocumentFormat::Parquet => 2 * file.bytes,
            _ => file.bytes,
        })
        .sum();
    let guess = in_files / TEXT_PER_TOKEN;
    let tokens = wanted.tokens_asked.unwrap_or(guess);
    Ok(ExtractPlan {
        tokens: wanted.tokens_asked,
        stored_tokens,
        bytes_per_token,
        bytes: tokens.saturating_sub(stored_tokens) * bytes_per_token,
        is_guess: wanted.tokens_asked.is_none_or(|asked| asked > guess),
        free_bytes: free_bytes(out)?,
    })
}
