//! Mistral: Llama's block without biases, with one sliding window in every block.

use super::layout::ModelLayout;
use super::llama::{self, Variant};
use crate::config::{Family, LinearBiases, ModelConfig};
use crate::config_parse::{self, Keys};
use crate::load_error::LoadError;

/// The window where the file doesn't have the key; null means none.
const ABSENT_WINDOW: usize = 4096;

pub(super) fn parse(keys: &Keys<'_>) -> Result<ModelConfig, LoadError> {
    let variant = Variant {
        family: Family::Mistral,
        absent_key_value_heads: Some(8),
        biases: LinearBiases {
            query_key_value: false,
            attention_out: false,
            mlp: false,
        },
        bos_token_id: Some(1),
        eos_token_id: Some(2),
    };
    let mut config = llama::parse_variant(keys, &variant)?;
    let window = match keys.size("sliding_window")? {
        None if !keys.has("sliding_window") => Some(ABSENT_WINDOW),
        window => window,
    };
    config.windows = vec![window; config.n_layers];
    // The original program reads only the window; a list of layer types must say the same.
    let by_type = config_parse::windows_by_layer_type(keys, config.n_layers, window)?;
    if by_type.is_some_and(|windows| windows != config.windows) {
        return Err(keys.contradiction(
            "sliding_window",
            "layer_types",
            "every layer of this family has the window",
        ));
    }
    Ok(config)
}

pub(super) fn layout(config: &ModelConfig, has: impl Fn(&str) -> bool) -> ModelLayout {
    llama::layout(config, has)
}
