//! Every kind of bad input: one clear message that names the place and the remedy, the right exit code, no panic, and
//! nothing half-written under a final name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::experiment::{FEATURES, write_dictionary, write_model};
use support::tensors::{self, Tensor};
use support::{
    change_json, copy_folder, dictionary_fixture, is_one_message, model_fixture, names_in, refuses,
};
use tempfile::TempDir;

/// A copy of a model fixture, and a place for what must not be written.
struct Broken {
    folder: TempDir,
    model: PathBuf,
    out: PathBuf,
}

impl Broken {
    fn model(fixture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, out) = (folder.path().join("model"), folder.path().join("out"));
        copy_folder(&model_fixture(fixture), &model);
        fs::create_dir(&out).unwrap();
        Self { folder, model, out }
    }

    fn with_words() -> Self {
        let broken = Self::model("llama_tied");
        write_model(&broken.model);
        broken
    }

    fn change_config(&self, change: impl FnOnce(&mut serde_json::Value)) {
        change_json(&self.model.join("config.json"), change);
    }

    /// `trace` and `inspect` must refuse the model alike; `trace` leaves nothing behind.
    fn is_refused(&self, words: &[&str]) {
        self.trace_is_refused("1,2,3", words);
        refuses(&["inspect", text(&self.model)], 2, words);
    }

    fn trace_is_refused(&self, tokens: &str, words: &[&str]) {
        let out = self.out.join("t.safetensors");
        let arguments = [
            "trace",
            "--model",
            text(&self.model),
            "--tokens",
            tokens,
            "--sites",
            "hook_embed",
            "--out",
            text(&out),
        ];
        refuses(&arguments, 2, words);
        assert!(names_in(&self.out).is_empty(), "{:?}", names_in(&self.out));
    }

    fn generate_is_refused(&self, rest: &[&str], words: &[&str]) {
        refuses(
            &[&["generate", "--model", text(&self.model)], rest].concat(),
            2,
            words,
        );
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn truncate(path: &Path, bytes_less: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes_less).unwrap();
}

#[test]
fn missing_shard() {
    let broken = Broken::model("llama_sharded");
    fs::remove_file(broken.model.join("model-00002-of-00003.safetensors")).unwrap();
    broken.is_refused(&[
        "model.safetensors.index.json",
        "model-00002-of-00003.safetensors",
        "fetch",
    ]);
}

#[test]
fn truncated_shard() {
    let broken = Broken::model("llama_sharded");
    truncate(&broken.model.join("model-00003-of-00003.safetensors"), 100);
    broken.is_refused(&["model-00003-of-00003.safetensors", "cut off", "fetch it again"]);
}

#[test]
fn wrong_shape() {
    let broken = Broken::model("llama_tied");
    broken.change_config(|config| config["vocab_size"] = 99.into());
    broken.is_refused(&["model.safetensors", "embed_tokens.weight", "[67, 32]", "[99, 32]"]);
}

#[test]
fn weight_that_is_not_a_number() {
    let broken = Broken::model("llama_tied");
    tensors::poke(
        &broken.model.join("model.safetensors"),
        "model.norm.weight",
        5,
        f32::NAN,
    );
    broken.trace_is_refused(
        "1,2,3",
        &["model.safetensors", "model.norm.weight", "NaN", "[5]", "damaged"],
    );
}

#[test]
fn unknown_config_key() {
    let broken = Broken::model("llama_tied");
    broken.change_config(|config| config["residual_multiplier"] = 0.5.into());
    broken.is_refused(&["config.json", "residual_multiplier", "0.5"]);
}

#[test]
fn unsupported_family() {
    let broken = Broken::model("llama_tied");
    broken.change_config(|config| config["model_type"] = "mamba".into());
    broken.is_refused(&[
        "config.json",
        "mamba",
        "model_type",
        "llama, mistral, qwen2, gpt2",
    ]);
}

#[test]
fn damaged_config() {
    let broken = Broken::model("llama_tied");
    truncate(&broken.model.join("config.json"), 10);
    broken.is_refused(&["config.json", "not valid JSON", "line"]);
}

