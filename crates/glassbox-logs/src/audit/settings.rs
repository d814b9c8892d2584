//! What an audit checks against.

use glassbox_outcome::Parser;

use super::{Analysis, Echo};
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
    pub echo: Echo,
    /// Two parsers to compare on all responses.
    pub compare: Option<[Parser; 2]>,
}

impl AuditSettings {
    /// The defaults, with a mark of echoes.
    pub fn new(echo: Echo) -> Self {
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
