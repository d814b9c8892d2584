//! GPT-2: layer norms, learned positions, plain MLPs, biases everywhere; its linear maps are stored as [in, out], with
//! query, key and value side by side in one tensor.

use std::ops::Range;

use glassbox_kernels::backend::{ActivationKind, NormKind};

use super::layout::{self, BlockLayout, LinearLayout, ModelLayout, NormLayout, TensorSource};
use crate::config::{Family, LinearBiases, ModelConfig, PositionKind};
use crate::config_parse::{self, Keys};
use crate::load_error::LoadError;

/// "<|endoftext|>", which begins and ends a text where the file names no other token.
const END_OF_TEXT: Option<u32> = Some(50_256);

pub(super) fn parse(keys: &Keys<'_>) -> Result<ModelConfig, LoadError> {
    let d_model = keys.required_size("n_embd")?;
    let n_layers = config_parse::layers(keys, "n_layer")?;
    let n_heads = keys.required_size("n_head")?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(keys.bad_value("n_embd", &format!("a multiple of n_head, {n_heads}")));
    }
    let d_head = d_model / n_heads;
    let vocab_size = keys.required_size("vocab_size")?;
    let max_positions = keys.required_size("n_positions")?;
    if keys
        .size("n_ctx")?
        .is_some_and(|context| context != max_positions)
    {
        return Err(keys.bad_value("n_ctx", &format!("the same as n_positions, {max_positions}")));
    }
    let scaled = keys.flag("scale_attn_weights")?.unwrap_or(true);
    Ok(ModelConfig {
        family: Family::Gpt2,
        d_model,
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: keys.size("n_inner")?.unwrap_or(4 * d_model),
        vocab_size,
        max_positions,
        norm: NormKind::Layer,
        norm_eps: config_parse::epsilon(keys, "layer_norm_epsilon", 1e-5)?,
        positions: PositionKind::Learned,
        activation: config_parse::activation(keys, "activation_function", ActivationKind::GeluTanh)?,
        gated_mlp: false,
        biases: LinearBiases {
            query_key_value: true,
            attention_out: true,
            mlp: true,
        },
        attention_scale: if scaled {
            (d_head as f64).powf(-0.5) as f32
        } else {
            1.0
        },
        windows: vec![None; n_layers],
        tied: keys.flag("tie_word_embeddings")?.unwrap_or(true),
        bos_token_id: config_parse::bos_token(keys, END_OF_TEXT, vocab_size)?,
        eos_token_ids: config_parse::special_tokens(keys, "eos_token_id", END_OF_TEXT, vocab_size)?,
    })
}

pub(super) fn layout(config: &ModelConfig, has: impl Fn(&str) -> bool) -> ModelLayout {
    let prefix = layout::prefix(&["transformer.", ""], "wte.weight", has);
    let d = config.d_model;
    let norm = |name: String| NormLayout {
        weight: TensorSource::whole(format!("{name}.weight"), &[d]),
        bias: Some(TensorSource::whole(format!("{name}.bias"), &[d])),
    };
    let block = |layer: usize| {
        let at = format!("{prefix}h.{layer}.");
        let joint = |third: usize| {
            linear(
                &format!("{at}attn.c_attn"),
                d,
                3 * d,
                Some(third * d..(third + 1) * d),
            )
        };
        BlockLayout {
            ln1: norm(format!("{at}ln_1")),
            query: joint(0),
            key: joint(1),
            value: joint(2),
            out: linear(&format!("{at}attn.c_proj"), d, d, None),
            ln2: norm(format!("{at}ln_2")),
            gate: None,
            up: linear(&format!("{at}mlp.c_fc"), d, config.d_mlp, None),
            down: linear(&format!("{at}mlp.c_proj"), config.d_mlp, d, None),
        }
    };
    ModelLayout {
        embed: TensorSource::whole(format!("{prefix}wte.weight"), &[config.vocab_size, d]),
        pos_embed: Some(TensorSource::whole(
            format!("{prefix}wpe.weight"),
            &[config.max_positions, d],
        )),
        blocks: (0..config.n_layers).map(block).collect(),
        ln_final: norm(format!("{prefix}ln_f")),
        head: TensorSource::whole("lm_head.weight", &[config.vocab_size, d]),
    }
}

/// A map stored as [in, out]; `part` names its share of the outputs.
fn linear(name: &str, input: usize, out: usize, part: Option<Range<usize>>) -> LinearLayout {
    LinearLayout {
        weight: TensorSource {
            name: format!("{name}.weight"),
            shape: vec![input, out],
            transposed: true,
            part: part.clone(),
        },
        bias: Some(TensorSource {
            name: format!("{name}.bias"),
            shape: vec![out],
            transposed: false,
            part,
        }),
    }
}
