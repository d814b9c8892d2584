//! The training loop: batches in the order of the corpus, warm-up and cosine, a log line now and then.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::corpus::TokenDocument;
use crate::likelihood::Likelihood;
use crate::threads::in_two_threads;
use crate::train::backward::negative_log_likelihood;
use crate::train::batch::Batch;
use crate::train::forward::Workspace;
use crate::train::optimizer::AdamW;
use crate::train::parameters::Parameters;

/// Settings of a training run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipe {
    /// Number of updates.
    pub steps: usize,
    /// Documents per update.
    pub documents_per_step: usize,
    /// Highest learning rate.
    pub rate: f32,
    /// Steps of linear warm-up; a cosine to a twentieth of the highest rate follows.
    pub warm_up: usize,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Longest gradient norm.
    pub clip: f32,
}

/// One line of `train_log.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// Updates done.
    pub step: usize,
    /// Mean training cross-entropy since the line before, nats per token.
    pub loss: f64,
    /// Training tokens per second since the line before.
    pub tokens_per_second: f64,
    /// Learning rate of the last update.
    pub rate: f32,
    /// Cross-entropy on development documents, nats per token, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub development_loss: Option<f64>,
    /// The same over response tokens alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub development_response_loss: Option<f64>,
    /// Seconds since the start.
    pub seconds: f64,
}

/// Buffers of one of the two halves of a batch.
struct State {
    workspace: Workspace,
    gradient: Vec<f32>,
}

impl State {
    fn new(parameters: &Parameters) -> Mutex<Self> {
        let workspace = Workspace::new(&parameters.shape);
        Mutex::new(Self {
            workspace,
            gradient: vec![0.0; parameters.values.len()],
        })
    }
}

/// Trains `parameters` in place; `report` gets every log line.
///
/// # Errors
/// If there are too few documents, the loss stops being finite, or `report` fails.
pub fn train(
    parameters: &mut Parameters,
    recipe: &Recipe,
    documents: &[TokenDocument],
    development: &[TokenDocument],
    mut report: impl FnMut(&LogLine) -> Result<()>,
) -> Result<()> {
    let needed = recipe.steps * recipe.documents_per_step;
    ensure!(
        documents.len() >= needed,
        "{} documents given, {needed} needed",
        documents.len()
    );
    let states = [State::new(parameters), State::new(parameters)];
    let mut optimizer = AdamW::new(parameters.values.len(), (0.9, 0.95), recipe.weight_decay);
    let start = Instant::now();
    let (mut sum, mut tokens, mut since) = (0.0, 0usize, Instant::now());
    for step in 0..recipe.steps {
        let drawn = &documents[step * recipe.documents_per_step..(step + 1) * recipe.documents_per_step];
        // A fixed split: the sum of gradients does not depend on timing.
        let halves = drawn.split_at(drawn.len() / 2);
        let batches = [Batch::of_documents(halves.0), Batch::of_documents(halves.1)];
        let count: usize = batches.iter().map(Batch::len).sum();
        let jobs: Vec<_> = batches.iter().zip(&states).collect();
        let frozen = &*parameters;
        let losses = in_two_threads(&jobs, |(batch, state)| {
            let state = &mut *state.lock().map_err(|_| anyhow!("the other half failed"))?;
            state.gradient.fill(0.0);
            state
                .workspace
                .gradient(frozen, batch, 1.0 / count as f32, &mut state.gradient)
        })?;
        let [first, second] = &states;
        let mut sum_of_halves = first.lock().map_err(|_| anyhow!("a half failed"))?;
        let other = second.lock().map_err(|_| anyhow!("a half failed"))?;
        sum_of_halves
            .gradient
            .iter_mut()
            .zip(&other.gradient)
            .for_each(|(sum, &g)| *sum += g);
        let rate = rate(recipe, step);
        optimizer.update(
            &mut parameters.values,
            &sum_of_halves.gradient,
            &parameters.places,
            rate,
            recipe.clip,
        );
        let loss: f64 = losses.iter().sum();
        ensure!(loss.is_finite(), "the loss is not finite at step {step}");
        sum += loss;
        tokens += count;
        let done = step + 1;
        if done % 25 == 0 || done == recipe.steps {
            let seconds_since = since.elapsed().as_secs_f64();
            let measured = if done % 250 == 0 || done == recipe.steps {
                Some(evaluate(parameters, development)?)
            } else {
                None
            };
            report(&LogLine {
                step: done,
                loss: sum / tokens as f64,
                tokens_per_second: (tokens as f64 / seconds_since).round(),
                rate,
                development_loss: measured.map(|m| m.all / m.all_tokens as f64),
                development_response_loss: measured.map(|m| m.response / m.response_tokens as f64),
                seconds: start.elapsed().as_secs_f64().round(),
            })?;
            (sum, tokens, since) = (0.0, 0, Instant::now());
        }
    }
    Ok(())
}

/// Negative log-likelihoods of documents, every token after BOS.
///
/// # Errors
/// If a buffer does not fit its product, which would be a fault of this code.
pub fn evaluate(parameters: &Parameters, documents: &[TokenDocument]) -> Result<Likelihood> {
    let vocabulary = parameters.shape.vocabulary;
    let parts: Vec<&[TokenDocument]> = documents.chunks(documents.len().div_ceil(2).max(1)).collect();
    let sums = in_two_threads(&parts, |part| {
        let mut workspace = Workspace::new(&parameters.shape);
        let mut likelihood = Likelihood::default();
        for chunk in part.chunks(32) {
            let batch = Batch::of_documents(chunk);
            workspace.all_logits(parameters, &batch)?;
            for (document, range) in chunk.iter().zip(&batch.documents) {
                for row in range.clone() {
                    let logits = &workspace.logits[row * vocabulary..(row + 1) * vocabulary];
                    let nats = negative_log_likelihood(logits, batch.targets[row] as usize);
                    likelihood.add(nats, row - range.start + 1 >= document.response_start);
                }
            }
        }
        Ok(likelihood)
    })?;
    let mut total = Likelihood::default();
    for sum in sums {
        total.merge(&sum);
    }
    Ok(total)
}

/// Learning rate of a step.
fn rate(recipe: &Recipe, step: usize) -> f32 {
    if step < recipe.warm_up {
        return recipe.rate * (step + 1) as f32 / recipe.warm_up as f32;
    }
    let progress = (step - recipe.warm_up) as f32 / (recipe.steps - recipe.warm_up).max(1) as f32;
    recipe.rate * (0.05 + 0.95 * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos()))
}
