//! What a SAELens configuration says, of version 6 or with the flat keys of earlier versions.

use std::path::Path;

use glassbox_model::site::Site;
use serde_json::Value;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::InputNormalisation;
use crate::error::{DictionaryError, Result};
use crate::formats::saelens_keys::{FLAT_HARMLESS, HARMLESS, LOADER_HARMLESS};

/// Written beside a training checkpoint's configuration; holds the factor of `expected_average_only_in`.
const SCALER: &str = "activation_scaler.json";
const ARCHITECTURES: &str = "standard, topk, jumprelu, gated, transcoder, skip_transcoder, jumprelu_transcoder, \
                             jumprelu_skip_transcoder (batchtopk and matryoshka_batchtopk are saved as jumprelu)";

/// How features are made of pre-activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    Relu,
    TopK { k: usize, rescale: bool },
    JumpRelu,
    Gated,
}

/// What a configuration of either version says.
pub(super) struct Settings {
    pub(super) activation: Activation,
    /// The site that a transcoder writes, and that site's width.
    pub(super) output: Option<(Site, usize)>,
    /// Whether a transcoder has a skip connection.
    pub(super) skip: bool,
    pub(super) features: usize,
    pub(super) width: usize,
    pub(super) subtract_decoder_bias: bool,
    pub(super) normalisation: InputNormalisation,
    /// Constant factor on the input.
    pub(super) factor: f64,
    pub(super) site: Site,
    pub(super) model_name: Option<String>,
    pub(super) processing: Vec<String>,
    /// Written before version 6.
    pub(super) flat: bool,
    pub(super) finetuned: bool,
}

struct Architecture {
    activation: Activation,
    transcoder: bool,
    skip: bool,
}

impl Settings {
    pub(super) fn read(config: &ConfigFile, folder: &Path) -> Result<Self> {
        let flat = !config.has("metadata");
        let width = config.count("d_in")?;
        let features = config.count("d_sae")?;
        let Architecture {
            activation,
            transcoder,
            skip,
        } = if flat {
            flat_architecture(config)?
        } else {
            architecture(config, &config.text("architecture", ARCHITECTURES)?)?
        };
        if let Activation::TopK { k, .. } = activation
            && k > features
        {
            return Err(config.bad("k", format!("a whole number from 1 to d_sae = {features}")));
        }
        // Both versions default to subtracting it; a transcoder's belongs to the other site.
        let subtract_decoder_bias = match config.optional_flag("apply_b_dec_to_input")? {
            Some(true) if transcoder => {
                return Err(config.unsupported("apply_b_dec_to_input", "false for a transcoder"));
            }
            stated => stated.unwrap_or(true) && !transcoder,
        };
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
        let output = match transcoder {
            true => Some((about.site("hook_name_out")?, config.count("d_out")?)),
            false => None,
        };
        let model_name = about.optional_text("model_name")?;
        for key in ["hook_head_index", "hook_point_head_index", "hook_head_index_out"] {
            if about.value(key).is_some() {
                return Err(about.unsupported(key, "dictionaries of whole rows (null)"));
            }
        }
        let processing = match about.optional_object("model_from_pretrained_kwargs")? {
            Some(options) => processing(&options)?,
            None => Vec::new(),
        };
        let (normalisation, factor) = normalisation(config, metadata.as_ref(), folder)?;
        if transcoder && normalisation != InputNormalisation::None {
            return Err(config.unsupported(
                "normalize_activations",
                "none or expected_average_only_in for a transcoder (SAELens would not undo another on its output)",
            ));
        }
        let finetuned = flat
            && config
                .optional_flag("finetuning_scaling_factor")?
                .unwrap_or(false);
        config.finish(if flat { &FLAT_HARMLESS } else { &HARMLESS })?;
        Ok(Self {
            activation,
            output,
            skip,
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
}

fn architecture(config: &ConfigFile, name: &str) -> Result<Architecture> {
    let transcoder = name.ends_with("transcoder");
    let activation = match name {
        "standard" | "transcoder" | "skip_transcoder" => Activation::Relu,
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => Activation::JumpRelu,
        "gated" => Activation::Gated,
        "topk" => Activation::TopK {
            k: config.count("k")?,
            rescale: config
                .optional_flag("rescale_acts_by_decoder_norm")?
                .unwrap_or(false),
        },
        _ => {
            let why = match name {
                "abstopk" => " (abstopk keeps negative features; features here are at least zero)",
                "temporal" => " (temporal reads earlier positions too; a dictionary here reads one row)",
                "matching_pursuit" => " (matching_pursuit encodes by repeated steps, not by one product)",
                "batchtopk" | "matryoshka_batchtopk" => {
                    " (this is a training checkpoint: save it with save_inference_model, which gives jumprelu)"
                }
                _ => "",
            };
            return Err(config.unsupported("architecture", format!("{ARCHITECTURES}{why}")));
        }
    };
    Ok(Architecture {
        activation,
        transcoder,
        skip: name.ends_with("skip_transcoder"),
    })
}

/// Before version 6 topk was a standard architecture with another activation function.
fn flat_architecture(config: &ConfigFile) -> Result<Architecture> {
    let name = config.optional_text("architecture")?;
    let name = name.as_deref().unwrap_or("standard");
    let key = ["activation_fn", "activation_fn_str"]
        .into_iter()
        .find(|key| config.has(key))
        .unwrap_or("activation_fn");
    let function = config.optional_text(key)?;
    let arguments = config.optional_object("activation_fn_kwargs")?;
    let architecture = match (name, function.as_deref().unwrap_or("relu")) {
        ("standard" | "topk", "topk") | ("topk", _) => {
            let k = match &arguments {
                Some(arguments) if arguments.has("k") => arguments.count("k")?,
                _ => config.count("k")?,
            };
            Architecture {
                activation: Activation::TopK { k, rescale: false },
                transcoder: false,
                skip: false,
            }
        }
        (name, "relu") => architecture(config, name)?,
        _ => return Err(config.unsupported(key, "relu, topk")),
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
        "covariance_whitening" => Err(config.unsupported(
            key,
            format!("{choices}; save the dictionary again after fold_activation_whitening"),
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
