//! How a census is taken.

use serde::{Deserialize, Serialize};

use crate::error::{InterpretationError, Result};

/// How a census is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CensusSettings {
    /// Tokens shown before a context's peak.
    pub context_before: usize,
    /// Tokens shown after it.
    pub context_after: usize,
    /// Contexts kept from the top.
    pub top_contexts: usize,
    /// Intervals of equal length between zero and the largest activation that contexts are sampled from.
    pub intervals: usize,
    /// Contexts sampled from each.
    pub contexts_per_interval: usize,
    /// Tokens whose activations are kept for correlations, at most (and at least half as many, once so many were seen).
    pub sampled_tokens: usize,
    /// Contexts of tokens at random that are kept, with the features active in them.
    pub background_contexts: usize,
    /// Counters of the tokens that a feature is active on.
    pub token_counters: usize,
    /// Features listed as near, and as correlated.
    pub neighbours: usize,
    /// Tokens listed as promoted, and as suppressed.
    pub logit_tokens: usize,
    /// Tokens of a pass at most.
    pub tokens_per_pass: usize,
    /// Seed of the samples.
    pub seed: u64,
}

impl Default for CensusSettings {
    fn default() -> Self {
        Self {
            context_before: 24,
            context_after: 12,
            top_contexts: 20,
            intervals: 5,
            contexts_per_interval: 5,
            sampled_tokens: 1 << 16,
            background_contexts: 256,
            token_counters: 24,
            neighbours: 5,
            logit_tokens: 10,
            tokens_per_pass: 2048,
            seed: 0,
        }
    }
}

impl CensusSettings {
    /// Checks that every number can be meant.
    ///
    /// # Errors
    /// [`InterpretationError::Setting`] naming the first that cannot.
    pub fn check(&self) -> Result<()> {
        let bounds = [
            ("context_before", self.context_before, 0, 4096),
            ("context_after", self.context_after, 0, 4096),
            ("top_contexts", self.top_contexts, 1, 1000),
            ("intervals", self.intervals, 1, 100),
            ("contexts_per_interval", self.contexts_per_interval, 0, 1000),
            ("sampled_tokens", self.sampled_tokens, 2, 1 << 30),
            ("background_contexts", self.background_contexts, 0, 1 << 20),
            ("token_counters", self.token_counters, 1, 1000),
            ("neighbours", self.neighbours, 0, 1000),
            ("logit_tokens", self.logit_tokens, 0, 1000),
            ("tokens_per_pass", self.tokens_per_pass, 1, 1 << 24),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(InterpretationError::Setting {
                    name,
                    value: value.to_string(),
                    expected: format!("{least} to {most}"),
                });
            }
        }
        Ok(())
    }
}
