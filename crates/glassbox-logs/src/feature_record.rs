//! What a list of features says of one of them.

use crate::{FeatureId, Place};

/// One feature of a feature list, a table of means or a checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureMeasures {
    /// Mean activation over safe prompts (value A), in the dictionary's units.
    pub mean_a: Option<f64>,
    /// Mean activation over risky (bankrupt) prompts (value B).
    pub mean_b: Option<f64>,
    /// Standard deviation over safe prompts.
    pub sd_a: Option<f64>,
    /// Standard deviation over risky prompts.
    pub sd_b: Option<f64>,
    /// Safe prompts.
    pub n_a: Option<u64>,
    /// Risky prompts.
    pub n_b: Option<u64>,
    /// Cohen's d as stated; its sign convention is the file's.
    pub cohen_d: Option<f64>,
    /// p value as stated.
    pub p: Option<f64>,
    /// A class that the file gives: `safe`, `risky`, `increases_risk`, `safe_context_causal`, …
    pub class: Option<String>,
    /// Whether the file calls it causal.
    pub causal: Option<bool>,
}

/// A feature with its measures and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRecord {
    /// The feature.
    pub feature: FeatureId,
    /// What the file says of it.
    pub measures: FeatureMeasures,
    /// Where the row is.
    pub place: Place,
}
