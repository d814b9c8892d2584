//! How words are compared.

use std::str::FromStr;

use serde::Serialize;

use crate::{BaselinePolicy, EffectsError};

/// By which method words are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordMethod {
    /// Responses that have the word, log odds with an informative Dirichlet prior, exact tests, one family.
    #[default]
    LogOdds,
    /// The study's own: frequencies of all words said, ln((f₁ + .001)/(f₀ + .001)) beyond ±0.5, χ² p < 0.05, each feature with its own
    /// baseline, no correction. Words of one response count as if they were independent.
    Study,
}

impl FromStr for WordMethod {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        match text {
            "log-odds" => Ok(Self::LogOdds),
            "study" => Ok(Self::Study),
            _ => Err(EffectsError::Choice {
                what: "method for words",
                text: text.to_owned(),
                choices: "log-odds or study",
            }),
        }
    }
}

/// How words are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WordSettings {
    /// The method.
    pub method: WordMethod,
    /// Whose baseline.
    pub baseline: BaselinePolicy,
    /// Largest q value that counts.
    pub alpha: f64,
    /// Responses, of both sides together, that must have a word for it to be tested.
    pub fewest_responses: u64,
    /// How many responses the prior is worth.
    pub prior_responses: f64,
}

impl Default for WordSettings {
    fn default() -> Self {
        Self {
            method: WordMethod::LogOdds,
            baseline: BaselinePolicy::Pooled,
            alpha: 0.05,
            fewest_responses: 5,
            prior_responses: 20.0,
        }
    }
}
