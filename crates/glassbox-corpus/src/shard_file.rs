//! The bytes of a shard's file.
//!
//! A shard is one safetensors file: `documents` and `rows` (U64 [n]), `token_ids`, `document_positions` and `positions` (U32 [n]), then the
//! values of every site under its TransformerLens name ([n, width]), and `splits` (U8 [n]: 0 training, 1 held out). Its metadata names
//! the model and the shard's number.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use bytemuck::cast_slice;
use glassbox_store::{AtomicFile, Storage, StoreError, WrittenFile};
use serde_json::{Map, Value, json};

use crate::shard_buffer::ShardBuffer;
use crate::{ActivationType, SourceSite, Split};

/// What the metadata of a shard calls its format.
pub(crate) const SHARD_FORMAT: &str = "glassbox activations 1";

/// Bytes written at a time: they are still in the processor's cache when they are hashed.
const PIECE: usize = 1 << 18;

/// What all shards of an extraction have in common.
#[derive(Clone, Debug)]
pub(crate) struct ShardContent {
    pub(crate) sites: Vec<SourceSite>,
    pub(crate) dtype: ActivationType,
    pub(crate) model: String,
}

/// Some tokens of a buffer.
pub(crate) struct ShardPiece<'a> {
    pub(crate) buffer: &'a ShardBuffer,
    pub(crate) range: Range<usize>,
}

impl ShardPiece<'_> {
    fn splits(&self) -> &[Split] {
        &self.buffer.tokens.splits[self.range.clone()]
    }
}

/// Tokens of the held-out split.
pub(crate) fn held_out(pieces: &[ShardPiece<'_>]) -> u64 {
    let splits = pieces.iter().flat_map(ShardPiece::splits);
    splits.filter(|split| **split == Split::HeldOut).count() as u64
}

/// Writes pieces one after the other as a whole file.
///
/// # Errors
/// [`StoreError`] as [`AtomicFile::commit`].
pub(crate) fn write_shard(
    storage: &Storage,
    path: &Path,
    number: usize,
    content: &ShardContent,
    pieces: &[ShardPiece<'_>],
) -> Result<WrittenFile, StoreError> {
    let tokens: usize = pieces.iter().map(|piece| piece.range.len()).sum();
    let splits: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| {
            piece
                .splits()
                .iter()
                .map(|&split| u8::from(split == Split::HeldOut))
                .collect()
        })
        .collect();
    let mut file = ShardFile::default();
    file.add("documents", "U64", &[tokens], pieces, |piece| {
        cast_slice(&piece.buffer.tokens.documents[piece.range.clone()])
    });
    file.add("rows", "U64", &[tokens], pieces, |piece| {
        cast_slice(&piece.buffer.tokens.rows[piece.range.clone()])
    });
    file.add("token_ids", "U32", &[tokens], pieces, |piece| {
        cast_slice(&piece.buffer.tokens.tokens[piece.range.clone()])
    });
    file.add("document_positions", "U32", &[tokens], pieces, |piece| {
        cast_slice(&piece.buffer.tokens.document_positions[piece.range.clone()])
    });
    file.add("positions", "U32", &[tokens], pieces, |piece| {
        cast_slice(&piece.buffer.tokens.positions[piece.range.clone()])
    });
    for (place, site) in content.sites.iter().enumerate() {
        let (name, shape) = (site.site.to_string(), [tokens, site.width]);
        let bytes = site.width * content.dtype.bytes();
        file.add(&name, content.dtype.safetensors_name(), &shape, pieces, |piece| {
            &piece.buffer.values[place].as_bytes()[piece.range.start * bytes..piece.range.end * bytes]
        });
    }
    file.add("splits", "U8", &[tokens], &splits, Vec::as_slice);
    let notes = json!({ "format": SHARD_FORMAT, "model": content.model, "shard": number.to_string() });
    file.write(storage, path, notes)
}

/// The tensors of a file, in order.
#[derive(Default)]
struct ShardFile<'a> {
    header: Map<String, Value>,
    parts: Vec<&'a [u8]>,
    bytes: usize,
}

impl<'a> ShardFile<'a> {
    fn add<P>(
        &mut self,
        name: &str,
        dtype: &str,
        shape: &[usize],
        pieces: &'a [P],
        bytes: impl Fn(&'a P) -> &'a [u8],
    ) {
        let start = self.bytes;
        for piece in pieces {
            let part = bytes(piece);
            self.bytes += part.len();
            self.parts.push(part);
        }
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, self.bytes] });
        self.header.insert(name.to_owned(), entry);
    }

    fn write(mut self, storage: &Storage, path: &Path, notes: Value) -> Result<WrittenFile, StoreError> {
        self.header.insert("__metadata__".to_owned(), notes);
        let mut header = Value::Object(self.header).to_string().into_bytes();
        // Tensors begin at a multiple of eight bytes, so that they can be used where they lie.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = AtomicFile::create(storage, path)?;
        let written = file
            .write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| file.write_all(&header))
            .and_then(|()| {
                let pieces = self.parts.iter().flat_map(|part| part.chunks(PIECE));
                pieces.into_iter().try_for_each(|piece| file.write_all(piece))
            });
        written.map_err(|cause| StoreError::from_write(path, cause))?;
        file.commit()
    }
}
