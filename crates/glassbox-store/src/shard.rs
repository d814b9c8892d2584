//! Units of work: each leaves one shard of a table, and counts only with a record that matches the file.
//!
//! `trials/unit-000007.parquet` holds the rows of unit 7, `trials/unit-000007.json` says that they are complete, with their number, their
//! checksum, and the plan, program and instruction set they come from. The record is written last, so a unit without a valid record has
//! simply not been done.

use std::collections::BTreeMap;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::sync_folder;
use crate::hash::file_mismatch;
use crate::{
    Checksum, Row, Storage, StoreError, TableWriter, UnitId, assemble, hash_bytes, read_table, write_bytes,
    write_json,
};

/// Where results come from. Shards that differ in any of this are never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardOrigin {
    /// Checksum of the plan.
    pub plan_hash: Checksum,
    /// Version of the program.
    pub glassbox_version: String,
    /// Instruction set that the numbers were computed with, such as `x86-64-v4`.
    pub instruction_set: String,
}

impl ShardOrigin {
    /// The first property that differs: its name, the value here, and the value there.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        [
            (
                "plan hash",
                self.plan_hash.to_string(),
                other.plan_hash.to_string(),
            ),
            (
                "glassbox version",
                self.glassbox_version.clone(),
                other.glassbox_version.clone(),
            ),
            (
                "instruction set",
                self.instruction_set.clone(),
                other.instruction_set.clone(),
            ),
        ]
        .into_iter()
        .find(|(_, here, there)| here != there)
    }
}

/// The completion record of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRecord {
    /// The unit.
    pub unit: UnitId,
    /// Name of the table.
    pub table: String,
    /// Version of the table's schema.
    pub schema_version: u32,
    /// Number of rows.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub checksum: Checksum,
    /// Where the rows come from.
    pub origin: ShardOrigin,
}

/// What is known about the shard of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Not done, or not finished.
    Missing,
    /// Done, and the file matches the record.
    Complete(ShardRecord),
    /// The file does not match its record, or the record cannot be read; the unit is to be done again.
    Damaged {
        /// What differs.
        reason: String,
    },
    /// Done by another run; neither used nor overwritten.
    Foreign {
        /// Which property differs.
        key: &'static str,
        /// Value of this run.
        expected: String,
        /// Value of the shard.
        found: String,
    },
}

/// The folder of a table's shards.
#[derive(Debug)]
pub struct ShardStore<R: Row> {
    storage: Storage,
    folder: PathBuf,
    origin: ShardOrigin,
    /// Further instruction sets whose shards are accepted.
    also: Vec<String>,
    states: BTreeMap<UnitId, ShardState>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> ShardStore<R> {
    /// Opens the folder, makes it if needed, and checks every shard in it against its record (each file is read once).
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] and [`StoreError::Io`]. A damaged shard is no error here: see [`ShardStore::damaged`].
    pub fn open(storage: &Storage, folder: &Path, origin: ShardOrigin) -> Result<Self, StoreError> {
        Self::open_accepting(storage, folder, origin, &[])
    }

