//! Every verb on tiny models and dictionaries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::experiment::{FEATURES, write_dictionary, write_model};
use support::tensors::{self, Tensor, largest_difference};
use support::{dictionary_fixture, glassbox, model_fixture, names_in, prints, prints_json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn trace(model: &Path, tokens: &str, sites: &str, out: &Path) -> serde_json::Value {
    let (model, out) = (text(model), text(out));
    prints_json(&[
        "trace", "--model", model, "--tokens", tokens, "--sites", sites, "--out", out, "--json",
    ])
}

#[test]
fn trace_writes_what_transformers_computes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama_gqa", "gpt2", "mistral_window", "qwen2"] {
        let reference = tensors::read(&model_fixture(name).join("reference.safetensors"));
        let tokens = &reference["tokens"];
        let length = tokens.shape[1];
        let row: Vec<String> = tokens.values[..length].iter().map(|id| format!("{id}")).collect();
        let out = folder.path().join(name);
        let printed = trace(&model_fixture(name), &row.join(","), "*", &out);

        let ours = tensors::read(&out);
        assert_eq!(ours["tokens"].values, tokens.values[..length]);
        let mut compared = 0;
        for (site, theirs) in reference
            .iter()
            .filter(|(name, _)| *name == "logits" || name.contains("hook_"))
        {
            if site.starts_with("gradient") || site.starts_with("padded") {
                continue;
            }
            // The reference holds a batch; its first row is what was traced.
            let shape: Vec<usize> = std::iter::once(1)
                .chain(theirs.shape[1..].iter().copied())
                .collect();
            let first = Tensor::f32(&shape, theirs.values[..shape.iter().product()].to_vec());
            let difference = largest_difference(&ours[site], &first);
            assert!(difference <= 1e-4, "{name}, {site}: {difference}");
            compared += 1;
        }
        assert!(compared > 40, "{name}: {compared}");
        // What the MLP reads follows from the norm's weights: the model's own parity test derives it.
        let derived = ours.keys().filter(|site| site.ends_with("mlp.hook_in")).count();
        assert_eq!(
            ours.len(),
            compared + derived + 1,
            "{name}: every site has a reference"
        );
        assert_eq!(printed["tensors"].as_array().unwrap().len(), ours.len());
    }
    assert_eq!(names_in(folder.path()).len(), 4, "no temporary file is left");
}

#[test]
fn trace_writes_the_sites_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("t.safetensors");
    let sites = "blocks.{0,2}.hook_resid_post,hook_embed,blocks.1.attn.hook_pattern";
    trace(&model_fixture("llama_gqa"), "5,6,7", sites, &out);
    let names: Vec<String> = tensors::read(&out).into_keys().collect();
    let expected = [
        "blocks.0.hook_resid_post",
        "blocks.1.attn.hook_pattern",
        "blocks.2.hook_resid_post",
        "hook_embed",
        "logits",
        "tokens",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        tensors::read(&out)["blocks.1.attn.hook_pattern"].shape,
        [1, 6, 3, 3]
    );
}

#[test]
fn trace_of_text_begins_with_the_beginning_token() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("model"), folder.path().join("t"));
    write_model(&model);
    let printed = prints(&[
        "trace",
        "--model",
        text(&model),
        "--prompt",
        "w5 w6",
        "--sites",
        "hook_embed",
        "--out",
        text(&out),
    ]);
    assert!(printed.starts_with("tensor "), "{printed}");
    assert_eq!(tensors::read(&out)["tokens"].values, [1.0, 5.0, 6.0]);
}

