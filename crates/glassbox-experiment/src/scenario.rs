//! The scenario file: two prompt families, the outcomes and their parser, the arms, and every stage's settings.
//!
//! A scenario is one TOML file. Paths in it are relative to the file. Unknown keys are errors. The resolved
//! settings, defaults included, go into the run's manifest.

mod check;
mod stage_settings;
mod sweep_settings;

use std::path::{Path, PathBuf};

use glassbox_model::load_options::WeightType;
use serde::{Deserialize, Serialize};

use crate::decision::DecisionSettings;
use crate::error::ExperimentError;
use glassbox_outcome::{Parser, ParserSpec};

pub use stage_settings::{CausalSettings, PathwaySettings, SelectSettings, SelectionRank, WordSettings};
pub use sweep_settings::{
    EngineSettings, InterventionKind, InterventionPositions, RecordFeatures, StopWhenDecided, SweepSettings,
};

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
        Ok(Parser::new(self.parser.clone(), &self.outcome.choices)?)
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
