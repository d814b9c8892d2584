//! Settings of the stages around the sweep: *select*, *causal*, *pathways*, *words*.

use serde::{Deserialize, Serialize};

/// By what the features of a layer are ranked, among those that differ between the families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SelectionRank {
    /// |Cohen's d|: how reliably a feature tells the families apart, however small the difference is.
    #[default]
    CohenD,
    /// |mean B − mean A| · ‖decoder row‖: how far the residual stream moves between the two values. Prompts made from a
    /// template have features that hardly vary, whose d is huge and whose step is tiny; this ranks them last.
    Step,
    /// |First-order effect on the decision's log-odds| of value B against value A ([`crate::screen`]): how far the feature
    /// moves the answer, by the gradient. Needs a `[decision]` section.
    Attribution,
}

/// Settings of the *select* stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectSettings {
    /// Features kept per layer, by `rank_by` among those with q below `alpha`.
    pub top_per_layer: usize,
    /// What ranks them.
    pub rank_by: SelectionRank,
    /// False discovery rate of the selection, one family over all layers and features.
    pub alpha: f64,
    /// Prompts used per family at most.
    pub max_prompts: usize,
    /// Names such as `L3-89` of the only features to take, instead of the first of each layer; whether they differ
    /// between the families or not.
    pub features: Vec<String>,
}

impl Default for SelectSettings {
    fn default() -> Self {
        Self {
            top_per_layer: 8,
            rank_by: SelectionRank::CohenD,
            alpha: 0.05,
            max_prompts: 1000,
            features: Vec::new(),
        }
    }
}

/// Settings of the *causal* stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CausalSettings {
    /// False discovery rate, one family over every test of the stage.
    pub alpha: f64,
    /// Percentile among the random-feature controls that an effect must pass.
    pub control_percentile: f64,
    /// Largest share of unreadable trials under a feature's values with which a verdict is still given.
    pub max_unknown_share: f64,
    /// Smallest risk difference worth finding; what the data could not have seen is said to be undecided.
    pub smallest_effect_of_interest: f64,
    /// Random relabellings of arms within pairs, for the calibration figure.
    pub permutations: u32,
}

impl Default for CausalSettings {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            control_percentile: 95.0,
            smallest_effect_of_interest: 0.1,
            max_unknown_share: 0.2,
            permutations: 20,
        }
    }
}

/// Settings of the *pathways* stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathwaySettings {
    /// Strongest causal features replayed as sources.
    pub sources: usize,
    /// Strongest targets of those, in middle layers, replayed as sources in a second wave, so that chains have measured links.
    pub second_wave: usize,
    /// Random-feature sources replayed as negative controls.
    pub control_sources: usize,
    /// Trials per prompt of the replays.
    pub trials: u32,
    /// Prompts used per family at most.
    pub max_prompts: usize,
    /// A downstream feature is tested if it is active in at least this share of the pairs.
    pub min_active_share: f64,
    /// False discovery rate over all edges tested.
    pub alpha: f64,
    /// Whether the sparse features of every generated token are written besides the means per trial.
    pub record_tokens: bool,
}

impl Default for PathwaySettings {
    fn default() -> Self {
        Self {
            sources: 6,
            second_wave: 4,
            control_sources: 6,
            trials: 2,
            max_prompts: 16,
            min_active_share: 0.1,
            alpha: 0.05,
            record_tokens: false,
        }
    }
}

/// Settings of the *words* stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordSettings {
    /// What counts as a word or amount; matches are lower-cased.
    pub pattern: String,
    /// A word is tested if at least this many responses of a contrast hold it.
    pub min_responses: u64,
    /// False discovery rate over all (feature, word) tests.
    pub alpha: f64,
}

impl Default for WordSettings {
    fn default() -> Self {
        Self {
            pattern: r"\$?\d+|\b[a-zA-Z]+\b".into(),
            min_responses: 5,
            alpha: 0.05,
        }
    }
}
