//! What can go wrong between a corpus and a report.

use std::path::PathBuf;

use glassbox_corpus::CorpusError;
use glassbox_dictionary::DictionaryError;
use glassbox_kernels::KernelError;
use glassbox_model::batch::BatchError;
use glassbox_model::forward_error::ForwardError;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::TokenizerError;
use glassbox_stats::StatsError;
use glassbox_store::{JsonError, StoreError};
use thiserror::Error;

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, InterpretationError>;

/// Why a dictionary could not be evaluated, or its features not described.
#[derive(Debug, Error)]
pub enum InterpretationError {
    /// A dictionary cannot be used.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// A forward pass was refused, or met a value that is not finite.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// Rows that make no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The backend refused an operation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Tokens cannot become text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A statistic was refused its input.
    #[error(transparent)]
    Statistics(#[from] StatsError),
    /// A corpus or stored activations cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Stored activations lack a dictionary's site.
    #[error(
        "the activations have no site `{site}`; they have {stored}. Extract that site, or choose dictionaries of these"
    )]
    SiteNotStored {
        /// The site.
        site: Site,
        /// The sites there are.
        stored: String,
    },
    /// Nothing to measure.
    #[error("no token of {what} counts as data{}; {remedy}", site.map(|site| format!(" at {site}")).unwrap_or_default())]
    NoTokens {
        /// Which rows or activations.
        what: String,
        /// The site, where there is one.
        site: Option<Site>,
        /// What to do.
        remedy: &'static str,
    },
    /// A value that a dictionary made is not finite.
    #[error(
        "the {what} of {site} is not finite at token {token} of the pass ({value}); the input is too large for this \
         dictionary, which is a sign of another site, model or precision than it was made for"
    )]
    NonFinite {
        /// `reconstruction` or `activation`.
        what: &'static str,
        /// The dictionary's site.
        site: Site,
        /// The token, counted over the data tokens of the pass.
        token: usize,
        /// The value.
        value: f32,
    },
    /// A setting that cannot be meant.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// Two dictionaries of one pass cannot be told apart.
    #[error("two dictionaries are both called `{name}`; give each its own folder name")]
    SameName {
        /// The name.
        name: String,
    },
    /// The caller asked for a stop.
    #[error("stopped after {done} of {total} tokens")]
    Stopped {
        /// Tokens done.
        done: u64,
        /// Tokens wanted.
        total: u64,
    },
    /// A file of an earlier run cannot be continued.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
}
