//! Shards of a sweep: which units of a plan one of several processes does, and how far it has come.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Checksum, Storage, StoreError, write_json};

/// Shard `index` of `count`, counted from 0: the units whose number leaves `index` when divided by `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepShard {
    /// Which shard, from 0 to `count` − 1.
    index: u32,
    /// All shards.
    count: u32,
}

/// Shards of one sweep at most.
const MOST_SHARDS: u32 = 1_000_000;

impl SweepShard {
    /// The whole sweep in one.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Shard `index` (from 0) of `count`.
    ///
    /// # Errors
    /// [`StoreError::BadSweepShard`].
    pub fn new(index: u32, count: u32) -> Result<Self, StoreError> {
        if count == 0 || count > MOST_SHARDS || index >= count {
            return Err(StoreError::BadSweepShard {
                text: format!("{index}/{count}"),
            });
        }
        Ok(Self { index, count })
    }

    /// Which shard, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// All shards.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether the unit of this number belongs to the shard.
    pub fn has(self, unit: u32) -> bool {
        unit % self.count == self.index
    }

    /// Its name in files.
    fn name(self) -> String {
        format!("shard-{}-of-{}", self.index, self.count)
    }

    pub(crate) fn lock_name(self) -> String {
        format!("{}-{}", crate::lock::LOCK_FILE, self.name())
    }
}

impl fmt::Display for SweepShard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

impl FromStr for SweepShard {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let bad = || StoreError::BadSweepShard {
            text: text.to_string(),
        };
        let (index, count) = text.split_once('/').ok_or_else(bad)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        Self::new(number(index)?, number(count)?)
    }
}

/// How far the process of a shard has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepShardRecord {
    /// The shard.
    pub shard: SweepShard,
    /// Whether all its units are complete.
    pub complete: bool,
    /// Checksum of the plan, once there is one.
    pub plan_hash: Option<Checksum>,
    /// Instruction set that the numbers are computed with.
    pub instruction_set: String,
    /// Trials run, over all attempts.
    pub trials: u64,
    /// Tokens generated, over all attempts.
    pub tokens: u64,
    /// Time spent on them.
    pub seconds: f64,
}

impl SweepShardRecord {
    /// The record of a shard that begins now.
    pub fn begun(shard: SweepShard, instruction_set: &str) -> Self {
        Self {
            shard,
            complete: false,
            plan_hash: None,
            instruction_set: instruction_set.to_string(),
            trials: 0,
            tokens: 0,
            seconds: 0.0,
        }
    }

    /// Writes the record into the folder of the records, which is made if needed.
    ///
    /// # Errors
    /// Those of [`write_json`].
    pub fn write(&self, storage: &Storage, folder: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(folder).map_err(|cause| StoreError::from_write(folder, cause))?;
        write_json(storage, &record_path(folder, self.shard), self).map(|_| ())
    }

    /// All records of a folder, by shard; none if there is no folder.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::BadJson`].
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, StoreError> {
        let unreadable = |path: &Path, cause| StoreError::Io {
            action: "read",
            path: path.to_path_buf(),
            cause,
        };
        let entries = match fs::read_dir(folder) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|cause| unreadable(folder, cause))?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(|cause| unreadable(folder, cause))?.path();
            let is_record = path.extension().is_some_and(|extension| extension == "json")
                && path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("shard-"));
            if !is_record {
                continue;
            }
            let bytes = fs::read(&path).map_err(|cause| unreadable(&path, cause))?;
            let record: Self = serde_json::from_slice(&bytes).map_err(|cause| StoreError::BadJson {
                path: path.clone(),
                detail: cause.to_string(),
            })?;
            records.push(record);
        }
        records.sort_by_key(|record| record.shard);
        Ok(records)
    }
}

fn record_path(folder: &Path, shard: SweepShard) -> PathBuf {
    folder.join(format!("{}.json", shard.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_belongs_to_exactly_one_shard() {
        for count in 1..7 {
            for unit in 0..40 {
                let shards = (0..count).filter(|&index| SweepShard::new(index, count).unwrap().has(unit));
                assert_eq!(shards.count(), 1);
            }
        }
    }

    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!(
            "3/4".parse::<SweepShard>().unwrap(),
            SweepShard::new(3, 4).unwrap()
        );
        assert_eq!("0/1".parse::<SweepShard>().unwrap(), SweepShard::WHOLE);
        for text in [
            "4/4",
            "0/0",
            "1",
            "a/2",
            "1/-2",
            "1/2/3",
            "",
            "0/4294967296",
            "0/1000001",
        ] {
            let error = text.parse::<SweepShard>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("0/4"),
                "{error}"
            );
        }
    }

    #[test]
    fn records_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("shards");
        assert_eq!(SweepShardRecord::read_all(&records).unwrap(), []);
        let of = |index| SweepShardRecord::begun(SweepShard::new(index, 12).unwrap(), "x86-64-v3");
        for index in [11, 2] {
            of(index).write(&Storage::new(), &records).unwrap();
        }
        assert_eq!(SweepShardRecord::read_all(&records).unwrap(), [of(2), of(11)]);
        fs::write(records.join("shard-2-of-12.json"), "{").unwrap();
        assert!(matches!(
            SweepShardRecord::read_all(&records),
            Err(StoreError::BadJson { .. })
        ));
    }
}