#[test]
fn encode_writes_what_the_dictionaries_authors_compute() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "saelens/standard",
        "saelens/topk",
        "saelens/jumprelu_layer_norm",
        "llama_scope/jumprelu",
    ] {
        let (dictionary, out) = (dictionary_fixture(name), folder.path().join("out.safetensors"));
        let reference = dictionary.join("reference.safetensors");
        let printed = prints_json(&[
            "encode",
            "--dictionary",
            text(&dictionary),
            "--input",
            text(&reference),
            "--out",
            text(&out),
            "--json",
        ]);
        let (ours, theirs) = (tensors::read(&out), tensors::read(&reference));
        assert_eq!(ours.len(), 2);
        for tensor in ["features", "reconstruction"] {
            let difference = largest_difference(&ours[tensor], &theirs[tensor]);
            assert!(difference <= 1e-4, "{name}, {tensor}: {difference}");
        }
        let active = theirs["features"]
            .values
            .iter()
            .filter(|value| **value != 0.0)
            .count();
        let rows = theirs["x"].shape[0];
        assert_eq!(printed["mean_l0"].as_f64().unwrap(), active as f64 / rows as f64);
        let largest = largest_difference(&ours["reconstruction"], &theirs["x"]);
        assert!((printed["largest_error"].as_f64().unwrap() - f64::from(largest)).abs() < 1e-5);
        assert!(printed["explained_variance"].as_f64().unwrap() <= 1.0);
    }
    assert_eq!(names_in(folder.path()), ["out.safetensors"]);
}

#[test]
fn encode_takes_many_rows_and_none() {
    let folder = tempfile::tempdir().unwrap();
    let dictionary = dictionary_fixture("saelens/standard");
    let reference = tensors::read(&dictionary.join("reference.safetensors"));
    let (input, out) = (
        folder.path().join("x.safetensors"),
        folder.path().join("out.safetensors"),
    );
    let arguments = [
        "encode",
        "--dictionary",
        text(&dictionary),
        "--input",
        text(&input),
        "--out",
        text(&out),
        "--json",
    ];
    // More rows than are encoded at a time: each block of six is the reference's again.
    let blocks = 1500;
    let (rows, width) = (reference["x"].shape[0], reference["x"].shape[1]);
    let x = Tensor::f32(&[rows * blocks, width], reference["x"].values.repeat(blocks));
    tensors::write(&input, &[("x", x), ("other", Tensor::f32(&[1], vec![0.0]))]);
    prints_json(&arguments);
    let ours = tensors::read(&out);
    for tensor in ["features", "reconstruction"] {
        let theirs = &reference[tensor];
        let expected = Tensor::f32(&[rows * blocks, theirs.shape[1]], theirs.values.repeat(blocks));
        assert!(largest_difference(&ours[tensor], &expected) <= 1e-4, "{tensor}");
    }

    tensors::write(&input, &[("x", Tensor::f32(&[0, width], vec![]))]);
    let printed = prints_json(&arguments);
    assert_eq!(
        (printed["rows"].as_u64(), printed["mean_l0"].as_f64()),
        (Some(0), None)
    );
    assert_eq!(
        tensors::read(&out)["features"].shape,
        [0, reference["features"].shape[1]]
    );
}

#[test]
fn generate_is_the_same_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    write_model(&model);
    let generate = |rest: &[&str]| {
        let fixed = [
            "generate",
            "--model",
            text(&model),
            "--prompt",
            "w5 w6",
            "--max-new-tokens",
            "8",
        ];
        prints(&[&fixed, rest].concat())
    };
    assert_eq!(generate(&["--seed", "3"]), generate(&["--seed", "3"]));
    assert_ne!(generate(&["--seed", "3"]), generate(&["--seed", "4"]));
    // Trial i is the same however many others there are.
    let three = generate(&["--seed", "3", "--trials", "3"]);
    assert!(three.starts_with(&generate(&["--seed", "3"])), "{three}");
    assert_eq!(three.lines().count(), 3);
    assert_eq!(generate(&["--greedy"]), generate(&["--temperature", "0"]));
    let echoed = generate(&["--greedy", "--echo"]);
    assert_eq!(echoed, format!("w5 w6{}", generate(&["--greedy"])));
}

