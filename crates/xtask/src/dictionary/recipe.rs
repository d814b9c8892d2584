//! Settings of dictionary training, and what it reports.

use serde::Serialize;

use crate::dictionary::activations::Place;

/// Settings of dictionary training.
#[derive(Clone, Debug, Serialize)]
pub struct DictionaryRecipe {
    /// Features per dimension of the residual stream.
    pub expansion: usize,
    /// Active features per token: of every token in the first third of training, on average from then on and
    /// at inference, where a threshold on development text decides.
    pub active: f64,
    /// Training documents whose activations are used.
    pub documents: usize,
    /// Passes over those activations.
    pub epochs: usize,
    /// Times that a last prompt token is used per pass; other prompt tokens are used once.
    pub cue_repeats: usize,
    /// Times that a response token is used per pass.
    pub response_repeats: usize,
    /// Tokens per update.
    pub batch: usize,
    /// Highest learning rate; falls linearly to zero over the last third.
    pub rate: f32,
    /// Steps of linear warm-up of the learning rate.
    pub warm_up: usize,
    /// A feature silent for this many tokens counts as dead and joins the auxiliary loss.
    pub dead_after: usize,
    /// Dead features that the auxiliary loss uses per token.
    pub auxiliary_active: usize,
    /// Share of training tokens on which every feature fires at least, by a lower threshold of its own.
    pub smallest_share: f64,
}

impl Default for DictionaryRecipe {
    fn default() -> Self {
        Self {
            expansion: 16,
            active: 15.6,
            documents: 8000,
            epochs: 4,
            cue_repeats: 6,
            response_repeats: 3,
            batch: 2048,
            rate: 7e-4,
            warm_up: 200,
            dead_after: 40_000,
            auxiliary_active: 8,
            smallest_share: 1e-4,
        }
    }
}

impl DictionaryRecipe {
    /// How often a token of a place is used per pass.
    pub fn repeats(&self, place: Place) -> usize {
        match place {
            Place::Begin => 0,
            Place::Prompt => 1,
            Place::Cue => self.cue_repeats,
            Place::Response => self.response_repeats,
        }
    }
}

/// One line of `dictionary_log.jsonl`: one pass over the training activations.
#[derive(Clone, Debug, Serialize)]
pub struct DictionaryLogLine {
    /// Block index.
    pub layer: usize,
    /// Passes done.
    pub epoch: usize,
    /// Explained variance on the training tokens of this pass, with BatchTopK.
    pub explained_variance: f64,
    /// Features that count as dead at the end of the pass.
    pub dead: usize,
    /// Seconds since the start of this layer.
    pub seconds: f64,
}
