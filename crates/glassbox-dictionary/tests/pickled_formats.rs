//! Formats that are no safetensors files, against the libraries that publish or read them
//! (`tools/fixtures/make_pickled_dictionary_fixtures.py`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_dictionary::{ActivationRule, Dictionary, DictionarySet, formats};
use glassbox_kernels::{Backend, CpuBackend};
use support::{backend, copy_folder, fixtures, read, relative_difference, tensor, widen};

/// Features and reconstruction of the reference, to 1e-5 relative and with the same active set.
fn check(path: &Path, reference: &Path) -> Dictionary<CpuBackend> {
    let dictionary =
        formats::load(path, &backend()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (shape, x) = tensor(reference, "x");
    let (_, features) = tensor(reference, "features");
    let (_, reconstruction) = tensor(reference, "reconstruction");
    let n = shape[0];
    let encoded = dictionary.encode(&backend().upload(&x), n).unwrap();
    let found = read(&encoded.features, features.len());
    let active = |values: &[f32]| values.iter().map(|value| *value != 0.0).collect::<Vec<_>>();
    assert!(features.iter().any(|value| *value != 0.0));
    assert_eq!(
        active(&found),
        active(&features),
        "{}: active set",
        path.display()
    );
    let difference = relative_difference(&found, &widen(&features));
    assert!(
        difference <= 1e-5,
        "{}: features differ by {difference}",
        path.display()
    );
    let output = dictionary
        .decode(&encoded.features, n, &encoded.statistics)
        .unwrap();
    let difference = relative_difference(&read(&output, reconstruction.len()), &widen(&reconstruction));
    assert!(
        difference <= 1e-5,
        "{}: the reconstruction differs by {difference}",
        path.display()
    );
    dictionary
}

fn found(dictionary: &Dictionary<CpuBackend>) -> (String, String, Option<String>) {
    let description = dictionary.description();
    (
        description.provenance.format.clone(),
        description.site.to_string(),
        description.model.name.clone(),
    )
}

fn expect(dictionary: &Dictionary<CpuBackend>, format: &str, site: &str, model: Option<&str>) {
    let expected = (format.to_owned(), site.to_owned(), model.map(str::to_owned));
    assert_eq!(found(dictionary), expected);
}

#[test]
fn every_class_of_dictionary_learning_equals_the_library() {
    for name in [
        "standard",
        "standard_april",
        "gated",
        "jumprelu",
        "topk",
        "batch_topk",
        "matryoshka",
        "backup",
        "untrained_threshold",
    ] {
        let folder = fixtures().join("dictionary_learning").join(name);
        let dictionary = check(&folder, &folder.join("reference.safetensors"));
        let model = Some("EleutherAI/pythia-160m-deduped");
        expect(
            &dictionary,
            "dictionary_learning",
            "blocks.8.hook_resid_post",
            model,
        );
        // The weights' own path means the same dictionary.
        assert!(formats::recognise(&folder.join("ae.pt")).is_some());
        check(&folder.join("ae.pt"), &folder.join("reference.safetensors"));
        let names: Vec<&str> = (dictionary.description().provenance.checksums.iter())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["config.json", "ae.pt"]);
    }
    let folder = fixtures().join("dictionary_learning/checkpoint");
    let dictionary = check(
        &folder.join("checkpoints/ae_1000.pt"),
        &folder.join("reference.safetensors"),
    );
    assert!(matches!(
        dictionary.description().rule,
        ActivationRule::JumpRelu { .. }
    ));
}

#[test]
fn gemma_scope_equals_saelens_and_knows_model_and_site_by_the_path() {
    for (name, site, model) in [
        ("residual", "blocks.20.hook_resid_post", "google/gemma-2-2b"),
        ("attention", "blocks.3.attn.hook_z", "google/gemma-2-9b-it"),
        ("mlp", "blocks.1.hook_mlp_out", "google/gemma-2-2b"),
        ("embedding", "hook_embed", "google/gemma-2-2b"),
        ("transcoder", "blocks.7.ln2.hook_normalized", "google/gemma-2-2b"),
        ("compressed", "blocks.2.hook_resid_post", "google/gemma-2-2b"),
    ] {
        let folder = fixtures().join("gemma_scope").join(name);
        let weights = find(&folder, "params.npz").unwrap();
        let dictionary = check(&weights, &folder.join("reference.safetensors"));
        expect(&dictionary, "gemma_scope", site, Some(model));
        check(weights.parent().unwrap(), &folder.join("reference.safetensors"));
        let output = dictionary.description().output_site.to_string();
        let expected = if name == "transcoder" {
            "blocks.7.hook_mlp_out"
        } else {
            site
        };
        assert_eq!(output, expected);
    }
}

/// The file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return find(&path, name);
        }
        path.ends_with(name).then_some(path)
    })
}

