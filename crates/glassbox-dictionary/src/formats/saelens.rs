//! SAELens: `cfg.json` and `sae_weights.safetensors`, as version 6 writes them, and with the flat configuration of
//! earlier versions.
//!
//! Tensors: `W_enc` [d_in, d_sae], `W_dec` [d_sae, d_in], `b_enc` [d_sae], `b_dec` [d_in], for jumprelu `threshold`
//! [d_sae]. The encoder reads norm(x) − b_dec (`apply_b_dec_to_input`); jumprelu is max(z, 0) where z > threshold,
//! topk keeps the k largest of z (times the decoder row's length, with `rescale_acts_by_decoder_norm`).

use std::path::Path;

use glassbox_kernels::Backend;
use glassbox_model::site::Site;
use serde_json::{Value, json};

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, InputNormalisation, ModelReference};
use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::formats::saelens_keys::{FLAT_HARMLESS, HARMLESS, LOADER_HARMLESS};
use crate::normalisation::read_vec;
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;
use crate::writing::{OwnedTensor, Precision, make_folder, write_json, write_tensors};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
/// Written beside a training checkpoint's configuration; holds the factor of `expected_average_only_in`.
const SCALER: &str = "activation_scaler.json";
const ARCHITECTURES: &str = "standard, topk, jumprelu";

pub(super) struct SaeLens;

