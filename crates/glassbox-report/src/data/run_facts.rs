//! What the manifest and the plan say about a run, without times: two runs of one plan give the same page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use glassbox_experiment::Scenario;
use glassbox_experiment::tables::{PlanRow, PromptRow};
use glassbox_store::{Manifest, StageStatus, TableReader};
use serde_json::Value;

use super::ExamplePair;
use crate::ReportError;

/// Facts of the manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// Version of the program.
    pub glassbox_version: String,
    /// Instruction set of the numbers.
    pub instruction_set: String,
    /// Checksum of the plan.
    pub plan_hash: Option<String>,
    /// Checksums of what the run reads, by name.
    pub hashes: Vec<(String, String)>,
    /// Seeds by name.
    pub seeds: Vec<(String, u64)>,
    /// Stages in order: name, whether complete, rows. The report's own stage is left out.
    pub stages: Vec<(String, bool, Option<u64>)>,
    /// The settings, with dots between the parts of a key.
    pub settings: Vec<(String, String)>,
}

/// What was planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanFacts {
    /// Trials.
    pub trials: u64,
    /// Units of work.
    pub units: u64,
    /// Prompts of all families.
    pub prompts: u64,
    /// Trials per prompt and arm.
    pub trials_per_prompt: u64,
    /// Features that are set to value A and value B.
    pub features: u64,
    /// Random-feature controls.
    pub controls: u64,
}

/// A prompt whose text is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptText {
    /// Prompt family.
    pub family: String,
    /// Identity within the family.
    pub prompt_id: String,
    /// What the model reads.
    pub text: String,
}

pub(super) fn facts_of(manifest: &Manifest) -> RunFacts {
    let mut settings = Vec::new();
    flatten(String::new(), &manifest.config, &mut settings);
    RunFacts {
        glassbox_version: manifest.glassbox_version.clone(),
        instruction_set: manifest.instruction_set.clone(),
        plan_hash: manifest.plan_hash.map(|hash| hash.to_string()),
        hashes: manifest
            .hashes
            .iter()
            .map(|(name, hash)| (name.clone(), hash.to_string()))
            .collect(),
        seeds: manifest
            .seeds
            .iter()
            .map(|(name, seed)| (name.clone(), *seed))
            .collect(),
        stages: manifest
            .stages
            .iter()
            .filter(|stage| stage.name != "report")
            .map(|stage| {
                (
                    stage.name.clone(),
                    stage.status == StageStatus::Complete,
                    stage.rows,
                )
            })
            .collect(),
        settings,
    }
}

fn flatten(key: String, value: &Value, settings: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                flatten(key, value, settings);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                flatten(format!("{key}[{index}]"), value, settings);
            }
        }
        Value::String(text) => settings.push((key, text.clone())),
        other => settings.push((key, other.to_string())),
    }
}

/// The scenario in a manifest's settings, which may hold further entries of the program that ran it.
pub(super) fn scenario_of(config: &Value) -> Option<Scenario> {
    let mut entries = config.as_object()?.clone();
    entries.retain(|key, _| SCENARIO_KEYS.contains(&key.as_str()));
    serde_json::from_value(Value::Object(entries)).ok()
}

const SCENARIO_KEYS: [&str; 15] = [
    "name",
    "description",
    "model",
    "weights",
    "dictionaries",
    "outcome",
    "parser",
    "families",
    "seed",
    "select",
    "sweep",
    "decision",
    "causal",
    "pathways",
    "words",
];

/// One prompt of each family: that of the example responses, else the first one of the sweep, else what the scenario itself states.
pub(super) fn prompts_of(
    scenario: Option<&Scenario>,
    table: Option<&Path>,
    examples: &[ExamplePair],
) -> Result<Vec<PromptText>, ReportError> {
    let Some(table) = table else {
        return Ok(stated_prompts(scenario));
    };
    let mut found: BTreeMap<String, PromptText> = BTreeMap::new();
    for batch in TableReader::<PromptRow>::open(table)? {
        for row in batch?.into_iter().filter(|row| row.stage == "sweep") {
            let is_shown = examples
                .iter()
                .any(|pair| pair.family == row.family && pair.prompt_id == row.prompt_id);
            if is_shown || !found.contains_key(&row.family) {
                let prompt = PromptText {
                    family: row.family.clone(),
                    prompt_id: row.prompt_id,
                    text: row.text,
                };
                found.insert(row.family, prompt);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn stated_prompts(scenario: Option<&Scenario>) -> Vec<PromptText> {
    scenario
        .iter()
        .flat_map(|scenario| &scenario.families)
        .filter_map(|family| {
            Some(PromptText {
                family: family.name.clone(),
                prompt_id: format!("{}-0", family.name),
                text: family.prompt.clone()?,
            })
        })
        .collect()
}

pub(super) fn read_plan(path: &Path) -> Result<PlanFacts, ReportError> {
    let mut facts = PlanFacts::default();
    let (mut prompts, mut features, mut controls) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for batch in TableReader::<PlanRow>::open(path)? {
        for row in batch? {
            facts.trials += 1;
            facts.units = facts.units.max(u64::from(row.unit) + 1);
            facts.trials_per_prompt = facts.trials_per_prompt.max(u64::from(row.trial) + 1);
            if row.matched_feature.is_some() {
                controls.insert((row.layer, row.feature));
            } else if row.feature.is_some() {
                features.insert((row.layer, row.feature));
            }
            prompts.insert((row.family, row.prompt_id));
        }
    }
    facts.prompts = prompts.len() as u64;
    facts.features = features.len() as u64;
    facts.controls = controls.len() as u64;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gives_back_the_whole_scenario() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
        let scenario = Scenario::read(&path).unwrap();
        let mut config = serde_json::to_value(&scenario).unwrap();
        for key in config.as_object().unwrap().keys() {
            assert!(SCENARIO_KEYS.contains(&key.as_str()), "{key}");
        }
        config["pilot"] = 3.into();
        let found = scenario_of(&config).unwrap();
        assert!(found.decision.is_some());
        assert_eq!((found.decision, found.sweep), (scenario.decision, scenario.sweep));
    }
}