#[test]
fn gemma_scope_under_another_path_asks_for_what_the_path_would_say() {
    let folder = tempfile::tempdir().unwrap();
    let original = find(&fixtures().join("gemma_scope/residual"), "params.npz").unwrap();
    let copy = folder.path().join("params.npz");
    std::fs::copy(original, &copy).unwrap();
    let error = formats::open(folder.path()).unwrap_err().to_string();
    for word in [
        "params.npz",
        "model and site",
        "gemma-scope-2b-pt-res",
        "dictionary_source.json",
        "\"site\"",
    ] {
        assert!(error.contains(word), "{error}");
    }
    std::fs::write(
        folder.path().join("dictionary_source.json"),
        r#"{ "model": "mine", "site": "blocks.4.hook_resid_pre" }"#,
    )
    .unwrap();
    let reference = fixtures().join("gemma_scope/residual/reference.safetensors");
    expect(
        &check(folder.path(), &reference),
        "gemma_scope",
        "blocks.4.hook_resid_pre",
        Some("mine"),
    );
    std::fs::write(folder.path().join("dictionary_source.json"), r#"{ "sites": 1 }"#).unwrap();
    let error = formats::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("dictionary_source.json") && error.contains("`sites`"),
        "{error}"
    );
}

#[test]
fn goodfire_equals_saelens_and_knows_model_and_layer_by_the_name() {
    for (name, file, layer, model) in [
        (
            "llama",
            "Llama-3.1-8B-Instruct-SAE-l19.pth",
            19,
            "Llama-3.1-8B-Instruct",
        ),
        (
            "bf16",
            "Llama-3.3-70B-Instruct-SAE-l50.pt",
            50,
            "Llama-3.3-70B-Instruct",
        ),
        ("legacy", "Tiny-SAE-l2.pt", 2, "Tiny"),
    ] {
        let folder = fixtures().join("goodfire").join(name);
        let reference = folder.join("reference.safetensors");
        let site = format!("blocks.{layer}.hook_resid_post");
        expect(
            &check(&folder.join(file), &reference),
            "goodfire",
            &site,
            Some(model),
        );
        // The folder has no other.
        expect(&check(&folder, &reference), "goodfire", &site, Some(model));
    }
}

#[test]
fn qwen_scope_equals_saelens_and_knows_k_by_the_folder() {
    let name = "SAE-Res-Qwen3-1.7B-Base-W32K-L0_5";
    let folder = fixtures().join("qwen_scope").join(name);
    for layer in [0, 1] {
        let reference = folder.join(format!("layer{layer}/reference.safetensors"));
        let dictionary = check(&folder.join(format!("layer{layer}.sae.pt")), &reference);
        let site = format!("blocks.{layer}.hook_resid_post");
        expect(&dictionary, "qwen_scope", &site, Some("Qwen/Qwen3-1.7B-Base"));
        assert_eq!(dictionary.description().rule, ActivationRule::top_k(5));
    }
    let set = DictionarySet::open(&folder).unwrap();
    let sites: Vec<String> = set.members().map(|(site, _)| site.to_string()).collect();
    assert_eq!(sites, ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]);

    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("layer1.sae.pt");
    std::fs::copy(folder.join("layer1.sae.pt"), &copy).unwrap();
    let error = formats::open(&copy).unwrap_err().to_string();
    for word in ["layer1.sae.pt", "(k;", "dictionary_source.json", "\"k\": 50"] {
        assert!(error.contains(word), "{error}");
    }
    let state = |text: &str| std::fs::write(elsewhere.path().join("dictionary_source.json"), text).unwrap();
    state(r#"{ "k": 5 }"#);
    check(&copy, &folder.join("layer1/reference.safetensors"));
    state(r#"{ "k": 50 }"#);
    let error = formats::open(&copy).unwrap_err().to_string();
    assert!(error.contains("k is 50") && error.contains("1 to 40"), "{error}");
}

#[test]
fn ghosttrack_equals_its_forward_and_takes_the_best_checkpoint_of_a_layer() {
    let folder = fixtures().join("ghosttrack");
    let reference = folder.join("reference.safetensors");
    for kind in ["best", "final"] {
        let dictionary = check(&folder.join(format!("sae_layer_3_{kind}.pt")), &reference);
        expect(&dictionary, "ghosttrack", "blocks.3.hook_resid_post", None);
        assert_eq!(
            dictionary.description().rule,
            ActivationRule::JumpRelu {
                threshold: vec![0.1; 40]
            }
        );
    }
    let set = DictionarySet::open(&folder).unwrap();
    let members: Vec<PathBuf> = set.members().map(|(_, member)| member.path.clone()).collect();
    assert_eq!(members, [folder.join("sae_layer_3_best.pt")]);
    let summary = formats::inspect(&members[0]).unwrap();
    assert_eq!(
        summary.notes.unwrap()["best_validation_mean_squared_error"],
        0.00125
    );
}

/// Opens a changed copy of a fixture folder and expects these words in the error.
fn refused(fixture: &str, open: &str, change: impl FnOnce(&Path), words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixtures().join(fixture), folder.path());
    change(folder.path());
    let error = match formats::open(&folder.path().join(open)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{fixture} was read, expected {words:?}"),
    };
    for word in words {
        assert!(error.contains(word), "{error} (expected {word})");
    }
}

