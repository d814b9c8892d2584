//! Llama 2, 3, 3.1, 3.2: RMS norms, rotary positions, grouped queries, gated SiLU MLPs, optional biases.

use glassbox_kernels::backend::{ActivationKind, NormKind};

use super::layout::{self, BlockLayout, LinearLayout, ModelLayout, NormLayout, TensorSource};
use crate::config::{Family, LinearBiases, ModelConfig};
use crate::config_parse::{self, Heads, Keys};
use crate::load_error::LoadError;

/// What Mistral and Qwen2 do in their own way.
pub(super) struct Variant {
    pub(super) family: Family,
    /// Key/value heads where the key is absent; `None` is as many as query heads.
    pub(super) absent_key_value_heads: Option<usize>,
    pub(super) biases: LinearBiases,
    /// Defaults of the special tokens.
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<u32>,
}

pub(super) fn parse(keys: &Keys<'_>) -> Result<ModelConfig, LoadError> {
    let attention_bias = keys.flag("attention_bias")?.unwrap_or(false);
    let biases = LinearBiases {
        query_key_value: attention_bias,
        attention_out: attention_bias,
        mlp: keys.flag("mlp_bias")?.unwrap_or(false),
    };
    let config = parse_variant(
        keys,
        &Variant {
            family: Family::Llama,
            absent_key_value_heads: None,
            biases,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
        },
    )?;
    if let Some(windows) = config_parse::windows_by_layer_type(keys, config.n_layers, Some(1))?
        && windows.iter().any(Option::is_some)
    {
        return Err(keys.bad_value("layer_types", "full_attention in every layer of this family"));
    }
    Ok(config)
}

/// Reads the keys that Llama, Mistral and Qwen2 share. Windows are left at full attention.
pub(super) fn parse_variant(keys: &Keys<'_>, variant: &Variant) -> Result<ModelConfig, LoadError> {
    let d_model = keys.required_size("hidden_size")?;
    let n_layers = config_parse::layers(keys, "num_hidden_layers")?;
    let vocab_size = keys.required_size("vocab_size")?;
    let Heads {
        query,
        key_value,
        width,
    } = config_parse::grouped_heads(keys, d_model, variant.absent_key_value_heads)?;
    let positions = config_parse::positions(keys)?;
    Ok(ModelConfig {
        family: variant.family,
        d_model,
        n_layers,
        n_heads: query,
        n_kv_heads: key_value,
        d_head: width,
        d_mlp: keys.required_size("intermediate_size")?,
        vocab_size,
        max_positions: config_parse::longest_sequence(keys, &positions)?,
        norm: NormKind::Rms,
        norm_eps: config_parse::epsilon(keys, "rms_norm_eps", 1e-6)?,
        positions,
        activation: config_parse::activation(keys, "hidden_act", ActivationKind::Silu)?,
        gated_mlp: true,
        biases: variant.biases,
        attention_scale: (width as f64).powf(-0.5) as f32,
        windows: vec![None; n_layers],
        tied: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        bos_token_id: config_parse::bos_token(keys, variant.bos_token_id, vocab_size)?,
        eos_token_ids: config_parse::special_tokens(keys, "eos_token_id", variant.eos_token_id, vocab_size)?,
    })
}

pub(super) fn layout(config: &ModelConfig, has: impl Fn(&str) -> bool) -> ModelLayout {
    let prefix = layout::prefix(&["model.", ""], "embed_tokens.weight", has);
    let (d, queries, keys) = (
        config.d_model,
        config.n_heads * config.d_head,
        config.n_kv_heads * config.d_head,
    );
    let norm = |name: String| NormLayout {
        weight: TensorSource::whole(name + ".weight", &[d]),
        bias: None,
    };
    let linear = |name: String, out: usize, input: usize, biased: bool| LinearLayout {
        weight: TensorSource::whole(format!("{name}.weight"), &[out, input]),
        bias: biased.then(|| TensorSource::whole(format!("{name}.bias"), &[out])),
    };
    let block = |layer: usize| {
        let at = format!("{prefix}layers.{layer}.");
        let attention = |name: &str| format!("{at}self_attn.{name}_proj");
        let mlp = |name: &str| format!("{at}mlp.{name}_proj");
        let biases = config.biases;
        BlockLayout {
            ln1: norm(format!("{at}input_layernorm")),
            query: linear(attention("q"), queries, d, biases.query_key_value),
            key: linear(attention("k"), keys, d, biases.query_key_value),
            value: linear(attention("v"), keys, d, biases.query_key_value),
            out: linear(attention("o"), d, queries, biases.attention_out),
            ln2: norm(format!("{at}post_attention_layernorm")),
            gate: Some(linear(mlp("gate"), config.d_mlp, d, biases.mlp)),
            up: linear(mlp("up"), config.d_mlp, d, biases.mlp),
            down: linear(mlp("down"), d, config.d_mlp, biases.mlp),
        }
    };
    ModelLayout {
        embed: TensorSource::whole(format!("{prefix}embed_tokens.weight"), &[config.vocab_size, d]),
        pos_embed: None,
        blocks: (0..config.n_layers).map(block).collect(),
        ln_final: norm(format!("{prefix}norm")),
        head: TensorSource::whole("lm_head.weight", &[config.vocab_size, d]),
    }
}
