//! What a pass through the model can refuse, or find wrong.

use std::ops::Range;

use glassbox_kernels::KernelError;
use thiserror::Error;

use crate::batch::BatchError;
use crate::program::ProgramError;
use crate::site::{Site, SiteError};

/// Any error of a visitor, kept as the source of [`ForwardError::Visitor`].
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// An error of a forward or backward pass.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// The backend refused an operation.
    #[error("the backend refused an operation: {0}")]
    Kernel(#[from] KernelError),
    /// The token batch can't be built.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The row program does not fit.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The model has no such site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A site was asked for that the pass does not compute.
    #[error(
        "`{site}` is not computed by this pass, which runs {computed}; record it in a pass that reaches it"
    )]
    NotComputed {
        /// The site.
        site: Site,
        /// What the pass computes.
        computed: String,
    },
    /// A row is longer than the model's context.
    #[error(
        "row {row} has {length} positions, the model's context holds {max_positions}; shorten the prompt or \
         generate fewer tokens"
    )]
    ContextTooLong {
        /// Row of the batch.
        row: usize,
        /// Positions that the row would have.
        length: usize,
        /// Longest sequence of the model.
        max_positions: usize,
    },
    /// A token id is not in the vocabulary.
    #[error(
        "row {row}, position {position}: token id {token} is outside the vocabulary, ids are 0 to {last}"
    )]
    TokenOutOfRange {
        /// Row of the batch.
        row: usize,
        /// Position, counted from the row's first token.
        position: usize,
        /// The token id.
        token: u32,
        /// The largest valid id.
        last: usize,
    },
    /// A per-row list has not one entry per row.
    #[error("{what} has {found} entries, the batch has {batch} rows")]
    RowCount {
        /// The list.
        what: &'static str,
        /// Its entries.
        found: usize,
        /// Rows of the batch.
        batch: usize,
    },
    /// Rows of unequal length can't follow a filled cache.
    #[error(
        "row {row} brings {found} tokens and the longest row {width}: rows that continue a cache must be of one length"
    )]
    RaggedContinuation {
        /// Row of the batch.
        row: usize,
        /// Its tokens.
        found: u32,
        /// Columns of the batch.
        width: usize,
    },
    /// A cache row that does not exist.
    #[error("cache row {row} does not exist, the cache has rows 0 to {}", batch.saturating_sub(1))]
    CacheRow {
        /// The row.
        row: u32,
        /// Rows of the cache.
        batch: usize,
    },
    /// Blocks are to continue a cache that does not hold their past.
    #[error(
        "blocks {} to {} need the cache of every earlier position, but it holds only blocks {} to {}: \
         the earlier passes started later or stopped earlier",
        wanted.start, wanted.end.saturating_sub(1), complete.start, complete.end.saturating_sub(1)
    )]
    CacheLayers {
        /// Blocks of this pass.
        wanted: Range<usize>,
        /// Blocks that the cache holds completely.
        complete: Range<usize>,
    },
    /// A start or stop layer that the model lacks.
    #[error("{what} {layer} is out of range, valid are {first} to {last}")]
    Layer {
        /// "start layer" or "stop layer".
        what: &'static str,
        /// The layer.
        layer: u32,
        /// The lowest valid one.
        first: usize,
        /// The highest valid one.
        last: usize,
    },
    /// A residual to start from has the wrong size.
    #[error("the residual to start from holds {found} values, [batch {batch}, pos {queries}, d_model {width}] needs {}", batch * queries * width)]
    ResidualSize {
        /// Values given.
        found: usize,
        /// Rows of the batch.
        batch: usize,
        /// Positions per row, padding included.
        queries: usize,
        /// Width of the residual stream.
        width: usize,
    },
    /// Logits were asked for in a pass that stops before the unembedding.
    #[error("a pass that stops after block {layer} has no logits; ask for none or let it run to the end")]
    LogitsAfterStop {
        /// The last block that is computed.
        layer: u32,
    },
    /// A chosen logit position is not in the pass.
    #[error("logits were asked for at row {row}, position {position}; {reason}")]
    LogitPosition {
        /// Row of the batch.
        row: u32,
        /// Position, counted from the row's first token.
        position: u32,
        /// What is available.
        reason: String,
    },
    /// A value that is NaN or infinite.
    #[error(
        "`{place}` is {value} at row {row}, position {position}, element {element}: the first value of the pass \
         that is not finite; check the weights and the edits before it"
    )]
    NonFinite {
        /// Name of the site, or `logits`.
        place: String,
        /// Row of the batch.
        row: usize,
        /// Position, counted from the row's first token (the query's, for scores and patterns).
        position: i64,
        /// Element within the position's values.
        element: usize,
        /// The value.
        value: f32,
    },
    /// Scores of rows that share the keys of a prompt are not laid out in one piece.
    #[error(
        "`blocks.{layer}.attn.hook_attn_scores` and `hook_pattern` can't be had from rows that share a prompt's keys; \
         let each row have its own prompt (`Prompts::Own`)"
    )]
    SharedScores {
        /// The block.
        layer: u32,
    },
    /// A visitor failed.
    #[error("the visitor of `{site}` failed: {source}")]
    Visitor {
        /// The site that was being visited.
        site: Site,
        /// The visitor's error.
        source: VisitError,
    },
    /// A pass that records for gradients was given a cache.
    #[error("a pass with a tape takes the whole sequence; give it no cache")]
    TapeWithCache,
    /// A gradient seed does not fit the pass.
    #[error("gradient seed for {what}: {reason}")]
    Seed {
        /// What the seed is for.
        what: String,
        /// What is wrong.
        reason: String,
    },
}
