//! The supported families: for each, how its configuration reads and where its weights lie in a checkpoint.

pub mod gpt2;
pub mod layout;
pub mod llama;
pub mod mistral;
pub mod qwen2;

use crate::config::{Family, ModelConfig};
use crate::config_parse::known_keys::KnownKey;
use crate::config_parse::{Keys, known_keys as lists};
use crate::load_error::LoadError;
use layout::ModelLayout;

/// Reads the keys of the family's `config.json`.
pub(crate) fn parse(family: Family, keys: &Keys<'_>) -> Result<ModelConfig, LoadError> {
    match family {
        Family::Llama => llama::parse(keys),
        Family::Mistral => mistral::parse(keys),
        Family::Qwen2 => qwen2::parse(keys),
        Family::Gpt2 => gpt2::parse(keys),
    }
}

/// Keys of the family's `config.json` that don't change the arithmetic, beyond those common to all families.
#[must_use]
pub fn known_keys(family: Family) -> &'static [KnownKey] {
    match family {
        Family::Llama => lists::LLAMA,
        Family::Mistral => lists::MISTRAL,
        Family::Qwen2 => lists::QWEN2,
        Family::Gpt2 => lists::GPT2,
    }
}

/// Where the model's weights lie in a checkpoint that holds the tensors `has` answers for.
pub(crate) fn layout(config: &ModelConfig, has: impl Fn(&str) -> bool) -> ModelLayout {
    match config.family {
        Family::Llama => llama::layout(config, has),
        Family::Mistral => mistral::layout(config, has),
        Family::Qwen2 => qwen2::layout(config, has),
        Family::Gpt2 => gpt2::layout(config, has),
    }
}

/// Whether a tensor that no weight is read from is known not to matter: tables that older checkpoints store
/// although they follow from the configuration.
pub(crate) fn is_derived_tensor(family: Family, name: &str) -> bool {
    match family {
        // Rotary frequencies.
        Family::Llama | Family::Mistral | Family::Qwen2 => name.ends_with("rotary_emb.inv_freq"),
        // The causal mask, and the number that stands in masked places.
        Family::Gpt2 => name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"),
    }
}
