//! What ends a job.

use std::io;
use std::path::PathBuf;

use glassbox_corpus::CorpusError;
use glassbox_dictionary::DictionaryError;
use glassbox_interpretation::InterpretationError;
use glassbox_model::load_error::LoadError;
use glassbox_model::locate::LocateError;
use glassbox_model::model::ModelError;
use glassbox_model::tokenizer::TokenizerError;
use glassbox_store::StoreError;
use glassbox_training::TrainingError;
use thiserror::Error;

use crate::stage::Stage;

/// Result of a job.
pub type Result<T> = std::result::Result<T, JobError>;

/// Why a job could not go on. What concerns a single dictionary is not here: it is reported with the others' results.
#[derive(Debug, Error)]
pub enum JobError {
    /// The file can't be read.
    #[error("can't read the job {}: {cause}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file is wrong.
    #[error("job {}: {what}", file.display())]
    Settings {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A layer that the model lacks.
    #[error("`layers`: the model has no layer {layer}; it has 0 to {}", n_layers.saturating_sub(1))]
    Layer {
        /// The layer.
        layer: u32,
        /// Blocks of the model.
        n_layers: usize,
    },
    /// The dictionary of a layer can't be meant.
    #[error("`[dictionary]`, as it is for layer {layer}: {what}")]
    Dictionary {
        /// The layer.
        layer: u32,
        /// What is wrong.
        what: String,
    },
    /// The folder holds another job.
    #[error("{} holds {what}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What it holds, and what to do.
        what: String,
    },
    /// A stage whose input is not there.
    #[error("stage {stage} needs {what}")]
    Missing {
        /// The stage.
        stage: Stage,
        /// What is missing, and what to do.
        what: String,
    },
    /// It was asked to stop.
    #[error("stopped in stage {stage}; what is complete is kept")]
    Stopped {
        /// The stage.
        stage: Stage,
    },
    /// Nothing is left to do: every dictionary failed.
    #[error("every dictionary failed; the first: {first}")]
    AllFailed {
        /// Why the first did.
        first: String,
    },
    /// The model can't be found.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The model can't be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's files can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer can't be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The corpus or its activations can't be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Training failed for all dictionaries alike.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// A dictionary can't be read.
    #[error(transparent)]
    StoredDictionary(#[from] DictionaryError),
    /// Evaluation or census failed for all dictionaries alike.
    #[error(transparent)]
    Interpretation(#[from] InterpretationError),
    /// A file can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JobError {
    /// Whether the same job can be continued.
    pub fn is_resumable(&self) -> bool {
        match self {
            Self::Stopped { .. } => true,
            Self::Corpus(error) => error.is_resumable(),
            Self::Store(error) => error.is_resumable(),
            Self::Training(error) => error.is_resumable(),
            _ => false,
        }
    }
}
