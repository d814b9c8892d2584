//! What can go wrong between a text and its activations, each error with its place and its remedy.

use std::io;
use std::path::{Path, PathBuf};

use glassbox_model::forward_error::ForwardError;
use glassbox_model::locate::LocateError;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::TokenizerError;
use glassbox_store::StoreError;
use glassbox_tensors::TensorFileError;

use crate::{ActivationType, DocumentCounts, DocumentPlace};

/// An error of a corpus or of activations.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A path of a corpus leads to no file.
    #[error("corpus path `{name}`: {problem}")]
    Path {
        /// The path as given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A data set is not in the hub's cache.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A file whose name does not say what it is.
    #[error(
        "{}: the ending of its name does not say what it holds (.txt, .text, .md, .jsonl, .ndjson, .json and .parquet are known); \
         give the format, and decompress it first if it is compressed", path.display()
    )]
    FileKind {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A text that is not UTF-8.
    #[error("{}: the text is not UTF-8 at byte {offset}; convert it (`iconv -t UTF-8`), or leave the file out", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first wrong byte, from 0.
        offset: u64,
    },
    /// A text that is too long to be one document.
    #[error(
        "{}: the document that line {line} belongs to has more than {} MiB; split the file, or read it by paragraphs", path.display(), limit >> 20
    )]
    TextTooLong {
        /// The file.
        path: PathBuf,
        /// The line at which it became too long, from 1.
        line: u64,
        /// Bytes that a document may have.
        limit: u64,
    },
    /// A line that is no record with a text.
    #[error("{}: line {line} (byte {offset}): {problem}", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The byte of the file, from 0.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A Parquet file that cannot be read.
    #[error("{}{}: {problem}; the file may be damaged or incomplete, fetch it again", path.display(), of_group(*group))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row group, from 0; `None` if the file could not be opened.
        group: Option<usize>,
        /// What the reader said.
        problem: String,
    },
    /// A Parquet file without the text column.
    #[error("{}: column `{column}` {found}; name the column that holds the text", path.display())]
    ParquetColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// What was found instead.
        found: String,
    },
    /// Not a single document.
    #[error(
        "the corpus is empty: of {} documents seen in {files} files, {} were left out as shorter than {min_characters} characters and {} had \
         no text; give more files or lower the least length",
        counts.seen, counts.too_short, counts.without_text
    )]
    Empty {
        /// Files read.
        files: usize,
        /// What was seen.
        counts: DocumentCounts,
        /// The least length asked for.
        min_characters: usize,
    },
    /// An option of the rows that can't be.
    #[error("row option `{option}`: {problem}")]
    Rows {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A document's text cannot become tokens.
    #[error("document {document} ({place}): {source}")]
    Tokenizer {
        /// The document.
        document: u64,
        /// Where it stands.
        place: DocumentPlace,
        /// Why not.
        source: TokenizerError,
    },
    /// Sites that activations cannot be had of.
    #[error("{problem}")]
    Sites {
        /// What is wrong with them.
        problem: String,
    },
    /// A value of a forward pass that is not finite.
    #[error(
        "`{site}` is {value} at document {document}, token {document_position} (row {row}, position {position}, element {element}); \
         check the model's weights, or leave the document out"
    )]
    NonFiniteActivation {
        /// Name of the site.
        site: String,
        /// Number of the document.
        document: u64,
        /// Place of the token in the document.
        document_position: u32,
        /// Number of the row.
        row: u64,
        /// Position in the row.
        position: usize,
        /// Element of the site's row.
        element: usize,
        /// The value.
        value: f32,
    },
    /// A value that the type in which activations are stored cannot hold.
    #[error(
        "`{site}` is {value} at document {document}, token {document_position} (row {row}, position {position}, element {element}): more \
         than {dtype} holds, which is {}; store this site as bf16 or f32", dtype.largest()
    )]
    TooLarge {
        /// Name of the site.
        site: String,
        /// Number of the document.
        document: u64,
        /// Place of the token in the document.
        document_position: u32,
        /// Number of the row.
        row: u64,
        /// Position in the row.
        position: usize,
        /// Element of the site's row.
        element: usize,
        /// The value.
        value: f32,
        /// The type.
        dtype: ActivationType,
    },
    /// Files could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Activations need more room than there is.
    #[error(
        "{}: the activations need about {needed} more bytes, but only {available} are left ({reason}); free some space and continue with \
         --resume, or extract fewer tokens or sites into another folder", folder.display()
    )]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        available: u64,
        /// Whether the budget or the file system is the limit.
        reason: &'static str,
    },
    /// An extraction was stopped.
    #[error("stopped with {shards} finished shards ({tokens} tokens) in {}; they are kept, and --resume goes on after them", folder.display())]
    Interrupted {
        /// The folder.
        folder: PathBuf,
        /// Finished shards.
        shards: usize,
        /// Tokens in them.
        tokens: u64,
    },
    /// Activations are there already.
    #[error("{} already holds activations; continue them with --resume, or choose another folder", folder.display())]
    ActivationsExist {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that holds something else.
    #[error("{} is not empty and holds no activations (it holds {}); choose a new or empty folder", folder.display(), entries.join(", "))]
    OtherContent {
        /// The folder.
        folder: PathBuf,
        /// Up to five names in it.
        entries: Vec<String>,
    },
    /// No activations are there.
    #[error("{} holds no activations (no activations.json); give a folder that `glassbox extract` wrote", folder.display())]
    NoActivations {
        /// The folder.
        folder: PathBuf,
    },
    /// Activations that are not finished.
    #[error("the activations in {} are not finished; continue the extraction with --resume", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// A shard that is not what the manifest says.
    #[error("{}: {problem}; copy the folder again, or extract again", path.display())]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A stored value that is not finite.
    #[error(
        "{}: `{site}`, row {row} holds {value} in column {column}; the file was changed after it was written: extract again", path.display()
    )]
    NonFiniteStored {
        /// The shard.
        path: PathBuf,
        /// The site.
        site: Site,
        /// The row of the shard.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// Activations of another model, or without a site that is needed.
    #[error("the activations in {} {problem}", folder.display())]
    WrongActivations {
        /// The folder.
        folder: PathBuf,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// A forward pass was refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
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
    /// A file of tensors that cannot be read.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A file of states that GhostTrack did not write, or whose parts contradict one another.
    #[error("{}: not a file of hidden states ({{hidden_states [tokens, width], layer_idx, num_tokens, d_model}}): {problem}", path.display())]
    LegacyStates {
        /// The file.
        path: PathBuf,
        /// What is missing or does not fit.
        problem: String,
    },
    /// A value of a file of states that is not finite.
    #[error("{}: state {row} holds {value} in column {column}; only finite states can be used, extract them again in f32", path.display())]
    NonFiniteState {
        /// The file.
        path: PathBuf,
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

impl CorpusError {
    /// Whether the same command with `--resume` continues once the cause is gone (exit code 3 rather than 2).
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::NoRoom { .. } | Self::Unfinished { .. } => true,
            Self::Store(error) => error.is_resumable(),
            _ => false,
        }
    }

    /// A failed read.
    pub(crate) fn read(path: &Path, cause: io::Error) -> Self {
        Self::Read {
            path: path.to_path_buf(),
            cause,
        }
    }
}

fn of_group(group: Option<usize>) -> String {
    group.map_or_else(String::new, |group| format!(", row group {group}"))
}
