//! What a folder of activations says about itself.

use std::path::{Path, PathBuf};

use glassbox_store::{Checksum, Difference, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ActivationType, CorpusError, CorpusFile, DocumentCounts, DocumentSource, RowBatchesState, RowCounts,
    RowOptions, SourceSite,
};

/// The file that describes a folder of activations.
pub const ACTIVATIONS_FILE: &str = "activations.json";

/// Format of the folder.
const FORMAT: u32 = 2;

/// What a folder of activations holds, and what made it. It has no times in it: the same extraction gives the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationManifest {
    /// Format of the folder.
    pub format: u32,
    /// Version of the program.
    pub glassbox_version: String,
    /// Instruction set that the activations were computed with.
    pub instruction_set: String,
    /// BLAKE3 of the model's configuration and weights.
    pub model: String,
    /// BLAKE3 of the tokenizer's file.
    pub tokenizer: String,
    /// The documents asked for.
    pub corpus: DocumentSource,
    /// The files that they were read from.
    pub files: Vec<CorpusFile>,
    /// Checksum of their content; see [`crate::DocumentReader::fingerprint`].
    pub fingerprint: Checksum,
    /// How documents became rows, with every default resolved.
    pub rows: RowOptions,
    /// The sites, in the order of the pass's request.
    pub sites: Vec<SourceSite>,
    /// How values are stored.
    pub dtype: ActivationType,
    /// Tokens asked for; `None` is the whole corpus.
    pub tokens_asked: Option<u64>,
    /// Tokens of one forward pass at most.
    pub batch_tokens: usize,
    /// Tokens of every shard but the last.
    pub tokens_per_shard: u64,
    /// Whether the extraction has ended. The fields after this one are empty until then.
    pub complete: bool,
    /// What was counted.
    pub counts: Option<ExtractCounts>,
    /// A checksum over the documents that were used, in order.
    pub content: Option<Checksum>,
    /// The shards in order.
    pub shards: Vec<ShardEntry>,
}

/// What an extraction counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractCounts {
    /// Documents that were read.
    pub documents: DocumentCounts,
    /// What became of their tokens. Where the tokens were limited, the last batch may have had more than were stored.
    pub rows: RowCounts,
    /// Tokens that are stored.
    pub tokens: u64,
    /// Those of the held-out split among them.
    pub held_out_tokens: u64,
}

/// A finished shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Name of its file in the folder.
    pub file: String,
    /// Tokens in it.
    pub tokens: u64,
    /// Those of the held-out split among them.
    pub held_out_tokens: u64,
    /// Size of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub checksum: Checksum,
}

/// The record of a finished shard, in a file beside it: what is needed to go on after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardRecord {
    pub(crate) shard: ShardEntry,
    /// Where the corpus stood before the batch in which the shard ends.
    pub(crate) batches: RowBatchesState,
    /// Tokens of that batch that this shard and earlier ones hold.
    pub(crate) taken: usize,
}

/// Name of a shard's file.
pub(crate) fn shard_file(number: usize) -> String {
    format!("shard-{number:05}.safetensors")
}

/// Name of a shard's record.
pub(crate) fn record_file(number: usize) -> String {
    format!("shard-{number:05}.json")
}

impl ActivationManifest {
    /// The format that this program writes.
    #[must_use]
    pub fn format() -> u32 {
        FORMAT
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`CorpusError::NoActivations`] if there is none, [`CorpusError::Store`] if it is damaged or of another format.
    pub fn read(folder: &Path) -> Result<Self, CorpusError> {
        let path = folder.join(ACTIVATIONS_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Err(CorpusError::NoActivations {
                    folder: folder.to_path_buf(),
                });
            }
            Err(cause) => return Err(CorpusError::read(&path, cause)),
        };
        let bad = |detail: String| StoreError::BadJson {
            path: path.clone(),
            detail,
        };
        // The format first: a later one may have other keys, and the message should say so.
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))?;
        let format = value.get("format").and_then(Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let found = value.get("format").map_or("none".to_owned(), Value::to_string);
            return Err(bad(format!(
                "this program reads activations of format {FORMAT}, here it is {found}"
            ))
            .into());
        }
        Ok(serde_json::from_value(value).map_err(|cause| bad(cause.to_string()))?)
    }

    /// Bytes of one token in a shard: its values at all sites, and what is known of it.
    #[must_use]
    pub fn bytes_per_token(&self) -> u64 {
        bytes_per_token(&self.sites, self.dtype)
    }

    /// Tokens of a split, or of both.
    #[must_use]
    pub fn tokens(&self, split: Option<crate::Split>) -> u64 {
        let of_shard = |shard: &ShardEntry| match split {
            None => shard.tokens,
            Some(crate::Split::HeldOut) => shard.held_out_tokens,
            Some(crate::Split::Train) => shard.tokens - shard.held_out_tokens,
        };
        self.shards.iter().map(of_shard).sum()
    }

    /// Checks that this stored extraction is the one that is asked for now.
    ///
    /// # Errors
    /// [`StoreError::Incompatible`] with every key that differs and both values.
    pub(crate) fn ensure_same(&self, now: &Self, folder: &Path) -> Result<(), CorpusError> {
        let keys = |manifest: &Self| -> Result<Vec<(String, Value)>, CorpusError> {
            let asked = Self {
                complete: false,
                counts: None,
                content: None,
                shards: Vec::new(),
                ..manifest.clone()
            };
            let mut keys = Vec::new();
            let value = serde_json::to_value(asked).map_err(|cause| StoreError::BadJson {
                path: folder.join(ACTIVATIONS_FILE),
                detail: cause.to_string(),
            })?;
            flatten("", &value, &mut keys);
            Ok(keys)
        };
        let (stored, now) = (keys(self)?, keys(now)?);
        let text = |keys: &[(String, Value)], key: &str| {
            let found = keys.iter().find(|(name, _)| name == key);
            found.map_or("(absent)".to_owned(), |(_, value)| value.to_string())
        };
        let mut names: Vec<&String> = stored.iter().chain(&now).map(|(key, _)| key).collect();
        names.sort();
        names.dedup();
        let differences: Vec<Difference> = names
            .into_iter()
            .map(|key| Difference {
                key: key.clone(),
                stored: text(&stored, key),
                requested: text(&now, key),
            })
            .filter(|difference| difference.stored != difference.requested)
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(StoreError::Incompatible {
            path: PathBuf::from(folder),
            differences,
        }
        .into())
    }
}

/// Bytes of one token: its values, and its id (4), document (8), place there (4), row (8), position (4) and split (1).
pub(crate) fn bytes_per_token(sites: &[SourceSite], dtype: ActivationType) -> u64 {
    let values: usize = sites.iter().map(|site| site.width).sum();
    (values * dtype.bytes() + 29) as u64
}

fn flatten(key: &str, value: &Value, keys: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                flatten(&key, value, keys);
            }
        }
        other => keys.push((key.to_owned(), other.clone())),
    }
}
