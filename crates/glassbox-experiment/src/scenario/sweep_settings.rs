//! Settings of the *sweep* stage: the trials, the intervention, and what may be switched off.

use glassbox_dictionary::FeatureEdit;
use glassbox_model::edit::Positions;
use serde::{Deserialize, Serialize};

/// How an intervention enters the residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum InterventionKind {
    /// x + (v − f)·d: the reconstruction error stays.
    #[default]
    Delta,
    /// x := decode(encode(x) with f = v): the reconstruction error is lost, and the reconstruct-only arm measures by how much.
    Reconstruction,
}

impl InterventionKind {
    /// The edit that sets a feature to a value in this way.
    pub fn set(self, feature: u32, value: f32) -> FeatureEdit {
        match self {
            Self::Delta => FeatureEdit::SetByDelta { feature, value },
            Self::Reconstruction => FeatureEdit::SetByReconstruction { feature, value },
        }
    }
}

/// Where an intervention acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum InterventionPositions {
    /// The last prompt position and every generated one.
    #[default]
    LastAndGenerated,
    /// The last prompt position only.
    LastOfPrompt,
    /// Every position, the whole prompt included.
    All,
}

impl InterventionPositions {
    /// The positions as the model knows them.
    pub fn of_model(self) -> Positions {
        match self {
            Self::LastAndGenerated => Positions::LastAndGenerated,
            Self::LastOfPrompt => Positions::LastOfPrompt,
            Self::All => Positions::All,
        }
    }
}

/// When a trial ends before its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum StopWhenDecided {
    /// Never: the whole response is kept.
    #[default]
    Never,
    /// At the end of the line in which the parser reads its outcome.
    EndOfLine,
    /// With the token after which the parser reads an outcome. For parsers whose outcome further text can't change.
    AnyToken,
}

/// Which features are recorded in every trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RecordFeatures {
    /// None.
    #[default]
    None,
    /// The selected ones, of all blocks.
    Selected,
    /// Those of `sweep.recorded_features`.
    Listed,
}

/// Ways in which a sweep saves work. All are on by default and change no result beyond rounding, but for
/// `common_random_numbers`; they exist to be compared with and without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// A prompt is computed once for all its trials, which attend to the same keys and values. Off: each trial has its own.
    pub share_prefix: bool,
    /// The last prompt position is computed from the first block on that a trial's edit changes.
    pub resume_at_edit: bool,
    /// A trial that ends makes place for the next one of its unit at once. Off: a batch begins when the one before is done.
    pub continuous: bool,
    /// A feature's value comes from its own encoder row where the dictionary's rule allows it. Off: from all features.
    pub one_row_deltas: bool,
    /// Recorded features are encoded without the others where the rule allows it.
    pub encode_recorded_only: bool,
    /// Baseline trials are run once per prompt. Off: anew for every feature, as often as the study did, results dropped.
    pub pool_baselines: bool,
    /// Trial t has the same random numbers in all arms. Off: its own in each, which is another experiment with wider intervals.
    pub common_random_numbers: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            share_prefix: true,
            resume_at_edit: true,
            continuous: true,
            one_row_deltas: true,
            encode_recorded_only: true,
            pool_baselines: true,
            common_random_numbers: true,
        }
    }
}

/// Settings of the *sweep* stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SweepSettings {
    /// Trials per prompt and arm. Trial t of every arm shares its random numbers.
    pub trials: u32,
    /// Prompts used per family at most.
    pub max_prompts: usize,
    /// New tokens at most.
    pub max_new_tokens: usize,
    /// Softmax temperature; 0 is greedy.
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 is all.
    pub top_k: usize,
    /// The smallest set of tokens that holds this probability; 1 is all.
    pub top_p: f32,
    /// Rows that are computed at a time. Part of the plan: results may differ in the last bit between batch sizes.
    pub batch_rows: usize,
    /// Trials of one unit of work, of one prompt: what an interrupted run loses at most per worker. Part of the plan.
    pub unit_trials: usize,
    /// How the intervention enters the residual.
    pub intervention: InterventionKind,
    /// Where it acts.
    pub positions: InterventionPositions,
    /// Random-feature controls per selected feature.
    pub controls_per_feature: usize,
    /// Whether a trial ends when the parser has read its outcome, instead of at its own end.
    pub stop_when_decided: StopWhenDecided,
    /// Features whose mean and largest activation over the generated tokens are kept with every trial.
    pub record: RecordFeatures,
    /// Names such as `L3-89`, for `record = "listed"`.
    pub recorded_features: Vec<String>,
    /// Logits kept for every generated token; 0 keeps none.
    pub top_logits: usize,
    /// Bytes that the run may write.
    pub disk_budget_bytes: u64,
    /// What may be switched off to see what it is worth.
    pub engine: EngineSettings,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            trials: 4,
            max_prompts: 16,
            max_new_tokens: 100,
            temperature: 0.7,
            top_k: 0,
            top_p: 1.0,
            batch_rows: 128,
            unit_trials: 512,
            intervention: InterventionKind::Delta,
            positions: InterventionPositions::LastAndGenerated,
            controls_per_feature: 1,
            stop_when_decided: StopWhenDecided::Never,
            record: RecordFeatures::None,
            recorded_features: Vec::new(),
            top_logits: 0,
            disk_budget_bytes: 20_000_000_000,
            engine: EngineSettings::default(),
        }
    }
}
