//! Every error of the program, with its exit code and, where the message alone does not say it, what to do.

use std::io;
use std::path::{Path, PathBuf};

use glassbox_corpus::CorpusError;
use glassbox_dictionary::DictionaryError;
use glassbox_dictionary_job::JobError;
use glassbox_experiment::ExperimentError;
use glassbox_interpretation::InterpretationError;
use glassbox_interpretation::labels::LabelError;
use glassbox_kernels::KernelError;
use glassbox_log_effects::EffectsError;
use glassbox_logs::LogsError;
use glassbox_model::forward_error::ForwardError;
use glassbox_model::generate::GenerateError;
use glassbox_model::load_error::LoadError;
use glassbox_model::locate::LocateError;
use glassbox_model::model::ModelError;
use glassbox_model::site::SiteError;
use glassbox_model::tokenizer::TokenizerError;
use glassbox_report::ReportError;
use glassbox_store::{JsonError, StoreError};
use glassbox_training::TrainingError;
use thiserror::Error;

use crate::exit_code;
use crate::tensor_file::TensorFileError;

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum CliError {
    /// A model's name leads to no folder.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A model folder cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A model cannot be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A forward pass was refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A generation was refused.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Text cannot become tokens, or tokens text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A site that cannot be used.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A dictionary cannot be used.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// A corpus or its activations cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A dictionary cannot be trained.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The backend refused an operation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A dictionary refused rows of a file.
    #[error("{}: rows {first} to {last} of `x`, counted from {first} as row 0: {cause}", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// The first of them.
        first: usize,
        /// The last of them.
        last: usize,
        /// Why.
        cause: KernelError,
    },
    /// A value that a dictionary made is not finite.
    #[error("{}: {what} of row {row} of `x` are not finite (column {column}); the row is too large for this dictionary", path.display())]
    NotFinite {
        /// "the features" or "the reconstruction".
        what: &'static str,
        /// The file of the row.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The first column.
        column: usize,
    },
    /// A tensor file cannot be used.
    #[error(transparent)]
    TensorFile(#[from] TensorFileError),
    /// A file of PyTorch or NumPy cannot be read.
    #[error(transparent)]
    OtherTensors(#[from] glassbox_tensors::TensorFileError),
    /// Reading or writing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("cannot write {}: {cause}; name a file in a folder that is there and that you may write into", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The disk is full, in a command that is simply run again.
    #[error("the disk is full: could not write {} ({cause}); free some space and run the command again", path.display())]
    DiskFull {
        /// The file being written; nothing is left under this name unless an older complete version was there.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Logs cannot be read.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// Logs cannot be analysed.
    #[error(transparent)]
    Effects(#[from] EffectsError),
    /// An experiment cannot be run, or was stopped.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// A dictionary cannot be evaluated, or its features not described.
    #[error(transparent)]
    Interpretation(#[from] InterpretationError),
    /// Features cannot be labelled.
    #[error(transparent)]
    Label(LabelError),
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system or the reader said.
        cause: io::Error,
    },
    /// A job of dictionaries cannot be run, or was stopped.
    #[error(transparent)]
    Job(Box<JobError>),
    /// A signal came before the end.
    #[error("stopped by a signal; {what}")]
    Interrupted {
        /// What became of the work.
        what: &'static str,
    },
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A value cannot be printed as JSON.
    #[error("cannot print JSON: {0}")]
    Json(#[from] JsonError),
    /// A flag or argument is wrong.
    #[error("{what}")]
    Usage {
        /// What, and what was expected.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A signal came before the end of a command that leaves nothing to resume.
    #[error("stopped by a signal; nothing was written to {}", path.display())]
    Stopped {
        /// The file that was being made.
        path: PathBuf,
    },
    /// An error, with the command that continues the run.
    #[error(transparent)]
    Resumable {
        /// What happened.
        #[from]
        cause: Box<ResumableError>,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// An error that stopped a run half-way.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct ResumableError {
    /// What happened.
    pub error: CliError,
    /// The command that continues.
    pub command: String,
}

impl From<JobError> for CliError {
    fn from(error: JobError) -> Self {
        Self::Job(Box::new(error))
    }
}

impl CliError {
    /// A wrong flag or argument.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: None,
        }
    }

    /// A wrong flag or argument, with what to do.
    pub fn usage_with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }

    /// A failed write of a command that is simply run again.
    pub fn write(path: &Path, cause: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_path_buf();
        if matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            return Self::DiskFull { path, cause };
        }
        Self::Write { path, cause }
    }

    /// Adds the command that continues the run, if this error is one that a resumed run gets past.
    pub fn resumable_by(self, command: impl Into<String>) -> Self {
        if self.exit_code() != exit_code::PARTIAL {
            return self;
        }
        Box::new(ResumableError {
            error: self,
            command: command.into(),
        })
        .into()
    }

    /// The exit code, part of the program's interface.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Experiment(ExperimentError::Interrupted { .. } | ExperimentError::ShardsMissing { .. })
            | Self::Stopped { .. }
            | Self::Interrupted { .. }
            | Self::Logs(LogsError::Stopped { .. })
            | Self::Effects(EffectsError::Logs(LogsError::Stopped { .. }))
            | Self::Label(LabelError::Endpoint { .. })
            | Self::Resumable { .. } => exit_code::PARTIAL,
            Self::Store(error)
            | Self::Experiment(ExperimentError::Store(error))
            | Self::Report(ReportError::Store(error))
                if error.is_resumable() =>
            {
                exit_code::PARTIAL
            }
            Self::Training(error) if error.is_resumable() => exit_code::PARTIAL,
            Self::Training(TrainingError::Diverged { .. }) => exit_code::CHECK_FAILED,
            Self::Job(error) if error.is_resumable() => exit_code::PARTIAL,
            Self::Corpus(error) if error.is_resumable() => exit_code::PARTIAL,
            _ => exit_code::BAD_INPUT,
        }
    }

    /// What to do, where the message does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Resumable { cause } => Some(format!("continue with: {}", cause.command)),
            _ => None,
        }
    }

    /// The message with the chain of its causes, without those whose words it holds already.
    pub fn message(&self) -> String {
        let mut message = self.to_string().trim_end().to_owned();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(text.trim_end()) {
                message.push_str(": ");
                message.push_str(text.trim_end());
            }
            cause = error.source();
        }
        message
    }
}

