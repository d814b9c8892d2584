//! `manifest.json`: what a run is made from, and how far it has come. Times and durations are kept here and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Checksum, Difference, Storage, StoreError, WrittenFile, write_json};

/// Version of the manifest's own layout.
pub const MANIFEST_FORMAT: u32 = 1;

/// The manifest of a run. Keys are written in the order of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// Version of the program.
    pub glassbox_version: String,
    /// Instruction set that the numbers are computed with, such as `x86-64-v4`.
    pub instruction_set: String,
    /// Instruction sets of other processors whose trials were merged in; empty unless a person allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_instruction_sets: Vec<String>,
    /// The config with every default filled in: everything in it that could change a result.
    pub config: Value,
    /// Settings that change no result, such as the number of threads or the memory budget; a resumed run may have others.
    pub execution: Value,
    /// Checksums of what the run reads: `model`, `tokenizer`, `parser`, `scenario`, and one for each dictionary.
    pub hashes: BTreeMap<String, Checksum>,
    /// Seeds by name.
    pub seeds: BTreeMap<String, u64>,
    /// Checksum of the plan, once there is one.
    pub plan_hash: Option<Checksum>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// Finished files by their path within the run directory.
    pub files: BTreeMap<String, FinalFile>,
    /// When the run was begun (UTC, RFC 3339).
    pub created_utc: String,
    /// When this manifest was last written (UTC, RFC 3339).
    pub updated_utc: String,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageStatus {
    /// Not begun.
    Pending,
    /// Begun and not finished; a run that was killed stays so until it is resumed.
    Running,
    /// Finished, with its files in place.
    Complete,
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name, such as `sweep`.
    pub name: String,
    /// How far it has come.
    pub status: StageStatus,
    /// Time it took.
    pub seconds: Option<f64>,
    /// Rows it made.
    pub rows: Option<u64>,
    /// Further figures by name, with the unit in the name, such as `tokens_per_second`.
    pub figures: BTreeMap<String, f64>,
    /// The finished files it made, as keys of [`Manifest::files`].
    pub files: Vec<String>,
}

/// A finished file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalFile {
    /// Number of rows, for tables.
    pub rows: Option<u64>,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of the content.
    pub checksum: Checksum,
}

impl FinalFile {
    pub(crate) fn new(rows: Option<u64>, file: &WrittenFile) -> Self {
        Self {
            rows,
            bytes: file.bytes,
            checksum: file.checksum,
        }
    }
}

