//! Llama Scope (He et al. 2024): `hyperparams.json` and `checkpoints/final.safetensors`, as its authors published them.
//!
//! With d the width, s_in = √d / norm.in and s_out = √d / norm.out for `norm_activation` dataset-wise (else 1), the
//! authors' loader changes the stored weights in this order:
//! 1. b_enc /= s_in, b_dec /= s_out, W_dec *= s_in / s_out: features are in units of raw activations;
//! 2. if `sparsity_include_decoder_norm`: with n_j the length of decoder column j, W_dec /= n, W_enc *= n, b_enc *= n;
//! 3. `act_fn` topk with a threshold above 0 becomes jumprelu.
//!
//! The scalar threshold was fitted after steps 1 and 2 and is compared as it is.

use std::path::Path;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

const CONFIG: &str = "hyperparams.json";
/// Where published and pruned dictionaries keep their weights, in the order of preference.
const WEIGHTS: [&str; 3] = [
    "checkpoints/final.safetensors",
    "checkpoints/pruned.safetensors",
    "sae_weights.safetensors",
];

/// Training settings and the like.
const HARMLESS: [&str; 42] = [
    "device",
    "seed",
    "dtype",
    "bias_init_method",
    "decoder_exactly_fixed_norm",
    "decoder_bias_init_method",
    "init_decoder_norm",
    "init_encoder_norm",
    "init_encoder_with_decoder_transpose",
    "init_search",
    "lp",
    "l1_coefficient",
    "l1_coefficient_warmup_steps",
    "k_warmup_steps",
    "initial_k",
    "use_batch_norm_mse",
    "use_ghost_grads",
    "dead_feature_threshold",
    "dead_feature_window",
    "feature_sampling_window",
    "tp_size",
    "ddp_size",
    "sae_pretrained_name_or_path",
    "strict_loading",
    "exp_name",
    "exp_result_path",
    "exp_result_dir",
    "run_name",
    "version",
    "lr",
    "betas",
    "lr_scheduler_name",
    "lr_end_ratio",
    "lr_warm_up_steps",
    "lr_cool_down_steps",
    "clip_grad_norm",
    "clip_grad_value",
    "remove_gradient_parallel_to_decoder_directions",
    "total_training_tokens",
    "train_batch_size",
    "finetuning",
    "use_cached_activations",
];

pub(super) struct LlamaScope;

