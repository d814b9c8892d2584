//! llamascopium (OpenMOSS; lm-saes before 2026): `config.json` with `sae_type`, and `sae_weights.safetensors`. Two layouts of
//! tensors are read: today's, `W_E` [d, F], `b_E`, `W_D` [F, d], `b_D`, `activation_function.log_jumprelu_threshold`; and that
//! of 2025 (Llama Scope for DeepSeek-R1-distill), `encoder.weight` [F, d], `encoder.bias`, `decoder.weight` [d, F],
//! `decoder.bias`, `log_jumprelu_threshold`.
//!
//! With s_in = √d / norm of the input site and s_out the same of the output site (tensors
//! `dataset_average_activation_norm.{site}`, for `norm_activation` dataset-wise; else 1), a dictionary was trained as
//! h = encoder(x · s_in), and writes decoder(f) / s_out. Its features are h where h · n passes the activation, n being the
//! length of each decoder row with `sparsity_include_decoder_norm`, else 1: above exp(log_jumprelu_threshold), among the
//! `top_k` largest, or above 0. They are given here in units of raw activations, h / s_in, which is what
//! `fold_activation_scale` gives.

use std::path::Path;

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, InputNormalisation};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const WEIGHTS: &str = "sae_weights.safetensors";
/// How it was trained and run.
pub(crate) const HARMLESS: [&str; 12] = [
    "device",
    "dtype",
    "use_triton_kernel",
    "sparsity_threshold_for_triton_spmm_kernel",
    "jumprelu_threshold_window",
    "sae_pretrained_name_or_path",
    "strict_loading",
    "force_unit_decoder_norm",
    "tp_size",
    "ddp_size",
    "version",
    "promote_act_fn_dtype",
];

pub(super) struct Llamascopium;

