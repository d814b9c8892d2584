//! Qwen2 and Qwen2.5: Llama's block with biases on query, key and value, and a window in the upper blocks if asked.

use super::layout::ModelLayout;
use super::llama::{self, Variant};
use crate::config::{Family, LinearBiases, ModelConfig};
use crate::config_parse::{self, Keys};
use crate::load_error::LoadError;

/// The window, where one is used but its key is absent.
const ABSENT_WINDOW: usize = 4096;
/// The first block with a window, where the key is absent.
const ABSENT_MAX_WINDOW_LAYERS: usize = 28;

pub(super) fn parse(keys: &Keys<'_>) -> Result<ModelConfig, LoadError> {
    let variant = Variant {
        family: Family::Qwen2,
        absent_key_value_heads: Some(32),
        biases: LinearBiases {
            query_key_value: true,
            attention_out: false,
            mlp: false,
        },
        bos_token_id: None,
        eos_token_id: None,
    };
    let mut config = llama::parse_variant(keys, &variant)?;
    // `use_sliding_window` decides; the window's number stands in most files of the family without being used.
    let stated = match keys.size("sliding_window")? {
        None if !keys.has("sliding_window") => Some(ABSENT_WINDOW),
        stated => stated,
    };
    let used = keys.flag("use_sliding_window")?.unwrap_or(false);
    let window = stated.filter(|_| used);
    let first_windowed = keys
        .count("max_window_layers")?
        .unwrap_or(ABSENT_MAX_WINDOW_LAYERS);
    config.windows = match config_parse::windows_by_layer_type(keys, config.n_layers, window)? {
        Some(windows) => windows,
        None => (0..config.n_layers)
            .map(|layer| window.filter(|_| layer >= first_windowed))
            .collect(),
    };
    Ok(config)
}

pub(super) fn layout(config: &ModelConfig, has: impl Fn(&str) -> bool) -> ModelLayout {
    llama::layout(config, has)
}
