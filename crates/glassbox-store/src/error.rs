//! What can go wrong on disk, each error with its place and its remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::JsonError;

/// An error of the store. Every message names the file or folder, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder or file cannot be written.
    #[error("cannot write {}: {cause}; choose a folder that can be made and written by you, or change its permissions", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// No space, or the quota is used up.
    #[error("the disk is full: could not write {} ({cause}); free some space and continue with --resume", path.display())]
    DiskFull {
        /// The file being written. Nothing is left under this name unless an older complete version was there.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// More is about to be written than the budget or the disk allows.
    #[error(
        "{} needs about {needed} bytes, but only {available} are left ({reason}); free some space or raise the disk budget, and continue with --resume, or plan fewer trials",
        folder.display()
    )]
    NoRoom {
        /// The folder to be written in.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes that remain.
        available: u64,
        /// Whether the budget or the file system is the limit.
        reason: &'static str,
    },
    /// More was written than the budget allows, or the disk is nearly full.
    #[error(
        "{} has {written} bytes of a budget of {limit}, and {free} bytes are free on its disk; raise the disk budget or free some space, and continue with --resume",
        folder.display()
    )]
    BudgetExceeded {
        /// The run directory.
        folder: PathBuf,
        /// Bytes written.
        written: u64,
        /// The budget.
        limit: u64,
        /// Free bytes of the file system.
        free: u64,
    },
    /// Any other failure of reading or writing.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A value that must not be stored in a float column.
    #[error(
        "table `{table}`, column `{column}`, row {row}: {value} is not a finite number; a missing value is an Option that is None"
    )]
    NonFinite {
        /// Table name.
        table: &'static str,
        /// Column name.
        column: String,
        /// Row, from 0.
        row: u64,
        /// The value.
        value: String,
    },
    /// A text or list too long for one cell.
    #[error(
        "table `{table}`, column `{column}`, row {row}: {elements} bytes or elements in one cell, at most {limit} are allowed; split the row"
    )]
    CellTooLarge {
        /// Table name.
        table: &'static str,
        /// Column name.
        column: String,
        /// Row, from 0.
        row: u64,
        /// Bytes of the text, or elements of the list.
        elements: usize,
        /// The limit.
        limit: usize,
    },
    /// A file that cannot be read as Parquet.
    #[error("{} is not a readable Parquet file ({detail}); it may be truncated or damaged: delete it and make it again with --resume", path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        detail: String,
    },
    /// A Parquet file which is not the table that was asked for.
    #[error("{} should hold the table `{expected}`, but it holds {found}", path.display())]
    WrongTable {
        /// The file.
        path: PathBuf,
        /// Table name expected.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
    /// A table of another schema version.
    #[error(
        "{}: table `{table}` has schema version {found}, this program reads version {expected}; read it with the glassbox that wrote it, or run again",
        path.display()
    )]
    WrongVersion {
        /// The file.
        path: PathBuf,
        /// Table name.
        table: &'static str,
        /// Version of this program.
        expected: u32,
        /// Version in the file.
        found: String,
    },
    /// A column is missing or has another type.
    #[error("{}: table `{table}`, column `{column}`: expected {expected}, found {found}; the file was not written by this version, or edited", path.display())]
    WrongColumn {
        /// The file.
        path: PathBuf,
        /// Table name.
        table: &'static str,
        /// Column name.
        column: String,
        /// Type expected.
        expected: String,
        /// Type found, or the columns there are.
        found: String,
    },
    /// A value in a file that the schema does not allow.
    #[error("{}: table `{table}`, column `{column}`, row {row}: {problem}; the file was edited or damaged: make it again", path.display())]
    WrongValue {
        /// The file.
        path: PathBuf,
        /// Table name.
        table: &'static str,
        /// Column name.
        column: String,
        /// Row, from 0.
        row: u64,
        /// What is wrong.
        problem: String,
    },
    /// A column whose type cannot be shown.
    #[error("{}: column `{column}` has type {found}, which cannot be shown; shown are booleans, integers, floats, texts and lists of these", path.display())]
    UnknownType {
        /// The file.
        path: PathBuf,
        /// Column name.
        column: String,
        /// Its type.
        found: String,
    },
    /// A JSON file that cannot be understood.
    #[error("{}: {detail}; the file was edited or damaged", path.display())]
    BadJson {
        /// The file.
        path: PathBuf,
        /// What and where.
        detail: String,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot write {}: {cause}", path.display())]
    Json {
        /// The file that was to be written.
        path: PathBuf,
        /// What and under which key.
        cause: JsonError,
    },
    /// A name that cannot be a unit of work.
    #[error("`{name}` cannot name a unit of work: use 1 to 100 of a-z, 0-9, `-` and `_`")]
    BadUnit {
        /// The name.
        name: String,
    },
    /// A shard or table that does not match what was recorded when it was written.
    #[error("{} is damaged: {reason}; continue with --resume, which makes it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A table that the run has not finished yet.
    #[error("{} is not finished: the manifest of the run does not have it; continue the run with --resume", path.display())]
    Unfinished {
        /// The table.
        path: PathBuf,
    },
    /// Units of the plan without a complete shard.
    #[error("{missing} of {planned} units of work are not complete in {} (first: {}); continue with --resume", folder.display(), first.join(", "))]
    Gap {
        /// Folder of the shards (the first, if there are several).
        folder: PathBuf,
        /// Units missing.
        missing: usize,
        /// Units in the plan.
        planned: usize,
        /// Up to five of the missing ones.
        first: Vec<String>,
    },
    /// A unit that occurs twice.
    #[error("unit `{unit}` occurs twice: in {first} and in {second}; remove one of them")]
    Duplicate {
        /// The unit.
        unit: String,
        /// Where it was seen first.
        first: String,
        /// Where it was seen again.
        second: String,
    },
    /// Shards that the plan does not have.
    #[error("{} holds shards which the plan does not have: {}; move them away", folder.display(), units.join(", "))]
    NotInPlan {
        /// Folder of the shards.
        folder: PathBuf,
        /// The units, up to five.
        units: Vec<String>,
    },
    /// Shards of another plan, program or processor.
    #[error("{} has {key} `{found}`, the others have `{expected}`; results of different runs are not mixed: move it away and run again", path.display())]
    MixedOrigin {
        /// The shard.
        path: PathBuf,
        /// Which property differs.
        key: &'static str,
        /// Value of this run.
        expected: String,
        /// Value of the shard.
        found: String,
    },
    /// A run that cannot be continued with what is asked for now.
    #[error(
        "the run in {} was made with other settings:\n{}\nundo these changes to continue it, or choose another folder for a new run",
        path.display(),
        differences.iter().map(|difference| format!("  {difference}")).collect::<Vec<_>>().join("\n")
    )]
    Incompatible {
        /// The run directory.
        path: PathBuf,
        /// Every key that differs.
        differences: Vec<Difference>,
    },
    /// A folder that holds something else.
    #[error(
        "{} is not empty and not a run directory (it holds {}); choose a new or empty folder",
        path.display(),
        entries.join(", ")
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// Up to five names in it.
        entries: Vec<String>,
    },
    /// A run is there already.
    #[error("{} already holds a run; continue it with --resume, or choose another folder", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// No run is there.
    #[error("{} is not a run directory: it has no {file}; give the folder that `glassbox run` or `glassbox demo` wrote", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// Another process writes into the run directory.
    #[error("{} is in use by another process ({holder}); wait until it ends, or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the lock file says about the holder.
        holder: String,
    },
    /// Another process plans the sweep for all its shards.
    #[error("{} is being planned by another process ({holder}); wait until the plan is there", path.display())]
    Planning {
        /// The folder.
        path: PathBuf,
        /// What the lock file says about the holder.
        holder: String,
    },
    /// The manifest cannot be changed while several processes write into the run.
    #[error("{} is shared by the shards of a sweep: its stages are finished by `glassbox run --resume` when they have ended", path.display())]
    Shared {
        /// The folder.
        path: PathBuf,
    },
    /// A shard that cannot be.
    #[error(
        "`{text}` is no shard of a sweep: give i/n with i from 0 to n − 1, such as 0/4, 1/4, 2/4 and 3/4 for four shards"
    )]
    BadSweepShard {
        /// What was given.
        text: String,
    },
    /// A sweep that was begun with another number of shards.
    #[error("the sweep in {} was begun as {stored} shards, not {requested}; give the same number, or choose another folder", path.display())]
    ShardCount {
        /// The folder.
        path: PathBuf,
        /// Shards of the records there.
        stored: u32,
        /// Shards asked for now.
        requested: u32,
    },
    /// A stage name that the manifest does not have.
    #[error("the manifest has no stage `{stage}`; it has {}", stages.join(", "))]
    NoStage {
        /// The name asked for.
        stage: String,
        /// The names there are.
        stages: Vec<String>,
    },
}

impl StoreError {
    /// Sorts a failed write by what the user can do about it.
    pub fn from_write(path: &Path, cause: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_path_buf();
        match cause.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Self::DiskFull { path, cause },
            Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::NotADirectory
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::InvalidInput
            | Kind::InvalidFilename => Self::Unwritable { path, cause },
            _ => Self::Io {
                action: "write",
                path,
                cause,
            },
        }
    }

    /// Whether the same command with `--resume` continues once the cause is gone (exit code 3 rather than 2).
    pub fn is_resumable(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. }
                | Self::NoRoom { .. }
                | Self::BudgetExceeded { .. }
                | Self::Damaged { .. }
                | Self::Unfinished { .. }
                | Self::Gap { .. }
        )
    }
}

/// A key with two different values, of a stored and of a requested run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key with dots between its parts, such as `config.sweep.trials`.
    pub key: String,
    /// Value in the stored run as JSON, or `(absent)`.
    pub stored: String,
    /// Value asked for now as JSON, or `(absent)`.
    pub requested: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: stored {}, now {}",
            self.key, self.stored, self.requested
        )
    }
}