/// For commands that write one file and are simply run again: a full disk leaves nothing to resume.
pub fn one_file(error: StoreError) -> CliError {
    match error {
        StoreError::DiskFull { path, cause } => CliError::DiskFull { path, cause },
        StoreError::Unwritable { path, cause } => CliError::Write { path, cause },
        other => CliError::Store(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_full() -> StoreError {
        StoreError::DiskFull {
            path: "a/b".into(),
            cause: io::ErrorKind::StorageFull.into(),
        }
    }

    #[test]
    fn what_a_resumed_run_gets_past_is_partial() {
        assert_eq!(CliError::from(disk_full()).exit_code(), exit_code::PARTIAL);
        assert_eq!(
            CliError::from(ExperimentError::from(disk_full())).exit_code(),
            exit_code::PARTIAL
        );
        let interrupted = ExperimentError::Interrupted {
            stage: "sweep",
            done: 1,
            total: 2,
        };
        let error = CliError::from(interrupted).resumable_by("glassbox demo --resume");
        assert_eq!(error.exit_code(), exit_code::PARTIAL);
        assert_eq!(error.hint().unwrap(), "continue with: glassbox demo --resume");
        assert!(
            error
                .message()
                .starts_with("stopped during sweep with 1 of 2 units"),
            "{}",
            error.message()
        );
    }

    #[test]
    fn what_is_simply_run_again_is_bad_input() {
        let error = one_file(disk_full());
        assert_eq!(error.exit_code(), exit_code::BAD_INPUT);
        assert!(!error.message().contains("--resume"), "{}", error.message());
        assert_eq!(
            CliError::usage("x").resumable_by("y").exit_code(),
            exit_code::BAD_INPUT
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = io::Error::other("no such device");
        let error = CliError::from(LoadError::Io {
            path: "m/config.json".into(),
            action: "read the file",
            source,
        });
        assert_eq!(error.message().matches("no such device").count(), 1);
    }
}
