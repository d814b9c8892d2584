//! The file of a job.
//!
//! One TOML file. Paths in it are relative to the file. Unknown keys are errors. What is said once under `[dictionary]`
//! holds for every layer; `{layer}` in its `site` and `output_site` stands for the layer's number, and `[layer.N]`
//! overrides single keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use glassbox_corpus::{ActivationType, DocumentSource, RowOptions};
use glassbox_interpretation::census::CensusSettings;
use glassbox_training::{DictionarySettings, TrainSettings};
use serde::{Deserialize, Serialize};

use crate::error::{JobError, Result};
use crate::stage::Stage;
use crate::targets::Targets;

/// A job as its file states it, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Its name.
    pub name: String,
    /// Model folder or hub id in the local cache.
    pub model: String,
    /// The layers to make a dictionary for.
    #[serde(default)]
    pub layers: Layers,
    /// The documents.
    pub corpus: DocumentSource,
    /// How documents become rows.
    #[serde(default)]
    pub rows: RowOptions,
    /// Activations on disk.
    #[serde(default)]
    pub extract: ExtractSettings,
    /// What every dictionary is, as [`DictionarySettings`] with `{layer}` in its sites.
    pub dictionary: toml::Table,
    /// Keys of `[dictionary]` that differ for a layer, by its number.
    #[serde(default)]
    pub layer: BTreeMap<String, toml::Table>,
    /// Training, without its dictionaries.
    #[serde(default)]
    pub train: TrainSettings,
    /// Evaluation.
    #[serde(default)]
    pub evaluate: EvaluateSettings,
    /// The census of features.
    #[serde(default)]
    pub features: FeatureSettings,
    /// What each dictionary is to reach.
    #[serde(default)]
    pub targets: Targets,
    /// Older runs to be listed beside this one.
    #[serde(default)]
    pub compare: CompareSettings,
    /// Folder of the file; not part of it.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Layers by number, or all of the model's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`layers` must be a list such as [1, 3], or \"all\"")]
pub enum Layers {
    /// Every block of the model: `"all"`.
    #[default]
    #[serde(with = "all_word")]
    All,
    /// These blocks, counted from 0.
    Listed(Vec<u32>),
}

mod all_word {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("all")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "all" => Ok(()),
            other => Err(serde::de::Error::custom(format!(
                "`{other}` is no choice of layers"
            ))),
        }
    }
}

/// Activations on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExtractSettings {
    /// Whether activations are written at all; `false` trains straight from the forward pass.
    pub store: bool,
    /// A folder with GhostTrack's `layer_N_states.pt`, which are trained on instead: nothing is extracted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<PathBuf>,
    /// Tokens that are kept; all of the corpus unless set.
    pub tokens: Option<u64>,
    /// Type of the values on disk.
    pub dtype: ActivationType,
}

impl Default for ExtractSettings {
    fn default() -> Self {
        Self {
            store: true,
            states: None,
            tokens: None,
            dtype: ActivationType::default(),
        }
    }
}

impl ExtractSettings {
    /// Whether the job writes activations of its own.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.store && self.states.is_none()
    }
}

/// Evaluation on held-out documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSettings {
    /// Held-out tokens, at most.
    pub tokens: u64,
    /// Whether the model's loss is measured with each dictionary in place.
    pub losses: bool,
}

impl Default for EvaluateSettings {
    fn default() -> Self {
        Self {
            tokens: 100_000,
            losses: true,
        }
    }
}

/// The census of features.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureSettings {
    /// Tokens of the corpus, from its start, at most.
    pub tokens: u64,
    /// How it is taken.
    pub census: CensusSettings,
}

impl Default for FeatureSettings {
    fn default() -> Self {
        Self {
            tokens: 1_000_000,
            census: CensusSettings::default(),
        }
    }
}

/// Older runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareSettings {
    /// History files of GhostTrack (`*_history.json`).
    pub histories: Vec<PathBuf>,
    /// Their number of features, which the files do not say.
    pub features: Option<usize>,
}

