//! Measured figures of the shipped model and dictionaries: perplexity against the trigram baseline, decision
//! rates against the generator's, quality of the dictionaries.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::checkpoint::write_json;
use crate::corpus::{Document, tokenize};
use crate::demo_dictionaries::{self, Quality};
use crate::game::{BetFormat, FIXED_BET};
use crate::policy::Decision;
use crate::prompt::{Family, Prompt};
use crate::prompt_files::prompts;
use crate::readme::readme;
use crate::recipe::DemoRecipe;
use crate::response::Response;
use crate::rng::{Draws, Split};
use crate::sample::{Sampling, sample};
use crate::tokenizer::{BEGIN, END, GameTokenizer};
use crate::train::{Parameters, evaluate as likelihood};
use crate::trigram::Trigram;

/// Everything that is measured; `figures.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Settings that made the files.
    pub recipe: DemoRecipe,
    /// Number of weights of the model, the tied head counted once.
    pub weights: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// One document, as an example.
    pub example: String,
    /// Wall-clock seconds of training, from the logs.
    pub training_seconds: TrainingSeconds,
    /// Perplexity on held-out documents.
    pub perplexity: Perplexity,
    /// Held-out texts that chance also put into the training text.
    pub repeated: Repeated,
    /// Decisions of the generator on the shipped prompts.
    pub data_rates: Vec<Rates>,
    /// Decisions of the model on the shipped prompts.
    pub model_rates: Vec<Rates>,
    /// Quality of the dictionaries on held-out documents, by layer.
    pub dictionaries: Vec<Quality>,
}

/// Splits are disjoint by key, but two games can still come out the same.
#[derive(Clone, Debug, Serialize)]
pub struct Repeated {
    /// Held-out documents whose prompt and response both occur together in training.
    pub documents: usize,
    /// Held-out documents whose prompt occurs in training.
    pub prompts: usize,
    /// Shipped safe prompts that occur in training.
    pub shipped_safe: usize,
    /// Shipped risky prompts that occur in training.
    pub shipped_risky: usize,
}

/// How long the two trainings took.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingSeconds {
    /// The model, on two threads.
    pub model: f64,
    /// Activations and dictionaries, on two threads.
    pub dictionaries: f64,
}

/// Perplexity per token of model and baseline on the same held-out tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Perplexity {
    /// Held-out documents.
    pub documents: usize,
    /// Training documents that the trigram model was counted on: all that the model was trained on.
    pub trigram_documents: usize,
    /// Prompt and response tokens with EOS, without BOS.
    pub tokens: usize,
    /// Trigram perplexity over those.
    pub trigram: f64,
    /// The model's perplexity over those.
    pub model: f64,
    /// 1 - model / trigram.
    pub below_trigram: f64,
    /// Response tokens with EOS.
    pub response_tokens: usize,
    /// Trigram perplexity over responses.
    pub trigram_response: f64,
    /// The model's perplexity over responses.
    pub model_response: f64,
    /// 1 - model / trigram over responses.
    pub below_trigram_response: f64,
}

/// Decisions on the prompts of one family.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// `safe` or `risky`.
    pub family: &'static str,
    /// Sampling temperature; absent for the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Responses.
    pub n: usize,
    /// Share of responses that end and whose last line is a decision.
    pub parsed: f64,
    /// Share of stops among those.
    pub stop_rate: f64,
    /// Mean dollars of the bets among those.
    pub mean_bet: f64,
    /// Share of bets that the prompt allows (offered amount, not above the balance).
    pub legal_bets: f64,
}