impl Manifest {
    /// A manifest of a run that begins now, with the given stages pending; fill the other fields before it is written.
    pub fn new(glassbox_version: &str, instruction_set: &str, config: Value, stages: &[&str]) -> Self {
        let now = utc(SystemTime::now());
        let stages = stages.iter().map(|name| Stage {
            name: (*name).to_string(),
            status: StageStatus::Pending,
            seconds: None,
            rows: None,
            figures: BTreeMap::new(),
            files: Vec::new(),
        });
        Self {
            format: MANIFEST_FORMAT,
            glassbox_version: glassbox_version.to_string(),
            instruction_set: instruction_set.to_string(),
            other_instruction_sets: Vec::new(),
            config,
            execution: Value::Null,
            hashes: BTreeMap::new(),
            seeds: BTreeMap::new(),
            plan_hash: None,
            stages: stages.collect(),
            files: BTreeMap::new(),
            created_utc: now.clone(),
            updated_utc: now,
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`StoreError::Io`], and [`StoreError::BadJson`] with the place of what is wrong.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = fs::read(path).map_err(|cause| StoreError::Io {
            action: "read",
            path: path.to_path_buf(),
            cause,
        })?;
        let bad = |detail: String| StoreError::BadJson {
            path: path.to_path_buf(),
            detail,
        };
        // The format first: a later one may have other keys, and the message should say so.
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))?;
        let format = value.get("format").and_then(Value::as_u64);
        if format != Some(u64::from(MANIFEST_FORMAT)) {
            let found = value.get("format").map_or("none".to_string(), Value::to_string);
            return Err(bad(format!(
                "this program reads manifests of format {MANIFEST_FORMAT}, here it is {found}"
            )));
        }
        serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))
    }

    /// Writes the manifest whole, with the time of now.
    ///
    /// # Errors
    /// Those of [`write_json`].
    pub fn write(&mut self, storage: &Storage, path: &Path) -> Result<(), StoreError> {
        self.updated_utc = utc(SystemTime::now());
        write_json(storage, path, self).map(|_| ())
    }

    /// The stage of this name.
    ///
    /// # Errors
    /// [`StoreError::NoStage`] with the names there are.
    pub fn stage(&self, name: &str) -> Result<&Stage, StoreError> {
        self.stages
            .iter()
            .find(|stage| stage.name == name)
            .ok_or_else(|| self.no_stage(name))
    }

    /// The stage of this name, to be changed.
    ///
    /// # Errors
    /// [`StoreError::NoStage`] with the names there are.
    pub fn stage_mut(&mut self, name: &str) -> Result<&mut Stage, StoreError> {
        let error = self.no_stage(name);
        self.stages
            .iter_mut()
            .find(|stage| stage.name == name)
            .ok_or(error)
    }

    fn no_stage(&self, name: &str) -> StoreError {
        let stages = self.stages.iter().map(|stage| stage.name.clone()).collect();
        StoreError::NoStage {
            stage: name.to_string(),
            stages,
        }
    }

    /// Checks that this stored run can be continued with what is asked for now: same program version, instruction set, config, hashes and
    /// seeds, and the same plan if both have one. `run` is the folder, for the message.
    ///
    /// # Errors
    /// [`StoreError::Incompatible`] with every key that differs and both values.
    pub fn ensure_compatible(&self, requested: &Self, run: &Path) -> Result<(), StoreError> {
        let mut stored = self.result_keys()?;
        let mut now = requested.result_keys()?;
        if self.plan_hash.is_none() || requested.plan_hash.is_none() {
            stored.remove("plan_hash");
            now.remove("plan_hash");
        }
        let text = |value: Option<&Value>| value.map_or("(absent)".to_string(), Value::to_string);
        let keys: std::collections::BTreeSet<&String> = stored.keys().chain(now.keys()).collect();
        let differences: Vec<_> = keys
            .into_iter()
            .filter(|key| stored.get(*key) != now.get(*key))
            .map(|key| Difference {
                key: key.clone(),
                stored: text(stored.get(key)),
                requested: text(now.get(key)),
            })
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(StoreError::Incompatible {
            path: run.to_path_buf(),
            differences,
        })
    }

    /// Every key that bears on results, with its value.
    fn result_keys(&self) -> Result<BTreeMap<String, Value>, StoreError> {
        let value = serde_json::to_value(self).map_err(|cause| StoreError::BadJson {
            path: "manifest.json".into(),
            detail: cause.to_string(),
        })?;
        let mut keys = BTreeMap::new();
        for part in [
            "glassbox_version",
            "instruction_set",
            "config",
            "hashes",
            "seeds",
            "plan_hash",
        ] {
            if let Some(value) = value.get(part) {
                flatten(part, value, &mut keys);
            }
        }
        Ok(keys)
    }
}

fn flatten(key: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            entries
                .iter()
                .for_each(|(name, value)| flatten(&format!("{key}.{name}"), value, keys));
        }
        other => {
            keys.insert(key.to_string(), other.clone());
        }
    }
}

