//! circuit-tracer's sets of per-layer transcoders: `config.yaml` (`model_kind: transcoder_set`) and `layer_{i}.safetensors`
//! for each layer i, which are a dictionary each.
//!
//! Tensors: `W_enc` [F, d], `W_dec` [F, d], `b_enc` [F], `b_dec` [d]; `activation_function.threshold` [F] makes it a
//! JumpReLU, without it ReLU (or TopK, where the configuration says `activation: topk` and `k`); `W_skip` [d, d] adds
//! x · W_skipᵀ. It reads `blocks.{i}.{feature_input_hook}` and writes `blocks.{i}.{feature_output_hook}`.

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

pub(crate) const CONFIG: &str = "config.yaml";
const THRESHOLD: &str = "activation_function.threshold";
/// Where the files came from, and what their features are shown with.
const HARMLESS: [&str; 6] = [
    "scan",
    "repo_id",
    "revision",
    "subfolder",
    "transcoders",
    "feature_source",
];

pub(super) struct CircuitTracer;

impl DictionaryFormat for CircuitTracer {
    fn name(&self) -> &'static str {
        "circuit_tracer"
    }

    fn files(&self) -> &'static str {
        "config.yaml and layer_{i}.safetensors"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.is_file() && layer_of(path).is_some() && path.with_file_name(CONFIG).is_file()
    }

    fn members(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut members: Vec<PathBuf> = files.filter(|path| self.recognises(path)).collect();
        members.sort_by_key(|path| layer_of(path));
        members
    }

    fn open(&self, file: &Path) -> Result<StoredDictionary> {
        let config_path = file.with_file_name(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse_yaml(&config_path, &config_bytes)?;
        let settings = SetSettings::read(&config, "transcoder_set")?;
        let layer = layer_of(file).unwrap_or(0);
        let (site, output_site) = (settings.input(&config, layer)?, settings.output(&config, layer)?);

        let weights = WeightsFile::open(file)?;
        let (skip, threshold) = (weights.has("W_skip"), weights.has(THRESHOLD));
        let mut names = vec!["W_enc", "W_dec", "b_enc", "b_dec"];
        names.extend(skip.then_some("W_skip"));
        names.extend(threshold.then_some(THRESHOLD));
        weights.check_names(&names)?;
        let [features, width] = weights.matrix_shape("W_enc", "[d_transcoder, d_model]")?;
        weights.find("W_dec", &[features, width], "[d_transcoder, d_model]")?;
        if skip {
            weights.find("W_skip", &[width, width], "[d_model, d_model]")?;
        }
        let rule = match (threshold, settings.k) {
            // circuit-tracer's JumpReLU has no max(·, 0): below zero it would pass negative values on.
            (true, _) => ActivationRule::JumpRelu {
                threshold: weights.thresholds(THRESHOLD, features, "[d_transcoder]")?,
            },
            (false, Some(k)) if k > features => {
                return Err(config.bad("k", format!("a whole number from 1 to {features}")));
            }
            (false, Some(k)) => ActivationRule::top_k(k),
            (false, None) => ActivationRule::Relu,
        };
        let encoder_bias = weights.vector("b_enc", features, "[d_transcoder]")?;
        let decoder_bias = weights.vector("b_dec", width, "[d_model]")?;
        let description = DictionaryDescription {
            output_site,
            model: ModelReference {
                name: settings.model,
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), file)
        };
        let places = [MatrixPlace::rows("W_enc"), MatrixPlace::rows("W_dec")];
        Ok(StoredDictionary {
            skip: skip.then(|| MatrixPlace::rows("W_skip")),
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

/// The layer in the name of a file `layer_{i}.safetensors`.
fn layer_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("layer_")?
        .strip_suffix(".safetensors")?
        .parse()
        .ok()
}

/// What `config.yaml` says of a whole set.
pub(crate) struct SetSettings {
    input_hook: String,
    output_hook: String,
    pub(crate) model: Option<String>,
    /// For activation topk.
    pub(crate) k: Option<usize>,
}

impl SetSettings {
    pub(crate) fn read(config: &ConfigFile, kind: &str) -> Result<Self> {
        if config.text("model_kind", kind)? != kind {
            return Err(config.unsupported("model_kind", kind));
        }
        let hook = "a hook in a block, such as hook_resid_mid or mlp.hook_in";
        let k = config.optional_count("k")?;
        let k = match config.optional_text("activation")?.as_deref() {
            None | Some("relu" | "jump_relu" | "jumprelu") if k.is_none() => None,
            None | Some("topk") => Some(match k {
                Some(k) => k,
                None => config.count("k")?,
            }),
            Some(_) => return Err(config.unsupported("activation", "relu, jump_relu, topk (with k)")),
        };
        let settings = Self {
            input_hook: config.text("feature_input_hook", hook)?,
            output_hook: config.text("feature_output_hook", hook)?,
            model: config.optional_text("model_name")?,
            k,
        };
        config.finish(&HARMLESS)?;
        Ok(settings)
    }

    pub(crate) fn input(&self, config: &ConfigFile, layer: u32) -> Result<Site> {
        site(config, "feature_input_hook", &self.input_hook, layer)
    }

    pub(crate) fn output(&self, config: &ConfigFile, layer: u32) -> Result<Site> {
        site(config, "feature_output_hook", &self.output_hook, layer)
    }
}

fn site(config: &ConfigFile, key: &str, hook: &str, layer: u32) -> Result<Site> {
    // Of the two names for what an MLP adds, sites have one.
    let hook = if hook == "mlp.hook_out" {
        "hook_mlp_out"
    } else {
        hook
    };
    format!("blocks.{layer}.{hook}")
        .parse()
        .map_err(|cause| DictionaryError::SiteName {
            path: config.path().to_path_buf(),
            key: key.to_owned(),
            cause: Box::new(cause),
        })
}
