//! The scenario file: two prompt families, the outcomes and their parser, the arms, and every stage's settings.
//!
//! A scenario is one TOML file. Paths in it are relative to the file. Unknown keys are errors. The resolved
//! settings, defaults included, go into the run's manifest.

use std::path::{Path, PathBuf};

use glassbox_dictionary::FeatureEdit;
use glassbox_model::edit::Positions;
use glassbox_model::load_options::WeightType;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionSettings;
use crate::error::ExperimentError;
use crate::feature_name::parse_feature_names;
use crate::outcome::{Parser, ParserSpec, UNKNOWN};

/// A scenario as its file states it, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the experiment, part of every random key: two scenarios never share random numbers by accident.
    pub name: String,
    /// One or two sentences for the report.
    #[serde(default)]
    pub description: String,
    /// Model folder (relative to the file) or hub id in the local cache.
    pub model: String,
    /// The type in which the model's weights are held while it runs.
    #[serde(default)]
    pub weights: WeightType,
    /// Folder with one dictionary per layer.
    pub dictionaries: String,
    /// What a trial can end in.
    pub outcome: OutcomeSpec,
    /// How the outcome is read from the text.
    pub parser: ParserSpec,
    /// Family A and family B, in this order.
    pub families: Vec<FamilySpec>,
    /// Seed of the whole run.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Feature selection.
    #[serde(default)]
    pub select: SelectSettings,
    /// Trials.
    #[serde(default)]
    pub sweep: SweepSettings,
    /// Causal effects.
    #[serde(default)]
    pub causal: CausalSettings,
    /// The exact decision read-out, if the scenario has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionSettings>,
    /// Pathways.
    #[serde(default)]
    pub pathways: PathwaySettings,
    /// Words.
    #[serde(default)]
    pub words: WordSettings,
    /// Folder of the scenario file; not part of the file.
    #[serde(skip)]
    pub folder: PathBuf,
}

fn default_seed() -> u64 {
    20_251_121
}

/// The closed list of outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeSpec {
    /// Names of all outcomes; `unknown` is always possible besides and is not listed.
    pub choices: Vec<String>,
    /// The outcome whose rate is compared.
    pub target: String,
    /// Unit of amounts, written before the number: `$`.
    #[serde(default)]
    pub amount_unit: String,
}