impl DictionaryFormat for SaeLens {
    fn name(&self) -> &'static str {
        "saelens"
    }

    fn files(&self) -> &'static str {
        "cfg.json and sae_weights.safetensors"
    }

    fn recognises(&self, folder: &Path) -> bool {
        folder.join(CONFIG).is_file() && folder.join(WEIGHTS).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;
        let settings = Settings::read(&config, folder)?;
        let (features, width) = (settings.features, settings.width);

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        let mut names = vec!["W_enc", "W_dec", "b_enc", "b_dec"];
        if matches!(settings.architecture, Architecture::JumpRelu) {
            names.push("threshold");
        }
        // Versions before 6 stored this factor for every dictionary.
        if settings.flat {
            names.push("scaling_factor");
        }
        weights.check_names(&names)?;
        weights.find("W_enc", &[width, features], "[d_in, d_sae]")?;
        weights.find("W_dec", &[features, width], "[d_sae, d_in]")?;
        let encoder_bias = weights.vector("b_enc", features, "[d_sae]")?;
        let decoder_bias = weights.vector("b_dec", width, "[d_in]")?;
        let rule = match settings.architecture {
            Architecture::Standard => ActivationRule::Relu,
            Architecture::TopK { k, .. } => ActivationRule::top_k(k),
            // max(z, 0) where z > threshold: a threshold below zero acts as zero.
            Architecture::JumpRelu => ActivationRule::JumpRelu {
                threshold: weights
                    .vector("threshold", features, "[d_sae]")?
                    .into_iter()
                    .map(|threshold| threshold.max(0.0))
                    .collect(),
            },
        };
        let decoder_scale = settings.scaling_factor(&config, &weights)?;
        let decoder_lengths = matches!(settings.architecture, Architecture::TopK { rescale: true, .. });
        let site = settings.site;
        let description = DictionaryDescription {
            subtract_decoder_bias: settings.subtract_decoder_bias,
            input_normalisation: settings.normalisation,
            model: ModelReference {
                name: settings.model_name,
                hash: None,
                processing: settings.processing,
            },
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), folder)
        };
        let places = [MatrixPlace::columns("W_enc"), MatrixPlace::rows("W_dec")];
        Ok(StoredDictionary {
            decoder_scale,
            folding: Folding {
                factor_in: settings.factor,
                factor_out: settings.factor,
                raw_units: false,
                decoder_lengths,
            },
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

#[derive(Clone, Copy)]
enum Architecture {
    Standard,
    TopK { k: usize, rescale: bool },
    JumpRelu,
}

/// What a configuration of either version says.
struct Settings {
    architecture: Architecture,
    features: usize,
    width: usize,
    subtract_decoder_bias: bool,
    normalisation: InputNormalisation,
    /// Constant factor on the input.
    factor: f64,
    site: Site,
    model_name: Option<String>,
    processing: Vec<String>,
    /// Written before version 6.
    flat: bool,
    finetuned: bool,
}

impl Settings {
    fn read(config: &ConfigFile, folder: &Path) -> Result<Self> {
        let flat = !config.has("metadata");
        let width = config.count("d_in")?;
        let features = config.count("d_sae")?;
        let architecture = if flat {
            flat_architecture(config)?
        } else {
            architecture(config)?
        };
        if let Architecture::TopK { k, .. } = architecture
            && k > features
        {
            return Err(config.bad("k", format!("a whole number from 1 to d_sae = {features}")));
        }
        // Both versions default to subtracting it.
        let subtract_decoder_bias = config.optional_flag("apply_b_dec_to_input")?.unwrap_or(true);
        // Heads lie side by side in a row of hook_z here as well, so both choices mean the same.
        if !matches!(
            config.optional_text("reshape_activations")?.as_deref(),
            None | Some("none" | "hook_z")
        ) {
            return Err(config.unsupported("reshape_activations", "none, hook_z"));
        }
        let metadata = config.optional_object("metadata")?;
        let about = metadata.as_ref().unwrap_or(config);
        let hook_key = ["hook_name", "hook_point"]
            .into_iter()
            .find(|key| about.has(key))
            .unwrap_or("hook_name");
        let site = about.site(hook_key)?;
        let model_name = about.optional_text("model_name")?;
        for key in ["hook_head_index", "hook_point_head_index"] {
            if about.value(key).is_some() {
                return Err(about.unsupported(key, "dictionaries of whole rows (null)"));
            }
        }
        let processing = match about.optional_object("model_from_pretrained_kwargs")? {
            Some(options) => processing(&options)?,
            None => Vec::new(),
        };
        let (normalisation, factor) = normalisation(config, metadata.as_ref(), folder)?;
        let finetuned = flat
            && config
                .optional_flag("finetuning_scaling_factor")?
                .unwrap_or(false);
        config.finish(if flat { &FLAT_HARMLESS } else { &HARMLESS })?;
        Ok(Self {
            architecture,
            features,
            width,
            subtract_decoder_bias,
            normalisation,
            factor,
            site,
            model_name,
            processing,
            flat,
            finetuned,
        })
    }

    /// The factors on feature values that finetuning before version 6 learned.
    fn scaling_factor(&self, config: &ConfigFile, weights: &WeightsFile) -> Result<Option<Vec<f32>>> {
        if !self.finetuned && !weights.has("scaling_factor") {
            return Ok(None);
        }
        let factor = weights.vector("scaling_factor", self.features, "[d_sae]")?;
        if self.finetuned {
            Ok(Some(factor))
        } else if factor.iter().all(|value| *value == 1.0) {
            Ok(None)
        } else {
            Err(config.unsupported(
                "finetuning_scaling_factor",
                "true where tensor scaling_factor is not all ones",
            ))
        }
    }
}

fn architecture(config: &ConfigFile) -> Result<Architecture> {
    match config.text("architecture", ARCHITECTURES)?.as_str() {
        "standard" => Ok(Architecture::Standard),
        "jumprelu" => Ok(Architecture::JumpRelu),
        "topk" => Ok(Architecture::TopK {
            k: config.count("k")?,
            rescale: config
                .optional_flag("rescale_acts_by_decoder_norm")?
                .unwrap_or(false),
        }),
        _ => Err(config.unsupported("architecture", ARCHITECTURES)),
    }
}

/// Before version 6 topk was a standard architecture with another activation function.
fn flat_architecture(config: &ConfigFile) -> Result<Architecture> {
    let name = config.optional_text("architecture")?;
    let key = ["activation_fn", "activation_fn_str"]
        .into_iter()
        .find(|key| config.has(key))
        .unwrap_or("activation_fn");
    let activation = config.optional_text(key)?;
    let arguments = config.optional_object("activation_fn_kwargs")?;
    let architecture = match (
        name.as_deref().unwrap_or("standard"),
        activation.as_deref().unwrap_or("relu"),
    ) {
        ("standard", "relu") => Architecture::Standard,
        ("jumprelu", "relu") => Architecture::JumpRelu,
        ("standard" | "topk", "topk") | ("topk", _) => {
            let k = match &arguments {
                Some(arguments) if arguments.has("k") => arguments.count("k")?,
                _ => config.count("k")?,
            };
            Architecture::TopK { k, rescale: false }
        }
        ("standard" | "jumprelu", _) => return Err(config.unsupported(key, "relu, topk")),
        _ => return Err(config.unsupported("architecture", ARCHITECTURES)),
    };
    if let Some(arguments) = arguments {
        arguments.finish(&[])?;
    }
    Ok(architecture)
}

fn normalisation(
    config: &ConfigFile,
    metadata: Option<&ConfigFile>,
    folder: &Path,
) -> Result<(InputNormalisation, f64)> {
    let key = "normalize_activations";
    let choices = "none, layer_norm, constant_norm_rescale, expected_average_only_in";
    let name = match config.value(key) {
        None | Some(Value::Bool(false)) => "none",
        // How versions before 3 wrote it.
        Some(Value::Bool(true)) => "expected_average_only_in",
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return Err(config.bad(key, choices)),
    };
    match name {
        "none" => Ok((InputNormalisation::None, 1.0)),
        "layer_norm" => Ok((InputNormalisation::LayerNorm, 1.0)),
        "constant_norm_rescale" => Ok((InputNormalisation::ConstantNormRescale, 1.0)),
        "expected_average_only_in" => Ok((
            InputNormalisation::None,
            expected_average(config, metadata, folder)?,
        )),
        _ => Err(config.unsupported(key, choices)),
    }
}

/// The factor of `expected_average_only_in`: SAELens itself looks it up in a list of published dictionaries.
fn expected_average(config: &ConfigFile, metadata: Option<&ConfigFile>, folder: &Path) -> Result<f64> {
    let key = "norm_scaling_factor";
    if let Some(place) = [Some(config), metadata]
        .into_iter()
        .flatten()
        .find(|place| place.has(key))
    {
        return place.positive_number(key);
    }
    let path = folder.join(SCALER);
    if path.is_file() {
        let scaler = ConfigFile::parse(&path, &read_bytes(&path)?)?;
        return scaler.positive_number("scaling_factor");
    }
    Err(DictionaryError::MissingKey {
        path: config.path().to_path_buf(),
        key: key.to_owned(),
        expected: format!(
            "the factor that inputs are multiplied with (normalize_activations is expected_average_only_in). Add it \
             to the file, or a file {SCALER} with `scaling_factor`, or save the dictionary again after \
             fold_activation_norm_scaling_factor"
        ),
    })
}

/// Options of TransformerLens's loader that were on and change activations.
fn processing(options: &ConfigFile) -> Result<Vec<String>> {
    let mut on = Vec::new();
    for key in [
        "center_writing_weights",
        "fold_ln",
        "fold_value_biases",
        "refactor_factored_attn_matrices",
    ] {
        if options.optional_flag(key)? == Some(true) {
            on.push(key.to_owned());
        }
    }
    options.finish(&LOADER_HARMLESS)?;
    Ok(on)
}

/// Writes a dictionary as SAELens 6 would (f32), with scales folded into the matrices.
///
/// # Errors
/// [`DictionaryError::Unsupported`] for a transcoder; [`DictionaryError::Io`].
pub fn write_saelens<B: Backend>(dictionary: &Dictionary<B>, folder: &Path) -> Result<()> {
    let description = dictionary.description();
    if description.is_transcoder() {
        return Err(DictionaryError::Unsupported {
            path: folder.to_path_buf(),
            what: "writing a transcoder in the saelens format".to_owned(),
            supported: "dictionaries with one site".to_owned(),
        });
    }
    make_folder(folder)?;
    let (features, width) = (dictionary.features(), dictionary.width());
    let ids: Vec<u32> = (0..features as u32).collect();
    let backend = dictionary.backend();
    let encoder = read_vec(backend, &dictionary.encoder_rows(&ids)?, features * width)?;
    let decoder = read_vec(backend, &dictionary.decoder_rows(&ids)?, features * width)?;
    let transposed: Vec<f32> = (0..features * width)
        .map(|i| encoder[(i % features) * width + i / features])
        .collect();
    let mut tensors = vec![
        (
            "W_enc",
            OwnedTensor::new(&transposed, &[width, features], Precision::F32),
        ),
        (
            "W_dec",
            OwnedTensor::new(&decoder, &[features, width], Precision::F32),
        ),
        ("b_enc", OwnedTensor::vector(dictionary.encoder_bias())),
        ("b_dec", OwnedTensor::vector(dictionary.decoder_bias())),
    ];
    let loader_options: serde_json::Map<String, Value> = description
        .model
        .processing
        .iter()
        .map(|option| (option.clone(), Value::Bool(true)))
        .collect();
    let mut config = json!({
        "d_in": width,
        "d_sae": features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": description.subtract_decoder_bias,
        "normalize_activations": description.input_normalisation.to_string(),
        "reshape_activations": if matches!(description.site, Site::Mixed(_)) { "hook_z" } else { "none" },
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": description.model.name,
            "hook_name": description.site.to_string(),
            "hook_head_index": null,
            "model_from_pretrained_kwargs": loader_options,
        },
    });
    match &description.rule {
        ActivationRule::Relu => config["architecture"] = json!("standard"),
        ActivationRule::GroupMax { .. }
        | ActivationRule::TopK {
            selection_scale: Some(_),
            ..
        } => {
            return Err(DictionaryError::Unsupported {
                path: folder.to_path_buf(),
                what: format!("writing activation {} in the saelens format", description.rule),
                supported: "ReLU, TopK, JumpReLU".to_owned(),
            });
        }
        ActivationRule::TopK { k, .. } => {
            config["architecture"] = json!("topk");
            config["k"] = json!(k);
            config["rescale_acts_by_decoder_norm"] = json!(false);
        }
        ActivationRule::JumpRelu { threshold } => {
            config["architecture"] = json!("jumprelu");
            tensors.push(("threshold", OwnedTensor::vector(threshold)));
        }
    }
    write_tensors(&folder.join(WEIGHTS), tensors)?;
    write_json(&folder.join(CONFIG), &config)
}
