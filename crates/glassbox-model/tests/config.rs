//! Configurations as published models carry them, and every way in which one can be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use glassbox_kernels::backend::{ActivationKind, NormKind};
use glassbox_model::config::{Family, LinearBiases, ModelConfig, PositionKind, RotaryScaling};
use glassbox_model::config_parse::parse_config;
use glassbox_model::load_error::LoadError;
use serde_json::{Value, json};

fn parse(json: &Value) -> Result<ModelConfig, LoadError> {
    parse_config(Path::new("folder/config.json"), json)
}

/// The configuration with keys replaced; a key given as `"absent"` is removed.
fn with(mut base: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        if value == "absent" {
            base.as_object_mut().unwrap().shift_remove(key);
        } else {
            base[key] = value.clone();
        }
    }
    base
}

/// Fails with a message that holds every one of these words, the file's name among them.
fn assert_refused(json: &Value, words: &[&str]) {
    let message = match parse(json) {
        Ok(config) => panic!("accepted: {json}\nas {config:?}"),
        Err(error) => error.to_string(),
    };
    for word in words.iter().chain(&["folder/config.json"]) {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

// The key sets of published models, as their authors' programs wrote them.

fn llama2() -> Value {
    json!({
        "_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 11008, "max_position_embeddings": 4096, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16",
        "transformers_version": "4.31.0.dev0", "use_cache": true, "vocab_size": 32000,
    })
}

fn llama3_1() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 128256,
    })
}

fn llama3_2() -> Value {
    let scaling = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    with(
        llama3_1(),
        json!({"head_dim": 64, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
            "rope_scaling": scaling, "tie_word_embeddings": true, "eos_token_id": 128001}),
    )
}

fn mistral() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000,
    })
}

fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 20,
        "model_type": "qwen2", "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
        "use_sliding_window": false, "vocab_size": 152064,
    })
}

fn gpt2() -> Value {
    json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 1024, "n_head": 16,
        "n_layer": 24, "n_positions": 1024, "n_special": 0, "output_past": true,
        "predict_special_tokens": true, "resid_pdrop": 0.1, "summary_activation": null,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
        "summary_use_proj": true, "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
        "vocab_size": 50257,
    })
}

#[test]
fn published_llamas_are_read() {
    let config = parse(&llama2()).unwrap();
    assert_eq!(
        (config.family, config.d_head, config.n_kv_heads),
        (Family::Llama, 128, 32)
    );
    assert_eq!(
        config.positions,
        PositionKind::Rotary {
            theta: 10_000.0,
            scaling: RotaryScaling::None
        }
    );
    assert_eq!(
        (config.norm, config.norm_eps, config.max_positions),
        (NormKind::Rms, 1e-5, 4096)
    );
    assert_eq!(config.windows, vec![None; 32]);
    assert_eq!(config.attention_scale, 128_f32.powf(-0.5));

    let config = parse(&llama3_1()).unwrap();
    assert_eq!(
        (config.eos_token_ids, config.bos_token_id),
        (vec![128001, 128008, 128009], Some(128000))
    );
    let scaling = RotaryScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    };
    assert_eq!(
        config.positions,
        PositionKind::Rotary {
            theta: 500_000.0,
            scaling
        }
    );
    assert_eq!((config.max_positions, config.n_kv_heads), (131_072, 8));

    let config = parse(&llama3_2()).unwrap();
    assert_eq!((config.tied, config.d_head, config.d_model), (true, 64, 2048));

    // A distribution that carries keys of its own.
    let own = json!({"is_llama_config": true, "rope_interleaved": false, "transformers.js_config": {"a": 1}});
    parse(&with(llama2(), own)).unwrap();
}