#[test]
fn generate_describes_every_trial_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    write_model(&model);
    let described = prints_json(&[
        "generate",
        "--model",
        text(&model),
        "--max-new-tokens",
        "5",
        "--trials",
        "2",
        "--stop",
        "w6",
        "--json",
    ]);
    assert_eq!(
        described["prompt_token_ids"],
        serde_json::json!([1]),
        "an empty prompt begins with <s>"
    );
    let trials = described["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2);
    for trial in trials {
        let tokens = trial["token_ids"].as_array().unwrap().len();
        match trial["stop_reason"].as_str().unwrap() {
            "max_new_tokens" => assert_eq!(tokens, 5),
            "stop_string" => assert!(trial["text"].as_str().unwrap().contains("w6")),
            "end_of_sequence" => assert!(tokens <= 5),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn generate_with_a_feature_set_says_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let (model, dictionaries) = (folder.path().join("model"), folder.path().join("dictionaries"));
    write_model(&model);
    write_dictionary(&dictionaries.join("one"), 1, 32);
    let generate = |rest: &[&str]| {
        let fixed = [
            "generate",
            "--model",
            text(&model),
            "--prompt",
            "w5 w6",
            "--max-new-tokens",
            "12",
            "--greedy",
        ];
        prints(&[&fixed, rest].concat())
    };
    let last = format!("L1-{}=40", FEATURES - 1);
    let set = generate(&["--dictionaries", text(&dictionaries), "--set", &last]);
    assert_ne!(set, generate(&[]));
    // One dictionary may be named by its own folder.
    assert_eq!(
        set,
        generate(&["--dictionaries", text(&dictionaries.join("one")), "--set", &last])
    );
}

#[test]
fn inspect_knows_models_dictionaries_and_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    write_model(&model);
    write_dictionary(&folder.path().join("dictionaries/a"), 0, 32);
    write_dictionary(&folder.path().join("dictionaries/b"), 1, 32);
    let inspect = |path: &Path| {
        let text_form = prints(&["inspect", text(path)]);
        assert!(
            text_form
                .lines()
                .any(|line| line.starts_with("usable") || line.starts_with("site ")),
            "{text_form}"
        );
        prints_json(&["inspect", text(path), "--json"])
    };
    let found = inspect(&model);
    assert_eq!(
        (found["kind"].as_str(), found["usable"].as_bool()),
        (Some("model"), Some(true))
    );
    assert_eq!(
        (found["family"].as_str(), found["n_layers"].as_u64()),
        (Some("llama"), Some(2))
    );
    assert_eq!(found["has_tokenizer"], true);
    let found = inspect(&model_fixture("llama_sharded"));
    assert_eq!(
        (found["files"].as_array().unwrap().len(), &found["has_tokenizer"]),
        (3, &false.into())
    );
    for (name, format) in [("saelens/topk", "saelens"), ("llama_scope/topk", "llama_scope")] {
        let found = inspect(&dictionary_fixture(name));
        assert_eq!(
            (found["kind"].as_str(), found["features"].as_u64()),
            (Some("dictionary"), Some(96))
        );
        assert!(
            found["format"]
                .as_str()
                .unwrap()
                .replace('-', "_")
                .contains(format),
            "{found}"
        );
    }
    let found = inspect(&folder.path().join("dictionaries"));
    assert_eq!(found["dictionaries"].as_array().unwrap().len(), 2);
    let found = inspect(&dictionary_fixture("saelens/topk/reference.safetensors"));
    assert_eq!(
        (found["kind"].as_str(), found["tensors"].as_array().unwrap().len()),
        (Some("tensors"), 3)
    );
}

#[test]
fn inspect_finds_a_model_in_the_cache_by_its_hub_id() {
    let folder = tempfile::tempdir().unwrap();
    let entry = folder.path().join("models--org--tiny");
    let snapshot = entry.join("snapshots/0123456789abcdef0123456789abcdef01234567");
    write_model(&snapshot);
    fs::create_dir_all(entry.join("refs")).unwrap();
    fs::write(
        entry.join("refs/main"),
        "0123456789abcdef0123456789abcdef01234567",
    )
    .unwrap();
    let output = glassbox()
        .env("HF_HUB_CACHE", folder.path())
        .args(["inspect", "org/tiny", "--json"])
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["path"].as_str().unwrap(), text(&snapshot));
}