#[test]
fn missing_tokenizer_where_text_is_given() {
    let broken = Broken::model("llama_tied");
    broken.generate_is_refused(&["--prompt", "hello"], &["tokenizer.json", "token ids"]);
    let out = broken.out.join("t");
    let arguments = ["--prompt", "hello", "--sites", "hook_embed", "--out", text(&out)];
    refuses(
        &[&["trace", "--model", text(&broken.model)], &arguments[..]].concat(),
        2,
        &["tokenizer.json"],
    );
}

#[test]
fn damaged_tokenizer() {
    let broken = Broken::with_words();
    truncate(&broken.model.join("tokenizer.json"), 10);
    broken.generate_is_refused(&["--prompt", "w5"], &["tokenizer.json", "fetch it again"]);
    refuses(&["inspect", text(&broken.model)], 2, &["tokenizer.json"]);
}

#[test]
fn prompt_longer_than_the_context() {
    let broken = Broken::with_words();
    let prompt = vec!["w5"; 70].join(" ");
    broken.generate_is_refused(&["--prompt", &prompt], &["71", "64", "shorten the prompt"]);
    broken.trace_is_refused(&vec!["5"; 65].join(","), &["65", "64", "shorten the prompt"]);
}

#[test]
fn token_outside_the_vocabulary() {
    Broken::model("llama_tied").trace_is_refused("1,67", &["67", "0 to 66"]);
}

#[test]
fn empty_prompt_without_a_beginning_token() {
    let broken = Broken::with_words();
    broken.change_config(|config| config["bos_token_id"] = serde_json::Value::Null);
    broken.generate_is_refused(&[], &["config.json", "bos_token_id", "--prompt"]);
}

#[test]
fn wrong_sampling_flags() {
    let broken = Broken::with_words();
    for (flags, words) in [
        (["--temperature", "-1"], ["temperature", "-1"]),
        (["--temperature", "nan"], ["temperature", "NaN"]),
        (["--top-p", "0"], ["--top-p", "above 0"]),
        (["--max-new-tokens", "0"], ["max-new-tokens", "at least 1"]),
        (["--trials", "0"], ["trials", "0"]),
        (["--stop", ""], ["stop string", "empty"]),
    ] {
        // The form with `=` lets a value begin with a minus.
        broken.generate_is_refused(&[&flags.join("=")], &words);
    }
    broken.generate_is_refused(&["--greedy", "--seed", "3"], &["--greedy", "--seed"]);
}

#[test]
fn feature_that_the_dictionary_lacks() {
    let broken = Broken::with_words();
    let dictionary = broken.folder.path().join("dictionary");
    write_dictionary(&dictionary, 1, 32);
    let set = |feature: &str, words: &[&str]| {
        broken.generate_is_refused(&["--dictionaries", text(&dictionary), "--set", feature], words);
    };
    let last = (FEATURES - 1).to_string();
    set(
        &format!("L1-{FEATURES}=1"),
        &[&FEATURES.to_string(), "blocks.1.hook_resid_post", &last],
    );
    set(
        "L0-3=1",
        &[
            "no dictionary for blocks.0.hook_resid_post",
            "blocks.1.hook_resid_post",
        ],
    );
    set("L1-3", &["--set", "L25-10096=3.5"]);
    set("L1-3=inf", &["--set", "finite"]);
    broken.generate_is_refused(&["--set", "L1-3=1"], &["--dictionaries"]);
}

#[test]
fn dictionary_of_another_width() {
    let broken = Broken::with_words();
    let dictionary = broken.folder.path().join("dictionary");
    write_dictionary(&dictionary, 1, 48);
    broken.generate_is_refused(
        &["--dictionaries", text(&dictionary), "--set", "L1-3=1"],
        &["blocks.1.hook_resid_post", "48", "32"],
    );
    write_dictionary(&dictionary, 7, 32);
    broken.generate_is_refused(
        &["--dictionaries", text(&dictionary), "--set", "L7-3=1"],
        &["blocks.7.hook_resid_post", "blocks are 0 to 1"],
    );
}

#[test]
fn folder_without_dictionaries() {
    let broken = Broken::with_words();
    let words = [
        "no dictionaries",
        "dictionary.json",
        "cfg.json",
        "hyperparams.json",
    ];
    broken.generate_is_refused(&["--dictionaries", text(&broken.out), "--set", "L1-3=1"], &words);
}

