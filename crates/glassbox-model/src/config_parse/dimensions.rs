//! Pieces of a configuration that several families write alike.

use glassbox_kernels::backend::ActivationKind;

use super::keys::Keys;
use crate::config::{PositionKind, RotaryScaling};
use crate::load_error::LoadError;

/// More blocks than any model has; a larger number is a mistake in the file.
const MOST_LAYERS: usize = 10_000;

/// Supported names of activations, with the function that each names.
const ACTIVATIONS: [(&str, ActivationKind); 6] = [
    ("silu", ActivationKind::Silu),
    ("swish", ActivationKind::Silu),
    ("gelu", ActivationKind::Gelu),
    ("gelu_new", ActivationKind::GeluTanh),
    ("gelu_pytorch_tanh", ActivationKind::GeluTanh),
    ("relu", ActivationKind::Relu),
];

/// The activation under `key`, or `default` where the file states none.
pub(crate) fn activation(
    keys: &Keys<'_>,
    key: &str,
    default: ActivationKind,
) -> Result<ActivationKind, LoadError> {
    let Some(name) = keys.text(key)? else {
        return Ok(default);
    };
    ACTIVATIONS
        .iter()
        .find(|(valid, _)| *valid == name)
        .map(|(_, kind)| *kind)
        .ok_or_else(|| keys.unsupported(key, "activation", name, &ACTIVATIONS.map(|(valid, _)| valid)))
}

/// The number of blocks.
pub(crate) fn layers(keys: &Keys<'_>, key: &str) -> Result<usize, LoadError> {
    let layers = keys.required_size(key)?;
    if layers > MOST_LAYERS {
        return Err(keys.bad_value(key, &format!("at most {MOST_LAYERS}")));
    }
    Ok(layers)
}

/// Query heads, key/value heads and the width of a head.
pub(crate) struct Heads {
    pub(crate) query: usize,
    pub(crate) key_value: usize,
    pub(crate) width: usize,
}

/// The heads of a family with grouped queries. `absent_key_value` is the number of key/value heads where the file
/// doesn't have the key at all; null means as many as query heads.
pub(crate) fn grouped_heads(
    keys: &Keys<'_>,
    d_model: usize,
    absent_key_value: Option<usize>,
) -> Result<Heads, LoadError> {
    let query = keys.required_size("num_attention_heads")?;
    let key_value = match keys.size("num_key_value_heads")? {
        Some(heads) => heads,
        None if keys.has("num_key_value_heads") => query,
        None => absent_key_value.unwrap_or(query),
    };
    if !query.is_multiple_of(key_value) {
        return Err(keys.bad_value(
            "num_key_value_heads",
            &format!("a divisor of num_attention_heads, {query}"),
        ));
    }
    let (width, named) = match keys.size("head_dim")? {
        Some(width) => (width, "head_dim"),
        None if d_model.is_multiple_of(query) => (d_model / query, "hidden_size"),
        None => {
            return Err(keys.bad_value(
                "hidden_size",
                &format!("a multiple of num_attention_heads, {query}"),
            ));
        }
    };
    if !width.is_multiple_of(2) {
        return Err(keys.bad_value(
            named,
            "an even width per head, as rotary positions turn pairs of columns",
        ));
    }
    Ok(Heads {
        query,
        key_value,
        width,
    })
}

/// Epsilon of the norms.
pub(crate) fn epsilon(keys: &Keys<'_>, key: &str, default: f64) -> Result<f32, LoadError> {
    let epsilon = keys.positive(key)?.unwrap_or(default) as f32;
    if epsilon.is_normal() {
        Ok(epsilon)
    } else {
        Err(keys.bad_value(key, "a number that single precision holds"))
    }
}

/// The longest sequence. Linear scaling stretches the stated length by its factor; Llama 3's rule states the
/// stretched length itself.
pub(crate) fn longest_sequence(keys: &Keys<'_>, positions: &PositionKind) -> Result<usize, LoadError> {
    let stated = keys.required_size("max_position_embeddings")?;
    Ok(match positions {
        PositionKind::Rotary {
            scaling: RotaryScaling::Linear { factor },
            ..
        } => {
            // Positions are counted in 32 bits.
            ((stated as f64 * factor).min(f64::from(u32::MAX)) as usize).max(stated)
        }
        _ => stated,
    })
}

/// The sliding window of each block from `layer_types`, all of them checked: "sliding_attention" has the window,
/// "full_attention" none. `None` if the file has no such key.
pub(crate) fn windows_by_layer_type(
    keys: &Keys<'_>,
    n_layers: usize,
    window: Option<usize>,
) -> Result<Option<Vec<Option<usize>>>, LoadError> {
    let Some(types) = keys.texts("layer_types")? else {
        return Ok(None);
    };
    if types.len() != n_layers {
        return Err(keys.bad_value("layer_types", &format!("one entry per layer, {n_layers} in all")));
    }
    let mut windows = Vec::with_capacity(n_layers);
    for name in types {
        windows.push(match name {
            "full_attention" => None,
            "sliding_attention" => window,
            other => {
                let valid = ["full_attention", "sliding_attention"];
                return Err(keys.unsupported("layer_types", "layer type", other, &valid));
            }
        });
    }
    Ok(Some(windows))
}
