//! This program's own format, version 2: `dictionary.json` and `dictionary.safetensors`.
//!
//! ```json
//! {
//!   "format": "glassbox-dictionary",
//!   "version": 2,
//!   "site": "blocks.2.hook_resid_post",
//!   "output_site": "blocks.2.hook_resid_post",
//!   "width": 64,
//!   "output_width": 64,
//!   "features": 1024,
//!   "activation": { "rule": "jump_relu" },
//!   "subtract_decoder_bias": true,
//!   "input_normalisation": "none",
//!   "model": { "name": "demo", "hash": "…", "processing": [] },
//!   "weights": { "file": "dictionary.safetensors", "blake3": "…" },
//!   "notes": { }
//! }
//! ```
//!
//! `rule` is relu, top_k (with `k`), jump_relu or group_max (with `groups`); `output_site`, `output_width`, `model` and
//! `notes` may be missing. Tensors, in f32, bf16 or f16: `encoder` [features, width], `decoder` [features, output_width],
//! `encoder_bias` [features], `decoder_bias` [output_width], `threshold` [features] for jump_relu, and where there are such
//! `skip` [output_width, width], `selection_scale` [features] for top_k, `encoder_scale`, `decoder_scale` [features].
//! Version 1 had no `output_width`, group_max, `skip` and `selection_scale`. [`crate::DictionaryParts`] says what they mean. The configuration is written last and holds the weights' checksum:
//! an interrupted write is never read as a dictionary.

use std::path::Path;

use glassbox_kernels::Backend;
use serde_json::{Value, json};

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, InputNormalisation, ModelReference};
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;
use crate::writing::{OwnedTensor, Precision, make_folder, matrices, write_json, write_tensors};

const CONFIG: &str = "dictionary.json";
const WEIGHTS: &str = "dictionary.safetensors";
const NAME: &str = "glassbox-dictionary";
/// Earlier versions are read too.
const VERSION: usize = 2;

const RULES: &str = "relu, top_k, jump_relu or group_max";

pub(super) struct Glassbox;

