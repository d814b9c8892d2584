//! Quality on held-out documents.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use glassbox_corpus::{Split, TokenRow};
use glassbox_dictionary::formats;
use glassbox_interpretation::evaluation::{EvaluationSettings, EvaluationSubject, evaluate};
use glassbox_interpretation::{InterpretationError, Watch};
use glassbox_store::{Storage, write_json};

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::stages::one_by_one::together_or_one_by_one;
use crate::watch::JobWatch;

/// Evaluates the dictionaries that were not evaluated yet.
pub(crate) fn run(job: &mut Job, watch: &dyn JobWatch) -> Result<String> {
    let names: Vec<String> = job
        .alive()
        .map(|dictionary| dictionary.name())
        .filter(|name| !is_json(&job.folder.evaluation(name)))
        .collect();
    if names.is_empty() {
        return Ok("complete already".to_owned());
    }
    check_trained(job, &names, Stage::Evaluate)?;
    let rows = job
        .rows(Some(Split::HeldOut))?
        .read_until_kept(job.settings.evaluate.tokens)?;
    let done = together_or_one_by_one(job, Stage::Evaluate, &names, watch, |job, names| {
        evaluate_these(job, names, &rows, watch)
    })?;
    Ok(format!("{done} dictionaries on {} rows", rows.len()))
}

fn evaluate_these(job: &Job, names: &[String], rows: &[TokenRow], watch: &dyn JobWatch) -> Result<()> {
    let subjects = names
        .iter()
        .map(|name| {
            let stored = formats::open(&job.folder.dictionary(name))?;
            Ok(EvaluationSubject {
                name: name.clone(),
                at_training: stored.training_record().as_ref().map(Into::into),
                dictionary: Arc::new(stored.load(job.model.backend())?),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let settings = EvaluationSettings {
        losses: job.settings.evaluate.losses,
        ..EvaluationSettings::default()
    };
    let total = rows.iter().map(|row| row.tokens.len() as u64).sum();
    watch.begun(Stage::Evaluate, "tokens", total, 0);
    let watching = Watching {
        stage: Stage::Evaluate,
        watch,
    };
    let evaluations = evaluate(&job.model, &subjects, rows, &settings, &watching)
        .map_err(|error| stopped(error, Stage::Evaluate))?;
    for evaluation in evaluations {
        let file = job.folder.evaluation(&evaluation.name);
        make_folder_of(&file)?;
        write_json(&Storage::new(), &file, &evaluation)?;
    }
    Ok(())
}

/// Whether a file is there, and whole.
fn is_json(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok())
}

/// Refuses dictionaries that are not there.
pub(super) fn check_trained(job: &Job, names: &[String], stage: Stage) -> Result<()> {
    match names.iter().find(|name| !job.folder.dictionary(name).is_dir()) {
        None => Ok(()),
        Some(name) => Err(JobError::Missing {
            stage,
            what: format!(
                "the dictionary in {}; run stage train to its end before",
                job.folder.dictionary(name).display()
            ),
        }),
    }
}

pub(super) fn make_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file).to_path_buf();
    fs::create_dir_all(&folder).map_err(|cause| JobError::Folder {
        what: format!("nothing that can be written: {cause}"),
        folder,
    })
}

/// What a stop looks like to a job.
pub(super) fn stopped(error: InterpretationError, stage: Stage) -> JobError {
    match error {
        InterpretationError::Stopped { .. } => JobError::Stopped { stage },
        other => other.into(),
    }
}

/// Shows a job what evaluation and census do.
pub(super) struct Watching<'a> {
    pub stage: Stage,
    pub watch: &'a dyn JobWatch,
}

impl Watch for Watching<'_> {
    fn advanced(&self, tokens: u64) {
        self.watch.advanced(self.stage, tokens, None);
    }

    fn should_stop(&self) -> bool {
        self.watch.should_stop()
    }
}