#[test]
fn published_mistrals_are_read() {
    let config = parse(&mistral()).unwrap();
    assert_eq!(
        (config.family, &config.windows),
        (Family::Mistral, &vec![Some(4096); 32])
    );
    let third = json!({"sliding_window": null, "rope_theta": 1000000.0, "vocab_size": 32768, "attention_dropout": 0.0});
    assert_eq!(parse(&with(mistral(), third)).unwrap().windows, vec![None; 32]);
    // As transformers has it, a file without the key means the window of the first release.
    let absent = with(mistral(), json!({"sliding_window": "absent"}));
    assert_eq!(parse(&absent).unwrap().windows, vec![Some(4096); 32]);
    let types = vec!["full_attention"; 32];
    assert_refused(
        &with(mistral(), json!({"layer_types": types})),
        &["layer_types", "sliding_window"],
    );
}

#[test]
fn published_qwen2s_are_read() {
    let config = parse(&qwen2()).unwrap();
    assert_eq!((config.family, &config.windows), (Family::Qwen2, &vec![None; 28]));
    let biases = LinearBiases {
        query_key_value: true,
        attention_out: false,
        mlp: false,
    };
    assert_eq!((config.biases, config.norm_eps), (biases, 1e-6));
    let used = with(qwen2(), json!({"use_sliding_window": true, "sliding_window": 64}));
    let windows = parse(&used).unwrap().windows;
    assert_eq!(
        (windows[19], windows[20], windows[27]),
        (None, Some(64), Some(64))
    );
    // The newer list decides over `max_window_layers`; without a window in use it means none.
    let mut types = vec!["full_attention"; 28];
    types[3] = "sliding_attention";
    let windows = parse(&with(used, json!({"layer_types": types}))).unwrap().windows;
    assert_eq!((windows[3], windows[20]), (Some(64), None));
    assert_eq!(
        parse(&with(qwen2(), json!({"layer_types": types})))
            .unwrap()
            .windows,
        vec![None; 28]
    );
    types[4] = "linear_attention";
    assert_refused(
        &with(qwen2(), json!({"layer_types": types})),
        &["linear_attention", "sliding_attention"],
    );
    assert_refused(
        &with(qwen2(), json!({"layer_types": ["full_attention"]})),
        &["layer_types", "28"],
    );
}

#[test]
fn published_gpt2s_are_read() {
    let config = parse(&gpt2()).unwrap();
    assert_eq!(
        (config.family, config.d_mlp, config.d_head),
        (Family::Gpt2, 4096, 64)
    );
    assert_eq!(
        (config.norm, config.activation, config.gated_mlp),
        (NormKind::Layer, ActivationKind::GeluTanh, false)
    );
    assert_eq!(
        (config.positions, config.tied, config.max_positions),
        (PositionKind::Learned, true, 1024)
    );
    let inner = parse(&with(
        gpt2(),
        json!({"n_inner": 100, "scale_attn_weights": false}),
    ))
    .unwrap();
    assert_eq!((inner.d_mlp, inner.attention_scale), (100, 1.0));
    assert_refused(&with(gpt2(), json!({"n_ctx": 512})), &["n_ctx", "512", "1024"]);
}

#[test]
fn rotary_parameters_read_alike_in_both_forms() {
    let newer = |parameters: Value| {
        let removed =
            json!({"rope_scaling": "absent", "rope_theta": "absent", "rope_parameters": parameters});
        parse(&with(llama3_1(), removed))
    };
    let llama3 = json!({"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    assert_eq!(newer(llama3).unwrap(), parse(&llama3_1()).unwrap());
    let default = newer(json!({"rope_type": "default", "rope_theta": 500000.0})).unwrap();
    assert_eq!(
        default,
        parse(&with(llama3_1(), json!({"rope_scaling": null}))).unwrap()
    );
    let linear = newer(json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0})).unwrap();
    let older = with(
        llama3_1(),
        json!({"rope_scaling": {"type": "linear", "factor": 4.0}}),
    );
    assert_eq!(linear, parse(&older).unwrap());
    assert_eq!(linear.max_positions, 4 * 131_072);
}