impl DictionaryFormat for Llamascopium {
    fn name(&self) -> &'static str {
        "llamascopium"
    }

    fn files(&self) -> &'static str {
        "config.json with sae_type and sae_weights.safetensors"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.join(CONFIG).is_file() && path.join(WEIGHTS).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;
        let kind = config.text("sae_type", "sae")?;
        if kind != "sae" {
            let why = match kind.as_str() {
                "clt" => "sae here; a cross-layer transcoder is opened as CrossLayerTranscoder",
                "crosscoder" => "sae, clt (a crosscoder reads several sites at once)",
                "lorsa" => "sae, clt (lorsa replaces attention, which mixes positions)",
                "molt" => "sae, clt (molt's features are matrices)",
                _ => "sae, clt",
            };
            return Err(config.unsupported("sae_type", why));
        }
        let width = config.count("d_model")?;
        let features = features(&config, width)?;
        let (site, output_site) = (config.site("hook_point_in")?, config.site("hook_point_out")?);
        if config.optional_flag("use_glu_encoder")? == Some(true) {
            return Err(config.unsupported("use_glu_encoder", "false"));
        }
        let use_decoder_bias = config.optional_flag("use_decoder_bias")?.unwrap_or(true);
        let subtract = config
            .optional_flag("apply_decoder_bias_to_pre_encoder")?
            .unwrap_or(false);
        let gated_by_lengths = config
            .optional_flag("sparsity_include_decoder_norm")?
            .unwrap_or(true);
        let activation = Activation::read(&config, features)?;

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        let layout = Layout::of(&weights);
        let norms = [site, output_site].map(norm_tensor);
        let (normalisation, [factor_in, factor_out]) = normalisation(&config, &weights, width, &norms)?;
        config.finish(&HARMLESS)?;
        let mut names = vec![layout.encoder, layout.encoder_bias, layout.decoder];
        names.extend(use_decoder_bias.then_some(layout.decoder_bias));
        names.extend((activation == Activation::JumpRelu).then_some(layout.threshold));
        names.extend(norms.iter().map(String::as_str));
        weights.check_names(&names)?;
        let rule = match activation {
            Activation::Relu => ActivationRule::Relu,
            Activation::TopK(k) => ActivationRule::top_k(k),
            Activation::JumpRelu => ActivationRule::JumpRelu {
                threshold: thresholds(&weights, layout.threshold, features, factor_in)?,
            },
        };
        let [encoder, decoder] = layout.places();
        encoder.find(&weights, [features, width], layout.encoder_axes)?;
        decoder.find(&weights, [features, width], layout.decoder_axes)?;
        let encoder_bias = weights.vector(layout.encoder_bias, features, "[d_sae]")?;
        let decoder_bias = match use_decoder_bias {
            true => weights.vector(layout.decoder_bias, width, "[d_model]")?,
            false => vec![0.0; width],
        };
        let description = DictionaryDescription {
            output_site,
            subtract_decoder_bias: subtract && use_decoder_bias,
            input_normalisation: normalisation,
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), folder)
        };
        let places = [encoder, decoder];
        Ok(StoredDictionary {
            folding: Folding {
                factor_in,
                factor_out,
                raw_units: true,
                decoder_lengths: false,
                gated_by_lengths,
            },
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

/// Names of the tensors.
struct Layout {
    encoder: &'static str,
    encoder_axes: &'static str,
    encoder_bias: &'static str,
    decoder: &'static str,
    decoder_axes: &'static str,
    decoder_bias: &'static str,
    threshold: &'static str,
    linear: bool,
}

impl Layout {
    fn of(weights: &WeightsFile) -> Self {
        if weights.has("encoder.weight") {
            Self {
                encoder: "encoder.weight",
                encoder_axes: "[d_sae, d_model]",
                encoder_bias: "encoder.bias",
                decoder: "decoder.weight",
                decoder_axes: "[d_model, d_sae]",
                decoder_bias: "decoder.bias",
                threshold: "log_jumprelu_threshold",
                linear: true,
            }
        } else {
            Self {
                encoder: "W_E",
                encoder_axes: "[d_model, d_sae]",
                encoder_bias: "b_E",
                decoder: "W_D",
                decoder_axes: "[d_sae, d_model]",
                decoder_bias: "b_D",
                threshold: "activation_function.log_jumprelu_threshold",
                linear: false,
            }
        }
    }

    fn places(&self) -> [MatrixPlace; 2] {
        if self.linear {
            [
                MatrixPlace::rows(self.encoder),
                MatrixPlace::columns(self.decoder),
            ]
        } else {
            [
                MatrixPlace::columns(self.encoder),
                MatrixPlace::rows(self.decoder),
            ]
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    TopK(usize),
    JumpRelu,
}

impl Activation {
    pub(crate) fn read(config: &ConfigFile, features: usize) -> Result<Self> {
        let choices = "relu, topk, jumprelu";
        let k = config.optional_count("top_k")?;
        match config.text("act_fn", choices)?.to_lowercase().as_str() {
            "relu" => Ok(Self::Relu),
            "jumprelu" => Ok(Self::JumpRelu),
            // Its own default.
            "topk" => match k.unwrap_or(50) {
                k if k <= features => Ok(Self::TopK(k)),
                _ => Err(config.bad("top_k", format!("a whole number from 1 to {features}"))),
            },
            "batchtopk" | "batchlayertopk" | "layertopk" => Err(config.unsupported(
                "act_fn",
                format!("{choices} (what is active would depend on the other rows; llamascopium turns it into jumprelu)"),
            )),
            _ => Err(config.unsupported("act_fn", choices)),
        }
    }
}

pub(crate) fn features(config: &ConfigFile, width: usize) -> Result<usize> {
    let features = config.positive_number("expansion_factor")? * width as f64;
    if (1.0..f64::from(u32::MAX)).contains(&features) {
        Ok(features as usize)
    } else {
        Err(config.bad(
            "expansion_factor",
            "a factor that makes at least one feature and fewer than 2^32",
        ))
    }
}

pub(crate) fn norm_tensor(site: Site) -> String {
    format!("dataset_average_activation_norm.{site}")
}

/// Thresholds exp(stored) in units of raw activations.
pub(crate) fn thresholds(
    weights: &WeightsFile,
    tensor: &str,
    features: usize,
    factor_in: f64,
) -> Result<Vec<f32>> {
    let stored = weights.vector(tensor, features, "[d_sae]")?;
    Ok(stored
        .into_iter()
        .map(|log| (f64::from(log).exp() / factor_in) as f32)
        .collect())
}

/// What is done to each row, and s_in and s_out.
fn normalisation(
    config: &ConfigFile,
    weights: &WeightsFile,
    width: usize,
    norms: &[String; 2],
) -> Result<(InputNormalisation, [f64; 2])> {
    let choices = "dataset-wise, inference, token-wise (with one site)";
    match config.optional_text("norm_activation")?.as_deref() {
        Some("inference") => Ok((InputNormalisation::None, [1.0, 1.0])),
        Some("token-wise") if norms[0] == norms[1] => {
            Ok((InputNormalisation::ConstantNormRescale, [1.0, 1.0]))
        }
        None | Some("dataset-wise") => {
            let root = (width as f64).sqrt();
            let factor = |tensor: &str| dataset_factor(weights, tensor, root);
            Ok((InputNormalisation::None, [factor(&norms[0])?, factor(&norms[1])?]))
        }
        Some(_) => Err(config.unsupported("norm_activation", choices)),
    }
}

/// √d divided by the mean norm that a tensor holds.
pub(crate) fn dataset_factor(weights: &WeightsFile, tensor: &str, root: f64) -> Result<f64> {
    let norm = weights.scalar(tensor, "the mean norm of the activations it was trained on")?;
    if norm > 0.0 {
        return Ok(root / norm);
    }
    Err(DictionaryError::TensorValue {
        path: weights.path().to_path_buf(),
        tensor: tensor.to_owned(),
        index: Vec::new(),
        value: norm as f32,
        expected: "a norm above 0",
    })
}
