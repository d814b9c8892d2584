//! Checkpoints: everything that the following steps depend on, to the bit.
//!
//! `checkpoint/step-N/` holds one safetensors file per dictionary (weights, Adam's moments), `shuffle.bin` (the shuffle
//! buffer with its random numbers and the source's position), and `state.json` (counters, scales, checksums of the other
//! files) with its own checksum in `state.blake3`. `state.json` is written last: a folder without it is an unfinished checkpoint
//! and is removed. The last two are kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use glassbox_corpus::{ActivationOrigin, ActivationSource, CorpusError, ShuffleBuffer};
use glassbox_kernels::TrainingBackend;
use glassbox_store::{Storage, StoreError, hash_bytes, hash_file, to_json, write_bytes};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::error::{Result, TrainingError};
use crate::preparation::Preparation;
use crate::trained_dictionary::WrittenFormat;
use crate::training_step::TrainingStep;

pub(crate) const FORMAT: u32 = 3;
const STATE: &str = "state.json";
const STATE_CHECKSUM: &str = "state.blake3";
const SHUFFLE: &str = "shuffle.bin";
const KEPT: usize = 2;

/// What is saved of one dictionary besides its arrays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberState {
    pub name: String,
    pub counters: Counters,
    pub silent_for: Vec<u64>,
    pub preparation: Preparation,
    /// Best score on held-out tokens so far.
    pub best: Option<f64>,
    /// Why it was given up, if it was.
    pub failure: Option<String>,
}

/// What is saved of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunState {
    pub format: u32,
    pub step: u64,
    /// What made the activations: a run goes on with the same.
    pub origin: ActivationOrigin,
    /// The format of the dictionaries.
    pub written: WrittenFormat,
    pub members: Vec<MemberState>,
    /// BLAKE3 of the other files.
    pub checksums: BTreeMap<String, String>,
}

/// A checkpoint being written, or one that was found.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    folder: PathBuf,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> TrainingError + '_ {
    move |cause| TrainingError::Store(StoreError::from_write(path, cause))
}

