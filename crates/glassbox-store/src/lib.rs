//! Run directories: everything that glassbox keeps on disk.
//!
//! **What lives here.** Tables of typed rows in Parquet ([`table!`], [`TableWriter`], [`read_table`], [`preview_table`]); files that are
//! either whole or absent ([`AtomicFile`]); units of work with checksums and completion records ([`ShardStore`]); the manifest of a run
//! ([`Manifest`]); the folder that holds all of it, under a lock ([`RunDirectory`]), which the shards of a sweep share ([`SweepShard`]);
//! checksums ([`Checksum`]), JSON without non-finite numbers ([`to_json`]), and the disk budget ([`DiskBudget`]).
//!
//! **What must not.** The meaning of any column, any statistics, any tensor: the rows of a table are declared by the crate that fills
//! them. This crate depends on no other crate of the workspace.
//!
//! Two promises hold throughout. The same rows give the same bytes, so tables of two runs can be compared by checksum; times, durations
//! and host names are therefore kept in the manifest only. And a file under its final name is complete: a killed process leaves at most
//! files that begin with [`TEMPORARY_PREFIX`], which the next opening of the run removes.

mod assemble;
mod atomic;
mod column;
mod disk;
mod error;
mod folder_lock;
mod hash;
mod json;
mod lock;
mod manifest;
mod preview;
mod run_directory;
mod run_paths;
mod shard;
mod storage;
mod sweep_shard;
mod table;
mod unit;

pub use assemble::{assemble, read_table_dir};
pub use atomic::{AtomicFile, TEMPORARY_PREFIX, WrittenFile, remove_temporaries, write_bytes, write_json};
pub use column::{Cell, Column, ColumnReader, ColumnWriter, Scalar};
pub use disk::{DiskBudget, DiskState, DiskWatch, available_memory, free_bytes};
pub use error::{Difference, StoreError};
pub use folder_lock::FolderLock;
pub use hash::{Checksum, hash_bytes, hash_ends, hash_file, hash_named_files};
pub use json::{JsonError, WriteJsonError, check_finite, stream_json, to_json};
pub use manifest::{FinalFile, MANIFEST_FORMAT, Manifest, Stage, StageStatus};
pub use preview::{PreviewColumn, TablePreview, display_cell, preview_table};
pub use run_directory::RunDirectory;
pub use run_paths::{MANIFEST_FILE, RunPaths};
pub use shard::{ShardOrigin, ShardRecord, ShardState, ShardStore, ShardWriter};
pub use storage::{Fault, Storage};
pub use sweep_shard::{SweepShard, SweepShardRecord};
pub use table::{ROW_GROUP_ROWS, Row, TableReader, TableWriter, WrittenTable, read_table, write_table};
pub use unit::UnitId;
