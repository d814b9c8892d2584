//! Trial logs of existing experiments: what is in them, and whether it can be trusted.
//!
//! **What lives here:** readers for the layouts that studies have written (response logs as JSON arrays, JSON lines, checkpoints,
//! feature lists, counted cells; plain, gzip, Zstandard) and for glassbox's own tables of trials, all to the same records:
//!
//! | record | what it is |
//! |---|---|
//! | [`TrialRecord`] | one response under one condition |
//! | [`AggregateRecord`] | the trials of one cell, counted |
//! | [`FeatureRecord`] | what a list of features says of one of them |
//! | [`ReportedNumber`] | an effect or p value that a file states |
//! | [`RowProblem`] | a row or file that cannot be used, with its place |
//!
//! [`Logs::find`] and [`Logs::read`] are the way in: constant memory, all threads, one order. [`TrialIndex`] keeps all trials
//! without their text: cells, outcomes (recorded, or read by a parser: [`parser_named`]), repeats.
//!
//! **What must not live here:** formulas of tests (glassbox-stats), file mechanics (glassbox-store), models and dictionaries.

mod aggregate;
pub mod audit;
mod batch;
mod cell;
mod condition;
mod eight_bytes;
mod error;
mod feature_id;
mod feature_record;
mod file_report;
mod import;
mod index_builder;
mod json_row;
mod json_scan;
mod layout;
mod log_file;
mod loose;
mod outcome;
mod parsers;
mod place;
mod problem;
mod reading;
mod record;
mod row_splitter;
mod summary_row;
mod table_rows;
mod tables;
mod text_buffer;
mod trial_index;
mod trial_row;
mod trial_scan;

pub use aggregate::{AggregateRecord, ReportedNumber, Share};
pub use batch::Batch;
pub use cell::{Cell, Dose, Treatment};
pub use condition::{Arm, Condition};
pub use error::LogsError;
pub use feature_id::{FeatureId, NotAFeature};
pub use feature_record::{FeatureMeasures, FeatureRecord};
pub use file_report::{FileReport, ReadReport};
pub use import::{IMPORT_FILE, ImportSummary, import};
pub use index_builder::{IndexBuilder, IndexPart};
pub use layout::Layout;
pub use log_file::LogFile;
pub use outcome::{Outcome, RecordedOutcome};
pub use parsers::{parser_named, shipped_parser_file, shipped_parsers};
pub use place::Place;
pub use problem::{ProblemKind, RowProblem};
pub use reading::{Collected, Logs, ReadWatch, Unwatched};
pub use record::TrialRecord;
pub use row_splitter::{ReadLimits, TextForm};
pub use tables::{LogAggregateRow, LogFeatureRow, LogNumberRow, LogProblemRow, LogTrialRow};
pub use trial_index::{
    BET_LABEL, IndexedOutcome, IndexedTrial, OutcomeSource, Repeats, STOP_LABEL, TrialIndex, UNKNOWN_LABEL,
};
