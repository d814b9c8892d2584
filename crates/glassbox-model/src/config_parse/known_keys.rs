//! Keys of `config.json` that are not read because they don't change what the model computes, and the values with
//! which that is so.
//!
//! A key is put here only with a reason. A key that is neither read nor here makes loading fail.

use serde_json::Value;

/// Values of a [`KnownKey`] with which the model's arithmetic is the one that is computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Every value.
    Anything,
    /// `null` and these values, written as JSON.
    OneOf(&'static [&'static str]),
}

/// A key that need not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name.
    pub key: &'static str,
    /// Its acceptable values.
    pub accepted: Accepted,
    /// Why it doesn't matter, or what another value would mean.
    pub reason: &'static str,
}

impl KnownKey {
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        match self.accepted {
            Accepted::Anything => true,
            Accepted::OneOf(texts) => value.is_null() || texts.iter().any(|text| equals(value, text)),
        }
    }

    pub(crate) fn expectation(&self) -> String {
        match self.accepted {
            Accepted::Anything => "any value".to_owned(),
            Accepted::OneOf(texts) => {
                let values = texts
                    .iter()
                    .copied()
                    .chain(["null"])
                    .collect::<Vec<_>>()
                    .join(" or ");
                format!("{values}; {} is not supported", self.reason)
            }
        }
    }
}

/// Whether a value is the one written as JSON; 1 and 1.0 are the same.
fn equals(value: &Value, text: &str) -> bool {
    let Ok(expected) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    match (value.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found == expected,
        _ => *value == expected,
    }
}

const fn free(key: &'static str, reason: &'static str) -> KnownKey {
    KnownKey {
        key,
        accepted: Accepted::Anything,
        reason,
    }
}