impl DictionaryFormat for LlamaScope {
    fn name(&self) -> &'static str {
        "llama_scope"
    }

    fn files(&self) -> &'static str {
        "hyperparams.json and checkpoints/final.safetensors"
    }

    fn recognises(&self, folder: &Path) -> bool {
        folder.join(CONFIG).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;

        let width = config.count("d_model")?;
        let features = features(&config, width)?;
        let site = config.site("hook_point_in")?;
        let output_site = if config.has("hook_point_out") {
            config.site("hook_point_out")?
        } else {
            site
        };
        let use_decoder_bias = config.flag("use_decoder_bias")?;
        let subtract_decoder_bias = config.flag("apply_decoder_bias_to_pre_encoder")? && use_decoder_bias;
        if config.optional_flag("use_glu_encoder")? == Some(true) {
            return Err(config.unsupported("use_glu_encoder", "an encoder without GLU (false)"));
        }
        let rule = rule(&config, features)?;
        let (factor_in, factor_out) = factors(&config, width)?;
        let decoder_lengths = config.flag("sparsity_include_decoder_norm")?;
        config.finish(&HARMLESS)?;

        let weights = open_weights(folder)?;
        let mut names = vec!["encoder.weight", "encoder.bias", "decoder.weight"];
        if use_decoder_bias {
            names.push("decoder.bias");
        }
        weights.check_names(&names)?;
        weights.find("encoder.weight", &[features, width], "[d_sae, d_model]")?;
        weights.find("decoder.weight", &[width, features], "[d_model, d_sae]")?;
        let encoder_bias = weights.vector("encoder.bias", features, "[d_sae]")?;
        let decoder_bias = if use_decoder_bias {
            weights.vector("decoder.bias", width, "[d_model]")?
        } else {
            vec![0.0; width]
        };

        let description = DictionaryDescription {
            output_site,
            subtract_decoder_bias,
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), folder)
        };
        let places = [
            MatrixPlace::rows("encoder.weight"),
            MatrixPlace::columns("decoder.weight"),
        ];
        Ok(StoredDictionary {
            folding: Folding {
                factor_in,
                factor_out,
                raw_units: true,
                decoder_lengths,
                gated_by_lengths: false,
            },
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

fn features(config: &ConfigFile, width: usize) -> Result<usize> {
    let stated = config.optional_count("d_sae")?;
    let factor = config.optional_number("expansion_factor")?;
    let product = factor.map(|factor| (factor * width as f64).round());
    match (stated, product) {
        (Some(features), Some(product)) if product != features as f64 => {
            Err(config.bad("d_sae", format!("d_model · expansion_factor = {product}")))
        }
        (Some(features), _) => Ok(features),
        (None, Some(product)) if product >= 1.0 && product <= f64::from(u32::MAX) => Ok(product as usize),
        (None, Some(_)) => Err(config.bad("expansion_factor", "a number above 0")),
        (None, None) => config.count("d_sae"),
    }
}

fn rule(config: &ConfigFile, features: usize) -> Result<ActivationRule> {
    let name = config.text("act_fn", "jumprelu, topk or relu")?;
    let threshold = config.optional_number("jump_relu_threshold")?;
    let k = config.optional_count("top_k")?;
    let uniform = |threshold: f64| {
        let value = threshold as f32;
        if value >= 0.0 && value.is_finite() {
            Ok(ActivationRule::JumpRelu {
                threshold: vec![value; features],
            })
        } else {
            Err(config.bad("jump_relu_threshold", "a number of at least 0"))
        }
    };
    match name.to_lowercase().as_str() {
        "relu" => Ok(ActivationRule::Relu),
        "jumprelu" => match threshold {
            Some(threshold) => uniform(threshold),
            None => config.positive_number("jump_relu_threshold").and_then(uniform),
        },
        "topk" => match (threshold, k) {
            (Some(threshold), _) if threshold > 0.0 => uniform(threshold),
            (_, Some(k)) if k <= features => Ok(ActivationRule::top_k(k)),
            (_, Some(_)) => Err(config.bad("top_k", format!("a whole number from 1 to {features}"))),
            (_, None) => Err(config
                .count("top_k")
                .err()
                .unwrap_or_else(|| config.bad("top_k", "a whole number"))),
        },
        _ => Err(config.unsupported("act_fn", "jumprelu, topk, relu")),
    }
}

/// s_in and s_out.
fn factors(config: &ConfigFile, width: usize) -> Result<(f64, f64)> {
    let norm = config.optional_text("norm_activation")?;
    let norms = config.optional_object("dataset_average_activation_norm")?;
    match norm.as_deref() {
        None | Some("none" | "inference") => Ok((1.0, 1.0)),
        Some("dataset-wise") => {
            let norms = match norms {
                Some(norms) => norms,
                None => config.object("dataset_average_activation_norm")?,
            };
            let root = (width as f64).sqrt();
            let factors = (
                root / norms.positive_number("in")?,
                root / norms.positive_number("out")?,
            );
            norms.finish(&[])?;
            Ok(factors)
        }
        Some(_) => Err(config.unsupported("norm_activation", "dataset-wise, inference, none")),
    }
}

fn open_weights(folder: &Path) -> Result<WeightsFile> {
    match WEIGHTS
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
    {
        Some(path) => WeightsFile::open(&path),
        None => Err(DictionaryError::Io {
            action: "find the weights (final.safetensors, pruned.safetensors in checkpoints, or sae_weights.safetensors)",
            path: folder.join(WEIGHTS[0]),
            cause: std::io::ErrorKind::NotFound.into(),
        }),
    }
}
