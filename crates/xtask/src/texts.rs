//! Text as a corpus: one JSON object with `text` per line.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use glassbox_kernels::CpuBackend;
use glassbox_model::generate::{GenerationRequest, Prompts};
use glassbox_model::model::Model;
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampling};
use glassbox_model::tokenizer::{Beginning, Tokenizer};
use serde_json::json;

use crate::corpus::Document;
use crate::rng::Split;

/// Stories sampled at a time.
const ROWS: u64 = 64;
/// Longest story; the model was trained on rows of this length.
const LONGEST: usize = 255;
const SEED: u64 = 20;

/// Text sampled from a model at temperature 1 after its first token alone, until it holds `tokens` tokens.
///
/// # Errors
/// If the model can't be read or the file can't be written.
pub fn sample_from_model(folder: &Path, tokens: u64, file: &Path) -> Result<()> {
    let model =
        Model::open(CpuBackend, folder).with_context(|| format!("the model in {}", folder.display()))?;
    let tokenizer = Tokenizer::open(folder, model.config())?;
    let prompt = tokenizer.encode("", Beginning::of_prompts(model.config()))?;
    let mut workspace = model.workspace();
    let sampling = Sampling::Random(RandomSampling {
        temperature: 1.0,
        top_k: None,
        top_p: None,
    });
    let mut sampled = 0;
    let texts = (0..).step_by(ROWS as usize).map_while(|first: u64| {
        if sampled >= tokens {
            return None;
        }
        let keys: Vec<RandomKey> = (first..first + ROWS)
            .map(|trial| RandomKey {
                run_seed: SEED,
                prompt: 0,
                trial,
            })
            .collect();
        let prompts = vec![prompt.clone(); ROWS as usize];
        let request = GenerationRequest::new(Prompts::Own(&prompts), LONGEST)
            .sampling(sampling, &keys)
            .text(&tokenizer);
        let texts = model
            .generate(&mut workspace, request)
            .map_err(anyhow::Error::from)
            .and_then(|rows| {
                rows.iter()
                    .map(|row| {
                        sampled += row.tokens.len() as u64;
                        Ok(tokenizer.continuation(&prompt, &row.tokens)?)
                    })
                    .collect::<Result<Vec<String>>>()
            });
        Some(texts)
    });
    write(
        file,
        texts.flat_map(|texts| match texts {
            Ok(texts) => texts.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }),
    )
}

/// Documents of the shipped model's own generator.
///
/// # Errors
/// If the file can't be written.
pub fn draw_games(seed: u64, split: Split, documents: u64, file: &Path) -> Result<()> {
    write(
        file,
        (0..documents).map(|index| Ok(Document::draw(seed, split, index).text())),
    )
}

/// Writes the lines under another name first, so that the file is whole or absent.
fn write(file: &Path, texts: impl Iterator<Item = Result<String>>) -> Result<()> {
    let part = file.with_extension("part");
    let failed = || format!("write {}", part.display());
    let mut out = BufWriter::new(File::create(&part).with_context(failed)?);
    for text in texts {
        serde_json::to_writer(&mut out, &json!({"text": text?})).with_context(failed)?;
        out.write_all(b"\n").with_context(failed)?;
    }
    out.flush().with_context(failed)?;
    std::fs::rename(&part, file).with_context(|| format!("rename {} to {}", part.display(), file.display()))
}
