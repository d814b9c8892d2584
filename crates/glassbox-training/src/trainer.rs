//! A whole run: several dictionaries from one stream of shuffled activations.
//!
//! The folder of a run holds `settings.json`, `checkpoint/`, `history/NAME.jsonl`, the finished dictionaries in
//! `dictionaries/NAME`, and in `best/NAME` each as it was when its held-out loss was lowest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use glassbox_corpus::{
    ActivationOrigin, ActivationSource, ShuffleBuffer, ShuffleSettings, SourceSite, Split,
};
use glassbox_dictionary::{ModelReference, TrainingRecord};
use glassbox_kernels::TrainingBackend;
use glassbox_store::{FolderLock, Storage, StoreError, available_memory, write_json};
use serde::Serialize;
use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, FORMAT, RunState};
use crate::error::{Result, TrainingError};
use crate::history::{self, HistoryLine};
use crate::member::Member;
use crate::preparation::mean_and_deviation;
use crate::settings::TrainSettings;
use crate::survey::first_rows;
use crate::trained_dictionary::WrittenFormat;
use crate::{HeldOutFigures, StepReport};

/// Where a run is kept, and what its dictionaries are told about their model.
#[derive(Clone, Debug)]
pub struct TrainerFiles {
    /// The run's folder.
    pub folder: PathBuf,
    /// Format of the dictionaries.
    pub format: WrittenFormat,
    /// The model that the activations come from; its hash is taken from the activations where it is not known here.
    pub model: ModelReference,
}

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Steps made.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Tokens per second since the run was begun or continued: reading, mixing and every dictionary's step.
    pub tokens_per_second: f64,
    /// Each dictionary's name and its last step; `None` for one that was given up.
    pub dictionaries: Vec<(&'a str, usize, Option<StepReport>)>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all steps were made; otherwise the run can be resumed.
    pub finished: bool,
    /// Steps made.
    pub step: u64,
    /// The dictionaries, in the order of the settings.
    pub dictionaries: Vec<OutcomeOfDictionary>,
}

/// What became of one dictionary.
#[derive(Clone, Debug)]
pub struct OutcomeOfDictionary {
    /// Its name.
    pub name: String,
    /// Its folder, once the run is finished.
    pub folder: Option<PathBuf>,
    /// What was measured.
    pub record: Option<TrainingRecord>,
    /// Why it was given up, if it was.
    pub failure: Option<String>,
}

/// A run in progress.
#[derive(Debug)]
pub struct Trainer<B: TrainingBackend, S> {
    backend: B,
    settings: TrainSettings,
    files: TrainerFiles,
    origin: ActivationOrigin,
    buffer: ShuffleBuffer<S>,
    members: Vec<Member<B>>,
    held_out: Vec<Vec<f32>>,
    step: u64,
    _lock: FolderLock,
}

/// The file of a run's folder that holds its settings as resolved.
pub const TRAINING_SETTINGS: &str = "settings.json";

impl<B: TrainingBackend, S: ActivationSource> Trainer<B, S> {
    /// Begins a run, or with `resume` continues the one in the folder (or begins it, where there is none). Rows of the
    /// training split come from `source`, those to measure on from `held_out`, which has the same sites; the two may read the
    /// same data, each at its own place.
    ///
    /// # Errors
    /// [`TrainingError::Setting`], [`TrainingError::NoSite`], [`TrainingError::NoVariance`], [`TrainingError::TooFewTokens`];
    /// [`TrainingError::Folder`] where the folder holds a run and `resume` is not set, or one with other settings;
    /// [`TrainingError::Checkpoint`]; those of the source.
    pub fn new(
        backend: &B,
        mut source: S,
        held_out: &mut dyn ActivationSource,
        mut settings: TrainSettings,
        files: TrainerFiles,
        resume: bool,
    ) -> Result<Self> {
        settings.check()?;
        settings.batch = Some(settings.batch());
        let sites = source.sites().to_vec();
        check_sites(&settings, &sites)?;
        check_memory(&settings, &sites)?;
        let begun = check_folder(&files.folder, &settings, resume)?;
        let lock = FolderLock::take(&files.folder)?;
        let origin = source.origin();
        check_sites(&settings, held_out.sites())?;
        let (survey, found) = first_rows(&mut source, Split::Train, settings.survey_tokens)?;
        let (held_out, held_out_found) = first_rows(held_out, Split::HeldOut, settings.held_out_tokens)?;
        if found < 2 || held_out_found < 2 {
            return Err(TrainingError::TooFewTokens {
                found: found as u64,
                held_out: held_out_found as u64,
            });
        }
        for (rows, site) in held_out.iter().zip(&sites) {
            if mean_and_deviation(rows, site.width).1 <= 0.0 && is_used(&settings, site) {
                return Err(TrainingError::NoVariance {
                    site: site.site.to_string(),
                    tokens: held_out_found as u64,
                });
            }
        }
        let mut members = Vec::new();
        for dictionary in &settings.dictionaries {
            members.push(Member::new(backend, dictionary, &settings, &sites, &survey)?);
        }
        let shuffle = ShuffleSettings {
            capacity: settings.shuffle,
            seed: settings.seed,
            split: Split::Train,
            passes: None,
        };
        let buffer = ShuffleBuffer::new(source, shuffle)?;
        if !begun {
            write_json(&Storage::new(), &files.folder.join(TRAINING_SETTINGS), &settings)?;
        }
        for part in ["history", "dictionaries", "best"] {
            let folder = files.folder.join(part);
            fs::create_dir_all(&folder)
                .map_err(|cause| TrainingError::Store(StoreError::from_write(&folder, cause)))?;
        }
        let mut trainer = Self {
            backend: backend.clone(),
            buffer,
            held_out,
            files,
            origin,
            members,
            step: 0,
            settings,
            _lock: lock,
        };
        trainer.restore()?;
        Ok(trainer)
    }

