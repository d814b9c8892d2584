//! What a generation is asked for, and what it gives.

use glassbox_kernels::Backend;
use glassbox_kernels::backend::TopEntries;
use thiserror::Error;

use crate::edit::RowProgram;
use crate::forward::SiteVisitor;
use crate::forward_error::{ForwardError, VisitError};
use crate::generate::shared_prefix::SharedPrefix;
use crate::generate::stop::{StopReason, StopRule, TokenText};
use crate::program::ProgramError;
use crate::random::RandomKey;
use crate::sampling::{Sampling, SamplingError};

/// An error of a generation.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A sampling parameter is out of its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The request contradicts itself.
    #[error("{0}")]
    Request(String),
    /// Generated tokens could not be turned into text.
    #[error("row {row}: the generated tokens can't be turned into text: {source}")]
    Text {
        /// Row of the request.
        row: usize,
        /// The decoder's error.
        source: VisitError,
    },
    /// The observer failed.
    #[error("the observer failed at step {step}: {source}")]
    Observer {
        /// The step, counted from 0.
        step: usize,
        /// The observer's error.
        source: VisitError,
    },
}

impl From<ProgramError> for GenerateError {
    fn from(error: ProgramError) -> Self {
        Self::Forward(error.into())
    }
}

/// What the rows of a generation continue.
#[derive(Debug)]
pub enum Prompts<'a, B: Backend> {
    /// One prompt per row.
    Own(&'a [Vec<u32>]),
    /// A shared prefix: row i continues prompt `rows[i]` of it.
    Shared {
        /// The prefilled prompts.
        prefix: &'a SharedPrefix<B>,
        /// Prompt of each row.
        rows: &'a [u32],
    },
}

impl<B: Backend> Clone for Prompts<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Prompts<'_, B> {}

impl<'a, B: Backend> Prompts<'a, B> {
    /// Number of rows.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Own(prompts) => prompts.len(),
            Self::Shared { rows, .. } => rows.len(),
        }
    }

    /// The prompt of a row.
    pub(crate) fn prompt(&self, row: usize) -> &'a [u32] {
        match self {
            Self::Own(prompts) => &prompts[row],
            Self::Shared { prefix, rows } => &prefix.prompts()[rows[row] as usize],
        }
    }
}

/// The token that one row chose in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenToken {
    /// Row of the request.
    pub row: u32,
    /// Position of the prediction: that of the token before.
    pub position: u32,
    /// The token.
    pub token: u32,
    /// Why the row ended, if it did with this token.
    pub stopped: Option<StopReason>,
}

/// Sees a generation while it runs: the sites that it wants at every pass (the first ones cover the prompts piece by
/// piece, or their last positions where a prefix is shared), then the tokens chosen.
/// [`crate::forward::PassLayout::row_id`] gives the request's row of a batch row; rows that have ended are no longer
/// part of the passes.
pub trait GenerationObserver<B: Backend>: SiteVisitor<B> {
    /// Gets the tokens chosen in a step, which is one pass over all rows at hand, counted from 0.
    ///
    /// # Errors
    /// Any error; it ends the generation.
    fn chosen(&mut self, step: usize, tokens: &[ChosenToken]) -> Result<(), VisitError>;
}

/// A generation to run. Made by [`GenerationRequest::new`], extended by its methods.
#[must_use]
pub struct GenerationRequest<'a, B: Backend> {
    pub(crate) prompts: Prompts<'a, B>,
    pub(crate) max_new_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) random_keys: &'a [RandomKey],
    pub(crate) program: Option<&'a RowProgram<B>>,
    pub(crate) eos_token_ids: Option<&'a [u32]>,
    pub(crate) stop_strings: &'a [String],
    pub(crate) text: Option<&'a dyn TokenText>,
    pub(crate) stop_rule: Option<&'a mut dyn StopRule>,
    pub(crate) observer: Option<&'a mut dyn GenerationObserver<B>>,
    pub(crate) top_logits: usize,
    pub(crate) live_rows: usize,
    pub(crate) continuous: bool,
    pub(crate) resume: bool,
}

impl<'a, B: Backend> GenerationRequest<'a, B> {
    /// Greedy continuation of the prompts, until an end-of-sequence token of the model or `max_new_tokens`.
    pub fn new(prompts: Prompts<'a, B>, max_new_tokens: usize) -> Self {
        Self {
            prompts,
            max_new_tokens,
            sampling: Sampling::Greedy,
            random_keys: &[],
            program: None,
            eos_token_ids: None,
            stop_strings: &[],
            text: None,
            stop_rule: None,
            observer: None,
            top_logits: 0,
            live_rows: usize::MAX,
            continuous: true,
            resume: true,
        }
    }

    /// Chooses how tokens are chosen, with the randomness of each row (ignored by greedy decoding).
    pub fn sampling(mut self, sampling: Sampling, random_keys: &'a [RandomKey]) -> Self {
        self.sampling = sampling;
        self.random_keys = random_keys;
        self
    }

    /// Applies a program. Every intervention must fire by the end of the generation. Rows are those of the request.
    pub fn program(mut self, program: &'a RowProgram<B>) -> Self {
        self.program = Some(program);
        self
    }

    /// Ends rows at these tokens instead of the model's own; an empty list ends none.
    pub fn eos_token_ids(mut self, ids: &'a [u32]) -> Self {
        self.eos_token_ids = Some(ids);
        self
    }

    /// Makes text of the tokens for stop strings and the stop rule.
    pub fn text(mut self, text: &'a dyn TokenText) -> Self {
        self.text = Some(text);
        self
    }

    /// Ends a row as soon as its generated text contains one of these. Needs [`GenerationRequest::text`].
    pub fn stop_strings(mut self, stop_strings: &'a [String]) -> Self {
        self.stop_strings = stop_strings;
        self
    }

    /// Asks a rule after every token whether its row ends.
    pub fn stop_rule(mut self, rule: &'a mut dyn StopRule) -> Self {
        self.stop_rule = Some(rule);
        self
    }

    /// Shows sites and chosen tokens to an observer.
    pub fn observer(mut self, observer: &'a mut dyn GenerationObserver<B>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Computes at most so many rows at a time. Where they share a prefix, the next row begins as soon as one has ended;
    /// where each has its own prompt, when all have ended. Results are in the order of the request all the same.
    pub fn live_rows(mut self, rows: usize) -> Self {
        self.live_rows = rows;
        self
    }

    /// Whether a row that ends makes place for the next at once (yes by default), or all rows at hand end first.
    pub fn continuous(mut self, continuous: bool) -> Self {
        self.continuous = continuous;
        self
    }

    /// Whether rows that share a prefix take the last prompt position from it up to the first block that an edit of
    /// theirs changes (yes by default; the numbers are the same but for rounding). Without effect, and not done, where
    /// the observer wants other sites than `hook_resid_pre` and `hook_resid_post`.
    pub fn resume_at_edit(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Keeps the n largest logits of every generated token (before temperature).
    pub fn top_logits(mut self, n: usize) -> Self {
        self.top_logits = n;
        self
    }
}

/// What one row generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens; the last is the end-of-sequence token where that ended the row.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// The largest logits that each token was chosen from, if asked for.
    pub top_logits: Vec<TopEntries>,
}
