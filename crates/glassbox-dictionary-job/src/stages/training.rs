//! All dictionaries from one stream of activations.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use glassbox_corpus::{
    ActivationSource, ActivationStore, CorpusError, LegacyLayers, ModelActivations, Split, StoredActivations,
    StoredOrder,
};
use glassbox_dictionary::ModelReference;
use glassbox_training::{
    Progress, TRAINING_SETTINGS, TrainSettings, Trainer, TrainerFiles, TrainingError, WrittenFormat,
};

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::watch::JobWatch;

/// Tokens of one forward pass, where training reads from the model itself.
const BATCH_TOKENS: usize = 2048;

/// Trains. A dictionary whose activations can't be learned from is given up, and the others are begun again without it.
pub(crate) fn run(job: &mut Job, watch: &dyn JobWatch) -> Result<String> {
    loop {
        match once(job, watch) {
            Ok(done) => {
                for (name, why) in done.failures {
                    job.give_up(&name, Stage::Train, why, watch)?;
                }
                return Ok(done.summary);
            }
            Err(JobError::Training(error)) => {
                let Some(name) = dictionary_of(job, &error) else {
                    return Err(error.into());
                };
                job.give_up(&name, Stage::Train, error.to_string(), watch)?;
                // The run that was begun has the dictionary in its settings.
                let folder = job.folder.training();
                fs::remove_dir_all(&folder).map_err(|cause| JobError::Folder {
                    folder,
                    what: format!("a training run that can't be removed: {cause}"),
                })?;
            }
            Err(other) => return Err(other),
        }
    }
}

struct Done {
    summary: String,
    failures: Vec<(String, String)>,
}

fn once(job: &Job, watch: &dyn JobWatch) -> Result<Done> {
    let begun = begun_with(job)?;
    let trained = job.dictionaries.iter().filter(|dictionary| match &begun {
        // A run goes on with the dictionaries that it began with; the ones that it gave up stay given up.
        Some(begun) => begun.contains(&dictionary.name()),
        None => job.folder.failure(&dictionary.name()).is_none(),
    });
    let settings = job
        .settings
        .training(trained.map(|dictionary| dictionary.settings.clone()).collect());
    let files = TrainerFiles {
        folder: job.folder.training(),
        format: WrittenFormat::Glassbox,
        model: ModelReference {
            name: Some(job.settings.model.clone()),
            hash: Some(job.model_hash.clone()),
            processing: Vec::new(),
        },
    };
    let mut held_out = source(job, Split::HeldOut)?;
    let source = source(job, Split::Train)?;
    let steps = settings.steps();
    // The run's own folder says whether there is something to continue.
    let resume = files.folder.exists();
    let mut trainer = Trainer::new(
        job.model.backend(),
        source,
        &mut held_out,
        settings,
        files,
        resume,
    )?;
    watch.begun(Stage::Train, "steps", steps, trainer.step());
    let outcome = trainer.run(&mut |progress| {
        watch.advanced(Stage::Train, 1, Some(note(progress)));
        !watch.should_stop()
    })?;
    if !outcome.finished {
        return Err(JobError::Stopped { stage: Stage::Train });
    }
    let failures: Vec<(String, String)> = outcome
        .dictionaries
        .iter()
        .filter_map(|dictionary| Some((dictionary.name.clone(), dictionary.failure.clone()?)))
        .collect();
    Ok(Done {
        summary: format!(
            "{} dictionaries, {} steps",
            outcome.dictionaries.len() - failures.len(),
            outcome.step
        ),
        failures,
    })
}

/// The names of the dictionaries that the run in the folder was begun with, if there is one.
fn begun_with(job: &Job) -> Result<Option<Vec<String>>> {
    let path = job.folder.training().join(TRAINING_SETTINGS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(damaged_settings(path, &cause)),
    };
    let settings: TrainSettings =
        serde_json::from_slice(&bytes).map_err(|cause| damaged_settings(path, &cause))?;
    Ok(Some(
        settings
            .dictionaries
            .iter()
            .map(|dictionary| dictionary.name())
            .collect(),
    ))
}

fn damaged_settings(file: PathBuf, cause: &dyn std::fmt::Display) -> JobError {
    JobError::Folder {
        what: format!(
            "a training run whose settings can't be read ({cause}); remove the folder to train anew"
        ),
        folder: file,
    }
}

/// One split of the stored activations, or of what the model itself gives.
fn source(job: &Job, split: Split) -> Result<Box<dyn ActivationSource + '_>> {
    let sites = job.sites();
    if let Some(states) = &job.settings.extract.states {
        let folder = job.settings.folder.join(states);
        let layers: BTreeSet<u32> = job
            .dictionaries
            .iter()
            .map(|dictionary| dictionary.layer)
            .collect();
        let paths: Vec<PathBuf> = (layers.iter())
            .map(|layer| folder.join(format!("layer_{layer}_states.pt")))
            .collect();
        return Ok(Box::new(LegacyLayers::open(&paths, Some(split))?));
    }
    if !job.settings.extract.store {
        let rows = job.rows(Some(split))?;
        let source = ModelActivations::new(
            &job.model,
            Some(job.model_hash.clone()),
            rows,
            &sites,
            BATCH_TOKENS,
        )?;
        return Ok(Box::new(source));
    }
    let folder = job.folder.activations();
    if !folder.exists() {
        return Err(JobError::Missing {
            stage: Stage::Train,
            what: format!(
                "the activations in {}; run stage extract before, or set extract.store = false",
                folder.display()
            ),
        });
    }
    let store = ActivationStore::open(&folder)?;
    store.ensure_model(&job.model_hash)?;
    let order = StoredOrder::Shuffled {
        seed: job.settings.train.seed,
    };
    Ok(Box::new(StoredActivations::new(
        Arc::new(store),
        &sites,
        Some(split),
        order,
    )?))
}

fn note(progress: &Progress<'_>) -> String {
    let one = |(name, features, report): &(&str, usize, Option<glassbox_training::StepReport>)| match report {
        Some(report) => format!(
            "{name} EV {:.3} L0 {:.1} dead {:.1} %",
            1.0 - report.squared_error,
            report.l0,
            100.0 * report.dead as f64 / (*features).max(1) as f64
        ),
        None => format!("{name} given up"),
    };
    let dictionaries: Vec<String> = progress.dictionaries.iter().map(one).collect();
    format!(
        "{:.0} tokens/s; {}",
        progress.tokens_per_second,
        dictionaries.join("; ")
    )
}

/// The dictionary that an error concerns.
fn dictionary_of(job: &Job, error: &TrainingError) -> Option<String> {
    let reads_or_writes = |site: &str| {
        job.alive()
            .find(|dictionary| {
                [dictionary.site, dictionary.output_site]
                    .iter()
                    .any(|s| s.to_string() == *site)
            })
            .map(|dictionary| dictionary.name())
    };
    match error {
        TrainingError::NoVariance { site, .. }
        | TrainingError::NotFinite { site, .. }
        | TrainingError::Corpus(CorpusError::NonFiniteActivation { site, .. }) => reads_or_writes(site),
        TrainingError::Corpus(CorpusError::NonFiniteStored { site, .. }) => {
            reads_or_writes(&site.to_string())
        }
        TrainingError::Diverged { dictionary, .. } | TrainingError::NoSite { dictionary, .. } => {
            Some(dictionary.clone())
        }
        _ => None,
    }
}
