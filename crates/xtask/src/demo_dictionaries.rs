//! The shipped dictionaries: the job of `dictionaries.toml`, run by the program's own library, and its result made small.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use glassbox_corpus::{DocumentReader, DocumentSource, RowOptions, TokenRow, TokenRows};
use glassbox_dictionary::formats::{self, write_glassbox};
use glassbox_dictionary::{Dictionary, Precision};
use glassbox_dictionary_job::{JobOutcome, JobRequest, JobSettings, JobWatch, Stage, run};
use glassbox_interpretation::Unwatched;
use glassbox_interpretation::evaluation::{EvaluationSettings, EvaluationSubject, evaluate};
use glassbox_kernels::CpuBackend;
use glassbox_model::locate::HubEnvironment;
use glassbox_model::model::Model;
use glassbox_model::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::json;

use crate::recipe::DemoRecipe;
use crate::rng::Split;
use crate::texts::draw_games;

/// The job, beside the shipped model.
const JOB: &str = "dictionaries.toml";
const LOG: &str = "dictionary_log.jsonl";

/// What is measured of one shipped dictionary on held-out games, by `glassbox_interpretation::evaluation`.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// Its name.
    pub name: String,
    /// Tokens after position 0.
    pub tokens: u64,
    /// 1 − Σ‖x − x̂‖² / Σ‖x − mean‖².
    pub explained_variance: f64,
    /// Mean number of active features per token.
    pub l0: f64,
    /// Share of features that are active on no token.
    pub dead_share: f64,
    /// Cross-entropy of the model, nats per token.
    pub loss: f64,
    /// The same with the reconstruction in place of the residual.
    pub spliced_loss: f64,
    /// Share of the loss recovered, against zero ablation.
    pub loss_recovered: f64,
    /// Mean divergence of the spliced model's predictions, nats.
    pub divergence: f64,
    /// Explained variance at position 0, which no dictionary was trained on.
    pub explained_variance_position_zero: Option<f64>,
}

/// Where the corpus and the job are kept while they are made.
pub fn scratch() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/demo-model")
}

/// Writes the games that the dictionaries are trained on.
///
/// # Errors
/// If the file can't be written.
pub fn write_corpus(recipe: &DemoRecipe) -> Result<()> {
    let folder = scratch();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    draw_games(
        recipe.seed,
        Split::Train,
        recipe.dictionary_documents,
        &folder.join("corpus.jsonl"),
    )
}

/// Runs the job and ships its dictionaries, with matrices in f16.
///
/// # Errors
/// If a stage fails, or a dictionary does.
pub fn make(folder: &Path) -> Result<()> {
    let settings = JobSettings::read(&folder.join(JOB))?;
    let job = scratch().join("job");
    match fs::remove_dir_all(&job) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(cause).with_context(|| format!("remove {}", job.display()));
        }
        _ => {}
    }
    let request = JobRequest {
        settings,
        out: job.clone(),
        resume: false,
        stages: vec![Stage::Extract, Stage::Train],
    };
    let outcome = run(request, &Lines)?;
    if let Some(failed) = outcome.dictionaries.iter().find(|one| one.failure.is_some()) {
        bail!("{} failed: {:?}", failed.name, failed.failure);
    }
    write_log(&outcome, &job, &folder.join(LOG))?;
    let shipped = folder.join("dictionaries");
    match fs::remove_dir_all(&shipped) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(cause).with_context(|| format!("remove {}", shipped.display()));
        }
        _ => {}
    }
    for one in &outcome.dictionaries {
        let stored = formats::open(&job.join("train/dictionaries").join(&one.name))?;
        let notes = stored.summary().notes;
        let dictionary: Dictionary = stored.load(&CpuBackend)?;
        write_glassbox(
            &dictionary,
            &shipped.join(&one.name),
            Precision::F16,
            notes.as_ref(),
        )?;
    }
    Ok(())
}

