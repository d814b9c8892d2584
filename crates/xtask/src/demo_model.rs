//! `cargo xtask demo-model`: prompts, tokenizer, model, dictionaries and measurements, in that order.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::checkpoint;
use crate::corpus::tokenize;
use crate::demo_dictionaries;
use crate::evaluation;
use crate::prompt_files;
use crate::recipe::DemoRecipe;
use crate::rng::Split;
use crate::tokenizer::GameTokenizer;
use crate::train::{Parameters, train};

/// A part of the work. Later parts read what earlier parts wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Prompt files.
    Prompts,
    /// Tokenizer and model.
    Model,
    /// Text for the dictionaries.
    Corpus,
    /// One dictionary per layer.
    Dictionaries,
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
            Stage::Corpus => demo_dictionaries::write_corpus(recipe)?,
            Stage::Dictionaries => demo_dictionaries::make(folder)?,
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

fn load_model(recipe: &DemoRecipe, folder: &Path) -> Result<(GameTokenizer, Parameters)> {
    let model = model_folder(folder);
    let tokenizer = GameTokenizer::load(&model.join("tokenizer.json"))?;
    let parameters = checkpoint::load(&model, recipe.shape(tokenizer.vocabulary_size()))?;
    Ok((tokenizer, parameters))
}