/// One prompt family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilySpec {
    /// Its name: `safe`.
    pub name: String,
    /// JSON-lines file (`{"id", "text"}`) of the prompts that select features and give values A and B.
    #[serde(default)]
    pub select_prompts: Option<String>,
    /// JSON-lines file of the prompts that the trials use: disjoint from the others, so that effects are measured
    /// on prompts which took no part in the choice of features.
    #[serde(default)]
    pub sweep_prompts: Option<String>,
    /// A single prompt, in place of both files.
    #[serde(default)]
    pub prompt: Option<String>,
}

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

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// [`ExperimentError::Scenario`] naming the file and what is wrong in it, or the parser's errors.
    pub fn read(path: &Path) -> Result<Self, ExperimentError> {
        let wrong = |what: String| ExperimentError::Scenario {
            file: path.to_owned(),
            what,
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong(format!(
                "cannot be read: {error}; give the path of a scenario TOML file"
            ))
        })?;
        let mut scenario: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        scenario.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        scenario.check().map_err(|error| match error {
            ExperimentError::Scenario { what, .. } => wrong(what),
            other => other,
        })?;
        Ok(scenario)
    }

    /// Checks what types alone can't.
    ///
    /// # Errors
    /// [`ExperimentError::Scenario`] or the parser's errors.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let wrong = |what: String| {
            Err(ExperimentError::Scenario {
                file: self.folder.clone(),
                what,
            })
        };
        if self.families.len() != 2 {
            return wrong(format!(
                "needs exactly two [[families]], found {}",
                self.families.len()
            ));
        }
        if self.families[0].name == self.families[1].name {
            return wrong(format!("both families are named '{}'", self.families[0].name));
        }
        for family in &self.families {
            let files = family.select_prompts.is_some() && family.sweep_prompts.is_some();
            if files == family.prompt.is_some()
                || family.select_prompts.is_some() != family.sweep_prompts.is_some()
            {
                return wrong(format!(
                    "family '{}' needs either prompt = \"…\" or both select_prompts and sweep_prompts",
                    family.name
                ));
            }
        }
        if self.outcome.choices.iter().any(|choice| choice == UNKNOWN) {
            return wrong("outcome.choices must not list 'unknown': it is always possible besides".into());
        }
        if !self.outcome.choices.contains(&self.outcome.target) {
            return wrong(format!(
                "outcome.target '{}' is not among outcome.choices: {}",
                self.outcome.target,
                self.outcome.choices.join(", ")
            ));
        }
        for (name, value) in [
            ("select.alpha", self.select.alpha),
            ("causal.alpha", self.causal.alpha),
            ("pathways.alpha", self.pathways.alpha),
            ("words.alpha", self.words.alpha),
        ] {
            if !(value > 0.0 && value < 1.0) {
                return wrong(format!("{name} is {value}, it must lie between 0 and 1"));
            }
        }
        for (name, value) in [
            ("select.top_per_layer", self.select.top_per_layer),
            ("select.max_prompts", self.select.max_prompts),
            ("sweep.trials", self.sweep.trials as usize),
            ("sweep.max_prompts", self.sweep.max_prompts),
            ("sweep.max_new_tokens", self.sweep.max_new_tokens),
            ("sweep.batch_rows", self.sweep.batch_rows),
            ("sweep.unit_trials", self.sweep.unit_trials),
            ("pathways.trials", self.pathways.trials as usize),
            ("pathways.max_prompts", self.pathways.max_prompts),
        ] {
            if value == 0 {
                return wrong(format!("{name} is 0, it must be at least 1"));
            }
        }
        if !(self.sweep.temperature >= 0.0 && self.sweep.temperature.is_finite()) {
            return wrong(format!(
                "sweep.temperature is {}, it must be 0 or more",
                self.sweep.temperature
            ));
        }
        if self.sweep.temperature == 0.0 && (self.sweep.trials > 1 || self.pathways.trials > 1) {
            return wrong(
                "sweep.temperature is 0, so all trials of a prompt are the same: set sweep.trials = 1 and \
                 pathways.trials = 1, or a temperature above 0"
                    .into(),
            );
        }
        let listed = self.sweep.record == RecordFeatures::Listed;
        if listed == self.sweep.recorded_features.is_empty() {
            return wrong(
                "sweep.recorded_features goes with sweep.record = \"listed\": give both, or neither".into(),
            );
        }
        parse_feature_names("sweep", &self.sweep.recorded_features)?;
        parse_feature_names("select", &self.select.features)?;
        if !(self.sweep.top_p > 0.0 && self.sweep.top_p <= 1.0) {
            return wrong(format!(
                "sweep.top_p is {}, it must lie in (0, 1]",
                self.sweep.top_p
            ));
        }
        if !(0.0..=100.0).contains(&self.causal.control_percentile) {
            return wrong(format!(
                "causal.control_percentile is {}, it must lie in 0 to 100",
                self.causal.control_percentile
            ));
        }
        if !(self.causal.smallest_effect_of_interest > 0.0 && self.causal.smallest_effect_of_interest <= 1.0)
        {
            return wrong(format!(
                "causal.smallest_effect_of_interest is {}, it must lie in (0, 1]",
                self.causal.smallest_effect_of_interest
            ));
        }
        if !(0.0..=1.0).contains(&self.causal.max_unknown_share) {
            return wrong(format!(
                "causal.max_unknown_share is {}, it must lie in 0 to 1",
                self.causal.max_unknown_share
            ));
        }
        for (name, value, most) in [
            ("sweep.trials", u64::from(self.sweep.trials), 1_000_000),
            ("pathways.trials", u64::from(self.pathways.trials), 1_000_000),
            (
                "sweep.max_new_tokens",
                self.sweep.max_new_tokens as u64,
                1_000_000,
            ),
            ("sweep.batch_rows", self.sweep.batch_rows as u64, 65_536),
            ("sweep.top_logits", self.sweep.top_logits as u64, 10_000),
            (
                "sweep.controls_per_feature",
                self.sweep.controls_per_feature as u64,
                1000,
            ),
            (
                "select.top_per_layer",
                self.select.top_per_layer as u64,
                1_000_000,
            ),
            (
                "causal.permutations",
                u64::from(self.causal.permutations),
                100_000,
            ),
        ] {
            if value > most {
                return wrong(format!("{name} is {value}, it must be at most {most}"));
            }
        }
        if !(0.0..=1.0).contains(&self.pathways.min_active_share) {
            return wrong(format!(
                "pathways.min_active_share is {}, it must lie in 0 to 1",
                self.pathways.min_active_share
            ));
        }
        if self.select.rank_by == SelectionRank::Attribution && self.decision.is_none() {
            return wrong(
                "select.rank_by is \"attribution\", which ranks by the effect on the decision's log-odds: add a [decision] section"
                    .into(),
            );
        }
        if let Some(decision) = &self.decision
            && let Err(what) = decision.check(&self.outcome.choices, &self.outcome.target)
        {
            return wrong(what);
        }
        if let Err(error) = regex::Regex::new(&self.words.pattern) {
            return wrong(format!("words.pattern is no regular expression: {error}"));
        }
        self.compiled_parser().map(|_| ())
    }

    /// The settings that decide results, as JSON: without the description and the disk budget, which may change between
    /// the parts of a resumed run.
    ///
    /// # Errors
    /// [`ExperimentError::Scenario`] if they can't be written as JSON.
    pub fn deciding_settings(&self) -> Result<serde_json::Value, ExperimentError> {
        let mut settings = serde_json::to_value(self).map_err(|error| ExperimentError::Scenario {
            file: self.folder.clone(),
            what: error.to_string(),
        })?;
        if let Some(settings) = settings.as_object_mut() {
            settings.remove("description");
            if let Some(sweep) = settings
                .get_mut("sweep")
                .and_then(serde_json::Value::as_object_mut)
            {
                sweep.remove("disk_budget_bytes");
            }
        }
        Ok(settings)
    }

    /// The parser, compiled.
    ///
    /// # Errors
    /// See [`Parser::new`].
    pub fn compiled_parser(&self) -> Result<Parser, ExperimentError> {
        Parser::new(self.parser.clone(), &self.outcome.choices)
    }

    /// A path of the file, made relative to its folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// Name of family A.
    pub fn family_a(&self) -> &str {
        self.families.first().map_or("a", |family| &family.name)
    }

    /// Name of family B.
    pub fn family_b(&self) -> &str {
        self.families.get(1).map_or("b", |family| &family.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "doors"
model = "model"
dictionaries = "dictionaries"
[outcome]
choices = ["left", "right"]
target = "left"
[parser]
name = "door"
version = 1
[[parser.rules]]
pattern = "left"
outcome = "left"
[[parser.rules]]
pattern = "right"
outcome = "right"
[[families]]
name = "a"
prompt = "Left or right?"
[[families]]
name = "b"
prompt = "Right or left?"
"#;

    fn read(text: &str) -> Result<Scenario, ExperimentError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario.toml");
        std::fs::write(&path, text).unwrap();
        Scenario::read(&path)
    }

    #[test]
    fn defaults_are_filled_in() {
        let scenario = read(GOOD).unwrap();
        assert_eq!(scenario.sweep, SweepSettings::default());
        assert_eq!((scenario.family_a(), scenario.family_b()), ("a", "b"));
    }

    #[test]
    fn mistakes_are_named() {
        for (old, new, expected) in [
            ("name = \"doors\"", "name = \"doors\"\nmodle = \"x\"", "modle"),
            ("target = \"left\"", "target = \"up\"", "'up'"),
            ("name = \"b\"", "name = \"a\"", "both families"),
            ("prompt = \"Left or right?\"", "", "needs either prompt"),
            (
                "prompt = \"Left or right?\"",
                "select_prompts = \"x\"",
                "needs either prompt",
            ),
            ("[parser]", "[sweep]\ntrials = 0\n[parser]", "sweep.trials"),
            ("[parser]", "[words]\npattern = \"(\"\n[parser]", "words.pattern"),
            ("pattern = \"left\"", "pattern = \"(\"", "rule 1"),
            (
                "choices = [\"left\", \"right\"]",
                "choices = [\"left\", \"right\", \"unknown\"]",
                "'unknown'",
            ),
        ] {
            let error = read(&GOOD.replacen(old, new, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Scenario::read(Path::new("/nowhere/s.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/s.toml"), "{error}");
    }
}