/// The lines of each history that have held-out figures, and what each stage took.
fn write_log(outcome: &JobOutcome, job: &Path, file: &Path) -> Result<()> {
    let mut text = String::new();
    for one in &outcome.dictionaries {
        let history = job.join("train/history").join(format!("{}.jsonl", one.name));
        let lines = fs::read_to_string(&history).with_context(|| format!("read {}", history.display()))?;
        for line in lines.lines() {
            let mut value: serde_json::Value = serde_json::from_str(line)?;
            if let Some(object) = value
                .as_object_mut()
                .filter(|object| object.contains_key("held_out"))
            {
                object.insert("dictionary".to_owned(), json!(one.name));
                text.push_str(&format!("{value}\n"));
            }
        }
    }
    for (stage, seconds) in &outcome.seconds {
        text.push_str(&format!(
            "{}\n",
            json!({"stage": stage.name(), "seconds": seconds.round()})
        ));
    }
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// Seconds of extraction and training, from the log.
///
/// # Errors
/// If the log can't be read.
pub fn training_seconds(folder: &Path) -> Result<f64> {
    let file = folder.join(LOG);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    lines.try_fold(
        0.0,
        |sum, line| Ok(sum + line?["seconds"].as_f64().unwrap_or(0.0)),
    )
}

/// Measures the shipped dictionaries on games of the held-out split.
///
/// # Errors
/// If a file can't be read or a pass fails.
pub fn measure(recipe: &DemoRecipe, folder: &Path) -> Result<Vec<Quality>> {
    let settings = JobSettings::read(&folder.join(JOB))?;
    let games = scratch().join("held_out.jsonl");
    fs::create_dir_all(scratch()).with_context(|| format!("make {}", scratch().display()))?;
    draw_games(
        recipe.seed,
        Split::HeldOut,
        recipe.held_out_documents as u64,
        &games,
    )?;
    let place = folder.join("model");
    let model =
        Model::open(CpuBackend, &place).with_context(|| format!("the model in {}", place.display()))?;
    let tokenizer = Tokenizer::open(&place, model.config())?;
    let rows = rows(&games, &tokenizer, &model, &settings.rows)?;
    let mut subjects = Vec::new();
    for (_, dictionary) in settings.dictionaries(model.config().n_layers)? {
        let name = dictionary.name();
        let stored = formats::open(&folder.join("dictionaries").join(&name))?;
        subjects.push(EvaluationSubject {
            at_training: stored.training_record().as_ref().map(Into::into),
            dictionary: Arc::new(stored.load(model.backend())?),
            name,
        });
    }
    let evaluations = evaluate(
        &model,
        &subjects,
        &rows,
        &EvaluationSettings::default(),
        &Unwatched,
    )?;
    evaluations
        .into_iter()
        .map(|evaluation| {
            ensure!(
                !evaluation.distribution.out_of_distribution,
                "{} is out of its distribution: {:?}",
                evaluation.name,
                evaluation.distribution.reasons
            );
            let loss = evaluation.loss.context("no loss was measured")?;
            Ok(Quality {
                tokens: evaluation.reconstruction.tokens,
                explained_variance: evaluation
                    .reconstruction
                    .explained_variance
                    .context("no variance")?,
                l0: evaluation.sparsity.l0,
                dead_share: evaluation.sparsity.dead_share,
                loss: loss.clean,
                spliced_loss: loss.spliced,
                loss_recovered: loss
                    .recovered_against_zero
                    .context("zero ablation costs nothing")?
                    .estimate,
                divergence: loss.divergence_spliced.estimate,
                explained_variance_position_zero: evaluation
                    .position_zero
                    .and_then(|first| first.reconstruction.explained_variance),
                name: evaluation.name,
            })
        })
        .collect()
}

fn rows(games: &Path, tokenizer: &Tokenizer, model: &Model, options: &RowOptions) -> Result<Vec<TokenRow>> {
    let source = DocumentSource::of_paths([games.to_string_lossy().into_owned()]);
    let reader = DocumentReader::open(source, &HubEnvironment::of_process())?;
    let mut rows = TokenRows::new(reader, tokenizer, model.config(), options, None)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row);
    }
    Ok(all)
}

/// Prints what happens.
struct Lines;

impl JobWatch for Lines {
    fn ended(&self, stage: Stage, summary: String, seconds: f64) {
        println!("{stage}: {summary}, {seconds:.0} s");
    }

    fn failed(&self, stage: Stage, dictionary: &str, why: &str) {
        println!("{dictionary} failed in {stage}: {why}");
    }
}