#[test]
fn rotary_parameters_that_are_not_supported_are_named() {
    let scaled = |scaling: Value| with(llama2(), json!({"rope_scaling": scaling}));
    for name in ["yarn", "dynamic", "longrope", "su", "mrope"] {
        assert_refused(
            &scaled(json!({"type": name, "factor": 2.0})),
            &[name, "default, linear, llama3"],
        );
        assert_refused(
            &scaled(json!({"rope_type": name, "factor": 2.0})),
            &[name, "rope_scaling.rope_type"],
        );
    }
    assert_refused(
        &scaled(json!({"type": "linear"})),
        &["rope_scaling.factor", "missing"],
    );
    assert_refused(
        &scaled(json!({"type": "linear", "factor": 0})),
        &["rope_scaling.factor"],
    );
    assert_refused(
        &scaled(json!({"type": "linear", "rope_type": "llama3", "factor": 2})),
        &["linear", "llama3"],
    );
    assert_refused(
        &scaled(json!({"type": "linear", "factor": 2, "beta_fast": 32})),
        &["rope_scaling.beta_fast", "32"],
    );
    assert_refused(
        &scaled(json!({"factor": 2.0})),
        &["rope_scaling.rope_type", "missing"],
    );
    assert_refused(&scaled(json!([1])), &["rope_scaling", "an object"]);
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    assert_refused(&scaled(llama3), &["high_freq_factor", "low_freq_factor"]);
    let part = json!({"rope_type": "default", "partial_rotary_factor": 0.5});
    assert_refused(&scaled(part), &["partial_rotary_factor"]);
    let both = json!({"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}});
    assert_refused(&with(llama2(), both), &["rope_parameters", "rope_scaling"]);
    let thetas = json!({"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}});
    assert_refused(&with(llama2(), thetas), &["rope_theta", "10000", "1000000"]);
}

#[test]
fn unsupported_names_are_listed_with_the_valid_ones() {
    assert_refused(
        &with(llama2(), json!({"model_type": "gemma2"})),
        &["gemma2", "llama, mistral, qwen2, gpt2"],
    );
    assert_refused(
        &with(llama2(), json!({"model_type": "absent"})),
        &["model_type", "missing"],
    );
    let classifier = json!({"architectures": ["LlamaForSequenceClassification"]});
    assert_refused(
        &with(llama2(), classifier),
        &["LlamaForSequenceClassification", "LlamaForCausalLM"],
    );
    assert_refused(
        &with(llama2(), json!({"hidden_act": "relu2"})),
        &["hidden_act", "relu2", "silu", "gelu_new"],
    );
    assert_refused(
        &with(gpt2(), json!({"activation_function": "tanh"})),
        &["activation_function", "tanh"],
    );
    parse(&with(llama2(), json!({"architectures": "absent"}))).unwrap();
    assert_eq!(
        parse(&with(llama2(), json!({"hidden_act": "gelu"})))
            .unwrap()
            .activation,
        ActivationKind::Gelu
    );
}

#[test]
fn keys_that_are_neither_used_nor_known_are_refused() {
    let odd = with(
        llama2(),
        json!({"attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 256}),
    );
    assert_refused(
        &odd,
        &[
            "`attn_logit_softcapping` = 50.0",
            "`query_pre_attn_scalar` = 256",
            "not supported",
        ],
    );
    // Known to another family only.
    assert_refused(
        &with(llama2(), json!({"max_window_layers": 3})),
        &["max_window_layers"],
    );
    assert_refused(&with(gpt2(), json!({"rope_theta": 1e4})), &["rope_theta"]);
}

#[test]
fn known_keys_must_have_the_values_with_which_they_do_not_matter() {
    for (base, key, value) in [
        (llama2(), "pretraining_tp", json!(2)),
        (llama2(), "sliding_window", json!(4096)),
        (llama2(), "rope_interleaved", json!(true)),
        (llama2(), "quantization_config", json!({"bits": 4})),
        (
            llama2(),
            "auto_map",
            json!({"AutoModelForCausalLM": "modeling.Own"}),
        ),
        (llama2(), "is_encoder_decoder", json!(true)),
        (llama2(), "layer_types", json!(vec!["sliding_attention"; 32])),
        (mistral(), "attention_bias", json!(true)),
        (qwen2(), "use_mrope", json!(true)),
        (qwen2(), "attention_bias", json!(false)),
        (gpt2(), "scale_attn_by_inverse_layer_idx", json!(true)),
        (gpt2(), "add_cross_attention", json!(true)),
        (gpt2(), "n_special", json!(3)),
        (gpt2(), "pruned_heads", json!({"0": [1]})),
    ] {
        assert_refused(&with(base.clone(), json!({key: value})), &[key]);
        if key != "layer_types" {
            parse(&with(base, json!({key: null}))).unwrap();
        }
    }
    parse(&with(
        gpt2(),
        json!({"reorder_and_upcast_attn": true, "pruned_heads": {}, "n_special": 0.0}),
    ))
    .unwrap();
}

#[test]
fn impossible_dimensions_are_refused() {
    for (key, value, words) in [
        ("hidden_size", json!("absent"), &["hidden_size", "missing"][..]),
        ("hidden_size", json!(4100), &["hidden_size", "32"]),
        ("hidden_size", json!(0), &["hidden_size", "at least 1"]),
        ("hidden_size", json!(-1), &["hidden_size"]),
        ("hidden_size", json!(4096.5), &["hidden_size", "4096.5"]),
        ("hidden_size", json!("4096"), &["hidden_size", "\"4096\""]),
        ("hidden_size", json!(1_u64 << 40), &["hidden_size"]),
        ("hidden_size", json!(96), &["hidden_size", "even"]),
        ("head_dim", json!(7), &["head_dim", "even"]),
        (
            "num_key_value_heads",
            json!(5),
            &["num_key_value_heads", "divisor", "32"],
        ),
        (
            "num_hidden_layers",
            json!(1_000_000),
            &["num_hidden_layers", "at most"],
        ),
        (
            "max_position_embeddings",
            json!("absent"),
            &["max_position_embeddings"],
        ),
        ("rms_norm_eps", json!(0.0), &["rms_norm_eps"]),
        ("rms_norm_eps", json!(1e-60), &["rms_norm_eps"]),
        ("rope_theta", json!(-1.0), &["rope_theta"]),
        (
            "tie_word_embeddings",
            json!(1),
            &["tie_word_embeddings", "true or false"],
        ),
        ("eos_token_id", json!(32000), &["eos_token_id", "32000"]),
        ("bos_token_id", json!([1, 2]), &["bos_token_id", "one token id"]),
        ("eos_token_id", json!("x"), &["eos_token_id"]),
    ] {
        assert_refused(&with(llama2(), json!({key: value})), words);
    }
    assert_refused(&with(gpt2(), json!({"n_head": 7})), &["n_embd", "n_head"]);
    let not_an_object = parse(&json!([1])).unwrap_err().to_string();
    assert!(not_an_object.contains("expected an object"), "{not_an_object}");
}

#[test]
fn absent_keys_mean_what_transformers_makes_of_them() {
    let bare = json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 10, "max_position_embeddings": 8});
    let config = parse(&bare).unwrap();
    assert_eq!(
        (config.n_kv_heads, config.norm_eps, config.tied),
        (2, 1e-6, false)
    );
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids.as_slice()),
        (Some(1), &[2][..])
    );
    assert_eq!(config.activation, ActivationKind::Silu);
    let none = parse(&with(bare, json!({"bos_token_id": null, "eos_token_id": null}))).unwrap();
    assert_eq!((none.bos_token_id, none.eos_token_ids.len()), (None, 0));
    let bare = json!({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 10, "n_positions": 8});
    let config = parse(&bare).unwrap();
    // The default token lies outside this vocabulary.
    assert_eq!((config.bos_token_id, config.d_mlp, config.tied), (None, 32, true));
}
