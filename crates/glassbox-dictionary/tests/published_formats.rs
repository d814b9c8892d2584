//! Formats of published dictionaries beyond SAELens's own, against the libraries they come from; what they do where
//! two programs disagree; what they refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_dictionary::{ActivationRule, DictionarySet, InputNormalisation, formats};
use glassbox_kernels::Backend;
use glassbox_model::site::{Norm, Site};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};
use support::{backend, copy_folder, fixtures, read, relative_difference, tensor, widen};

/// Every reference file below a folder, with the dictionary that it belongs to: the folder that it lies in, or the file
/// that its name begins with.
fn references(folder: &Path, into: &mut Vec<(PathBuf, PathBuf)>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            references(&path, into);
        } else if let Some(stem) = path.to_str().unwrap().strip_suffix("reference.safetensors") {
            let dictionary = match stem.strip_suffix('.') {
                Some(file) => PathBuf::from(format!("{file}.safetensors")),
                None => folder.to_path_buf(),
            };
            into.push((dictionary, path));
        }
    }
}

fn check_group(group: &str, count: usize) {
    let mut found = Vec::new();
    references(&fixtures().join(group), &mut found);
    assert_eq!(found.len(), count, "the fixtures of {group} are missing");
    for (path, reference) in found {
        let name = path.display();
        let summary = formats::inspect(&path).unwrap();
        assert_eq!(summary.format, group, "{name}");
        let dictionary = formats::load(&path, &backend()).unwrap();
        let (shape, x) = tensor(&reference, "x");
        let (_, features) = tensor(&reference, "features");
        let (_, reconstruction) = tensor(&reference, "reconstruction");
        let n = shape[0];
        let x = backend().upload(&x);
        let encoded = dictionary.encode(&x, n).unwrap();
        let ours = read(&encoded.features, features.len());
        let active = |values: &[f32]| values.iter().map(|value| *value != 0.0).collect::<Vec<_>>();
        assert_eq!(active(&ours), active(&features), "{name}: active set");
        let difference = relative_difference(&ours, &widen(&features));
        assert!(difference <= 1e-5, "{name}: features differ by {difference}");
        let output = dictionary
            .decode(&encoded.features, n, &encoded.statistics)
            .unwrap();
        let ours = read(&output, reconstruction.len());
        let difference = relative_difference(&ours, &widen(&reconstruction));
        assert!(difference <= 1e-5, "{name}: output differs by {difference}");
    }
}

#[test]
fn sparsify_dictionaries_equal_sparsify() {
    check_group("sparsify", 8);
}

#[test]
fn circuit_tracer_sets_equal_circuit_tracer() {
    check_group("circuit_tracer", 10);
}

#[test]
fn gemma_scope_2_dictionaries_equal_circuit_tracers_reading() {
    check_group("gemma_scope_2", 5);
}

#[test]
fn llamascopium_dictionaries_equal_llamascopium() {
    check_group("llamascopium", 11);
}

fn sites(path: &str) -> (Site, Site) {
    let stored = formats::open(&fixtures().join(path)).unwrap();
    (stored.description().site, stored.description().output_site)
}