impl DictionaryFormat for Glassbox {
    fn name(&self) -> &'static str {
        "glassbox"
    }

    fn files(&self) -> &'static str {
        "dictionary.json and dictionary.safetensors"
    }

    fn recognises(&self, folder: &Path) -> bool {
        folder.join(CONFIG).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;
        if config.text("format", NAME)? != NAME {
            return Err(config.bad("format", NAME));
        }
        if config.count("version")? > VERSION {
            return Err(config.unsupported(
                "version",
                format!("versions 1 to {VERSION}; update glassbox to read a later one"),
            ));
        }
        let site = config.site("site")?;
        let output_site = if config.has("output_site") {
            config.site("output_site")?
        } else {
            site
        };
        let (width, features) = (config.count("width")?, config.count("features")?);
        let output_width = config.optional_count("output_width")?.unwrap_or(width);
        let subtract_decoder_bias = config.flag("subtract_decoder_bias")?;
        let normalisations = "none, layer_norm, constant_norm_rescale";
        let input_normalisation = match config.text("input_normalisation", normalisations)?.as_str() {
            "none" => InputNormalisation::None,
            "layer_norm" => InputNormalisation::LayerNorm,
            "constant_norm_rescale" => InputNormalisation::ConstantNormRescale,
            _ => return Err(config.bad("input_normalisation", normalisations)),
        };
        let activation = config.object("activation")?;
        let rule_name = activation.text("rule", RULES)?;
        let limit = match rule_name.as_str() {
            "top_k" => Some(("k", activation.count("k")?)),
            "group_max" => Some(("groups", activation.count("groups")?)),
            _ => None,
        };
        activation.finish(&[])?;
        let model = model(&config)?;
        let place = config.object("weights")?;
        let file = place.text("file", WEIGHTS)?;
        if file != WEIGHTS {
            return Err(place.bad("file", WEIGHTS));
        }
        let expected_checksum = Some(place.text("blake3", "the BLAKE3 checksum of the weights")?);
        place.finish(&[])?;
        let notes = config.value("notes").cloned();
        config.finish(&[])?;

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        let mut names = vec![
            "encoder",
            "decoder",
            "encoder_bias",
            "decoder_bias",
            "encoder_scale",
            "decoder_scale",
            "skip",
        ];
        let rule = match (rule_name.as_str(), limit) {
            ("relu", _) => ActivationRule::Relu,
            ("top_k", Some((_, k))) if k <= features => {
                names.push("selection_scale");
                let selection_scale = match weights.has("selection_scale") {
                    true => Some(weights.thresholds("selection_scale", features, "[features]")?),
                    false => None,
                };
                ActivationRule::TopK { k, selection_scale }
            }
            ("group_max", Some((_, groups))) if features.is_multiple_of(groups) => {
                ActivationRule::GroupMax { groups }
            }
            (_, Some((key, _))) => {
                let expected = match key {
                    "k" => format!("a whole number from 1 to {features}"),
                    _ => format!("a divisor of {features}"),
                };
                return Err(activation.bad(key, expected));
            }
            ("jump_relu", _) => {
                names.push("threshold");
                ActivationRule::JumpRelu {
                    threshold: weights.thresholds("threshold", features, "[features]")?,
                }
            }
            _ => return Err(activation.bad("rule", RULES)),
        };
        weights.check_names(&names)?;
        weights.find("encoder", &[features, width], "[features, width]")?;
        weights.find("decoder", &[features, output_width], "[features, output_width]")?;
        let has_skip = weights.has("skip");
        if has_skip {
            weights.find("skip", &[output_width, width], "[output_width, width]")?;
        }
        let scale = |tensor| match weights.has(tensor) {
            true => weights.vector(tensor, features, "[features]").map(Some),
            false => Ok(None),
        };
        let description = DictionaryDescription {
            output_site,
            output_width,
            subtract_decoder_bias,
            input_normalisation,
            model,
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), folder)
        };
        let encoder_bias = weights.vector("encoder_bias", features, "[features]")?;
        let decoder_bias = weights.vector("decoder_bias", output_width, "[output_width]")?;
        let (encoder_scale, decoder_scale) = (scale("encoder_scale")?, scale("decoder_scale")?);
        let places = [MatrixPlace::rows("encoder"), MatrixPlace::rows("decoder")];
        Ok(StoredDictionary {
            encoder_scale,
            decoder_scale,
            skip: has_skip.then(|| MatrixPlace::rows("skip")),
            expected_checksum,
            notes,
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

fn model(config: &ConfigFile) -> Result<ModelReference> {
    let Some(model) = config.optional_object("model")? else {
        return Ok(ModelReference::default());
    };
    let processing = match model.value("processing") {
        None => Vec::new(),
        Some(value) => value
            .as_array()
            .and_then(|options| {
                options
                    .iter()
                    .map(|option| option.as_str().map(str::to_owned))
                    .collect()
            })
            .ok_or_else(|| model.bad("processing", "a list of strings"))?,
    };
    let reference = ModelReference {
        name: model.optional_text("name")?,
        hash: model.optional_text("hash")?,
        processing,
    };
    model.finish(&[])?;
    Ok(reference)
}

/// Writes a dictionary in this program's own format into a folder (made where it is missing). In f32 it is read back
/// bit by bit as it was. `notes` is kept as it is: a recipe, measured figures.
///
/// # Errors
/// [`crate::DictionaryError::Io`]; [`crate::DictionaryError::Parts`] if a weight is too large for f16.
pub fn write_glassbox<B: Backend>(
    dictionary: &Dictionary<B>,
    folder: &Path,
    precision: Precision,
    notes: Option<&Value>,
) -> Result<()> {
    make_folder(folder)?;
    let description = dictionary.description();
    let mut tensors = matrices(dictionary, precision)?;
    tensors.push(("encoder_bias", OwnedTensor::vector(dictionary.encoder_bias())));
    tensors.push(("decoder_bias", OwnedTensor::vector(dictionary.decoder_bias())));
    let activation = match &description.rule {
        ActivationRule::Relu => json!({ "rule": "relu" }),
        ActivationRule::TopK { k, selection_scale } => {
            if let Some(scale) = selection_scale {
                tensors.push(("selection_scale", OwnedTensor::vector(scale)));
            }
            json!({ "rule": "top_k", "k": k })
        }
        ActivationRule::GroupMax { groups } => json!({ "rule": "group_max", "groups": groups }),
        ActivationRule::JumpRelu { threshold } => {
            tensors.push(("threshold", OwnedTensor::vector(threshold)));
            json!({ "rule": "jump_relu" })
        }
    };
    for (name, scale) in [
        ("encoder_scale", dictionary.encoder_scale()),
        ("decoder_scale", dictionary.decoder_scale()),
    ] {
        if let Some(scale) = scale {
            tensors.push((name, OwnedTensor::vector(scale)));
        }
    }
    let checksum = write_tensors(&folder.join(WEIGHTS), tensors)?;
    let mut config = json!({
        "format": NAME,
        "version": VERSION,
        "site": description.site.to_string(),
        "output_site": description.output_site.to_string(),
        "width": description.width,
        "output_width": description.output_width,
        "features": description.features,
        "activation": activation,
        "subtract_decoder_bias": description.subtract_decoder_bias,
        "input_normalisation": description.input_normalisation.to_string(),
        "model": {
            "name": description.model.name,
            "hash": description.model.hash,
            "processing": description.model.processing,
        },
        "weights": { "file": WEIGHTS, "blake3": checksum },
    });
    if let Some(notes) = notes {
        config["notes"] = notes.clone();
    }
    write_json(&folder.join(CONFIG), &config)
}
