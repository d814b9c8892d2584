//! What an audit checks against.

use glassbox_outcome::Parser;
use regex::Regex;

use super::Analysis;
use crate::OutcomeSource;

/// What an audit checks against.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// What the logs are wanted for; `None` takes *dose* for logs of doses, *effects* for others.
    pub analysis: Option<Analysis>,
    /// Where outcomes come from.
    pub outcome: OutcomeSource,
    /// Planned trials per cell; `None` takes the commonest number.
    pub planned_trials: Option<u64>,
    /// Fewest trials of a cell that a comparison needs. The study's own criterion needs 10.
    pub fewest_trials: u64,
    /// The dictionaries that the features come from, as far as they are known.
    pub dictionaries: Vec<DictionaryFacts>,
    /// What marks a response that repeats the prompt.
    pub echo: Regex,
    /// Two parsers to compare on all responses.
    pub compare: Option<[Parser; 2]>,
}

impl AuditSettings {
    /// The defaults, with an echo pattern.
    pub fn new(echo: Regex) -> Self {
        Self {
            analysis: None,
            outcome: OutcomeSource::Recorded,
            planned_trials: None,
            fewest_trials: 10,
            dictionaries: Vec::new(),
            echo,
            compare: None,
        }
    }
}

/// What is known of a dictionary without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryFacts {
    /// The layer that it belongs to; `None` for all layers without one of their own.
    pub layer: Option<u32>,
    /// Number of its features.
    pub features: u64,
    /// Width of the residual stream that it reads, where it is known.
    pub model_width: Option<u64>,
    /// Whether its activations are never negative (ReLU, JumpReLU, TopK after ReLU).
    pub is_non_negative: bool,
    /// Threshold of each feature, in the units of its activations; empty if it has none. An active feature is above it.
    pub thresholds: Vec<f32>,
}

/// A response repeats the prompt if one of its lines begins as a line of the study's prompts does.
///
/// # Errors
/// That of the expression; it is fixed and has none.
pub fn default_echo() -> Result<Regex, regex::Error> {
    Regex::new(
        r"(?m)^[ \t]*(?:Slot Machine Game|Game history:|Current balance:|Current round:|Choose:|Choice:|Win rate:|Win pays )",
    )
}