#[test]
fn sites_are_those_that_the_makers_named() {
    let same = |site: Site| (site, site);
    assert_eq!(sites("sparsify/topk/layers.1"), same(Site::ResidPost(1)));
    assert_eq!(sites("sparsify/groupmax/h.2"), same(Site::ResidPost(2)));
    assert_eq!(sites("sparsify/num_latents/layers.1.mlp"), same(Site::MlpOut(1)));
    let mlp = |layer| (Site::MlpIn(layer), Site::MlpOut(layer));
    assert_eq!(sites("sparsify/transcode/layers.1.mlp"), mlp(1));
    assert_eq!(sites("sparsify/skip_transcode/gpt_neox.layers.1.mlp"), mlp(1));
    assert_eq!(
        sites("circuit_tracer/relu/layer_1.safetensors"),
        (Site::ResidMid(1), Site::MlpOut(1))
    );
    assert_eq!(sites("circuit_tracer/skip/layer_0.safetensors"), mlp(0));
    let scope = |name: &str| sites(&format!("gemma_scope_2/gemma-scope-2-1b-pt/{name}"));
    assert_eq!(
        scope("resid_post/layer_9_width_16k_l0_small"),
        same(Site::ResidPost(9))
    );
    assert_eq!(
        scope("resid_post_all/layer_9_width_16k_l0_big"),
        same(Site::ResidPost(9))
    );
    assert_eq!(
        scope("attn_out/layer_9_width_16k_l0_medium"),
        same(Site::Mixed(9))
    );
    assert_eq!(scope("transcoder/layer_9_width_16k_l0_small"), mlp(9));
    assert_eq!(scope("transcoder_all/layer_9_width_16k_l0_small_affine"), mlp(9));
    assert_eq!(
        sites("llamascopium/transcoder"),
        (Site::NormNormalized(Norm::Mlp(1)), Site::MlpOut(1))
    );
    // Without config.json the model is in the path too.
    let path = "gemma_scope_2/gemma-scope-2-1b-pt/resid_post_all/layer_9_width_16k_l0_big";
    let summary = formats::inspect(&fixtures().join(path)).unwrap();
    assert_eq!(summary.model.unwrap(), "google/gemma-3-1b-pt");
}

/// A circuit-tracer folder holds a dictionary for each layer; the last one is not lost.
#[test]
fn folders_with_several_dictionaries_are_sets() {
    let folder = fixtures().join("circuit_tracer/skip");
    let set = DictionarySet::open(&folder).unwrap();
    let found: Vec<Site> = set.members().map(|(site, _)| site).collect();
    assert_eq!(found, [Site::MlpIn(0), Site::MlpIn(1)]);
    let cache = glassbox_dictionary::DictionaryCache::new(&backend(), 1 << 20);
    let dictionary = set.load(Site::MlpIn(1), &cache).unwrap();
    assert!(dictionary.has_skip());
    let error = formats::open(&folder).unwrap_err().to_string();
    assert!(
        error.contains("layer_0.safetensors, layer_1.safetensors") && error.contains("name one"),
        "{error}"
    );
    // sparsify: one folder per module.
    let modules = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("topk/layers.1", "layers.0"),
        ("transcode/layers.1.mlp", "layers.1.mlp"),
    ] {
        copy_folder(&fixtures().join("sparsify").join(from), &modules.path().join(to));
    }
    let set = DictionarySet::open(modules.path()).unwrap();
    let found: Vec<Site> = set.members().map(|(site, _)| site).collect();
    assert_eq!(found, [Site::ResidPost(0), Site::MlpIn(1)]);
}

/// One of several dictionaries in a folder has the checksums of its own file and of the set's configuration.
#[test]
fn provenance_names_the_files() {
    let file = fixtures().join("circuit_tracer/relu/layer_1.safetensors");
    let dictionary = formats::load(&file, &backend()).unwrap();
    let provenance = &dictionary.description().provenance;
    assert_eq!(provenance.path.as_deref(), Some(file.as_path()));
    let names: Vec<&str> = provenance
        .checksums
        .iter()
        .map(|(name, _)| name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["config.yaml", "layer_1.safetensors"]);
}

/// llamascopium keeps its thresholds when it folds norms away, which switches features; they are divided here. The
/// fixtures would tell the two apart.
#[test]
fn thresholds_follow_the_units_of_features() {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(fixtures().join("manifest.json")).unwrap()).unwrap();
    let switched = |name: &str| {
        manifest["llamascopium"]["dictionaries"][name]["features_switched_by_the_library_folding"]
            .as_u64()
            .unwrap()
    };
    assert!(switched("jumprelu") > 0 && switched("transcoder") > 0);
    assert_eq!((switched("relu"), switched("topk")), (0, 0));
    // And for Llama Scope: without its second step, which SAELens leaves out, other features are active.
    let step = &manifest["llama_scope"]["dictionaries"]["jumprelu"]["change_without"]["decoder norm"];
    assert!(step["active_set"].as_u64().unwrap() > 0);
}