impl JobSettings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`JobError::Read`], [`JobError::Settings`] with the line of what is wrong.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|cause| JobError::Read {
            file: file.to_path_buf(),
            cause,
        })?;
        let mut settings = Self::parse(&text).map_err(|what| JobError::Settings {
            file: file.to_path_buf(),
            what,
        })?;
        settings.folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        settings.check().map_err(|what| JobError::Settings {
            file: file.to_path_buf(),
            what,
        })?;
        Ok(settings)
    }

    /// Whether a file is a job, by what it has at its top: a scenario has `families`, a job has `corpus`.
    pub fn is_job(text: &str) -> bool {
        text.parse::<toml::Table>()
            .is_ok_and(|table| table.contains_key("corpus") && !table.contains_key("families"))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        toml::from_str(text).map_err(|cause| cause.to_string())
    }

    fn check(&self) -> std::result::Result<(), String> {
        if !self.train.dictionaries.is_empty() {
            return Err("`train.dictionary` is made of `[dictionary]` and `layers`; leave it out".to_owned());
        }
        if self.evaluate.tokens == 0 || self.features.tokens == 0 {
            let key = if self.evaluate.tokens == 0 {
                "evaluate"
            } else {
                "features"
            };
            return Err(format!("`{key}.tokens` is 0, expected at least 1"));
        }
        if self.rows.held_out_share == 0.0 {
            return Err(
                "`rows.held_out_share` is 0; dictionaries are judged on held-out documents, 0.01 for example"
                    .to_owned(),
            );
        }
        if let Some((key, problem)) = self.targets.problem() {
            return Err(format!("`targets.{key}` {problem}"));
        }
        if let Layers::Listed(listed) = &self.layers {
            let repeated = listed
                .iter()
                .enumerate()
                .find(|(i, layer)| listed[..*i].contains(layer));
            if listed.is_empty() {
                return Err("`layers` is empty; list at least one, or write \"all\"".to_owned());
            }
            if let Some((_, layer)) = repeated {
                return Err(format!("`layers` lists {layer} twice"));
            }
        }
        for layer in self.layer.keys() {
            let number: u32 = layer
                .parse()
                .map_err(|_| format!("`[layer.{layer}]`: a layer is a number, as in [layer.3]"))?;
            if let Layers::Listed(listed) = &self.layers
                && !listed.contains(&number)
            {
                return Err(format!(
                    "`[layer.{layer}]`: `layers` does not list {number}; it has {listed:?}"
                ));
            }
        }
        Ok(())
    }

    /// The dictionary of every layer, for a model of `n_layers` blocks.
    ///
    /// # Errors
    /// [`JobError::Layer`] for a layer that the model lacks, [`JobError::Dictionary`] for keys that are wrong.
    pub fn dictionaries(&self, n_layers: usize) -> Result<Vec<(u32, DictionarySettings)>> {
        let layers: Vec<u32> = match &self.layers {
            Layers::All => (0..n_layers as u32).collect(),
            Layers::Listed(listed) => listed.clone(),
        };
        let overrides = self.layer.keys().filter_map(|layer| layer.parse().ok());
        if let Some(layer) = layers
            .iter()
            .copied()
            .chain(overrides)
            .find(|layer| *layer as usize >= n_layers)
        {
            return Err(JobError::Layer { layer, n_layers });
        }
        let dictionaries = layers
            .into_iter()
            .map(|layer| Ok((layer, self.dictionary_of(layer)?)))
            .collect::<Result<Vec<_>>>()?;
        for (i, (layer, dictionary)) in dictionaries.iter().enumerate() {
            let same = |(_, other): &&(u32, DictionarySettings)| {
                (&other.site, &other.output_site) == (&dictionary.site, &dictionary.output_site)
            };
            if let Some((other, _)) = dictionaries[..i].iter().find(same) {
                return Err(JobError::Dictionary {
                    layer: *layer,
                    what: format!(
                        "its site `{}` is layer {other}'s as well; write `{{layer}}` for the number, as in blocks.{{layer}}.hook_resid_post",
                        dictionary.site
                    ),
                });
            }
        }
        Ok(dictionaries)
    }

    fn dictionary_of(&self, layer: u32) -> Result<DictionarySettings> {
        let mut table = self.dictionary.clone();
        table
            .entry("site")
            .or_insert_with(|| "blocks.{layer}.hook_resid_post".into());
        if let Some(differences) = self.layer.get(&layer.to_string()) {
            table.extend(differences.clone());
        }
        table.entry("name").or_insert_with(|| "L{layer}".into());
        for key in ["site", "output_site", "name"] {
            if let Some(toml::Value::String(text)) = table.get_mut(key) {
                *text = text.replace("{layer}", &layer.to_string());
            }
        }
        table
            .try_into()
            .map_err(|cause: toml::de::Error| JobError::Dictionary {
                layer,
                what: cause.message().to_owned(),
            })
    }

    /// The documents, with paths that are beside the file made whole; other names are data sets of the hub cache.
    pub fn documents(&self) -> DocumentSource {
        let beside = |path: &String| {
            let joined = self.folder.join(path);
            let is_pattern = path.contains(['*', '?', '[', '{']);
            if joined.exists() || is_pattern {
                joined.to_string_lossy().into_owned()
            } else {
                path.clone()
            }
        };
        DocumentSource {
            paths: self.corpus.paths.iter().map(beside).collect(),
            ..self.corpus.clone()
        }
    }

    /// The training of these dictionaries.
    pub fn training(&self, dictionaries: Vec<DictionarySettings>) -> TrainSettings {
        TrainSettings {
            dictionaries,
            ..self.train.clone()
        }
    }

    /// The stages that a run without a choice goes through.
    pub fn stages(&self) -> Vec<Stage> {
        Stage::ALL
            .into_iter()
            .filter(|stage| self.extract.writes() || *stage != Stage::Extract)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use glassbox_training::{FeatureCount, Objective};

    use super::*;

    const SMALL: &str = r#"
name = "small"
model = "model"
layers = [0, 2]
[corpus]
paths = ["texts.jsonl"]
[dictionary]
features = "16d"
objective = { architecture = "topk", k = 8 }
[layer.2]
features = 512
"#;

    #[test]
    fn one_dictionary_per_layer_with_its_own_keys() {
        let settings = JobSettings::parse(SMALL).unwrap();
        settings.check().unwrap();
        let dictionaries = settings.dictionaries(4).unwrap();
        let sites: Vec<_> = dictionaries.iter().map(|(_, d)| d.site.as_str()).collect();
        assert_eq!(sites, ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]);
        assert_eq!(dictionaries[0].1.features, FeatureCount::Multiple(16));
        assert_eq!(dictionaries[1].1.features, FeatureCount::Number(512));
        assert_eq!(dictionaries[1].1.name(), "L2");
        assert_eq!(dictionaries[0].1.objective, Objective::TopK { k: 8 });
        assert!(matches!(
            settings.dictionaries(2),
            Err(JobError::Layer { layer: 2, .. })
        ));
    }

    #[test]
    fn all_layers_are_the_models() {
        let settings = JobSettings::parse(&SMALL.replace("layers = [0, 2]", "layers = \"all\"")).unwrap();
        assert_eq!(settings.dictionaries(3).unwrap().len(), 3);
        assert!(JobSettings::parse(&SMALL.replace("layers = [0, 2]", "layers = \"every\"")).is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let problem = |from: &str, to: &str| {
            let text = SMALL.replace(from, to);
            JobSettings::parse(&text).and_then(|settings| {
                settings.check()?;
                settings
                    .dictionaries(4)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            })
        };
        assert_eq!(problem("", ""), Ok(()));
        for (from, to, named) in [
            ("layers = [0, 2]", "layers = 3", "all"),
            (
                "features = \"16d\"",
                "features = \"16d\"\nsite = \"blocks.0.hook_resid_post\"",
                "{layer}",
            ),
            ("[layer.2]", "[layer.1]", "layer.1"),
            ("[0, 2]", "[0, 0]", "twice"),
            ("[0, 2]", "[]", "empty"),
            ("k = 8", "kk = 8", "kk"),
            ("16d", "16x", "16x"),
            ("features = 512", "feature = 512", "feature"),
            ("name = \"small\"", "name = \"small\"\nnmae = 1", "nmae"),
        ] {
            let error = problem(from, to).unwrap_err();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn a_job_is_told_from_a_scenario() {
        assert!(JobSettings::is_job(SMALL));
        assert!(!JobSettings::is_job("name = \"x\"\n[[families]]\nname = \"a\""));
    }
}
