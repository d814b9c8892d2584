//! What was measured when a dictionary was trained.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stored_dictionary::StoredDictionary;

/// The key of a dictionary's notes that holds its [`TrainingRecord`].
pub const TRAINING_NOTE: &str = "training";

/// Figures of a finished dictionary on held-out tokens of its own training run, in the units of raw activations. What is
/// evaluated later is compared with them: a dictionary that explains much less reads something else than it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// TransformerLens name of the site that was read.
    pub site: String,
    /// And of the site that was written.
    pub output_site: String,
    /// Tokens trained on, those of repeated passes counted again.
    pub tokens: u64,
    /// Tokens that the figures below were measured on: none of their documents was trained on.
    pub held_out_tokens: u64,
    /// 1 − Σ‖y − ŷ‖² / Σ‖y − mean y‖², y the activations to be written.
    pub explained_variance: f64,
    /// Mean of ‖y − ŷ‖².
    pub mean_squared_error: f64,
    /// Mean of ‖y − mean y‖².
    pub mean_squared_deviation: f64,
    /// Mean of ‖x‖ over the tokens, x the activations that are read.
    pub mean_norm: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Share of the features that were active on no held-out token.
    pub silent_share: f64,
    /// Share of the features that training had counted as dead when it ended.
    pub dead_share: f64,
    /// How documents became rows: context, packing, BOS, the policy for position 0, the held-out share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Value>,
}

impl StoredDictionary {
    /// What was measured when the dictionary was trained, where its files say.
    pub fn training_record(&self) -> Option<TrainingRecord> {
        let record = self.notes.as_ref()?.get(TRAINING_NOTE)?;
        TrainingRecord::deserialize(record).ok()
    }
}
