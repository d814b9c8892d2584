//! A model folder.

use std::path::Path;

use glassbox_kernels::backend::{ActivationKind, NormKind};
use glassbox_model::config::{ModelConfig, PositionKind, RotaryScaling};
use glassbox_model::inspect::{ModelSummary, inspect as summarise};
use glassbox_model::model_hash::model_hash;
use glassbox_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::{Inspection, described};
use crate::error::CliError;
use crate::table::{bytes, count, facts};

/// Checks a model folder as loading does, but for the values of its weights.
pub(super) fn inspect(folder: &Path) -> Result<Inspection, CliError> {
    let summary = summarise(folder)?;
    let hash = model_hash(folder)?;
    // A damaged tokenizer is an error; a missing one matters only where text is read or written.
    if summary.has_tokenizer {
        Tokenizer::open(folder, &summary.config)?;
    }
    Ok(Inspection {
        text: text(&summary, &hash),
        json: json(&summary, &hash),
        damage: None,
    })
}

fn text(summary: &ModelSummary, hash: &str) -> String {
    let config = &summary.config;
    let files: Vec<String> = summary
        .files
        .iter()
        .map(|file| format!("{} ({})", file.name, bytes(file.bytes)))
        .collect();
    let types: Vec<String> = summary
        .element_types
        .iter()
        .map(|(name, elements)| format!("{} {name}", count(*elements)))
        .collect();
    let memory = &summary.memory;
    let tokenizer = if summary.has_tokenizer {
        "tokenizer.json"
    } else {
        "none: only token ids can be given"
    };
    let heads = if config.n_heads == config.n_kv_heads {
        format!("{}", config.n_heads)
    } else {
        format!("{} ({} for keys and values)", config.n_heads, config.n_kv_heads)
    };
    facts(&[
        ("model", summary.folder.display().to_string()),
        ("family", config.family.to_string()),
        (
            "parameters",
            format!("{} ({})", count(summary.parameters), types.join(", ")),
        ),
        ("blocks", config.n_layers.to_string()),
        (
            "width",
            format!("{} (MLP {}, {})", config.d_model, config.d_mlp, mlp(config)),
        ),
        ("heads", format!("{heads}, {} wide", config.d_head)),
        ("positions", positions(config)),
        ("window", windows(config)),
        (
            "norm",
            format!("{}, epsilon {:e}", norm(config.norm), config.norm_eps),
        ),
        (
            "vocabulary",
            format!(
                "{}, head {}",
                count(config.vocab_size as u64),
                if config.tied { "tied" } else { "untied" }
            ),
        ),
        (
            "context",
            format!("{} positions", count(config.max_positions as u64)),
        ),
        ("tokenizer", tokenizer.to_owned()),
        ("files", files.join("\n")),
        (
            "memory",
            format!(
                "{} of weights, {} per cached position",
                bytes(memory.weights_f32),
                bytes(memory.cache_per_position)
            ),
        ),
        (
            "sites",
            format!(
                "{}, from {} to {}",
                summary.sites.len(),
                ends(summary).0,
                ends(summary).1
            ),
        ),
        ("hash", hash.to_owned()),
        (
            "usable",
            "yes (the weights' values are checked when the model is loaded)".to_owned(),
        ),
    ])
}

fn ends(summary: &ModelSummary) -> (String, String) {
    let name = |site: Option<&glassbox_model::site::Site>| site.map(ToString::to_string).unwrap_or_default();
    (name(summary.sites.first()), name(summary.sites.last()))
}

fn norm(kind: NormKind) -> &'static str {
    match kind {
        NormKind::Rms => "RMS",
        NormKind::Layer => "layer norm",
    }
}

fn activation(kind: ActivationKind) -> &'static str {
    match kind {
        ActivationKind::Silu => "SiLU",
        ActivationKind::Gelu => "GELU",
        ActivationKind::GeluTanh => "GELU (tanh)",
        ActivationKind::Relu => "ReLU",
    }
}

fn mlp(config: &ModelConfig) -> String {
    format!(
        "{}{}",
        if config.gated_mlp { "gated " } else { "" },
        activation(config.activation)
    )
}

fn positions(config: &ModelConfig) -> String {
    match &config.positions {
        PositionKind::Learned => "learned".to_owned(),
        PositionKind::Rotary { theta, scaling } => match scaling {
            RotaryScaling::None => format!("rotary, base {theta}"),
            RotaryScaling::Linear { factor } => format!("rotary, base {theta}, linear scaling by {factor}"),
            RotaryScaling::Llama3 { factor, .. } => {
                format!("rotary, base {theta}, llama3 scaling by {factor}")
            }
        },
    }
}

fn windows(config: &ModelConfig) -> String {
    let with_window = config.windows.iter().filter(|window| window.is_some()).count();
    match config.windows.iter().flatten().next() {
        None => "none".to_owned(),
        Some(window) => format!(
            "{window} positions in {with_window} of {} blocks",
            config.n_layers
        ),
    }
}

fn json(summary: &ModelSummary, hash: &str) -> Value {
    let config = &summary.config;
    let rest = json!({
        "family": config.family.model_type(),
        "parameters": summary.parameters,
        "element_types": summary.element_types,
        "n_layers": config.n_layers,
        "d_model": config.d_model,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "d_head": config.d_head,
        "d_mlp": config.d_mlp,
        "gated_mlp": config.gated_mlp,
        "activation": activation(config.activation),
        "norm": norm(config.norm),
        "norm_eps": config.norm_eps,
        "positions": positions(config),
        "windows": config.windows,
        "vocab_size": config.vocab_size,
        "max_positions": config.max_positions,
        "tied": config.tied,
        "bos_token_id": config.bos_token_id,
        "eos_token_ids": config.eos_token_ids,
        "has_tokenizer": summary.has_tokenizer,
        "files": summary.files,
        "memory_bytes": summary.memory,
        "sites": summary.sites.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hash": hash,
    });
    described("model", &summary.folder, true, rest)
}