/// SAELens's own reading of sparsify differs in four places; sparsify is followed.
#[test]
fn sparsify_is_read_as_sparsify_does() {
    let stored = formats::open(&fixtures().join("sparsify/unnormalised/model.layers.0")).unwrap();
    let description = stored.description();
    // num_latents 0 stands for d_in · expansion_factor; the decoder bias is subtracted whatever normalize_decoder says.
    assert_eq!((description.features, description.width), (36, 12));
    assert!(description.subtract_decoder_bias);
    assert_eq!(description.rule, ActivationRule::top_k(6));
    let transcoder = formats::open(&fixtures().join("sparsify/transcode/layers.1.mlp")).unwrap();
    assert!(!transcoder.description().subtract_decoder_bias);
    // Precision is the file's.
    assert_eq!(
        formats::inspect(&fixtures().join("sparsify/bf16/layers.1"))
            .unwrap()
            .precision,
        "BF16"
    );
    assert_eq!(stored.summary().precision, "F32");
}

/// A copy of a fixture that may be damaged.
struct Damaged {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Damaged {
    /// Copies the folder `from` of the fixtures to one of the same last name.
    fn of(from: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Path::new(from).file_name().unwrap());
        copy_folder(&fixtures().join(from), &path);
        Self {
            _folder: folder,
            path,
        }
    }

    fn config(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.path.join(file);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
        self
    }

    fn text(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.path.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
        self
    }

    /// Removes a tensor, or gives it another shape, or overwrites its sixth value.
    fn tensor(self, file: &str, name: &str, change: Change) -> Self {
        let path = self.path.join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        let at = tensors.iter().position(|tensor| tensor.0 == name).unwrap();
        match change {
            Change::Remove => drop(tensors.remove(at)),
            Change::Rename(to) => tensors[at].0 = to.to_owned(),
            Change::Reshape(shape) => tensors[at].2 = shape.to_vec(),
            Change::Value(value) => tensors[at].3[20..24].copy_from_slice(&value.to_le_bytes()),
        }
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
            .collect();
        serialize_to_file(views, None, &path).unwrap();
        self
    }

    /// The error of loading it (or one of its files); it must contain all these words.
    fn refused(self, file: &str, words: &[&str]) {
        let path = if file.is_empty() {
            self.path
        } else {
            self.path.join(file)
        };
        let message = formats::load(&path, &backend())
            .expect_err("the damaged dictionary was read")
            .to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
    }
}

