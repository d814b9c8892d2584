//! A stretch of text around a token that a feature is active on.

use serde::{Deserialize, Serialize};

/// A stretch of one document with the activations of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Number of the document.
    pub document: u64,
    /// Number of the peak among all tokens of the corpus as it was read, padding not counted.
    pub token_number: u64,
    /// Index of the peak in `tokens`.
    pub peak: u32,
    /// Activation at the peak.
    pub activation: f32,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The feature's activation at each of them; zero at tokens that do not count as data.
    pub activations: Vec<f32>,
}

impl Context {
    /// Whether both show the same text.
    pub fn same_text(&self, other: &Self) -> bool {
        self.tokens == other.tokens
    }

    /// Whether it comes before the other in a list: by activation, of equals the earlier token.
    pub fn precedes(&self, other: &Self) -> bool {
        self.activation
            .total_cmp(&other.activation)
            .then(other.token_number.cmp(&self.token_number))
            .is_gt()
    }
}