    /// Tokens of a step.
    fn batch(&self) -> usize {
        self.settings.batch()
    }

    /// Steps made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Continues from the last checkpoint, if there is one.
    fn restore(&mut self) -> Result<()> {
        let folder = &self.files.folder;
        let found = Checkpoint::last(folder)?;
        let step = found.as_ref().map_or(0, |(_, state)| state.step);
        if let Some((checkpoint, state)) = found {
            if (&state.origin, state.written) != (&self.origin, self.files.format) {
                return Err(TrainingError::Folder {
                    path: folder.clone(),
                    problem: format!(
                        "holds a run on other activations or in another format ({}); resume with what it began with, or choose \
                         another folder",
                        differences(
                            &json!({ "activations": state.origin, "format": state.written.name() }),
                            &json!({ "activations": self.origin, "format": self.files.format.name() })
                        )
                    ),
                });
            }
            for (member, state) in self.members.iter_mut().zip(state.members) {
                member.restore(&checkpoint, state)?;
            }
            checkpoint.read_buffer(&mut self.buffer)?;
        }
        for member in &self.members {
            history::keep_until(&member.history(folder), step)?;
        }
        self.step = step;
        Ok(())
    }

    /// Makes the steps that are left. `watch` sees every step and says whether to go on; when it does not, a checkpoint is
    /// written and the run can be resumed. A dictionary that diverges is given up, the others go on.
    ///
    /// # Errors
    /// Those of the source and of writing; [`TrainingError::Diverged`] when the last dictionary was given up.
    pub fn run(&mut self, watch: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Outcome> {
        let steps = self.settings.steps();
        let (started, first) = (Instant::now(), self.step);
        let mut rows = vec![Vec::new(); self.buffer.sites().len()];
        while self.step < steps {
            let n = self.buffer.next_batch(self.batch(), &mut rows)?;
            let mut last = None;
            for member in &mut self.members {
                match member.make_step(&rows, n) {
                    Err(error @ TrainingError::Diverged { .. }) => last = Some(error),
                    other => other?,
                }
            }
            if let Some(error) = last.filter(|_| self.members.iter().all(|member| member.failure.is_some())) {
                return Err(error);
            }
            self.step += 1;
            self.note(steps)?;
            let made = (self.step - first) * self.batch() as u64;
            let progress = Progress {
                step: self.step,
                steps,
                tokens: self.step * self.batch() as u64,
                tokens_per_second: made as f64 / started.elapsed().as_secs_f64().max(1e-9),
                dictionaries: self.members.iter().map(Member::progress).collect(),
            };
            let go_on = watch(&progress);
            if self.step < steps && !go_on {
                self.save()?;
                return Ok(self.outcome(false));
            }
        }
        self.finish()?;
        Ok(self.outcome(true))
    }

    /// History, held-out figures and checkpoints, where this step has them.
    fn note(&mut self, steps: u64) -> Result<()> {
        let every = |step: u64, every: u64| every > 0 && step.is_multiple_of(every);
        let last = self.step == steps;
        let evaluated = last || every(self.step, self.settings.evaluate_every);
        if evaluated {
            self.evaluate()?;
        }
        if evaluated || every(self.step, self.settings.history_every) {
            for member in &self.members {
                let Some(report) = member.last else { continue };
                let line = HistoryLine {
                    step: self.step,
                    tokens: self.step * self.batch() as u64,
                    loss: report.loss,
                    explained_variance: 1.0 - report.squared_error,
                    l0: report.l0,
                    l1: report.l1,
                    dead_share: report.dead as f64 / member.features() as f64,
                    auxiliary_loss: report.auxiliary_loss,
                    gradient_norm: report.gradient_norm,
                    learning_rate: report.learning_rate,
                    held_out: member.figures.filter(|_| evaluated),
                };
                history::append(&member.history(&self.files.folder), &line)?;
            }
        }
        if !last && every(self.step, self.settings.checkpoint_every) {
            self.save()?;
        }
        Ok(())
    }

    /// Measures every dictionary on the held-out rows, and writes those that are better than before.
    fn evaluate(&mut self) -> Result<()> {
        for i in 0..self.members.len() {
            let member = &mut self.members[i];
            if member.failure.is_some() {
                continue;
            }
            let trained = member.trained(&model_of(&self.files, &self.origin))?;
            let (x, y) = member.rows(&self.held_out);
            let figures = HeldOutFigures::measure(&trained.on(&self.backend)?, x, y)?;
            member.figures = Some(figures);
            let score = member.score(&figures);
            if member.best.is_none_or(|best| score < best) {
                member.best = Some(score);
                let folder = self.files.folder.join("best").join(&member.name);
                let record = self.record(&self.members[i]);
                let settings = self.settings_of(i);
                trained.write(
                    &self.backend,
                    &folder,
                    self.files.format,
                    record.as_ref(),
                    &settings,
                )?;
            }
        }
        Ok(())
    }

    fn settings_of(&self, i: usize) -> serde_json::Value {
        json!({
            "dictionary": self.settings.dictionaries[i],
            "tokens": self.settings.tokens,
            "batch": self.batch(),
            "shuffle": self.settings.shuffle,
            "seed": self.settings.seed,
        })
    }

    fn record(&self, member: &Member<B>) -> Option<TrainingRecord> {
        let figures = member.figures?;
        Some(TrainingRecord {
            site: member.sites.0.to_string(),
            output_site: member.sites.1.to_string(),
            tokens: self.step * self.batch() as u64,
            held_out_tokens: figures.tokens,
            explained_variance: figures.explained_variance,
            mean_squared_error: figures.mean_squared_error,
            mean_squared_deviation: figures.mean_squared_deviation,
            mean_norm: figures.mean_norm,
            l0: figures.l0,
            silent_share: figures.silent_share,
            dead_share: member.dead_share(),
            rows: (self.origin.rows.as_ref()).and_then(|rows| serde_json::to_value(rows).ok()),
        })
    }

    /// Writes a checkpoint of the present step.
    fn save(&self) -> Result<()> {
        let checkpoint = Checkpoint::begin(&self.files.folder, self.step)?;
        for member in &self.members {
            member.save(&checkpoint)?;
        }
        checkpoint.write_buffer(&self.buffer)?;
        let states = self.members.iter().map(Member::state).collect();
        checkpoint.finish(
            &self.files.folder,
            RunState {
                format: FORMAT,
                step: self.step,
                origin: self.origin.clone(),
                written: self.files.format,
                members: states,
                checksums: Default::default(),
            },
        )
    }

    /// Writes the finished dictionaries, and a last checkpoint.
    fn finish(&mut self) -> Result<()> {
        if self
            .members
            .iter()
            .any(|member| member.figures.is_none() && member.failure.is_none())
        {
            // A run that is continued after its last step.
            self.evaluate()?;
        }
        for (i, member) in self.members.iter().enumerate() {
            if member.failure.is_some() {
                continue;
            }
            let trained = member.trained(&model_of(&self.files, &self.origin))?;
            let folder = self.dictionary_folder(member);
            let record = self.record(member);
            trained.write(
                &self.backend,
                &folder,
                self.files.format,
                record.as_ref(),
                &self.settings_of(i),
            )?;
        }
        self.save()
    }

    fn dictionary_folder(&self, member: &Member<B>) -> PathBuf {
        self.files.folder.join("dictionaries").join(&member.name)
    }

    fn outcome(&self, finished: bool) -> Outcome {
        let of = |member: &Member<B>| OutcomeOfDictionary {
            name: member.name.clone(),
            folder: (finished && member.failure.is_none()).then(|| self.dictionary_folder(member)),
            record: self.record(member),
            failure: member.failure.clone(),
        };
        Outcome {
            finished,
            step: self.step,
            dictionaries: self.members.iter().map(of).collect(),
        }
    }
}

fn model_of(files: &TrainerFiles, origin: &ActivationOrigin) -> ModelReference {
    let mut model = files.model.clone();
    if model.hash.is_none() {
        model.hash.clone_from(&origin.model);
    }
    model
}

/// The keys in which two records differ, with both values, for messages.
fn differences<T: Serialize>(stored: &T, now: &T) -> String {
    fn compare(key: &str, stored: &Value, now: &Value, into: &mut Vec<String>) {
        let below = |name: &str| {
            if key.is_empty() {
                name.to_owned()
            } else {
                format!("{key}.{name}")
            }
        };
        match (stored, now) {
            (Value::Object(one), Value::Object(other)) => {
                for name in one
                    .keys()
                    .chain(other.keys().filter(|name| !one.contains_key(*name)))
                {
                    let of = |object: &serde_json::Map<String, Value>| {
                        object.get(name).cloned().unwrap_or_default()
                    };
                    compare(&below(name), &of(one), &of(other), into);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (i, (one, other)) in one.iter().zip(other).enumerate() {
                    compare(&below(&i.to_string()), one, other, into);
                }
            }
            _ if stored == now => {}
            _ => into.push(format!("{}: stored {stored}, now {now}", key)),
        }
    }
    let value = |record: &T| serde_json::to_value(record).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &value(stored), &value(now), &mut found);
    found.join("; ")
}

/// Whether a dictionary reads or writes a site.
fn is_used(settings: &TrainSettings, site: &SourceSite) -> bool {
    let name = site.site.to_string();
    let mut dictionaries = settings.dictionaries.iter();
    dictionaries.any(|dictionary| dictionary.site == name || dictionary.output_site.as_ref() == Some(&name))
}

/// All sites that the dictionaries name must be there.
fn check_sites(settings: &TrainSettings, present: &[SourceSite]) -> Result<()> {
    for dictionary in &settings.dictionaries {
        for site in [Some(&dictionary.site), dictionary.output_site.as_ref()]
            .into_iter()
            .flatten()
        {
            if !present.iter().any(|there| there.site.to_string() == *site) {
                return Err(TrainingError::NoSite {
                    dictionary: dictionary.name(),
                    site: site.clone(),
                    present: (present.iter())
                        .map(|there| there.site.to_string())
                        .collect::<Vec<_>>()
                        .join(", "),
                });
            }
        }
    }
    Ok(())
}

/// Refuses what would not fit into memory, before anything is computed: the buffer, held-out and surveyed rows, and for every
/// dictionary four arrays of its weights (weights, gradient, Adam's moments).
fn check_memory(settings: &TrainSettings, sites: &[SourceSite]) -> Result<()> {
    let Some(available) = available_memory() else {
        return Ok(());
    };
    let of_rows = |rows: usize| -> u64 {
        let width: u64 = sites.iter().map(|site| site.width as u64).sum();
        (rows as u64).saturating_mul(width).saturating_mul(4)
    };
    let weights = settings.dictionaries.iter().map(|dictionary| {
        let width = |name: &str| {
            let site = sites.iter().find(|site| site.site.to_string() == name);
            site.map_or(0, |site| site.width)
        };
        let input = width(&dictionary.site);
        let output = dictionary.output_site.as_deref().map_or(input, width);
        let features = dictionary.features.of_width(input) as u64;
        features
            .saturating_mul((input + output) as u64)
            .saturating_mul(4 * 4)
    });
    let shuffle = of_rows(settings.shuffle);
    let needed = weights.fold(shuffle, u64::saturating_add).saturating_add(of_rows(
        settings.held_out_tokens.saturating_add(settings.survey_tokens),
    ));
    if needed <= available {
        return Ok(());
    }
    Err(TrainingError::Memory {
        needed_mib: needed >> 20,
        shuffle_mib: shuffle >> 20,
        shuffle: settings.shuffle,
        available_mib: available >> 20,
    })
}

/// Whether the folder holds the beginning of this run; otherwise it must be empty.
fn check_folder(folder: &Path, settings: &TrainSettings, resume: bool) -> Result<bool> {
    let refused = |problem: &str| {
        Err(TrainingError::Folder {
            path: folder.to_path_buf(),
            problem: problem.to_owned(),
        })
    };
    let path = folder.join(TRAINING_SETTINGS);
    if path.exists() {
        let earlier: Option<TrainSettings> =
            (fs::read(&path).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if !resume {
            return refused(
                "holds a training run already; continue it with --resume, or choose another folder",
            );
        }
        let Some(earlier) = earlier else {
            return refused(
                "holds a run whose settings.json is damaged; bring it back, or choose another folder",
            );
        };
        if earlier != *settings {
            return refused(&format!(
                "holds a run with other settings ({}); resume with the same settings, or choose another folder",
                differences(&earlier, settings)
            ));
        }
        return Ok(true);
    }
    let occupied = fs::read_dir(folder).is_ok_and(|entries| {
        let mut names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| !FolderLock::is_lock_file(&name))
    });
    if occupied {
        return refused("is not empty and holds no training run; choose another folder");
    }
    Ok(false)
}