enum Change {
    Remove,
    Rename(&'static str),
    Reshape(&'static [usize]),
    Value(f32),
}

#[test]
fn damaged_tensors_are_refused_with_their_place() {
    for (folder, file, open, tensors) in [
        (
            "sparsify/skip/layers.1",
            "sae.safetensors",
            "",
            ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"],
        ),
        (
            "gemma_scope_2/gemma-scope-2-1b-pt/resid_post/layer_9_width_16k_l0_small",
            "params.safetensors",
            "",
            ["w_enc", "w_dec", "b_enc", "b_dec", "threshold"],
        ),
        (
            "circuit_tracer/skip",
            "layer_0.safetensors",
            "layer_0.safetensors",
            [
                "W_enc",
                "W_dec",
                "b_enc",
                "b_dec",
                "activation_function.threshold",
            ],
        ),
        (
            "llamascopium/jumprelu",
            "sae_weights.safetensors",
            "",
            [
                "W_E",
                "W_D",
                "b_E",
                "b_D",
                "activation_function.log_jumprelu_threshold",
            ],
        ),
        (
            "llamascopium/r1_distill",
            "sae_weights.safetensors",
            "",
            [
                "encoder.bias",
                "decoder.weight",
                "decoder.bias",
                "log_jumprelu_threshold",
                "encoder.weight",
            ],
        ),
    ] {
        for tensor in tensors {
            let damaged = |change| Damaged::of(folder).tensor(file, tensor, change);
            damaged(Change::Value(f32::NAN)).refused(open, &[file, tensor, "NaN", "5]"]);
            damaged(Change::Value(f32::INFINITY)).refused(open, &[file, tensor, "inf"]);
            // Without a threshold a circuit-tracer dictionary is another one, and r1's encoder names its layout.
            if !matches!(tensor, "activation_function.threshold" | "encoder.weight") {
                damaged(Change::Remove).refused(open, &[file, tensor, "missing"]);
            }
            damaged(Change::Rename("extra")).refused(open, &[file]);
        }
    }
    Damaged::of("sparsify/topk/layers.1")
        .tensor("sae.safetensors", "W_dec", Change::Reshape(&[12, 36]))
        .refused("", &["`W_dec`", "[12, 36]", "[36, 12]"]);
    Damaged::of("circuit_tracer/relu")
        .tensor("layer_1.safetensors", "W_dec", Change::Reshape(&[12, 36]))
        .refused("layer_1.safetensors", &["`W_dec`", "[12, 36]", "[36, 12]"]);
    Damaged::of("circuit_tracer/jump_relu")
        .tensor(
            "layer_0.safetensors",
            "activation_function.threshold",
            Change::Value(-0.5),
        )
        .refused(
            "layer_0.safetensors",
            &["activation_function.threshold", "-0.5", "at least 0"],
        );
    Damaged::of("llamascopium/relu")
        .tensor("sae_weights.safetensors", "W_D", Change::Reshape(&[12, 36]))
        .refused("", &["`W_D`", "[12, 36]", "[36, 12]", "[d_sae, d_model]"]);
    Damaged::of("llamascopium/relu")
        .tensor(
            "sae_weights.safetensors",
            "dataset_average_activation_norm.blocks.1.hook_resid_post",
            Change::Remove,
        )
        .refused(
            "",
            &[
                "dataset_average_activation_norm.blocks.1.hook_resid_post",
                "missing",
            ],
        );
}

#[test]
fn sparsify_configurations_outside_what_is_supported_are_refused() {
    let refused = |key: &'static str, value: Value, words: &[&str]| {
        let mut words = words.to_vec();
        words.extend(["cfg.json", key]);
        Damaged::of("sparsify/groupmax/h.2")
            .config("cfg.json", |config| config[key] = value)
            .refused("", &words);
    };
    refused("signed", json!(true), &["at least zero"]);
    refused("activation", json!("gelu"), &["topk, groupmax"]);
    refused("k", json!(37), &["37", "36"]);
    refused("k", json!(5), &["divisor of 36"]);
    refused("k", json!(0), &["at least 1"]);
    refused("d_in", Value::Null, &["missing"]);
    refused("num_latents", json!(-1), &["whole number"]);
    refused("expansion_factor", json!(u64::MAX), &["2^32"]);
    refused("gain", json!(2), &["unknown key"]);
    // The module is in the folder's name only.
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("my_sae");
    copy_folder(&fixtures().join("sparsify/topk/layers.1"), &renamed);
    let error = formats::open(&renamed).unwrap_err().to_string();
    assert!(
        error.contains("my_sae") && error.contains("rename the folder") && error.contains("layers.N.mlp"),
        "{error}"
    );
    let stated = renamed.join("dictionary_source.json");
    std::fs::write(stated, r#"{ "site": "blocks.3.hook_mlp_out" }"#).unwrap();
    let description = formats::open(&renamed).unwrap().description().clone();
    assert_eq!(
        (description.site, description.output_site),
        (Site::MlpOut(3), Site::MlpOut(3))
    );
}

#[test]
fn gemma_scope_2_without_a_known_place_is_refused() {
    let name = "gemma_scope_2/gemma-scope-2-1b-pt/resid_post/layer_9_width_16k_l0_small";
    let config = |key: &'static str, value: Value| {
        Damaged::of(name).config("config.json", |config| config[key] = value)
    };
    config("architecture", json!("topk")).refused("", &["config.json", "architecture", "jump_relu"]);
    config("hf_hook_point_in", json!("model.norm.output"))
        .refused("", &["hf_hook_point_in", "model.layers.9"]);
    config("hf_hook_point_in", Value::Null).refused("", &["hf_hook_point_in", "missing"]);
    config("affine_connection", json!(true)).refused("", &["affine_connection", "params.safetensors"]);
    config("gain", json!(2)).refused("", &["unknown key", "gain"]);
    let folder = tempfile::tempdir().unwrap();
    let unnamed = folder.path().join("small");
    copy_folder(&fixtures().join(name), &unnamed);
    std::fs::remove_file(unnamed.join("config.json")).unwrap();
    let error = formats::open(&unnamed).unwrap_err().to_string();
    assert!(
        error.contains("hf_hook_point_in") && error.contains("config.json") && error.contains("layer_9"),
        "{error}"
    );
}

#[test]
fn circuit_tracer_configurations_outside_what_is_supported_are_refused() {
    let refused = |from: &str, to: &str, words: &[&str]| {
        let mut words = words.to_vec();
        words.push("config.yaml");
        Damaged::of("circuit_tracer/topk")
            .text("config.yaml", from, to)
            .refused("layer_0.safetensors", &words);
    };
    refused("k: 6", "k: 37", &["`k`", "37", "36"]);
    refused("k: 6", "k: six", &["`k`", "six"]);
    refused(
        "activation: topk",
        "activation: gelu",
        &["activation", "gelu", "topk"],
    );
    refused("activation: topk", "activation: relu", &["activation", "k"]);
    refused("k: 6", "gain: 6", &["`k`", "missing"]);
    refused("transcoder_set", "crosscoder", &["model_kind", "transcoder_set"]);
    refused(
        "mlp.hook_in",
        "mlp.hook_inn",
        &["feature_input_hook", "mlp.hook_in"],
    );
    refused(
        "feature_output_hook: hook_mlp_out",
        "",
        &["feature_output_hook", "missing"],
    );
    refused("model_name: tiny-llama", "gain: 2", &["unknown key", "gain"]);
    refused("model_name:", "model_name: [", &["YAML"]);
}

#[test]
fn llamascopium_configurations_outside_what_is_supported_are_refused() {
    let refused = |name: &str, key: &'static str, value: Value, words: &[&str]| {
        let mut words = words.to_vec();
        words.extend(["config.json", key]);
        Damaged::of(&format!("llamascopium/{name}"))
            .config("config.json", |config| config[key] = value)
            .refused("", &words);
    };
    for kind in ["crosscoder", "lorsa", "molt", "clt", "prism"] {
        refused("relu", "sae_type", json!(kind), &[kind, "sae"]);
    }
    refused("relu", "sae_type", Value::Null, &["missing"]);
    refused("relu", "act_fn", json!("batchtopk"), &["batchtopk", "other rows"]);
    refused("relu", "act_fn", json!("gelu"), &["gelu", "jumprelu"]);
    refused("topk", "top_k", json!(37), &["37", "36"]);
    refused("relu", "norm_activation", json!("batch-wise"), &["dataset-wise"]);
    refused(
        "transcoder",
        "norm_activation",
        json!("token-wise"),
        &["one site"],
    );
    refused("relu", "use_glu_encoder", json!(true), &["false"]);
    refused("relu", "expansion_factor", json!(0.01), &["at least one feature"]);
    Damaged::of("llamascopium/relu")
        .config("config.json", |config| config["expansion_factor"] = json!(2))
        .refused("", &["sae_weights.safetensors", "`W_E`", "[12, 36]", "[12, 24]"]);
    refused(
        "relu",
        "hook_point_in",
        json!("blocks.1.hook_residd"),
        &["hook_resid"],
    );
    refused("relu", "gain", json!(2), &["unknown key"]);
    // With one site, a norm for each token is an input normalisation.
    let copy = Damaged::of("llamascopium/relu").config("config.json", |config| {
        config["norm_activation"] = json!("token-wise")
    });
    let stored = formats::open(&copy.path).unwrap();
    assert_eq!(
        stored.description().input_normalisation,
        InputNormalisation::ConstantNormRescale
    );
}