fn unusable(path: &Path, problem: impl Into<String>) -> TrainingError {
    TrainingError::Checkpoint {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}

impl Checkpoint {
    /// Begins the checkpoint of a step.
    pub fn begin(run: &Path, step: u64) -> Result<Self> {
        let folder = run.join("checkpoint").join(format!("step-{step:010}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed(&folder))?;
        }
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Self { folder })
    }

    /// Writes one dictionary's arrays.
    pub fn write_member<B: TrainingBackend>(&self, name: &str, step: &TrainingStep<B>) -> Result<()> {
        let path = self.folder.join(format!("{name}.safetensors"));
        let mut arrays = Vec::new();
        for parameter in step.weights.all() {
            arrays.extend(parameter.state(&step.backend)?);
        }
        let mut views = Vec::new();
        for (name, values) in &arrays {
            let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
            views.push((
                name.clone(),
                view.map_err(|cause| unusable(&path, cause.to_string()))?,
            ));
        }
        safetensors::serialize_to_file(views, None, &path).map_err(|cause| match cause {
            SafeTensorError::IoError(cause) => failed(&path)(cause),
            other => unusable(&path, other.to_string()),
        })?;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(failed(&path))
    }

    /// Writes the shuffle buffer.
    pub fn write_buffer<S: ActivationSource>(&self, buffer: &ShuffleBuffer<S>) -> Result<()> {
        let path = self.folder.join(SHUFFLE);
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed(&path))?);
        buffer.save(&mut writer).map_err(|error| match error {
            CorpusError::BufferIo { cause, .. } => failed(&path)(cause),
            other => other.into(),
        })?;
        writer.flush().map_err(failed(&path))?;
        writer.get_ref().sync_all().map_err(failed(&path))
    }

    /// Completes the checkpoint and removes old ones.
    pub fn finish(self, run: &Path, mut state: RunState) -> Result<()> {
        let members = state.members.iter();
        let names = members.map(|member| format!("{}.safetensors", member.name));
        for name in names.chain([SHUFFLE.to_owned()]).collect::<Vec<_>>() {
            let checksum = hash_file(&self.folder.join(&name))?;
            state.checksums.insert(name, checksum.to_string());
        }
        let path = self.folder.join(STATE);
        let text = to_json(&state).map_err(|cause| unusable(&path, cause.to_string()))?;
        let storage = Storage::new();
        let checksum = hash_bytes(text.as_bytes()).to_string();
        write_bytes(&storage, &self.folder.join(STATE_CHECKSUM), checksum.as_bytes())?;
        write_bytes(&storage, &path, text.as_bytes())?;
        let mut complete = complete_checkpoints(run)?;
        while complete.len() > KEPT {
            let old = complete.remove(0);
            fs::remove_dir_all(&old).map_err(failed(&old))?;
        }
        Ok(())
    }

    /// The last complete checkpoint of a run, its files checked. Unfinished ones are removed.
    pub fn last(run: &Path) -> Result<Option<(Self, RunState)>> {
        let Some(folder) = complete_checkpoints(run)?.pop() else {
            return Ok(None);
        };
        let path = folder.join(STATE);
        let remedy = format!(
            "remove {} to continue from the checkpoint before it, or train anew",
            folder.display()
        );
        let bytes =
            fs::read(&path).map_err(|cause| unusable(&path, format!("cannot be read: {cause}; {remedy}")))?;
        let damaged =
            |cause: serde_json::Error| unusable(&path, format!("not a whole state: {cause}; {remedy}"));
        // The format first: another one has other keys, and the message should say so.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let found = format.map_or("of no".to_owned(), |format| format.to_string());
            let problem = format!(
                "checkpoint format {found}; this program reads {FORMAT}, so train anew in another folder"
            );
            return Err(unusable(&path, problem));
        }
        let expected = fs::read_to_string(folder.join(STATE_CHECKSUM)).unwrap_or_default();
        if hash_bytes(&bytes).to_string() != expected {
            return Err(unusable(
                &path,
                format!("its checksum is not the one in {STATE_CHECKSUM}; {remedy}"),
            ));
        }
        let state: RunState = serde_json::from_value(value).map_err(damaged)?;
        for (name, expected) in &state.checksums {
            let path = folder.join(name);
            let found = hash_file(&path)
                .map_err(|cause| unusable(&path, format!("{cause}; {remedy}")))?
                .to_string();
            if found != *expected {
                let problem =
                    format!("truncated or changed: its BLAKE3 is {found}, {expected} was written; {remedy}");
                return Err(unusable(&path, problem));
            }
        }
        Ok(Some((Self { folder }, state)))
    }

    /// Puts one dictionary's arrays and memory back.
    pub fn read_member<B: TrainingBackend>(
        &self,
        state: MemberState,
        step: &mut TrainingStep<B>,
    ) -> Result<()> {
        let path = self.folder.join(format!("{}.safetensors", state.name));
        let bytes = fs::read(&path).map_err(|cause| unusable(&path, cause.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|cause| unusable(&path, cause.to_string()))?;
        let mut of = |name: &str, len: usize| -> Result<Vec<f32>> {
            let tensor = tensors
                .tensor(name)
                .map_err(|cause| unusable(&path, cause.to_string()))?;
            let values: Vec<f32> = (tensor.data().as_chunks::<4>().0.iter())
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            if tensor.dtype() != Dtype::F32 || values.len() != len {
                let problem = format!("`{name}` holds {} values, the settings need {len}", values.len());
                return Err(unusable(&path, problem));
            }
            Ok(values)
        };
        for parameter in step.weights.all_mut() {
            parameter.restore(&step.backend, &mut of)?;
        }
        if state.silent_for.len() != step.shape.features {
            let problem = format!(
                "it has {} features, the settings {}",
                state.silent_for.len(),
                step.shape.features
            );
            return Err(unusable(&path, problem));
        }
        step.counters = state.counters;
        step.silent_for = state.silent_for;
        Ok(())
    }

    /// Puts the shuffle buffer and its source back.
    pub fn read_buffer<S: ActivationSource>(&self, buffer: &mut ShuffleBuffer<S>) -> Result<()> {
        let path = self.folder.join(SHUFFLE);
        let file = File::open(&path).map_err(|cause| unusable(&path, cause.to_string()))?;
        Ok(buffer.restore(&mut BufReader::with_capacity(1 << 20, file))?)
    }
}

/// Folders of complete checkpoints by rising step; removes the others.
fn complete_checkpoints(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("checkpoint");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut complete = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
        let path = entry.map_err(failed(&folder))?.path();
        if path.join(STATE).is_file() {
            complete.push(path);
        } else if path.is_dir() {
            fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
    }
    complete.sort();
    Ok(complete)
}
