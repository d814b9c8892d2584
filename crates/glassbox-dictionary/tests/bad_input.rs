//! Every way in which a dictionary on disk can be wrong is an error that names the place and the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use glassbox_dictionary::{DictionaryError, Precision, formats};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};
use support::{backend, copy_folder, fixtures};

/// A copy of a fixture that may be damaged.
struct Copy {
    folder: tempfile::TempDir,
    config: &'static str,
    weights: &'static str,
}

impl Copy {
    fn of(format: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&fixtures().join(format).join(name), folder.path());
        let (config, weights) = match format {
            "saelens" => ("cfg.json", "sae_weights.safetensors"),
            _ => ("hyperparams.json", "checkpoints/final.safetensors"),
        };
        Self {
            folder,
            config,
            weights,
        }
    }

    fn own() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = formats::load(&fixtures().join("saelens/jumprelu"), &backend()).unwrap();
        formats::write_glassbox(&dictionary, folder.path(), Precision::F32, None).unwrap();
        Self {
            folder,
            config: "dictionary.json",
            weights: "dictionary.safetensors",
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(self, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.path().join(self.config);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
        self
    }

    fn set(self, key: &'static str, value: Value) -> Self {
        self.config(|config| config[key] = value)
    }

    fn without(self, key: &'static str) -> Self {
        self.config(|config| drop(config.as_object_mut().unwrap().shift_remove(key)))
    }

    /// Changes tensors, as (dtype, shape, bytes) by name.
    fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>)) -> Self {
        let path = self.path().join(self.weights);
        let bytes = std::fs::read(&path).unwrap();
        let mut tensors = SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        change(&mut tensors);
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
            })
            .collect();
        serialize_to_file(views, None, &path).unwrap();
        self
    }

    /// Overwrites one f32 of a tensor.
    fn value(self, tensor: &'static str, index: usize, value: f32) -> Self {
        self.tensors(|tensors| {
            tensors.get_mut(tensor).unwrap().2[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
        })
    }

    fn bytes(self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let path = self.path().join(self.weights);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// The error of loading it; it must contain all these words.
    fn refused(self, words: &[&str]) -> DictionaryError {
        let error = formats::load(self.path(), &backend()).expect_err("the damaged dictionary was read");
        let message = error.to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
        error
    }
}

fn sae(name: &str) -> Copy {
    Copy::of("saelens", name)
}

fn scope(name: &str) -> Copy {
    Copy::of("llama_scope", name)
}

#[test]
fn a_folder_of_no_format_lists_all_formats() {
    let folder = tempfile::tempdir().unwrap();
    let error = formats::open(folder.path()).unwrap_err().to_string();
    for word in [
        "glassbox",
        "saelens",
        "llama_scope",
        "cfg.json",
        "hyperparams.json",
        "dictionary.json",
    ] {
        assert!(error.contains(word), "{error}");
    }
    let error = formats::open(&folder.path().join("absent")).unwrap_err();
    assert!(
        matches!(error, DictionaryError::Io { .. }) && error.to_string().contains("absent"),
        "{error}"
    );
}

#[test]
fn a_file_of_a_dictionary_stands_for_its_folder() {
    for file in [
        "saelens/topk/cfg.json",
        "llama_scope/topk/checkpoints/final.safetensors",
    ] {
        assert_eq!(formats::inspect(&fixtures().join(file)).unwrap().features, 96);
    }
}

#[test]
fn damaged_weights_are_refused() {
    for copy in [|| sae("standard"), || scope("jumprelu"), Copy::own] as [fn() -> Copy; 3] {
        let weights = copy().weights;
        copy()
            .bytes(|bytes| bytes.truncate(bytes.len() - 5))
            .refused(&[weights, "bytes long", "again"]);
        copy()
            .bytes(|bytes| bytes.truncate(3))
            .refused(&[weights, "too short"]);
        copy().bytes(Vec::clear).refused(&[weights, "too short"]);
        copy()
            .bytes(|bytes| bytes[7] = 0xff)
            .refused(&[weights, "header"]);
        copy()
            .bytes(|bytes| bytes[12] = 0xff)
            .refused(&[weights, "header", "damaged"]);
        let absent = copy();
        std::fs::remove_file(absent.path().join(weights)).unwrap();
        assert!(formats::load(absent.path(), &backend()).is_err());
    }
}

#[test]
fn damaged_configurations_are_refused() {
    for copy in [|| sae("standard"), || scope("jumprelu"), Copy::own] as [fn() -> Copy; 3] {
        let broken = copy();
        let path = broken.path().join(broken.config);
        std::fs::write(&path, "{ \"d_in\": ").unwrap();
        let config = broken.config;
        assert!(matches!(
            broken.refused(&[config, "line 1"]),
            DictionaryError::Json { .. }
        ));
        let list = copy();
        std::fs::write(list.path().join(list.config), "[]").unwrap();
        list.refused(&[config, "an object"]);
        let unknown = copy().set("encoder_gain", json!(2.0)).refused(&[
            config,
            "`encoder_gain`",
            "2.0",
            "remove the key",
        ]);
        assert!(matches!(unknown, DictionaryError::UnknownKey { .. }));
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_place() {
    sae("standard").value("W_enc", 100, f32::NAN).refused(&[
        "sae_weights.safetensors",
        "`W_enc`",
        "NaN",
        "[1, 4]",
    ]);
    sae("standard")
        .value("W_dec", 25, f32::INFINITY)
        .refused(&["`W_dec`", "inf", "[1, 1]"]);
    sae("standard")
        .value("b_dec", 3, f32::NAN)
        .refused(&["`b_dec`", "[3]"]);
    sae("jumprelu")
        .value("threshold", 3, f32::NAN)
        .refused(&["`threshold`", "[3]"]);
    scope("jumprelu").value("decoder.weight", 97, f32::NAN).refused(&[
        "final.safetensors",
        "`decoder.weight`",
        "[1, 1]",
    ]);
    scope("jumprelu")
        .value("encoder.bias", 7, f32::NEG_INFINITY)
        .refused(&["`encoder.bias`", "-inf", "[7]"]);
}

#[test]
fn tensors_must_be_the_formats_own() {
    sae("standard")
        .tensors(|tensors| drop(tensors.remove("b_enc")))
        .refused(&["`b_enc`", "[d_sae]", "W_enc"]);
    let extra = |tensors: &mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>| {
        tensors.insert("r_mag".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    };
    sae("standard")
        .tensors(extra)
        .refused(&["`r_mag`", "W_enc, W_dec, b_dec, b_enc"]);
    scope("jumprelu")
        .tensors(extra)
        .refused(&["`r_mag`", "encoder.weight"]);
    Copy::own().tensors(extra).refused(&["`r_mag`", "encoder_scale"]);
    sae("standard")
        .tensors(|tensors| tensors.get_mut("W_dec").unwrap().1 = vec![24, 96])
        .refused(&["`W_dec`", "[24, 96]", "[96, 24]", "[d_sae, d_out]"]);
    scope("jumprelu")
        .tensors(|tensors| tensors.get_mut("encoder.weight").unwrap().1 = vec![24, 96])
        .refused(&["`encoder.weight`", "[d_sae, d_model]"]);
    sae("standard")
        .tensors(|tensors| tensors.get_mut("b_dec").unwrap().0 = Dtype::I32)
        .refused(&["`b_dec`", "I32", "F32, BF16 or F16"]);
    sae("jumprelu")
        .tensors(|tensors| drop(tensors.remove("threshold")))
        .refused(&["`threshold`"]);
    for (name, tensor) in [
        ("gated", "r_mag"),
        ("gated", "b_gate"),
        ("skip_transcoder", "W_skip"),
        ("jumprelu_log_threshold", "log_threshold"),
    ] {
        sae(name)
            .tensors(|tensors| drop(tensors.remove(tensor)))
            .refused(&["sae_weights.safetensors", "missing"]);
        sae(name)
            .value(tensor, 5, f32::NAN)
            .refused(&[tensor, "NaN", "5]"]);
    }
    sae("skip_transcoder")
        .tensors(|tensors| tensors.get_mut("W_skip").unwrap().1 = vec![16, 12])
        .refused(&["`W_skip`", "[16, 12]", "[12, 16]", "[d_out, d_in]"]);
    sae("transcoder")
        .set("d_out", json!(16))
        .refused(&["`W_dec`", "[40, 12]", "[40, 16]"]);
    scope("no_decoder_bias")
        .set("use_decoder_bias", json!(true))
        .refused(&["`decoder.bias`"]);
    scope("jumprelu")
        .set("use_decoder_bias", json!(false))
        .refused(&["`decoder.bias`", "not part of this format"]);
}

#[test]
fn a_damaged_sparsity_file_is_refused() {
    let copy = sae("gated");
    let path = copy.path().join("sparsity.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    copy.refused(&["sparsity.safetensors", "`sparsity`", "[39]"]);
}

#[test]
fn saelens_configurations_outside_what_is_supported_are_refused() {
    let refused = |copy: Copy, words: &[&str]| {
        let mut words = words.to_vec();
        words.push("cfg.json");
        copy.refused(&words);
    };
    for (architecture, why) in [
        ("abstopk", "negative"),
        ("temporal", "earlier positions"),
        ("matching_pursuit", "repeated steps"),
        ("batchtopk", "save_inference_model"),
        ("matryoshka_batchtopk", "save_inference_model"),
        ("crystal", "supported"),
    ] {
        refused(
            sae("standard").set("architecture", json!(architecture)),
            &[
                architecture,
                why,
                "standard, topk, jumprelu, gated, transcoder, skip_transcoder",
            ],
        );
    }
    refused(
        sae("standard").set("normalize_activations", json!("covariance_whitening")),
        &["covariance_whitening", "fold_activation_whitening"],
    );
    refused(
        sae("transcoder").set("apply_b_dec_to_input", json!(true)),
        &["apply_b_dec_to_input", "transcoder"],
    );
    refused(
        sae("transcoder").set("normalize_activations", json!("layer_norm")),
        &["normalize_activations", "transcoder"],
    );
    refused(sae("transcoder").without("d_out"), &["d_out", "missing"]);
    refused(
        sae("transcoder").config(|config| config["metadata"]["hook_name_out"] = Value::Null),
        &["metadata.hook_name_out", "missing"],
    );
    refused(
        sae("standard").without("architecture"),
        &["architecture", "missing"],
    );
    refused(
        sae("standard").set("normalize_activations", json!("batch")),
        &["normalize_activations", "layer_norm"],
    );
    refused(
        sae("standard").set("normalize_activations", json!(3)),
        &["normalize_activations", "3"],
    );
    refused(
        sae("standard").set("reshape_activations", json!("flip")),
        &["reshape_activations", "hook_z"],
    );
    refused(sae("standard").without("d_in"), &["d_in", "missing"]);
    refused(sae("standard").set("d_sae", json!(0)), &["d_sae", "at least 1"]);
    refused(sae("standard").set("d_sae", json!("many")), &["d_sae", "many"]);
    refused(sae("topk").without("k"), &["`k`", "missing"]);
    refused(sae("topk").set("k", json!(97)), &["`k`", "97", "96"]);
    refused(
        sae("standard").set("apply_b_dec_to_input", json!("yes")),
        &["apply_b_dec_to_input", "true or false"],
    );
    let metadata =
        |key: &'static str, value: Value| sae("standard").config(|config| config["metadata"][key] = value);
    refused(
        metadata("hook_name", json!("transformer.h.1")),
        &["metadata.hook_name", "transformer.h.1"],
    );
    refused(
        metadata("hook_name", Value::Null),
        &["metadata.hook_name", "missing"],
    );
    refused(
        metadata("hook_head_index", json!(3)),
        &["metadata.hook_head_index", "3"],
    );
    refused(
        metadata("model_from_pretrained_kwargs", json!({ "rotary_base": 5 })),
        &["metadata.model_from_pretrained_kwargs.rotary_base"],
    );
    refused(
        sae("topk_flat_config").set("activation_fn_str", json!("tanh-relu")),
        &["tanh-relu", "relu, topk"],
    );
    sae("topk_flat_config")
        .set("finetuning_scaling_factor", json!(true))
        .refused(&["`scaling_factor`", "is missing", "W_enc"]);
}

/// Before version 6: the flat configuration's scaling factor multiplies feature values before the decoder.
#[test]
fn flat_scaling_factors_are_used_or_refused() {
    let factor = |value: f32| {
        move |tensors: &mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>| {
            let bytes = value.to_le_bytes().repeat(96);
            tensors.insert("scaling_factor".to_owned(), (Dtype::F32, vec![96], bytes));
        }
    };
    assert!(formats::load(sae("topk_flat_config").tensors(factor(1.0)).path(), &backend()).is_ok());
    sae("topk_flat_config")
        .tensors(factor(2.0))
        .refused(&["finetuning_scaling_factor"]);
    let copy = sae("topk_flat_config")
        .tensors(factor(2.0))
        .set("finetuning_scaling_factor", json!(true));
    let dictionary = formats::load(copy.path(), &backend()).unwrap();
    assert_eq!(dictionary.decoder_scale().unwrap(), [2.0; 96]);
}

#[test]
fn llama_scope_configurations_outside_what_is_supported_are_refused() {
    let refused = |copy: Copy, words: &[&str]| {
        let mut words = words.to_vec();
        words.push("hyperparams.json");
        copy.refused(&words);
    };
    let published = || scope("jumprelu");
    refused(
        published().set("act_fn", json!("prelu")),
        &["act_fn", "prelu", "jumprelu, topk, relu"],
    );
    refused(
        published().set("norm_activation", json!("batch-wise")),
        &["norm_activation", "dataset-wise"],
    );
    refused(
        published().set("use_glu_encoder", json!(true)),
        &["use_glu_encoder"],
    );
    refused(published().set("d_sae", json!(97)), &["d_sae", "97", "96"]);
    refused(
        published().set("jump_relu_threshold", json!(-0.1)),
        &["jump_relu_threshold", "-0.1", "at least 0"],
    );
    refused(
        published().without("jump_relu_threshold"),
        &["jump_relu_threshold", "missing"],
    );
    for key in [
        "d_model",
        "hook_point_in",
        "act_fn",
        "sparsity_include_decoder_norm",
        "use_decoder_bias",
        "apply_decoder_bias_to_pre_encoder",
        "dataset_average_activation_norm",
    ] {
        refused(published().without(key), &[key, "missing"]);
    }
    refused(
        published().set(
            "dataset_average_activation_norm",
            json!({ "in": 0.0, "out": 1.0 }),
        ),
        &["norm.in", "above 0"],
    );
    refused(
        published().set("dataset_average_activation_norm", json!({ "in": 2.0 })),
        &["norm.out", "missing"],
    );
    refused(
        published().set("hook_point_in", json!("blocks.1.hook_resid")),
        &["hook_point_in", "blocks.1.hook_resid"],
    );
    refused(scope("topk").set("top_k", json!(97)), &["top_k", "97"]);
    refused(scope("topk").without("top_k"), &["top_k", "missing"]);
}

#[test]
fn own_configurations_are_checked() {
    let refused = |copy: Copy, words: &[&str]| {
        let mut words = words.to_vec();
        words.push("dictionary.json");
        copy.refused(&words);
    };
    refused(
        Copy::own().set("format", json!("other")),
        &["format", "glassbox-dictionary"],
    );
    refused(Copy::own().set("version", json!(3)), &["version", "3", "update"]);
    refused(
        Copy::own().set("input_normalisation", json!("rms")),
        &["input_normalisation", "layer_norm"],
    );
    refused(
        Copy::own().config(|config| config["activation"]["rule"] = json!("gelu")),
        &["activation.rule", "top_k"],
    );
    refused(
        Copy::own().config(|config| config["activation"] = json!({ "rule": "top_k", "k": 97 })),
        &["activation.k"],
    );
    refused(Copy::own().set("site", json!("nowhere")), &["`site`", "nowhere"]);
    refused(
        Copy::own().config(|config| config["model"]["size"] = json!(1)),
        &["model.size"],
    );
    refused(Copy::own().without("weights"), &["weights", "missing"]);
    Copy::own().set("width", json!(25)).refused(&[
        "dictionary.safetensors",
        "`encoder`",
        "[96, 24]",
        "[96, 25]",
    ]);
}

/// Weights of another write, or changed by one bit, don't belong to the configuration.
#[test]
fn own_weights_must_have_the_stated_checksum() {
    let error = Copy::own()
        .bytes(|bytes| *bytes.last_mut().unwrap() ^= 1)
        .refused(&["dictionary.safetensors", "BLAKE3"]);
    assert!(matches!(error, DictionaryError::Checksum { .. }));
    Copy::own()
        .tensors(|tensors| {
            tensors.get_mut("threshold").unwrap().2[..4].copy_from_slice(&(-1.0_f32).to_le_bytes());
        })
        .refused(&["threshold", "[0]", "at least 0"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_nothing_is_left() {
    let dictionary = formats::load(&fixtures().join("saelens/jumprelu"), &backend()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let blocked: PathBuf = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let error = formats::write_glassbox(&dictionary, &blocked, Precision::F32, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("file"), "{error}");
    // The final name is taken by a folder, so the rename must fail.
    let target = folder.path().join("target");
    std::fs::create_dir_all(target.join("dictionary.safetensors/x")).unwrap();
    let error = formats::write_glassbox(&dictionary, &target, Precision::F32, None).unwrap_err();
    assert!(matches!(error, DictionaryError::Io { .. }), "{error}");
    let left: Vec<_> = std::fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["dictionary.safetensors"]);
}