/// Measures everything and writes `figures.json` and `README.md`.
///
/// # Errors
/// If a file cannot be read or written.
pub fn evaluate(
    recipe: &DemoRecipe,
    folder: &Path,
    tokenizer: &GameTokenizer,
    parameters: &Parameters,
) -> Result<()> {
    let dictionaries = demo_dictionaries::measure(recipe, folder)?;
    for quality in &dictionaries {
        println!("{}", serde_json::to_string(quality)?);
    }
    let perplexity = perplexity(recipe, tokenizer, parameters)?;
    println!("{}", serde_json::to_string(&perplexity)?);
    let mut data_rates = Vec::new();
    let mut model_rates = Vec::new();
    for family in [Family::Safe, Family::Risky] {
        data_rates.push(generator_rates(recipe, family));
        for temperature in recipe.temperatures {
            model_rates.push(sampled_rates(recipe, tokenizer, parameters, family, temperature)?);
        }
    }
    for rates in data_rates.iter().chain(&model_rates) {
        println!("{}", serde_json::to_string(rates)?);
    }
    let figures = Figures {
        recipe: recipe.clone(),
        weights: parameters.values.len(),
        vocabulary: tokenizer.vocabulary_size(),
        example: Document::draw(recipe.seed, Split::Train, 0).text(),
        training_seconds: training_seconds(folder)?,
        perplexity,
        repeated: repeated(recipe),
        data_rates,
        model_rates,
        dictionaries,
    };
    write_json(&folder.join("figures.json"), &serde_json::to_value(&figures)?)?;
    let path = folder.join("README.md");
    std::fs::write(&path, readme(&figures)).with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds of the two trainings, from their logs.
fn training_seconds(folder: &Path) -> Result<TrainingSeconds> {
    #[derive(Deserialize)]
    struct Line {
        seconds: f64,
    }
    let path = folder.join("train_log.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let last = text.lines().last().unwrap_or_default();
    let last: Line = serde_json::from_str(last).with_context(|| format!("{}", path.display()))?;
    Ok(TrainingSeconds {
        model: last.seconds,
        dictionaries: demo_dictionaries::training_seconds(folder)?,
    })
}

fn perplexity(recipe: &DemoRecipe, tokenizer: &GameTokenizer, parameters: &Parameters) -> Result<Perplexity> {
    let trigram_documents = recipe.model.steps * recipe.model.documents_per_step;
    let training = tokenize(recipe.seed, Split::Train, trigram_documents, tokenizer)?;
    let development = tokenize(
        recipe.seed,
        Split::Development,
        recipe.development_documents,
        tokenizer,
    )?;
    let held_out = tokenize(recipe.seed, Split::HeldOut, recipe.held_out_documents, tokenizer)?;
    let trigram = Trigram::fit(&training, &development, tokenizer.vocabulary_size()).evaluate(&held_out);
    let model = likelihood(parameters, &held_out)?;
    Ok(Perplexity {
        documents: held_out.len(),
        trigram_documents,
        tokens: model.all_tokens,
        trigram: trigram.perplexity(),
        model: model.perplexity(),
        below_trigram: 1.0 - model.perplexity() / trigram.perplexity(),
        response_tokens: model.response_tokens,
        trigram_response: trigram.response_perplexity(),
        model_response: model.response_perplexity(),
        below_trigram_response: 1.0 - model.response_perplexity() / trigram.response_perplexity(),
    })
}

fn repeated(recipe: &DemoRecipe) -> Repeated {
    let count = recipe.model.steps * recipe.model.documents_per_step;
    let mut prompts = HashSet::new();
    let mut documents = HashSet::new();
    for index in 0..count as u64 {
        let document = Document::draw(recipe.seed, Split::Train, index);
        prompts.insert(document.prompt.text());
        documents.insert(document.text());
    }
    let held_out: Vec<Document> = (0..recipe.held_out_documents as u64)
        .map(|index| Document::draw(recipe.seed, Split::HeldOut, index))
        .collect();
    let seen = |family| {
        let shipped = shipped(recipe, family);
        shipped
            .iter()
            .filter(|prompt| prompts.contains(&prompt.text()))
            .count()
    };
    Repeated {
        documents: held_out
            .iter()
            .filter(|document| documents.contains(&document.text()))
            .count(),
        prompts: held_out
            .iter()
            .filter(|document| prompts.contains(&document.prompt.text()))
            .count(),
        shipped_safe: seen(Family::Safe),
        shipped_risky: seen(Family::Risky),
    }
}

/// All shipped prompts of a family, selection and sweep.
fn shipped(recipe: &DemoRecipe, family: Family) -> Vec<Prompt> {
    [Split::SelectionPrompts, Split::SweepPrompts]
        .into_iter()
        .flat_map(|split| prompts(recipe, family, split))
        .map(|named| named.prompt)
        .collect()
}

fn generator_rates(recipe: &DemoRecipe, family: Family) -> Rates {
    let mut answers = Vec::new();
    for (index, prompt) in shipped(recipe, family).into_iter().enumerate() {
        // The two prompts of a pair draw different numbers.
        let stream = 2 * index as u64 + u64::from(family == Family::Risky);
        let mut draws = Draws::new(recipe.seed, Split::Rates, stream);
        for _ in 0..recipe.draws_per_prompt {
            answers.push((prompt.clone(), Some(Response::draw(&mut draws, &prompt).decision)));
        }
    }
    rates(family, None, &answers)
}

fn sampled_rates(
    recipe: &DemoRecipe,
    tokenizer: &GameTokenizer,
    parameters: &Parameters,
    family: Family,
    temperature: f32,
) -> Result<Rates> {
    let mut shown = Vec::new();
    let mut sequences = Vec::new();
    for prompt in shipped(recipe, family) {
        let mut tokens = vec![BEGIN];
        tokens.extend(tokenizer.encode(&prompt.text())?);
        for _ in 0..recipe.samples_per_prompt {
            shown.push(prompt.clone());
            sequences.push(tokens.clone());
        }
    }
    let sampling = Sampling {
        temperature,
        seed: recipe.seed,
        longest: 90,
    };
    let responses = sample(parameters, &sequences, sampling)?;
    let mut answers = Vec::new();
    for (prompt, response) in shown.into_iter().zip(responses) {
        let text = tokenizer.decode(&response)?;
        let ended = response.last() == Some(&END);
        answers.push((prompt, Decision::parse(&text).filter(|_| ended)));
    }
    Ok(rates(family, Some(temperature), &answers))
}

fn rates(family: Family, temperature: Option<f32>, answers: &[(Prompt, Option<Decision>)]) -> Rates {
    let parsed: Vec<(&Prompt, Decision)> = answers
        .iter()
        .filter_map(|(prompt, decision)| decision.map(|decision| (prompt, decision)))
        .collect();
    let bets: Vec<(&Prompt, u32)> = parsed
        .iter()
        .filter_map(|&(prompt, decision)| match decision {
            Decision::Bet(amount) => Some((prompt, amount)),
            Decision::Stop => None,
        })
        .collect();
    let legal = bets.iter().filter(|(prompt, amount)| match prompt.format {
        BetFormat::Fixed => *amount == FIXED_BET,
        BetFormat::Variable => *amount <= prompt.session.balance(),
    });
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    Rates {
        family: family.name(),
        temperature,
        n: answers.len(),
        parsed: share(parsed.len(), answers.len()),
        stop_rate: share(parsed.len() - bets.len(), parsed.len()),
        mean_bet: bets.iter().map(|&(_, amount)| f64::from(amount)).sum::<f64>() / bets.len().max(1) as f64,
        legal_bets: share(legal.count(), bets.len()),
    }
}