#[test]
fn site_that_the_model_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (model_fixture("llama_tied"), folder.path().join("t"));
    let trace = |sites: &str, words: &[&str]| {
        let arguments = [
            "trace",
            "--model",
            text(&model),
            "--tokens",
            "1",
            "--sites",
            sites,
            "--out",
            text(&out),
        ];
        refuses(&arguments, 2, words);
        assert!(names_in(folder.path()).is_empty());
    };
    trace(
        "blocks.0.hook_resid_pst",
        &["blocks.0.hook_resid_pst", "nearest", "blocks.0.hook_resid_post"],
    );
    trace("blocks.9.hook_resid_post", &["blocks are 0 to 1"]);
    trace("hook_pos_embed", &["positions are rotary"]);
    trace("block.*", &["block.*", "selects no site", "blocks.0"]);
    trace("blocks.{0", &["blocks.{0", "not a valid pattern"]);
    trace(",", &["--sites", "hook_resid_post"]);
}

#[test]
fn unwritable_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let model = model_fixture("llama_tied");
    // The tests may run as a user who may write anywhere, but not below a file, and not in a folder that is not there.
    for out in ["file/t.safetensors", "nowhere/t.safetensors"] {
        let out = folder.path().join(out);
        let arguments = [
            "trace",
            "--model",
            text(&model),
            "--tokens",
            "1",
            "--sites",
            "hook_embed",
            "--out",
            text(&out),
        ];
        refuses(&arguments, 2, &["cannot write", text(&out), "folder"]);
    }
    let (dictionary, out) = (
        dictionary_fixture("saelens/standard"),
        folder.path().join("file/x"),
    );
    let input = dictionary.join("reference.safetensors");
    let arguments = [
        "encode",
        "--dictionary",
        text(&dictionary),
        "--input",
        text(&input),
        "--out",
        text(&out),
    ];
    refuses(&arguments, 2, &["cannot write", text(&out)]);
    // What is no file is not replaced by one.
    let arguments = [
        "encode",
        "--dictionary",
        text(&dictionary),
        "--input",
        text(&input),
        "--out",
        text(folder.path()),
    ];
    refuses(&arguments, 2, &["cannot write", "is no file"]);
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dictionary = dictionary_fixture("saelens/standard");
    let (input, out) = (
        folder.path().join("x.safetensors"),
        folder.path().join("out.safetensors"),
    );
    tensors::write(&input, &[("x", Tensor::f32(&[600, 24], vec![0.5; 600 * 24]))]);
    fs::write(&out, "an older version").unwrap();
    let arguments = [
        "encode",
        "--dictionary",
        text(&dictionary),
        "--input",
        text(&input),
        "--out",
        text(&out),
    ];
    let output = support::with_file_limit(64, &arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    is_one_message(
        &stderr,
        &[
            "the disk is full",
            text(&out),
            "free some space",
            "run the command again",
        ],
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), "an older version");
    assert_eq!(names_in(folder.path()), ["out.safetensors", "x.safetensors"]);
}

#[test]
fn input_of_encode_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let dictionary = dictionary_fixture("saelens/standard");
    let (input, out) = (
        folder.path().join("x.safetensors"),
        folder.path().join("out.safetensors"),
    );
    let encode = |words: &[&str]| {
        let arguments = [
            "encode",
            "--dictionary",
            text(&dictionary),
            "--input",
            text(&input),
            "--out",
            text(&out),
        ];
        refuses(&arguments, 2, words);
        assert!(!out.exists());
        assert!(
            names_in(folder.path()).len() <= 1,
            "{:?}",
            names_in(folder.path())
        );
    };
    encode(&["cannot read", "x.safetensors"]);
    let x = |shape: &[usize]| Tensor::f32(shape, vec![0.25; shape.iter().product()]);
    tensors::write(&input, &[("y", x(&[2, 24]))]);
    encode(&["x.safetensors", "no tensor `x`", "y F32 [2, 24]"]);
    tensors::write(&input, &[("x", x(&[2, 32]))]);
    encode(&[
        "x.safetensors",
        "`x`",
        "[2, 32]",
        "[n, 24]",
        "blocks.1.hook_resid_post",
    ]);
    tensors::write(&input, &[("x", x(&[24]))]);
    encode(&["x.safetensors", "`x`", "[24]", "two axes"]);
    let mut not_finite = x(&[5000, 24]);
    not_finite.values[4711 * 24 + 3] = f32::NAN;
    tensors::write(&input, &[("x", not_finite)]);
    encode(&["x.safetensors", "`x`", "NaN", "row 4711", "column 3"]);
    tensors::write(&input, &[("x", x(&[2, 24]))]);
    truncate(&input, 8);
    encode(&["x.safetensors", "cut off"]);
    fs::write(&input, "x").unwrap();
    encode(&["x.safetensors", "not a usable safetensors file", "1 bytes"]);
    fs::write(&input, "no tensors are in this file at all").unwrap();
    encode(&["x.safetensors", "not a usable safetensors file"]);
    fs::write(&input, b"\x05\0\0\0\0\0\0\0{\"x\":").unwrap();
    encode(&["x.safetensors", "header"]);
}

