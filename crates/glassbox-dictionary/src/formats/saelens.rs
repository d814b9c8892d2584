//! SAELens: `cfg.json` and `sae_weights.safetensors`, as version 6 writes them, and with the flat configuration of
//! earlier versions; `sparsity.safetensors` where it lies beside them.
//!
//! Tensors: `W_enc` [d_in, d_sae], `W_dec` [d_sae, d_out], `b_dec` [d_out] (d_out is d_in but for transcoders), and
//!
//! | architecture | further tensors | features of h = (norm(x) − b_dec) · W_enc |
//! |---|---|---|
//! | standard, transcoder, skip_transcoder | `b_enc` | max(h + b_enc, 0) |
//! | topk | `b_enc` | the k largest of h + b_enc (times the decoder row's length, with `rescale_acts_by_decoder_norm`), then max(·, 0) |
//! | jumprelu, jumprelu_transcoder, jumprelu_skip_transcoder | `b_enc`, `threshold` (`log_threshold` in very old files) | max(z, 0) where z = h + b_enc > threshold |
//! | gated | `b_gate`, `b_mag`, `r_mag` | max(h · e^r_mag + b_mag, 0) where h + b_gate > 0 |
//!
//! b_dec is subtracted where `apply_b_dec_to_input` says so, never in a transcoder. Skip transcoders have `W_skip`
//! [d_out, d_in] and add x · W_skipᵀ to their output.
//!
//! A gated dictionary is exactly a JumpReLU one: with z = h · e^r_mag + b_mag, h + b_gate > 0 if and only if
//! z > b_mag − b_gate · e^r_mag, so its threshold is max(0, that).

use std::path::Path;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::Result;
use crate::formats::DictionaryFormat;
use crate::formats::gating::{Encoder, at_least_zero};
use crate::formats::saelens_settings::{Activation, Settings};
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";
/// The key of `metadata` under which this program notes what it measured. SAELens keeps keys that it does not know.
pub(super) const NOTES: &str = "glassbox";
/// log10 of how often each feature was active, in tensor `sparsity`.
const SPARSITY: &str = "sparsity.safetensors";

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
        let (features, width, site) = (settings.features, settings.width, settings.site);
        let (output_site, output_width) = settings.output.unwrap_or((site, width));

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        weights.check_names(&tensor_names(&settings, &weights))?;
        weights.find("W_enc", &[width, features], "[d_in, d_sae]")?;
        weights.find("W_dec", &[features, output_width], "[d_sae, d_out]")?;
        if settings.skip {
            weights.find("W_skip", &[output_width, width], "[d_out, d_in]")?;
        }
        let encoder = encoder(&settings, &weights)?;
        let decoder_bias = weights.vector("b_dec", output_width, "[d_out]")?;
        let decoder_scale = scaling_factor(&settings, &config, &weights)?;
        let decoder_lengths = matches!(settings.activation, Activation::TopK { rescale: true, .. });
        let log10_frequency = sparsity(folder, features)?;
        let description = DictionaryDescription {
            output_site,
            output_width,
            subtract_decoder_bias: settings.subtract_decoder_bias,
            input_normalisation: settings.normalisation,
            model: ModelReference {
                name: settings.model_name,
                hash: None,
                processing: settings.processing,
            },
            ..DictionaryDescription::plain(site, width, features, encoder.rule, self.name(), folder)
        };
        let notes = match config.optional_object("metadata")? {
            Some(metadata) => metadata.value(NOTES).cloned(),
            None => None,
        };
        let places = [MatrixPlace::columns("W_enc"), MatrixPlace::rows("W_dec")];
        Ok(StoredDictionary {
            skip: settings.skip.then(|| MatrixPlace::rows("W_skip")),
            encoder_scale: encoder.scale,
            decoder_scale,
            folding: Folding {
                factor_in: settings.factor,
                factor_out: settings.factor,
                raw_units: false,
                decoder_lengths,
                gated_by_lengths: false,
            },
            log10_frequency,
            notes,
            ..StoredDictionary::new(description, weights, places, encoder.bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

/// The tensors that a dictionary of these settings may have.
fn tensor_names(settings: &Settings, weights: &WeightsFile) -> Vec<&'static str> {
    let mut names = vec!["W_enc", "W_dec", "b_dec"];
    match settings.activation {
        Activation::Gated => names.extend(["b_gate", "b_mag", "r_mag"]),
        _ => names.push("b_enc"),
    }
    if settings.activation == Activation::JumpRelu {
        names.push(threshold_name(weights));
    }
    if settings.skip {
        names.push("W_skip");
    }
    // Versions before 6 stored this factor for every dictionary.
    if settings.flat {
        names.push("scaling_factor");
    }
    names
}

fn threshold_name(weights: &WeightsFile) -> &'static str {
    if weights.has("log_threshold") && !weights.has("threshold") {
        "log_threshold"
    } else {
        "threshold"
    }
}

/// Rule, bias and scale of the encoder.
fn encoder(settings: &Settings, weights: &WeightsFile) -> Result<Encoder> {
    let vector = |name| weights.vector(name, settings.features, "[d_sae]");
    let rule = match settings.activation {
        Activation::Gated => {
            return Ok(Encoder::gated(
                &vector("b_gate")?,
                &vector("r_mag")?,
                vector("b_mag")?,
            ));
        }
        Activation::Relu => ActivationRule::Relu,
        Activation::TopK { k, .. } => ActivationRule::top_k(k),
        Activation::JumpRelu => ActivationRule::JumpRelu {
            threshold: match threshold_name(weights) {
                "threshold" => at_least_zero(vector("threshold")?),
                log => vector(log)?.into_iter().map(f32::exp).collect(),
            },
        },
    };
    Ok(Encoder {
        rule,
        bias: vector("b_enc")?,
        scale: None,
    })
}

/// The factors on feature values that finetuning before version 6 learned.
fn scaling_factor(
    settings: &Settings,
    config: &ConfigFile,
    weights: &WeightsFile,
) -> Result<Option<Vec<f32>>> {
    if !settings.finetuned && !weights.has("scaling_factor") {
        return Ok(None);
    }
    let factor = weights.vector("scaling_factor", settings.features, "[d_sae]")?;
    if settings.finetuned {
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

fn sparsity(folder: &Path, features: usize) -> Result<Option<Vec<f32>>> {
    let path = folder.join(SPARSITY);
    if !path.is_file() {
        return Ok(None);
    }
    let file = WeightsFile::open(&path)?;
    file.vector("sparsity", features, "[d_sae]").map(Some)
}