/// A time as RFC 3339 in UTC, to the second. Times before 1970 count as 1970.
fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs());
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::hash_bytes;

    fn manifest() -> Manifest {
        let config = json!({"sweep": {"trials": 20, "temperature": 0.7}, "layers": [0, 1, 2]});
        let mut manifest = Manifest::new("0.1.0", "x86-64-v3", config, &["select", "sweep"]);
        manifest.hashes.insert("model".into(), hash_bytes(b"model"));
        manifest.seeds.insert("run".into(), u64::MAX);
        manifest
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let mut manifest = manifest();
        // Numbers that a sloppy reader would change in the last digit.
        manifest.config["sweep"]["threshold"] = json!(0.123_456_789_012_345_67_f64);
        manifest
            .stage_mut("sweep")
            .unwrap()
            .figures
            .insert("tokens_per_second".into(), 71_235.118_273_645_18);
        manifest.write(&Storage::new(), &path).unwrap();
        let first = fs::read(&path).unwrap();
        let mut read = Manifest::read(&path).unwrap();
        assert_eq!(read, manifest);
        read.write(&Storage::new(), &path).unwrap();
        let again = Manifest {
            updated_utc: manifest.updated_utc.clone(),
            ..Manifest::read(&path).unwrap()
        };
        assert_eq!(again, manifest);
        let text = String::from_utf8(first).unwrap();
        let places: Vec<_> = [
            "\"format\"",
            "\"config\"",
            "\"sweep\"",
            "\"layers\"",
            "\"hashes\"",
            "\"created_utc\"",
        ]
        .iter()
        .map(|key| text.find(key).unwrap())
        .collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn damaged_manifests_and_other_formats_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let mut manifest = manifest();
        manifest.write(&Storage::new(), &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (bad, expected) in [
            (text[..text.len() / 2].to_string(), "EOF"),
            (
                text.replace("\"format\": 1", "\"format\": 2"),
                "format 1, here it is 2",
            ),
            (text.replace("\"seeds\"", "\"sedes\""), "unknown field `sedes`"),
            ("[]".to_string(), "here it is none"),
        ] {
            fs::write(&path, bad).unwrap();
            let error = Manifest::read(&path).unwrap_err().to_string();
            assert!(
                error.contains("manifest.json") && error.contains(expected),
                "{error}"
            );
        }
        manifest.stages[0].seconds = Some(f64::NAN);
        let error = manifest.write(&Storage::new(), &path).unwrap_err().to_string();
        assert!(error.contains("`stages[0].seconds` is NaN"), "{error}");
    }

    #[test]
    fn every_difference_is_listed_with_both_values() {
        let stored = manifest();
        let mut now = manifest();
        now.execution = json!({"threads": 8});
        now.plan_hash = Some(hash_bytes(b"plan"));
        stored.ensure_compatible(&now, Path::new("run")).unwrap();

        now.config["sweep"]["trials"] = json!(30);
        now.config["layers"] = json!([0, 1]);
        now.config["sweep"]["stop"] = json!("Stop");
        now.hashes.insert("model".into(), hash_bytes(b"another"));
        now.instruction_set = "x86-64-v4".into();
        let error = stored.ensure_compatible(&now, Path::new("run")).unwrap_err();
        let StoreError::Incompatible { differences, .. } = &error else {
            panic!("{error}")
        };
        let keys: Vec<_> = differences
            .iter()
            .map(|difference| difference.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "config.layers",
                "config.sweep.stop",
                "config.sweep.trials",
                "hashes.model",
                "instruction_set"
            ]
        );
        let message = error.to_string();
        assert!(
            message.contains("config.sweep.trials: stored 20, now 30"),
            "{message}"
        );
        assert!(
            message.contains("config.sweep.stop: stored (absent), now \"Stop\""),
            "{message}"
        );

        let mut planned = manifest();
        planned.plan_hash = Some(hash_bytes(b"other plan"));
        let mut now = manifest();
        now.plan_hash = Some(hash_bytes(b"plan"));
        assert!(planned.ensure_compatible(&now, Path::new("run")).is_err());
        assert!(matches!(stored.stage("words"), Err(StoreError::NoStage { .. })));
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
