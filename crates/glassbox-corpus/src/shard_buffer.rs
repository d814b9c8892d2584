//! A shard in memory, and the bytes of its file.
//!
//! A shard is one safetensors file: `documents` and `rows` (U64 [n]), `token_ids`, `document_positions` and `positions` (U32 [n]), then the
//! values of every site under its TransformerLens name ([n, width]), and `splits` (U8 [n]: 0 training, 1 held out). Its metadata names
//! the model and the shard's number.

use std::io::Write;
use std::path::Path;

use glassbox_store::{AtomicFile, Storage, StoreError, WrittenFile};
use serde_json::{Map, Value, json};

use crate::activation_type::StoredRows;
use crate::{ActivationBatch, ActivationType, SourceSite, Split};

/// What the metadata of a shard calls its format.
pub(crate) const SHARD_FORMAT: &str = "glassbox activations 1";

/// Values of some tokens as they are stored, with what is known of each token.
#[derive(Clone, Debug)]
pub(crate) struct ShardBuffer {
    /// One [n, width] per site.
    pub(crate) values: Vec<StoredRows>,
    /// What is known of the tokens; its own values stay empty.
    pub(crate) tokens: ActivationBatch,
}

impl ShardBuffer {
    /// An empty buffer with room for `capacity` tokens.
    pub(crate) fn new(sites: &[SourceSite], dtype: ActivationType, capacity: usize) -> Self {
        Self {
            values: sites
                .iter()
                .map(|site| StoredRows::new(dtype, capacity * site.width))
                .collect(),
            tokens: ActivationBatch::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn clear(&mut self) {
        self.values.iter_mut().for_each(StoredRows::clear);
        self.tokens.reset(&[]);
    }

    /// Appends some tokens of another buffer.
    pub(crate) fn extend_from(&mut self, other: &Self, range: std::ops::Range<usize>, sites: &[SourceSite]) {
        for ((into, from), site) in self.values.iter_mut().zip(&other.values).zip(sites) {
            into.extend_from(from, range.start * site.width..range.end * site.width);
        }
        let (into, from) = (&mut self.tokens, &other.tokens);
        into.tokens.extend_from_slice(&from.tokens[range.clone()]);
        into.documents.extend_from_slice(&from.documents[range.clone()]);
        into.document_positions
            .extend_from_slice(&from.document_positions[range.clone()]);
        into.rows.extend_from_slice(&from.rows[range.clone()]);
        into.positions.extend_from_slice(&from.positions[range.clone()]);
        into.splits.extend_from_slice(&from.splits[range]);
    }

    /// Tokens of the held-out split.
    pub(crate) fn held_out(&self) -> u64 {
        let held_out = |split: &&Split| **split == Split::HeldOut;
        self.tokens.splits.iter().filter(held_out).count() as u64
    }

    /// Writes the shard as a whole file.
    ///
    /// # Errors
    /// [`StoreError`] as [`AtomicFile::commit`].
    pub(crate) fn write(
        &self,
        storage: &Storage,
        path: &Path,
        sites: &[SourceSite],
        dtype: ActivationType,
        model: &str,
        number: usize,
    ) -> Result<WrittenFile, StoreError> {
        let tokens = &self.tokens;
        let splits: Vec<u8> = tokens
            .splits
            .iter()
            .map(|&split| u8::from(split == Split::HeldOut))
            .collect();
        let per_token = [self.len()];
        let mut tensors: Vec<(String, &str, Vec<usize>, &[u8])> = vec![
            (
                "documents".to_owned(),
                "U64",
                per_token.to_vec(),
                bytemuck::cast_slice(&tokens.documents),
            ),
            (
                "rows".to_owned(),
                "U64",
                per_token.to_vec(),
                bytemuck::cast_slice(&tokens.rows),
            ),
            (
                "token_ids".to_owned(),
                "U32",
                per_token.to_vec(),
                bytemuck::cast_slice(&tokens.tokens),
            ),
            (
                "document_positions".to_owned(),
                "U32",
                per_token.to_vec(),
                bytemuck::cast_slice(&tokens.document_positions),
            ),
            (
                "positions".to_owned(),
                "U32",
                per_token.to_vec(),
                bytemuck::cast_slice(&tokens.positions),
            ),
        ];
        for (values, site) in self.values.iter().zip(sites) {
            tensors.push((
                site.site.to_string(),
                dtype.safetensors_name(),
                vec![self.len(), site.width],
                values.as_bytes(),
            ));
        }
        tensors.push(("splits".to_owned(), "U8", per_token.to_vec(), &splits));

        let mut header = Map::new();
        let notes = json!({ "format": SHARD_FORMAT, "model": model, "shard": number.to_string() });
        header.insert("__metadata__".to_owned(), notes);
        let mut end = 0;
        for (name, dtype, shape, bytes) in &tensors {
            let start = end;
            end += bytes.len();
            let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
            header.insert(name.clone(), entry);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Tensors begin at a multiple of eight bytes, so that they can be used where they lie.
        header.resize(header.len().next_multiple_of(8), b' ');

        let mut file = AtomicFile::create(storage, path)?;
        let written = file
            .write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| file.write_all(&header))
            .and_then(|()| {
                tensors
                    .iter()
                    .try_for_each(|(_, _, _, bytes)| file.write_all(bytes))
            });
        written.map_err(|cause| StoreError::from_write(path, cause))?;
        file.commit()
    }
}
