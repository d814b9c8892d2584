//! What can go wrong in an experiment.

use std::path::PathBuf;

use glassbox_outcome::ParserError;
use thiserror::Error;

/// An error of an experiment. Messages name the place and the remedy.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The scenario file is wrong.
    #[error("scenario {}: {what}", file.display())]
    Scenario {
        /// The file.
        file: PathBuf,
        /// What is wrong, with place and remedy.
        what: String,
    },
    /// A parser rule is wrong.
    #[error(transparent)]
    Parser(#[from] ParserError),
    /// A prompt file is wrong.
    #[error("prompts {}:{line}: {what}", file.display())]
    Prompts {
        /// The file.
        file: PathBuf,
        /// Line, from 1; 0 is the file as a whole.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A prompt fills the model's context.
    #[error(
        "the prompt '{id}' of family '{family}' has {tokens} tokens, and the model's context holds {context}, the response \
         included; shorten the prompt or leave it out of the family's prompt file"
    )]
    PromptTooLong {
        /// Prompt family.
        family: String,
        /// Identity of the prompt.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A name that does not exist.
    #[error("there is no {what} '{name}'; the valid ones are: {}", valid.join(", "))]
    UnknownName {
        /// Kind of name.
        what: &'static str,
        /// The name given.
        name: String,
        /// Valid names.
        valid: Vec<String>,
    },
    /// A continuation that has no tokens of its own.
    #[error("the continuation {continuation:?} cannot follow {context:?}: {what}")]
    Continuation {
        /// The end of the text before it.
        context: String,
        /// The continuation.
        continuation: String,
        /// Why, and what to do.
        what: String,
    },
    /// The data can't carry the analysis.
    #[error("{stage}: {what}")]
    Data {
        /// The stage.
        stage: &'static str,
        /// What is missing and what to do.
        what: String,
    },
    /// The run was asked to stop; what is complete stays, and `--resume` goes on from it.
    #[error("stopped during {stage} with {done} of {total} units complete; continue with --resume")]
    Interrupted {
        /// The stage.
        stage: &'static str,
        /// Units complete.
        done: u64,
        /// All units.
        total: u64,
    },
    /// Shards that do not make a whole sweep yet.
    #[error(
        "{missing} of {planned} units of the sweep are in none of the folders (first: {}){shards}; run these shards to their \
         end with --resume and name their folders too", first.join(", ")
    )]
    ShardsMissing {
        /// Units missing.
        missing: usize,
        /// Units of the plan.
        planned: usize,
        /// Up to five of the missing ones.
        first: Vec<String>,
        /// The shards they belong to, as a clause, where the records tell.
        shards: String,
    },
    /// Shards of processors whose numbers differ in the last digits.
    #[error(
        "the shards were computed on processors of different instruction sets: {}; the same sweep on one processor would give \
         slightly different tables. Run the shards on equal machines, or allow it with --allow-mixed-processors",
        found.join(", ")
    )]
    MixedProcessors {
        /// `folder: instruction set` of each.
        found: Vec<String>,
    },
    /// Reading or writing a run directory failed.
    #[error(transparent)]
    Store(#[from] glassbox_store::StoreError),
    /// A model can't be found.
    #[error(transparent)]
    Locate(#[from] glassbox_model::locate::LocateError),
    /// A model can't be loaded.
    #[error(transparent)]
    Load(#[from] glassbox_model::load_error::LoadError),
    /// A model's weights don't fit its configuration.
    #[error(transparent)]
    Model(#[from] glassbox_model::model::ModelError),
    /// A tokenizer refused.
    #[error(transparent)]
    Tokenizer(#[from] glassbox_model::tokenizer::TokenizerError),
    /// A batch of tokens can't be built.
    #[error(transparent)]
    Batch(#[from] glassbox_model::batch::BatchError),
    /// A forward pass failed.
    #[error(transparent)]
    Forward(#[from] glassbox_model::forward_error::ForwardError),
    /// A generation failed.
    #[error(transparent)]
    Generate(#[from] glassbox_model::generate::GenerateError),
    /// A dictionary can't be read or used.
    #[error(transparent)]
    Dictionary(#[from] glassbox_dictionary::DictionaryError),
    /// The backend refused.
    #[error(transparent)]
    Kernel(#[from] glassbox_kernels::KernelError),
    /// A statistic was asked for with values it can't have.
    #[error(transparent)]
    Stats(#[from] glassbox_stats::StatsError),
}