#[test]
fn greedy_generation_prints_the_published_text() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/stories260k");
    let Ok(readme) = fs::read_to_string(model.join("README.md")) else {
        eprintln!("not run: {} is not there", model.display());
        return;
    };
    let printed = prints(&[
        "generate",
        "--model",
        text(&model),
        "--prompt",
        "",
        "--greedy",
        "--max-new-tokens",
        "160",
    ]);
    // The page breaks long lines, so words are compared, and the one line break of the text apart. The model would
    // say more than the page quotes.
    let quoted: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .collect();
    assert!(quoted.len() >= 2, "{readme}");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let published = words(&quoted.join(" "));
    assert_eq!(words(&printed)[..published.len()], published);
    assert!(printed.contains("too high.\nLily's mom"), "{printed}");
}

#[test]
fn help_shows_an_example_for_every_verb() {
    for verb in ["demo", "run", "inspect", "generate", "trace", "encode", "report"] {
        let help = prints(&[verb, "--help"]);
        assert!(help.contains("Example") && help.contains("--json"), "{help}");
    }
    assert!(prints(&["--help"]).contains("Exit codes"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_glassbox"))
        .args([
            PathBuf::from("inspect"),
            model_fixture("llama_gqa"),
            "--json".into(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), [].as_slice())
    );
}

#[test]
fn inspect_knows_pickles_archives_and_ghosttracks_histories() {
    let gemma = "gemma_scope/residual/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz";
    for (name, format) in [
        ("dictionary_learning/topk", "dictionary_learning"),
        ("dictionary_learning/topk/ae.pt", "dictionary_learning"),
        (gemma, "gemma_scope"),
        ("goodfire/legacy/Tiny-SAE-l2.pt", "goodfire"),
        (
            "qwen_scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_5/layer1.sae.pt",
            "qwen_scope",
        ),
        ("ghosttrack/sae_layer_3_final.pt", "ghosttrack"),
    ] {
        let found = prints_json(&["inspect", text(&dictionary_fixture(name)), "--json"]);
        assert_eq!(
            (
                found["kind"].as_str(),
                found["format"].as_str(),
                found["features"].as_u64()
            ),
            (Some("dictionary"), Some(format), Some(40)),
            "{name}"
        );
    }
    let set = dictionary_fixture("qwen_scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_5");
    let found = prints_json(&["inspect", text(&set), "--json"]);
    assert_eq!(found["dictionaries"].as_array().unwrap().len(), 2);

    let states = dictionary_fixture("ghosttrack/layer_3_states.pt");
    let shown = prints(&["inspect", text(&states)]);
    assert!(
        ["hidden_states", "[30, 12]", "layer_idx", "num_tokens"]
            .iter()
            .all(|word| shown.contains(word)),
        "{shown}"
    );

    let history = dictionary_fixture("ghosttrack_sae_layer_0_history.json");
    let shown = prints(&["inspect", text(&history)]);
    assert!(
        shown.contains("--features N") && shown.contains("0.1462"),
        "{shown}"
    );
    let shown = prints(&["inspect", text(&history), "--features", "5120"]);
    assert!(
        shown.contains("missed: 749 active features per token, 7.5 times"),
        "{shown}"
    );
    let found = prints_json(&["inspect", text(&history), "--features", "5120", "--json"]);
    assert_eq!(found["target_l0_met"], false);
    assert_eq!(found["epochs"][2]["l0"].as_f64().map(f64::round), Some(749.0));
}