fn replace(file: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn what_is_wrong_is_named() {
    let learned = |name: &str| format!("dictionary_learning/{name}");
    let config = |from, to| replace("config.json", from, to);
    refused(
        &learned("topk"),
        "",
        config("\"k\": 5", "\"k\": 6"),
        &["config.json", "`trainer.k`", "ae.pt"],
    );
    refused(
        &learned("topk"),
        "",
        config("AutoEncoderTopK", "CrossCoder"),
        &["`trainer.dict_class`", "CrossCoder", "MatryoshkaBatchTopKSAE"],
    );
    refused(
        &learned("topk"),
        "",
        config("\"dict_size\": 40", "\"dict_size\": 41"),
        &["ae.pt", "`encoder.weight`", "[40, 12]", "[41, 12]"],
    );
    refused(
        &learned("topk"),
        "",
        config("\"layer\": 8", "\"layer\": -1"),
        &["which site", "dictionary_source.json"],
    );
    refused(
        &learned("topk"),
        "",
        config("resid_post_layer_8\",", "some_part\","),
        &["which site"],
    );
    refused(
        &learned("topk"),
        "",
        config("\"lr\"", "\"leaky\""),
        &["`trainer.leaky`", "unknown key"],
    );
    refused(
        &learned("topk"),
        "",
        |folder| std::fs::remove_file(folder.join("config.json")).unwrap(),
        &["config.json", "read the file"],
    );
    refused(
        &learned("topk"),
        "",
        |folder| {
            let other = fixtures().join("dictionary_learning/jumprelu/ae.pt");
            std::fs::copy(other, folder.join("ae.pt")).unwrap();
        },
        &["ae.pt", "`W_enc`", "not part of this format"],
    );
    for (fixture, file) in [
        ("dictionary_learning/topk", "ae.pt"),
        ("goodfire/llama", "Llama-3.1-8B-Instruct-SAE-l19.pth"),
        ("ghosttrack", "sae_layer_3_best.pt"),
    ] {
        let cut = |folder: &Path| {
            let path = folder.join(file);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        };
        refused(
            fixture,
            file,
            cut,
            &[file, "not a complete PyTorch file", "again"],
        );
        let empty = |folder: &Path| std::fs::write(folder.join(file), b"").unwrap();
        refused(fixture, file, empty, &[file, "not a complete PyTorch file"]);
    }
    refused(
        "ghosttrack",
        "unknown.pt",
        |folder| std::fs::write(folder.join("unknown.pt"), b"\x80\x02cos\nsystem\n.").unwrap(),
        &["unknown.pt", "os.system"],
    );
}

#[test]
fn sites_of_dictionary_learning_follow_the_submodule_and_its_side() {
    for (submodule, side, input, output) in [
        (
            "\"mlp_out_layer_8\"",
            "out",
            "blocks.8.hook_mlp_out",
            "blocks.8.hook_mlp_out",
        ),
        (
            "\"mlp_layer8\"",
            "in_and_out",
            "blocks.8.mlp.hook_in",
            "blocks.8.hook_mlp_out",
        ),
        (
            "\"attn_out_layer_8\"",
            "out",
            "blocks.8.hook_attn_out",
            "blocks.8.hook_attn_out",
        ),
        (
            "\"resid_post_layer_8\"",
            "in",
            "blocks.8.hook_resid_pre",
            "blocks.8.hook_resid_pre",
        ),
        (
            "null",
            "out",
            "blocks.8.hook_resid_post",
            "blocks.8.hook_resid_post",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&fixtures().join("dictionary_learning/topk"), folder.path());
        let path = folder.path().join("config.json");
        let config = std::fs::read_to_string(&path).unwrap();
        let config = config
            .replace(
                "\"submodule_name\": \"resid_post_layer_8\"",
                &format!("\"submodule_name\": {submodule}"),
            )
            .replace("\"io\": \"out\"", &format!("\"io\": \"{side}\""));
        std::fs::write(path, config).unwrap();
        let stored = formats::open(folder.path()).unwrap();
        let description = stored.description();
        assert_eq!(
            (description.site.to_string(), description.output_site.to_string()),
            (input.to_owned(), output.to_owned())
        );
    }
}
