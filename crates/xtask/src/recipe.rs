//! Every number that decides what the shipped model and its dictionaries become.

use serde::Serialize;

use crate::train::{Recipe, Shape};

/// Settings of the whole of `cargo xtask demo-model`.
#[derive(Clone, Debug, Serialize)]
pub struct DemoRecipe {
    /// Seed of every random stream.
    pub seed: u64,
    /// Largest number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Documents that the tokenizer is trained on.
    pub tokenizer_documents: usize,
    /// Matched pairs of selection prompts.
    pub selection_pairs: usize,
    /// Matched pairs of sweep prompts.
    pub sweep_pairs: usize,
    /// Training of the model.
    pub model: Recipe,
    /// Documents that the dictionaries are trained on; how is in `assets/demo/dictionaries.toml`.
    pub dictionary_documents: u64,
    /// Held-out documents for perplexity and for the quality of the dictionaries.
    pub held_out_documents: usize,
    /// Development documents.
    pub development_documents: usize,
    /// Responses drawn from the generator per shipped prompt, for the decision rates of the data.
    pub draws_per_prompt: usize,
    /// Responses sampled from the model per shipped prompt and temperature, for its decision rates.
    pub samples_per_prompt: usize,
    /// Sampling temperatures at which the model's decision rates are measured.
    pub temperatures: [f32; 2],
}

impl Default for DemoRecipe {
    fn default() -> Self {
        Self {
            seed: 1,
            vocabulary: 768,
            tokenizer_documents: 20_000,
            selection_pairs: 64,
            sweep_pairs: 16,
            model: Recipe {
                steps: 2500,
                documents_per_step: 32,
                rate: 3e-3,
                warm_up: 100,
                weight_decay: 0.1,
                clip: 1.0,
            },
            dictionary_documents: 25_000,
            held_out_documents: 2000,
            development_documents: 500,
            draws_per_prompt: 50,
            samples_per_prompt: 5,
            temperatures: [0.7, 1.0],
        }
    }
}

impl DemoRecipe {
    /// Sizes of the model.
    pub fn shape(&self, vocabulary: usize) -> Shape {
        Shape {
            vocabulary,
            d_model: 128,
            layers: 6,
            heads: 4,
            key_value_heads: 2,
            head_dim: 32,
            intermediate: 384,
            rope_theta: 10_000.0,
            rms_eps: 1e-5,
            max_positions: 512,
        }
    }
}