const fn only(key: &'static str, values: &'static [&'static str], reason: &'static str) -> KnownKey {
    KnownKey {
        key,
        accepted: Accepted::OneOf(values),
        reason,
    }
}

const NAMES: &str = "names and provenance";
const TRAINING: &str = "acts in training only";
const OUTPUT: &str = "chooses what the original program returns";
const MEMORY: &str = "trades memory for time, same values";
const GENERATION: &str =
    "a default of the original program's text generation, which is stated explicitly here";
const HEADS: &str = "belongs to classification heads";
const TOKENIZER: &str = "belongs to the tokenizer, which has its own file";
const KERNEL: &str = "chooses among implementations of the same function";

/// Keys that any family may carry.
pub const COMMON: &[KnownKey] = &[
    free("_name_or_path", NAMES),
    free("name_or_path", NAMES),
    free("_commit_hash", NAMES),
    free("transformers_version", NAMES),
    free("transformers.js_config", NAMES),
    free("unsloth_version", NAMES),
    free("unsloth_fixed", NAMES),
    free("model_max_length", TOKENIZER),
    free(
        "max_sequence_length",
        "repeats the context length, which is read from max_position_embeddings",
    ),
    free("torch_dtype", "each tensor states its own element type"),
    free("dtype", "each tensor states its own element type"),
    free("use_bfloat16", "each tensor states its own element type"),
    free("initializer_range", TRAINING),
    free("attention_dropout", TRAINING),
    free("hidden_dropout", TRAINING),
    free("resid_pdrop", TRAINING),
    free("embd_pdrop", TRAINING),
    free("attn_pdrop", TRAINING),
    free("gradient_checkpointing", TRAINING),
    free("tf_legacy_loss", TRAINING),
    free("loss_type", TRAINING),
    free("use_cache", MEMORY),
    free("chunk_size_feed_forward", MEMORY),
    free("low_cpu_mem_usage", MEMORY),
    free("_attn_implementation", KERNEL),
    free("_attn_implementation_autoset", KERNEL),
    free("_attn_implementation_internal", KERNEL),
    free("attn_implementation", KERNEL),
    free("_flash_attn_2_enabled", KERNEL),
    free("_experts_implementation_internal", KERNEL),
    free("torchscript", KERNEL),
    free("xla_device", KERNEL),
    free("return_dict", OUTPUT),
    free("return_dict_in_generate", OUTPUT),
    free("output_hidden_states", OUTPUT),
    free("output_attentions", OUTPUT),
    free("output_scores", OUTPUT),
    free("output_past", OUTPUT),
    free("keys_to_ignore_at_inference", OUTPUT),
    free("tie_last_hidden_states", OUTPUT),
    free(
        "pad_token_id",
        "padding is masked here, whatever token stands there",
    ),
    free("sep_token_id", TOKENIZER),
    free("unk_token_id", TOKENIZER),
    free("decoder_start_token_id", "belongs to encoder-decoder models"),
    free("is_decoder", "the models here are always causal decoders"),
    free("tokenizer_class", TOKENIZER),
    free("prefix", TOKENIZER),
    free("finetuning_task", HEADS),
    free("task_specific_params", GENERATION),
    free("id2label", HEADS),
    free("label2id", HEADS),
    free("num_labels", HEADS),
    free("_num_labels", HEADS),
    free("problem_type", HEADS),
    free("classifier_dropout", HEADS),
    free("max_length", GENERATION),
    free("min_length", GENERATION),
    free("max_new_tokens", GENERATION),
    free("do_sample", GENERATION),
    free("early_stopping", GENERATION),
    free("num_beams", GENERATION),
    free("num_beam_groups", GENERATION),
    free("diversity_penalty", GENERATION),
    free("temperature", GENERATION),
    free("top_k", GENERATION),
    free("top_p", GENERATION),
    free("typical_p", GENERATION),
    free("repetition_penalty", GENERATION),
    free("length_penalty", GENERATION),
    free("no_repeat_ngram_size", GENERATION),
    free("encoder_no_repeat_ngram_size", GENERATION),
    free("bad_words_ids", GENERATION),
    free("num_return_sequences", GENERATION),
    free("forced_bos_token_id", GENERATION),
    free("forced_eos_token_id", GENERATION),
    free("remove_invalid_values", GENERATION),
    free("exponential_decay_length_penalty", GENERATION),
    free("suppress_tokens", GENERATION),
    free("begin_suppress_tokens", GENERATION),
    only("is_encoder_decoder", &["false"], "an encoder-decoder model"),
    only("add_cross_attention", &["false"], "cross-attention"),
    only("cross_attention_hidden_size", &[], "cross-attention"),
    only("tie_encoder_decoder", &["false"], "an encoder-decoder model"),
    only("pruned_heads", &["{}"], "a model with pruned heads"),
    only(
        "per_layer_config",
        &["{}"],
        "a configuration that differs from layer to layer",
    ),
    only("quantization_config", &[], "a quantized checkpoint"),
    only("quantization", &[], "a quantized checkpoint"),
    only("auto_map", &[], "a model that brings its own code"),
];

/// Further keys of Llama.
pub const LLAMA: &[KnownKey] = &[
    only("pretraining_tp", &["1"], "splitting the products as in training"),
    free("is_llama_config", NAMES),
    only(
        "rope_interleaved",
        &["false"],
        "rotary embedding of interleaved pairs",
    ),
    only("partial_rotary_factor", &["1"], "rotating a part of each head"),
    only("sliding_window", &[], "a sliding window in this family"),
    only(
        "use_sliding_window",
        &["false"],
        "a sliding window in this family",
    ),
];

/// Further keys of Mistral.
pub const MISTRAL: &[KnownKey] = &[
    only("attention_bias", &["false"], "a bias in this family's attention"),
    only("mlp_bias", &["false"], "a bias in this family's MLP"),
    only("partial_rotary_factor", &["1"], "rotating a part of each head"),
    only("pretraining_tp", &["1"], "splitting the products as in training"),
];

/// Further keys of Qwen2.
pub const QWEN2: &[KnownKey] = &[
    only(
        "attention_bias",
        &["true"],
        "attention without its biases in this family",
    ),
    only("mlp_bias", &["false"], "a bias in this family's MLP"),
    only("partial_rotary_factor", &["1"], "rotating a part of each head"),
    only("use_mrope", &["false"], "rotary embedding of several axes"),
];

/// Further keys of GPT-2.
pub const GPT2: &[KnownKey] = &[
    only(
        "scale_attn_by_inverse_layer_idx",
        &["false"],
        "attention scaled by the layer's number",
    ),
    free(
        "reorder_and_upcast_attn",
        "acts on rounding in half precision only; attention is computed in f32 here",
    ),
    free("summary_type", HEADS),
    free("summary_use_proj", HEADS),
    free("summary_activation", HEADS),
    free("summary_proj_to_labels", HEADS),
    free("summary_first_dropout", HEADS),
    free("predict_special_tokens", HEADS),
    only(
        "n_special",
        &["0"],
        "extra rows of the embedding for special tokens",
    ),
];

/// Keys inside `rope_scaling` or `rope_parameters`.
pub const ROPE: &[KnownKey] = &[free(
    "original_max_position_embeddings",
    "read for llama3, the one rule here that depends on it",
)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_listed_twice_and_every_value_is_json() {
        for family in [LLAMA, MISTRAL, QWEN2, GPT2, ROPE] {
            let keys: Vec<&str> = COMMON.iter().chain(family).map(|known| known.key).collect();
            let distinct: std::collections::BTreeSet<&str> = keys.iter().copied().collect();
            assert_eq!(keys.len(), distinct.len());
            for known in COMMON.iter().chain(family) {
                if let Accepted::OneOf(values) = known.accepted {
                    assert!(
                        values
                            .iter()
                            .all(|text| serde_json::from_str::<Value>(text).is_ok()),
                        "{known:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        assert!(equals(&serde_json::json!(1.0), "1"));
        assert!(!equals(&serde_json::json!(2), "1"));
        assert!(!equals(&serde_json::json!("1"), "1"));
    }
}
