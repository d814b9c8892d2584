//! The folder of a job.
//!
//! `job.json` (settings as resolved, what failed), `activations/`, `train/` (a training run with its `dictionaries/NAME`),
//! `evaluation/NAME.json`, `features/NAME/`, `checklist.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use glassbox_store::{FolderLock, Storage, write_json};
use glassbox_training::TRAINING_SETTINGS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{JobError, Result};
use crate::settings::JobSettings;
use crate::stage::Stage;

/// What was asked for, and what failed.
pub const JOB_FILE: &str = "job.json";
/// Each figure against its target.
pub const CHECKLIST_FILE: &str = "checklist.json";

/// Why a dictionary was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In which stage.
    pub stage: Stage,
    /// Why.
    pub why: String,
}

/// `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    glassbox_version: String,
    settings: Value,
    /// BLAKE3 of the model.
    model: String,
    failures: BTreeMap<String, Failure>,
    /// Seconds of each stage, all attempts together.
    seconds: BTreeMap<Stage, f64>,
}

/// The folder of a job, locked.
#[derive(Debug)]
pub struct JobFolder {
    path: PathBuf,
    record: Record,
    _lock: FolderLock,
}

impl JobFolder {
    /// Makes the folder, or with `resume` continues the one that is there.
    ///
    /// # Errors
    /// [`JobError::Folder`] where it holds another job or something else.
    pub fn open(path: &Path, settings: &JobSettings, model: &str, resume: bool) -> Result<Self> {
        let refuse = |what: String| JobError::Folder {
            folder: path.to_path_buf(),
            what,
        };
        let unwritable = |cause| refuse(format!("nothing that can be written: {cause}"));
        let file = path.join(JOB_FILE);
        let found = match fs::read_to_string(&file) {
            Ok(text) => Some(serde_json::from_str::<Record>(&text).map_err(|cause| {
                refuse(format!(
                    "a damaged {JOB_FILE} ({cause}); choose another folder for the job"
                ))
            })?),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(unwritable(cause)),
        };
        let empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        match &found {
            Some(_) if !resume && has_results(path, Stage::Extract) => {
                return Err(refuse(
                    "a job already; continue it with --resume, or choose another folder".to_owned(),
                ));
            }
            None if !empty => {
                return Err(refuse(
                    "other files and no job; choose an empty or a new folder".to_owned(),
                ));
            }
            _ => {}
        }
        fs::create_dir_all(path).map_err(unwritable)?;
        let lock = FolderLock::take(path)?;
        let mut record = Record {
            glassbox_version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: work_of(settings).map_err(|cause| refuse(cause.to_string()))?,
            model: model.to_owned(),
            failures: BTreeMap::new(),
            seconds: BTreeMap::new(),
        };
        if let Some(found) = found {
            let begun = |stage| has_results(path, stage);
            if found.model != record.model && begun(Stage::Extract) {
                let (was, is) = (&found.model, &record.model);
                return Err(refuse(format!(
                    "a job for the model {was}, this model is {is}; choose another folder"
                )));
            }
            let matters = |key: &str| {
                begun(match key {
                    "train" => Stage::Train,
                    "evaluate" => Stage::Evaluate,
                    "features" => Stage::Features,
                    // All of it is made of these.
                    _ => Stage::Extract,
                })
            };
            if let Some(key) = first_difference(&found.settings, &record.settings, matters) {
                return Err(refuse(format!(
                    "a job with another `{key}`; continue with the settings of the first run, or choose another folder"
                )));
            }
            let is_same = found.model == record.model
                && first_difference(&found.settings, &record.settings, |_| true).is_none();
            record.seconds = found.seconds;
            // What the data made impossible stays so; what failed later, or with other settings, is tried again.
            let kept = found.failures.into_iter();
            record.failures = kept
                .filter(|(_, failure)| is_same && failure.stage <= Stage::Train)
                .collect();
        }
        let folder = Self {
            path: path.to_path_buf(),
            record,
            _lock: lock,
        };
        folder.write()?;
        Ok(folder)
    }

    /// Where the activations are.
    pub fn activations(&self) -> PathBuf {
        self.path.join("activations")
    }

    /// Where the training run is.
    pub fn training(&self) -> PathBuf {
        self.path.join("train")
    }

    /// Where a dictionary is.
    pub fn dictionary(&self, name: &str) -> PathBuf {
        self.training().join("dictionaries").join(name)
    }

    /// The history of a dictionary's training.
    pub fn history(&self, name: &str) -> PathBuf {
        self.training().join("history").join(format!("{name}.jsonl"))
    }

    /// The evaluation of a dictionary.
    pub fn evaluation(&self, name: &str) -> PathBuf {
        self.path.join("evaluation").join(format!("{name}.json"))
    }

    /// What is known of a dictionary's features.
    pub fn features(&self, name: &str) -> PathBuf {
        self.path.join("features").join(name)
    }

    /// Why a dictionary was given up, if it was.
    pub fn failure(&self, name: &str) -> Option<&Failure> {
        self.record.failures.get(name)
    }

    /// Gives a dictionary up.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn give_up(&mut self, name: &str, stage: Stage, why: String) -> Result<()> {
        self.record
            .failures
            .insert(name.to_owned(), Failure { stage, why });
        self.write()
    }

    /// Notes how long a stage took.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn took(&mut self, stage: Stage, seconds: f64) -> Result<()> {
        *self.record.seconds.entry(stage).or_default() += seconds;
        self.write()
    }

    /// Seconds of the stages so far.
    pub fn seconds(&self) -> &BTreeMap<Stage, f64> {
        &self.record.seconds
    }

    /// Writes every figure against its target.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn write_checklist(&self, checklist: &impl Serialize) -> Result<()> {
        write_json(&Storage::new(), &self.path.join(CHECKLIST_FILE), checklist)?;
        Ok(())
    }

    fn write(&self) -> Result<()> {
        write_json(&Storage::new(), &self.path.join(JOB_FILE), &self.record)?;
        Ok(())
    }
}

/// What decides the files of a job. Targets and comparisons may change from one attempt to the next.
fn work_of(settings: &JobSettings) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(settings)?;
    if let Value::Object(object) = &mut value {
        object.remove("targets");
        object.remove("compare");
    }
    Ok(value)
}

/// Whether the folder holds anything that this stage or a later one has made. Where it does not, the settings of the stage may change:
/// a job that was refused for one of them goes on with the corrected file.
fn has_results(folder: &Path, stage: Stage) -> bool {
    let holds = |part: &str, wanted: fn(&str) -> bool| {
        fs::read_dir(folder.join(part)).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| wanted(&entry.file_name().to_string_lossy())))
        })
    };
    let any = |name: &str| !name.starts_with('.');
    Stage::ALL
        .into_iter()
        .filter(|later| *later >= stage)
        .any(|later| match later {
            Stage::Extract => holds("activations", |name| name.starts_with("shard-")),
            Stage::Train => folder.join("train").join(TRAINING_SETTINGS).exists(),
            Stage::Evaluate => holds("evaluation", any),
            Stage::Features => holds("features", any),
        })
}

/// The first key whose values differ, of those that matter.
fn first_difference<'a>(one: &'a Value, other: &'a Value, matters: impl Fn(&str) -> bool) -> Option<&'a str> {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        return (one != other).then_some("settings");
    };
    let keys = one.keys().chain(other.keys());
    keys.into_iter()
        .find(|key| one.get(*key) != other.get(*key) && matters(key))
        .map(String::as_str)
}