#[test]
fn damaged_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let dictionary = folder.path().join("dictionary");
    copy_folder(&dictionary_fixture("saelens/standard"), &dictionary);
    let (input, out) = (
        dictionary.join("reference.safetensors"),
        folder.path().join("out.safetensors"),
    );
    let encode = |words: &[&str]| {
        let arguments = [
            "encode",
            "--dictionary",
            text(&dictionary),
            "--input",
            text(&input),
            "--out",
            text(&out),
        ];
        refuses(&arguments, 2, words);
        assert!(!out.exists());
    };
    change_json(&dictionary.join("cfg.json"), |config| {
        config["secret_scale"] = 2.into()
    });
    encode(&["cfg.json", "secret_scale"]);
    refuses(&["inspect", text(&dictionary)], 2, &["cfg.json", "secret_scale"]);
    copy_folder(&dictionary_fixture("saelens/standard"), &dictionary);
    tensors::poke(
        &dictionary.join("sae_weights.safetensors"),
        "b_enc",
        2,
        f32::INFINITY,
    );
    encode(&["sae_weights.safetensors", "b_enc", "inf", "[2]"]);
    copy_folder(&dictionary_fixture("saelens/standard"), &dictionary);
    truncate(&dictionary.join("sae_weights.safetensors"), 4);
    encode(&["sae_weights.safetensors", "not a complete safetensors file"]);
    fs::remove_file(dictionary.join("cfg.json")).unwrap();
    encode(&["no dictionary of a known format", "cfg.json"]);
}

#[test]
fn model_that_is_not_there() {
    let inspect = |name: &str, words: &[&str]| {
        refuses(&["inspect", name], 2, words);
    };
    inspect(
        "nobody/nothing",
        &["nobody/nothing", "HF_HUB_CACHE", "hf download nobody/nothing"],
    );
    inspect("./nowhere", &["./nowhere", "not a folder"]);
    inspect("a b", &["a b", "hub id"]);
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "--model", text(folder.path())];
    refuses(&arguments, 2, &["config.json", text(folder.path())]);
}

#[test]
fn things_that_cannot_be_inspected() {
    let folder = tempfile::tempdir().unwrap();
    refuses(
        &["inspect", text(folder.path())],
        2,
        &["nothing that can be inspected", "config.json", ".parquet"],
    );
    write_model(&folder.path().join("model"));
    refuses(
        &["inspect", text(folder.path())],
        2,
        &["hint: ", text(&folder.path().join("model"))],
    );
    let table = folder.path().join("t.parquet");
    fs::write(&table, "not a table").unwrap();
    refuses(
        &["inspect", text(&table)],
        2,
        &[text(&table), "not a readable Parquet file"],
    );
    fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    refuses(&["inspect", text(folder.path())], 2, &["manifest.json", "format"]);
}

#[test]
fn unknown_verbs_and_flags() {
    refuses(&["analyse"], 2, &["analyse", "--help"]);
    refuses(&["demo", "--fast"], 2, &["--fast", "--help"]);
    refuses(&["run", "scenario.toml"], 2, &["--out"]);
    refuses(
        &["trace", "--model", "m", "--sites", "*", "--out", "t"],
        2,
        &["--prompt"],
    );
    refuses(&["inspect", "x", "--threads", "0"], 2, &["--threads", "0"]);
    let message = refuses(
        &[
            "trace", "--model", "m", "--tokens", "1,x", "--sites", "*", "--out", "t",
        ],
        2,
        &["--tokens"],
    );
    assert!(message.contains('x'), "{message}");
}
