//! What can go wrong between a text and its activations, each error with its place and its remedy.

use std::io;

use glassbox_model::site::Site;

/// An error of a corpus or of activations.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Rows in memory whose sizes contradict one another.
    #[error("activations of `{site}` in memory: {problem}")]
    Shape {
        /// The site.
        site: Site,
        /// What does not fit.
        problem: String,
    },
    /// A value in memory that is not finite.
    #[error(
        "activations of `{site}` in memory: row {row} holds {value} in column {column}; only finite values can be used"
    )]
    NonFiniteRow {
        /// The site.
        site: Site,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A state that cannot be continued here.
    #[error(
        "cannot continue: the saved state is {found}, this is {expected}; continue with the settings and files of the first run"
    )]
    StateMismatch {
        /// What the state belongs to.
        found: String,
        /// What it was given to.
        expected: String,
    },
    /// A pass gave no token of the split that was asked for.
    #[error(
        "the activations hold no token of the {split} split; give more documents or change the held-out share"
    )]
    NoTokens {
        /// "training" or "held-out".
        split: &'static str,
    },
    /// A shuffle buffer that cannot be.
    #[error("a shuffle buffer of {capacity} rows cannot give batches of {batch}; it should hold several batches, {} rows for example", batch.saturating_mul(16))]
    BufferTooSmall {
        /// Rows of the buffer.
        capacity: usize,
        /// Rows of a batch.
        batch: usize,
    },
    /// A saved shuffle buffer that cannot be read back.
    #[error("the saved shuffle buffer is damaged: {problem}; continue from an earlier checkpoint")]
    DamagedBuffer {
        /// What is wrong with it.
        problem: String,
    },
    /// A shuffle buffer could not be written or read.
    #[error("cannot {action} the shuffle buffer: {cause}")]
    BufferIo {
        /// "write" or "read".
        action: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
}
