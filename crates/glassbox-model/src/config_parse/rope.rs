//! Rotary positions: `rope_theta` and `rope_scaling` as transformers 4 writes them, `rope_parameters` as
//! transformers 5 does.

use super::keys::Keys;
use super::known_keys;
use crate::config::{PositionKind, RotaryScaling};
use crate::load_error::LoadError;

/// Supported rope types.
const ROPE_TYPES: [&str; 3] = ["default", "linear", "llama3"];
/// The base where a file states none, in every supported family.
const DEFAULT_THETA: f64 = 10_000.0;

/// Reads the rotary keys of a configuration.
pub(crate) fn positions(keys: &Keys<'_>) -> Result<PositionKind, LoadError> {
    let outer_theta = keys.positive("rope_theta")?;
    let newer = match keys.object("rope_parameters")? {
        Some(parameters) => Some(parse(&parameters)?),
        None => None,
    };
    let older = match keys.object("rope_scaling")? {
        Some(scaling) => Some(parse(&scaling)?),
        None => None,
    };
    if let (Some(newer), Some(older)) = (&newer, &older)
        && newer.scaling != older.scaling
    {
        return Err(keys.contradiction(
            "rope_parameters",
            "rope_scaling",
            "remove the one that is not meant",
        ));
    }
    let inner = newer.or(older);
    let inner_theta = inner.as_ref().and_then(|rope| rope.theta);
    if let (Some(outer), Some(inner)) = (outer_theta, inner_theta)
        && outer != inner
    {
        return Err(keys.contradiction(
            "rope_theta",
            "rope_parameters.rope_theta",
            format!("{outer} and {inner}"),
        ));
    }
    Ok(PositionKind::Rotary {
        theta: inner_theta.or(outer_theta).unwrap_or(DEFAULT_THETA),
        scaling: inner.map_or(RotaryScaling::None, |rope| rope.scaling),
    })
}

/// What one object of rotary parameters says.
struct Rope {
    theta: Option<f64>,
    scaling: RotaryScaling,
}

fn parse(keys: &Keys<'_>) -> Result<Rope, LoadError> {
    let theta = keys.positive("rope_theta")?;
    if keys
        .positive("partial_rotary_factor")?
        .is_some_and(|part| part != 1.0)
    {
        return Err(keys.bad_value(
            "partial_rotary_factor",
            "1; rotating a part of each head is not supported",
        ));
    }
    let rope_type = match (keys.text("rope_type")?, keys.text("type")?) {
        (Some(newer), Some(older)) if newer != older => {
            return Err(keys.contradiction("rope_type", "type", format!("\"{newer}\" and \"{older}\"")));
        }
        (newer, older) => newer.or(older),
    };
    let scaling = match rope_type {
        Some("default") => RotaryScaling::None,
        // An object with nothing but the base: transformers 5 takes it as the default type.
        None if !keys.has("factor") => RotaryScaling::None,
        Some("linear") => RotaryScaling::Linear {
            factor: keys.required_positive("factor")?,
        },
        Some("llama3") => llama3(keys)?,
        Some(other) => {
            let key = if keys.has("rope_type") {
                "rope_type"
            } else {
                "type"
            };
            return Err(keys.unsupported(key, "rope type", other, &ROPE_TYPES));
        }
        None => return Err(keys.missing("rope_type", &format!("one of {}", ROPE_TYPES.join(", ")))),
    };
    keys.finish(&[known_keys::ROPE])?;
    Ok(Rope { theta, scaling })
}

fn llama3(keys: &Keys<'_>) -> Result<RotaryScaling, LoadError> {
    let factor = keys.required_positive("factor")?;
    let low_freq_factor = keys.required_positive("low_freq_factor")?;
    let high_freq_factor = keys.required_positive("high_freq_factor")?;
    let original_max_position_embeddings = keys.required_positive("original_max_position_embeddings")?;
    if high_freq_factor <= low_freq_factor {
        return Err(keys.bad_value(
            "high_freq_factor",
            &format!("more than low_freq_factor, {low_freq_factor}"),
        ));
    }
    Ok(RotaryScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    })
}
