//! How documents become rows of tokens.

use serde::{Deserialize, Serialize};

/// How documents fill rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One document after the other, rows filled to the end; a document goes on in the next row. Attention sees across documents of one
    /// row, as in pretraining and in SAELens.
    #[default]
    Packed,
    /// One document per row; what does not fit into the context is cut off and counted.
    DocumentPerRow,
}

/// Where the beginning-of-sequence token (BOS) is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeginningPolicy {
    /// As before every prompt of this program: at every document where the tokenizer's own configuration adds the token, or the
    /// family's models are trained with it (Llama, Mistral); else nowhere. What that comes to is recorded.
    #[default]
    AsModel,
    /// Before every document.
    EveryDocument,
    /// Before every document and at the start of every row, where a document may be going on (SAELens's `prepend_bos`).
    EveryRow,
    /// Nowhere.
    Never,
}

/// Whether tokens without a past count as data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstPosition {
    /// They do.
    Keep,
    /// Position 0 of every row and every BOS that was put in are computed, since the others see them, but are no data: their
    /// activations are the same in every row, or nearly, and often of another magnitude than all others.
    #[default]
    Drop,
}

/// How documents become rows of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowOptions {
    /// Tokens per row at most, BOS included.
    pub context: usize,
    /// How documents fill rows.
    pub packing: Packing,
    /// Where BOS is put.
    pub bos: BeginningPolicy,
    /// Whether position 0 and BOS are data.
    pub first_position: FirstPosition,
    /// Share of the documents that is held out, from 0 to 1.
    pub held_out_share: f64,
    /// Which documents are held out depends on this number too.
    pub split_seed: u64,
    /// Tokens of a document at most, BOS not counted; the rest is cut off and counted.
    pub longest_document: Option<usize>,
}

impl Default for RowOptions {
    /// Packed rows of 128 tokens, 1 % of the documents held out.
    fn default() -> Self {
        Self {
            context: 128,
            packing: Packing::default(),
            bos: BeginningPolicy::default(),
            first_position: FirstPosition::default(),
            held_out_share: 0.01,
            split_seed: 0,
            longest_document: None,
        }
    }
}
