//! `cargo xtask demo-model`: prompts, tokenizer, model, dictionaries and measurements, in that order.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use crate::checkpoint;
use crate::corpus::tokenize;
use crate::dictionary::{Dictionary, calibrate_thresholds, collect, train_dictionary};
use crate::evaluation;
use crate::prompt_files;
use crate::recipe::DemoRecipe;
use crate::rng::Split;
use crate::threads::in_two_threads;
use crate::tokenizer::GameTokenizer;
use crate::train::{Parameters, train};

/// A part of the work. Later parts read what earlier parts wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Prompt files.
    Prompts,
    /// Tokenizer and model.
    Model,
    /// One dictionary per layer.
    Dictionaries,
    /// Thresholds of rare features.
    Thresholds,
    /// Measured figures.
    Evaluate,
}

/// Runs the given stages.
///
/// # Errors
/// If a file cannot be read or written, or training fails.
pub fn run(recipe: &DemoRecipe, folder: &Path, stages: &[Stage]) -> Result<()> {
    for stage in stages {
        match stage {
            Stage::Prompts => prompt_files::write(recipe, &folder.join("prompts"))?,
            Stage::Model => make_model(recipe, folder)?,
            Stage::Dictionaries => make_dictionaries(recipe, folder)?,
            Stage::Thresholds => set_thresholds(recipe, folder)?,
            Stage::Evaluate => {
                let (tokenizer, parameters) = load_model(recipe, folder)?;
                evaluation::evaluate(recipe, folder, &tokenizer, &parameters)?;
            }
        }
    }
    Ok(())
}

fn model_folder(folder: &Path) -> PathBuf {
    folder.join("model")
}

fn make_model(recipe: &DemoRecipe, folder: &Path) -> Result<()> {
    let model = model_folder(folder);
    fs::create_dir_all(&model).with_context(|| format!("cannot make {}", model.display()))?;
    let tokenizer = GameTokenizer::train(recipe.seed, recipe.tokenizer_documents, recipe.vocabulary)?;
    tokenizer.save(&model.join("tokenizer.json"))?;
    let needed = recipe.model.steps * recipe.model.documents_per_step;
    let documents = tokenize(recipe.seed, Split::Train, needed, &tokenizer)?;
    let development = tokenize(
        recipe.seed,
        Split::Development,
        recipe.development_documents,
        &tokenizer,
    )?;
    let mut parameters = Parameters::initialize(recipe.shape(tokenizer.vocabulary_size()), recipe.seed);
    println!(
        "training {} weights on {needed} documents",
        parameters.values.len()
    );
    let log_path = folder.join("train_log.jsonl");
    let mut log =
        fs::File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    train(&mut parameters, &recipe.model, &documents, &development, |line| {
        let text = serde_json::to_string(line)?;
        println!("{text}");
        writeln!(log, "{text}").with_context(|| format!("cannot write {}", log_path.display()))
    })?;
    checkpoint::round_to_stored(&mut parameters);
    checkpoint::save(&parameters, &model)
}

/// Where the dictionary of a layer lies.
pub fn dictionary_folder(folder: &Path, layer: usize) -> PathBuf {
    folder.join("dictionaries").join(format!("L{layer}"))
}

fn load_model(recipe: &DemoRecipe, folder: &Path) -> Result<(GameTokenizer, Parameters)> {
    let model = model_folder(folder);
    let tokenizer = GameTokenizer::load(&model.join("tokenizer.json"))?;
    let parameters = checkpoint::load(&model, recipe.shape(tokenizer.vocabulary_size()))?;
    Ok((tokenizer, parameters))
}

fn make_dictionaries(recipe: &DemoRecipe, folder: &Path) -> Result<()> {
    let (tokenizer, parameters) = load_model(recipe, folder)?;
    let start = Instant::now();
    let documents = tokenize(recipe.seed, Split::Train, recipe.dictionary.documents, &tokenizer)?;
    let development = tokenize(
        recipe.seed,
        Split::Development,
        recipe.development_documents,
        &tokenizer,
    )?;
    let activations = collect(&parameters, &documents, false)?;
    let development_activations = collect(&parameters, &development, false)?;
    println!(
        "{} training tokens in {:.0?}",
        activations.places.len(),
        start.elapsed()
    );
    let log_path = folder.join("dictionary_log.jsonl");
    let log = fs::File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let log = Mutex::new(log);
    let d = parameters.shape.d_model;
    let train_layer = |layer: usize| -> Result<()> {
        let dictionary = train_dictionary(
            &recipe.dictionary,
            recipe.seed,
            layer,
            d,
            (&activations.layers[layer], &activations.places),
            &development_activations.layers[layer],
            |line| {
                let text = serde_json::to_string(line)?;
                println!("{text}");
                let mut log = log.lock().map_err(|_| anyhow!("another layer failed"))?;
                writeln!(log, "{text}").with_context(|| format!("cannot write {}", log_path.display()))
            },
        )?;
        dictionary.save(&dictionary_folder(folder, layer), layer)
    };
    // Two layers at a time, one thread each, so that products inside a layer do not compete for threads.
    let layers: Vec<usize> = (0..parameters.shape.layers).collect();
    in_two_threads(&layers, |&layer| train_layer(layer)).map(|_| ())
}

/// Lowers the thresholds of features that are too rare, layer by layer. Doing it twice changes nothing more.
fn set_thresholds(recipe: &DemoRecipe, folder: &Path) -> Result<()> {
    let (tokenizer, parameters) = load_model(recipe, folder)?;
    let documents = tokenize(
        recipe.seed,
        Split::Train,
        recipe.dictionary.documents / 2,
        &tokenizer,
    )?;
    let activations = collect(&parameters, &documents, false)?;
    for (layer, x) in activations.layers.iter().enumerate() {
        let path = dictionary_folder(folder, layer);
        let mut dictionary = Dictionary::load(&path)?;
        let lowered = calibrate_thresholds(&mut dictionary, x, recipe.dictionary.smallest_share)?;
        println!("L{layer}: {lowered} thresholds lowered");
        dictionary.save(&path, layer)?;
    }
    Ok(())
}
