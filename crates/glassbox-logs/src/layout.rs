//! The layouts that rows can have.

use std::fmt;

use serde::Serialize;

/// What a row's keys say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `{feature, condition, trial, response, parsed}`: the study's response logs.
    ResponseLog,
    /// `{layer, feature_id, prompt_type, scale, trial_index, response, …}`: the dose scan.
    DoseTrials,
    /// `{target_feature or feature_name, patch_condition, prompt_type, trial, response, …}`: phase 1 and its successors.
    PatchTrials,
    /// `{feature: {condition: [{trial, response, reparsed_…}]}}`: responses parsed again.
    ReparsedTrials,
    /// Table `trials` of a glassbox run.
    RunTrials,
    /// Table `log_trials` that `glassbox import` writes.
    ImportedTrials,
    /// `{results: [{feature, cohen_d, is_causal or causality}]}`: checkpoints, flat and nested.
    Checkpoint,
    /// `{layer_results: {layer: {significant_features: […]}}}`.
    LayerResults,
    /// `{features: [{layer, feature_id}]}`.
    FeatureList,
    /// `{feature_means: {feature: {safe_mean, risky_mean}}}`.
    FeatureMeans,
    /// Rows of features with means, d or p.
    FeatureRows,
    /// `{analyzed_features: [{layer, feature_id, condition_metrics}]}`.
    ConditionMetrics,
    /// Rows of features with stop rates of several arms.
    StopRates,
    /// Rows of features with other numbers.
    FeatureNumbers,
}

impl Layout {
    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResponseLog => "response log",
            Self::DoseTrials => "dose trials",
            Self::PatchTrials => "patch trials",
            Self::ReparsedTrials => "reparsed trials",
            Self::RunTrials => "trials of a run",
            Self::ImportedTrials => "imported trials",
            Self::Checkpoint => "checkpoint",
            Self::LayerResults => "features by layer",
            Self::FeatureList => "feature list",
            Self::FeatureMeans => "feature means",
            Self::FeatureRows => "feature rows",
            Self::ConditionMetrics => "condition metrics",
            Self::StopRates => "stop rates",
            Self::FeatureNumbers => "feature numbers",
        }
    }

    /// Whether its rows are trials.
    pub fn is_trials(self) -> bool {
        matches!(
            self,
            Self::ResponseLog
                | Self::DoseTrials
                | Self::PatchTrials
                | Self::ReparsedTrials
                | Self::RunTrials
                | Self::ImportedTrials
        )
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
