//! What can go wrong in training.

use std::path::PathBuf;

use glassbox_corpus::CorpusError;
use glassbox_dictionary::DictionaryError;
use glassbox_kernels::KernelError;
use glassbox_store::StoreError;
use thiserror::Error;

/// Result of training.
pub type Result<T> = std::result::Result<T, TrainingError>;

/// Why a dictionary could not be trained.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// A setting that can't be.
    #[error("setting `{key}` is {found}; expected {expected}")]
    Setting {
        /// The setting, with its table.
        key: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A dictionary for a site that the activations don't have.
    #[error(
        "dictionary `{dictionary}` is for `{site}`, which the activations do not hold; they hold: {present}"
    )]
    NoSite {
        /// The dictionary.
        dictionary: String,
        /// The site asked for.
        site: String,
        /// The sites there are.
        present: String,
    },
    /// Rows that don't fit the step.
    #[error("a batch of {rows} rows needs {expected} values of {what}, there are {found}")]
    Batch {
        /// Rows.
        rows: usize,
        /// "the input" or "the target".
        what: &'static str,
        /// Values needed.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// Activations that are all the same.
    #[error(
        "activations of `{site}` have no variance: all {tokens} tokens looked at hold the same values. Nothing can be \
         learned from them; check the site and the layer"
    )]
    NoVariance {
        /// The site.
        site: String,
        /// Tokens looked at.
        tokens: u64,
    },
    /// Activations that are not finite.
    #[error("activations of `{site}` are not finite in token {row} of a batch, column {column}: {value}")]
    NotFinite {
        /// The site.
        site: String,
        /// Row of the batch.
        row: usize,
        /// Column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A run that does not fit into memory.
    #[error(
        "the run needs about {needed_mib} MiB of memory, of which {shuffle_mib} MiB are the shuffle buffer ({shuffle} tokens at all \
         sites); {available_mib} MiB are available. Lower the shuffle buffer (--shuffle, or `shuffle` in the settings), the number \
         of features, or train fewer dictionaries at once"
    )]
    Memory {
        /// MiB of all of it.
        needed_mib: u64,
        /// MiB of the buffer.
        shuffle_mib: u64,
        /// Tokens of the buffer.
        shuffle: usize,
        /// MiB there are.
        available_mib: u64,
    },
    /// Too few tokens.
    #[error(
        "there are {found} training tokens and {held_out} held-out ones; at least 2 of each are needed: give more documents or a \
         larger held-out share"
    )]
    TooFewTokens {
        /// Training tokens found.
        found: u64,
        /// Held-out tokens found.
        held_out: u64,
    },
    /// The numbers ran away.
    #[error(
        "dictionary `{dictionary}` diverged in step {step}: {what} is {value}. Train it again in another folder with a lower \
         learning rate than {learning_rate:e}, a lower penalty, or with a gradient clip"
    )]
    Diverged {
        /// The dictionary.
        dictionary: String,
        /// The step, counted from 0.
        step: u64,
        /// "the loss" or "the gradient's norm".
        what: &'static str,
        /// The value.
        value: f64,
        /// The learning rate.
        learning_rate: f64,
    },
    /// A checkpoint that cannot be used.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A folder that holds another run.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The activations can't be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A dictionary can't be made or written.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The backend refused an operation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A file can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TrainingError {
    /// The error with its row counted from the start of a batch whose part began at `first`.
    pub(crate) fn rows_from(mut self, first: usize) -> Self {
        if let Self::NotFinite { row, .. } = &mut self {
            *row += first;
        }
        self
    }

    /// Whether the same run can be continued once the cause is gone.
    pub fn is_resumable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_resumable(),
            Self::Corpus(error) => error.is_resumable(),
            _ => false,
        }
    }
}
