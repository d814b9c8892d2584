//! A scenario file.

use std::path::Path;

use glassbox_dictionary::DictionarySet;
use glassbox_experiment::Scenario;
use glassbox_experiment::prompts::PromptSets;
use glassbox_model::config_parse::read_config;
use glassbox_model::locate::{HubEnvironment, locate};
use glassbox_model::tokenizer::Tokenizer;
use serde_json::json;

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::facts;

/// Reads a scenario and everything that it names, but for weights.
pub(super) fn inspect(path: &Path) -> Result<Inspection, CliError> {
    let scenario = Scenario::read(path)?;
    let prompts = PromptSets::read(&scenario)?;
    let local = scenario.path(&scenario.model);
    let model = if local.is_dir() {
        local
    } else {
        locate(&scenario.model, &HubEnvironment::of_process())?
    };
    let config = read_config(&model)?;
    Tokenizer::open(&model, &config)?;
    let folder = scenario.path(&scenario.dictionaries);
    let dictionaries = DictionarySet::open(&folder)?;
    dictionaries.check_model(&config, None)?;
    let sites: Vec<String> = dictionaries.members().map(|(site, _)| site.to_string()).collect();

    let count = |prompts: &[glassbox_experiment::prompts::Prompt]| {
        let of = |family: &str| prompts.iter().filter(|prompt| prompt.family == family).count();
        let (a, b) = (scenario.family_a(), scenario.family_b());
        format!("{} {a}, {} {b}", of(a), of(b))
    };
    let held_out = if prompts.held_out {
        "no prompt is in both sets"
    } else {
        "the two sets share prompts"
    };
    let rules = scenario.parser.rules.len();
    let text = facts(&[
        ("scenario", format!("{} ({})", scenario.name, path.display())),
        ("about", scenario.description.trim().to_owned()),
        (
            "outcomes",
            format!(
                "{} (target: {})",
                scenario.outcome.choices.join(", "),
                scenario.outcome.target
            ),
        ),
        (
            "parser",
            format!(
                "{}@{}, {rules} rules",
                scenario.parser.name, scenario.parser.version
            ),
        ),
        (
            "select",
            format!(
                "{}; {} features per layer",
                count(&prompts.select),
                scenario.select.top_per_layer
            ),
        ),
        (
            "sweep",
            format!(
                "{}; {} trials per prompt and arm; {held_out}",
                count(&prompts.sweep),
                scenario.sweep.trials
            ),
        ),
        (
            "model",
            format!(
                "{} ({}, {} blocks)",
                model.display(),
                config.family,
                config.n_layers
            ),
        ),
        (
            "dictionaries",
            format!("{}: {}", folder.display(), sites.join(", ")),
        ),
        (
            "usable",
            "yes (the weights' values are checked when the run begins)".to_owned(),
        ),
    ]);
    let settings = serde_json::to_value(&scenario).map_err(|error| CliError::usage(error.to_string()))?;
    let rest = json!({
        "scenario": settings,
        "select_prompts": prompts.select.len(),
        "sweep_prompts": prompts.sweep.len(),
        "held_out": prompts.held_out,
        "model_folder": model,
        "dictionary_sites": sites,
    });
    Ok(Inspection {
        text,
        json: described("scenario", path, true, rest),
        damage: None,
    })
}
