//! Responses sampled from the model by running the whole text again for every token: slow, and simple enough
//! to trust.

use anyhow::Result;

use crate::rng::{Draws, Split};
use crate::threads::in_two_threads;
use crate::tokenizer::END;
use crate::train::{Batch, Parameters, Workspace};

/// How tokens are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Logits are divided by this.
    pub temperature: f32,
    /// Seed of the draws; each prompt owns the stream of its index.
    pub seed: u64,
    /// Longest response, EOS included.
    pub longest: usize,
}

/// One response per prompt (token ids from BOS to the last prompt token). A response ends with EOS, or lacks it
/// if it grew too long.
///
/// # Errors
/// If the forward pass fails.
pub fn sample(parameters: &Parameters, prompts: &[Vec<u32>], sampling: Sampling) -> Result<Vec<Vec<u32>>> {
    let indexed: Vec<(usize, &Vec<u32>)> = prompts.iter().enumerate().collect();
    let chunks: Vec<&[(usize, &Vec<u32>)]> = indexed.chunks(32).collect();
    let parts = in_two_threads(&chunks, |chunk| sample_chunk(parameters, chunk, sampling))?;
    Ok(parts.into_iter().flatten().collect())
}

fn sample_chunk(
    parameters: &Parameters,
    prompts: &[(usize, &Vec<u32>)],
    sampling: Sampling,
) -> Result<Vec<Vec<u32>>> {
    let vocabulary = parameters.shape.vocabulary;
    let mut workspace = Workspace::new(&parameters.shape);
    let mut texts: Vec<Vec<u32>> = prompts.iter().map(|(_, prompt)| (*prompt).clone()).collect();
    let mut draws: Vec<Draws> = prompts
        .iter()
        .map(|&(index, _)| Draws::new(sampling.seed, Split::Sampling, index as u64))
        .collect();
    let mut open: Vec<usize> = (0..texts.len()).collect();
    for _ in 0..sampling.longest {
        if open.is_empty() {
            break;
        }
        // A batch takes the last token of each sequence as a target only, so any token may stand there.
        let sequences: Vec<Vec<u32>> = open
            .iter()
            .map(|&row| [texts[row].as_slice(), &[END]].concat())
            .collect();
        let batch = Batch::of_tokens(sequences.iter().map(Vec::as_slice));
        workspace.last_logits(parameters, &batch)?;
        for (&row, logits) in open.iter().zip(workspace.logits.chunks_exact(vocabulary)) {
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits
                .iter()
                .map(|&logit| f64::from((logit - highest) / sampling.temperature).exp())
                .collect();
            texts[row].push(draws[row].weighted(&weights) as u32);
        }
        open.retain(|&row| texts[row].last() != Some(&END));
    }
    Ok(texts
        .into_iter()
        .zip(prompts)
        .map(|(text, (_, prompt))| text[prompt.len()..].to_vec())
        .collect())
}