    /// As [`ShardStore::open`]; shards that were computed with one of `instruction_sets` count as this run's own too.
    ///
    /// # Errors
    /// As [`ShardStore::open`].
    pub fn open_accepting(
        storage: &Storage,
        folder: &Path,
        origin: ShardOrigin,
        instruction_sets: &[String],
    ) -> Result<Self, StoreError> {
        if !folder.is_dir() {
            let failed = |cause| StoreError::from_write(folder, cause);
            fs::create_dir_all(folder).map_err(failed)?;
            sync_folder(
                folder
                    .parent()
                    .filter(|parent| parent.is_dir())
                    .unwrap_or(Path::new(".")),
            )
            .map_err(failed)?;
        }
        let mut store = Self {
            storage: storage.clone(),
            folder: folder.to_path_buf(),
            origin,
            also: instruction_sets.to_vec(),
            states: BTreeMap::new(),
            row: PhantomData,
        };
        store.verify()?;
        Ok(store)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the shards written here come from.
    pub fn origin(&self) -> &ShardOrigin {
        &self.origin
    }

    pub(crate) fn states(&self) -> &BTreeMap<UnitId, ShardState> {
        &self.states
    }

    /// The state of a unit, as of the opening, the last [`ShardStore::verify`], or its completion.
    pub fn state(&self, unit: &UnitId) -> &ShardState {
        self.states.get(unit).unwrap_or(&ShardState::Missing)
    }

    /// Whether the unit is done and need not be done again.
    pub fn is_complete(&self, unit: &UnitId) -> bool {
        matches!(self.state(unit), ShardState::Complete(_))
    }

    /// The units whose shard does not match its record, with the reason; a resumed run tells the user and does them again.
    pub fn damaged(&self) -> Vec<(UnitId, StoreError)> {
        let error = |(unit, state): (&UnitId, &ShardState)| match state {
            ShardState::Damaged { reason } => Some((unit.clone(), self.damage(unit, reason))),
            _ => None,
        };
        self.states.iter().filter_map(error).collect()
    }

    fn damage(&self, unit: &UnitId, reason: &str) -> StoreError {
        StoreError::Damaged {
            path: shard_path(&self.folder, unit),
            reason: reason.to_string(),
        }
    }

    /// Reads every shard again, compares it with its record, and returns the damaged ones.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder or a file in it cannot be read.
    pub fn verify(&mut self) -> Result<Vec<(UnitId, StoreError)>, StoreError> {
        self.states = scan::<R>(&self.folder)?
            .into_iter()
            .map(|(unit, state)| {
                let state = match state {
                    ShardState::Complete(record) => match self.origin.difference(&record.origin) {
                        // The instruction set is looked at last: nothing else differs.
                        Some(("instruction set", _, found)) if self.also.contains(&found) => {
                            ShardState::Complete(record)
                        }
                        Some((key, expected, found)) => ShardState::Foreign { key, expected, found },
                        None => ShardState::Complete(record),
                    },
                    other => other,
                };
                (unit, state)
            })
            .collect();
        Ok(self.damaged())
    }

    /// Starts the shard of a unit that is missing or damaged.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] if it is complete, [`StoreError::MixedOrigin`] if another run did it, and those of
    /// [`TableWriter::create`].
    pub fn begin(&self, unit: &UnitId) -> Result<ShardWriter<R>, StoreError> {
        let path = shard_path(&self.folder, unit);
        match self.state(unit) {
            ShardState::Missing | ShardState::Damaged { .. } => {}
            ShardState::Complete(_) => {
                return Err(StoreError::Duplicate {
                    unit: unit.to_string(),
                    first: path.display().to_string(),
                    second: "the rows to be written now".to_string(),
                });
            }
            ShardState::Foreign { key, expected, found } => {
                return Err(StoreError::MixedOrigin {
                    path,
                    key,
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
        }
        Ok(ShardWriter {
            unit: unit.clone(),
            writer: TableWriter::create(&self.storage, &path)?,
        })
    }

    /// Finishes a shard: the file first, then its record. From then on the unit is complete.
    ///
    /// # Errors
    /// Those of [`TableWriter::finish`] and [`write_json`]; the unit is not complete then.
    pub fn complete(&mut self, shard: ShardWriter<R>) -> Result<ShardRecord, StoreError> {
        let unit = shard.unit;
        let written = shard.writer.finish()?;
        let record = ShardRecord {
            unit: unit.clone(),
            table: R::TABLE.to_string(),
            schema_version: R::VERSION,
            rows: written.rows,
            bytes: written.file.bytes,
            checksum: written.file.checksum,
            origin: self.origin.clone(),
        };
        write_json(&self.storage, &record_path(&self.folder, &unit), &record)?;
        self.states.insert(unit, ShardState::Complete(record.clone()));
        Ok(record)
    }

    /// Writes the whole shard of a unit.
    ///
    /// # Errors
    /// Those of [`ShardStore::begin`], [`ShardWriter::push`] and [`ShardStore::complete`].
    pub fn write(
        &mut self,
        unit: &UnitId,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<ShardRecord, StoreError> {
        let mut shard = self.begin(unit)?;
        for row in rows {
            shard.push(row)?;
        }
        self.complete(shard)
    }

    /// Takes over the shard of a unit that another folder has complete: the same bytes, and the same record, whatever processor
    /// it comes from. A unit that is complete here stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Gap`] if it is not complete there, [`StoreError::Damaged`] if it changed since that folder was opened, and
    /// those of a failed write.
    pub fn adopt(&mut self, unit: &UnitId, from: &Self) -> Result<u64, StoreError> {
        if self.is_complete(unit) {
            return Ok(0);
        }
        let ShardState::Complete(record) = from.state(unit) else {
            return Err(StoreError::Gap {
                folder: from.folder.clone(),
                missing: 1,
                planned: 1,
                first: vec![unit.to_string()],
            });
        };
        let path = shard_path(&from.folder, unit);
        let bytes = fs::read(&path).map_err(|cause| StoreError::Io {
            action: "read",
            path: path.clone(),
            cause,
        })?;
        if hash_bytes(&bytes) != record.checksum {
            return Err(from.damage(unit, "it changed while it was read"));
        }
        write_bytes(&self.storage, &shard_path(&self.folder, unit), &bytes)?;
        write_json(&self.storage, &record_path(&self.folder, unit), record)?;
        self.states
            .insert(unit.clone(), ShardState::Complete(record.clone()));
        Ok(record.bytes)
    }

    /// All rows in the order of the plan. For tables that may not fit into memory, use [`assemble`].
    ///
    /// # Errors
    /// As [`assemble`] and its items.
    pub fn assemble(&self, plan: &[UnitId]) -> Result<Vec<R>, StoreError> {
        let mut rows = Vec::new();
        for shard in assemble(&[self], plan)? {
            rows.extend(shard?);
        }
        Ok(rows)
    }
}

/// A shard being written; see [`ShardStore::begin`]. Dropped before [`ShardStore::complete`], it leaves nothing.
pub struct ShardWriter<R: Row> {
    unit: UnitId,
    writer: TableWriter<R>,
}

impl<R: Row> ShardWriter<R> {
    /// Adds a row.
    ///
    /// # Errors
    /// Those of [`TableWriter::push`].
    pub fn push(&mut self, row: R) -> Result<(), StoreError> {
        self.writer.push(row)
    }
}

pub(crate) fn read_shard<R: Row>(path: &Path, record: &ShardRecord) -> Result<Vec<R>, StoreError> {
    let damaged = |reason| StoreError::Damaged {
        path: path.to_path_buf(),
        reason,
    };
    if let Some(reason) = file_mismatch(path, record.bytes, record.checksum)? {
        return Err(damaged(reason));
    }
    let rows = read_table::<R>(path)?;
    if rows.len() as u64 != record.rows {
        return Err(damaged(format!(
            "it has {} rows, its record says {}",
            rows.len(),
            record.rows
        )));
    }
    Ok(rows)
}

/// The states of all units that have a record in the folder.
pub(crate) fn scan<R: Row>(folder: &Path) -> Result<BTreeMap<UnitId, ShardState>, StoreError> {
    let unreadable = |cause| StoreError::Io {
        action: "read the folder",
        path: folder.to_path_buf(),
        cause,
    };
    let mut states = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        // Other files in the folder are not ours.
        let Ok(unit) = UnitId::new(&stem) else { continue };
        let state = check::<R>(folder, &unit, &path)?;
        states.insert(unit, state);
    }
    Ok(states)
}

fn check<R: Row>(folder: &Path, unit: &UnitId, record_path: &Path) -> Result<ShardState, StoreError> {
    let bytes = fs::read(record_path).map_err(|cause| StoreError::Io {
        action: "read",
        path: record_path.to_path_buf(),
        cause,
    })?;
    let damaged = |reason| Ok(ShardState::Damaged { reason });
    let record: ShardRecord = match serde_json::from_slice(&bytes) {
        Ok(record) => record,
        Err(cause) => return damaged(format!("its record cannot be read: {cause}")),
    };
    if record.unit != *unit {
        return damaged(format!("its record is that of unit `{}`", record.unit));
    }
    if record.table != R::TABLE {
        return damaged(format!(
            "its record is that of table `{}`, not `{}`",
            record.table,
            R::TABLE
        ));
    }
    if record.schema_version != R::VERSION {
        let (expected, found) = (R::VERSION.to_string(), record.schema_version.to_string());
        return Ok(ShardState::Foreign {
            key: "schema version",
            expected,
            found,
        });
    }
    match file_mismatch(&shard_path(folder, unit), record.bytes, record.checksum)? {
        Some(reason) => damaged(reason),
        None => Ok(ShardState::Complete(record)),
    }
}

pub(crate) fn shard_path(folder: &Path, unit: &UnitId) -> PathBuf {
    folder.join(format!("{unit}.parquet"))
}

fn record_path(folder: &Path, unit: &UnitId) -> PathBuf {
    folder.join(format!("{unit}.json"))
}
