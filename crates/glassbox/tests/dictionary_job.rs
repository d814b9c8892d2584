//! A job of dictionaries on the shipped model: stage by stage, resumed, with a layer that fails, with bad settings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{prints_json, refuses};

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/demo")
        .canonicalize()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A job of seconds: two layers, 160 prompts.
fn job(folder: &Path, more: &str) -> PathBuf {
    let file = folder.join("job.toml");
    let (model, prompts) = (assets().join("model"), assets().join("prompts"));
    let settings = format!(
        "name = \"small\"\nmodel = {model:?}\nlayers = [1, 3]\n\
         [corpus]\npaths = [{prompts:?}]\n[rows]\ncontext = 128\nheld_out_share = 0.1\n\
         [dictionary]\nfeatures = 256\nobjective = {{ architecture = \"topk\", k = 8 }}\n\
         [train]\ntokens = 20000\nbatch = 512\nshuffle = 4096\nevaluate_every = 8\ncheckpoint_every = 10\n\
         [evaluate]\ntokens = 1000\n[features]\ntokens = 4000\n[targets]\nexplained_variance = 0.3\n\
         interpretable_share = 0.0\nlate_change = 1.0\ndead_share = 1.0\nl0 = 8.5\n{more}"
    );
    fs::write(&file, settings).unwrap();
    file
}

fn run(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_glassbox"))
        .args(["run", "--json", "--quiet"])
        .args(arguments)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let printed = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{code}: {}", String::from_utf8_lossy(&output.stderr)));
    (code, printed)
}

fn figure(outcome: &Value, dictionary: usize, what: &str) -> Value {
    let checks = outcome["dictionaries"][dictionary]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap().clone()
}

#[test]
fn a_job_in_stages_gives_the_dictionaries_of_one_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let (code, outcome) = run(&[text(&config), "--out", text(&whole)]);
    assert_eq!(code, 0, "{outcome:#}");
    for dictionary in 0..2 {
        let found = |what| figure(&outcome, dictionary, what)["found"].as_f64().unwrap();
        assert!(found("explained variance") > 0.3 && found("explained variance") < 1.0);
        assert!(found("L0") <= 8.0, "{outcome:#}");
        assert_eq!(
            figure(&outcome, dictionary, "files")["verdict"],
            "met",
            "{outcome:#}"
        );
    }
    let (code, outcome) = run(&[text(&config), "--out", text(&parts), "--extract-only"]);
    assert_eq!(code, 0);
    assert_eq!(figure(&outcome, 0, "L0")["verdict"], "not_measured");
    let (code, _) = run(&[text(&config), "--out", text(&parts), "--train-only", "--resume"]);
    assert_eq!(code, 0);
    assert!(!parts.join("evaluation").exists());
    let (code, _) = run(&[text(&config), "--out", text(&parts), "--resume"]);
    assert_eq!(code, 0);
    for name in ["L1", "L3"] {
        let place = |out: &Path| out.join("train/dictionaries").join(name);
        for entry in fs::read_dir(place(&whole)).unwrap() {
            let file = entry.unwrap().file_name();
            let bytes = |out: &Path| fs::read(place(out).join(&file)).unwrap();
            assert!(bytes(&whole) == bytes(&parts), "{name}/{file:?} differs");
        }
        for out in [&whole, &parts] {
            assert!(out.join("features").join(name).join("index.html").is_file());
        }
    }
    refuses(
        &["run", text(&config), "--out", text(&whole)],
        2,
        &["holds a job already", "--resume"],
    );

    // What was lost or cut short is made again.
    let (page, evaluation) = ("features/L1/features.jsonl", "evaluation/L3.json");
    let of_whole = |name: &str| fs::read(whole.join(name)).unwrap();
    let before = [page, evaluation].map(of_whole);
    fs::write(whole.join(page), &before[0][..100]).unwrap();
    fs::write(whole.join(evaluation), &before[1][..100]).unwrap();
    let (code, outcome) = run(&[text(&config), "--out", text(&whole), "--resume"]);
    assert_eq!(code, 0, "{outcome:#}");
    let after = [page, evaluation].map(of_whole);
    assert!(after[0] == before[0], "{page} differs");
    assert!(after[1] == before[1], "{evaluation} differs");

    let shown = prints_json(&["inspect", text(&config), "--json"]);
    assert_eq!(
        (&shown["kind"], &shown["sites"][1]),
        (&json!("job"), &json!("blocks.3.hook_resid_post"))
    );
    let shown = prints_json(&["inspect", text(&whole), "--json"]);
    assert_eq!(
        (&shown["kind"], &shown["checklist"][0]["name"]),
        (&json!("job_folder"), &json!("L1"))
    );
}

#[test]
fn a_layer_that_fails_leaves_the_others_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "[layer.3]\nlearning_rate = 1e30\nwarm_up = 0.0\n");
    let out = folder.path().join("run");
    let (code, outcome) = run(&[text(&config), "--out", text(&out)]);
    assert_eq!(code, 3, "{outcome:#}");
    let [first, second] = outcome["dictionaries"].as_array().unwrap().as_slice() else {
        panic!("{outcome:#}");
    };
    assert_eq!(first["failure"], Value::Null);
    assert!(
        second["failure"].as_str().unwrap().contains("train"),
        "{outcome:#}"
    );
    assert_eq!(figure(&outcome, 0, "files")["verdict"], "met");

    // The others go on: the layer stays given up, and what is there is not made again.
    let evaluation = out.join("evaluation/L1.json");
    assert!(evaluation.is_file());
    std::fs::remove_file(&evaluation).unwrap();
    let (code, again) = run(&[text(&config), "--out", text(&out), "--resume"]);
    assert_eq!(code, 3, "{again:#}");
    assert_eq!(again["dictionaries"], outcome["dictionaries"]);
    let checklist: Value = serde_json::from_slice(&fs::read(out.join("checklist.json")).unwrap()).unwrap();
    assert_eq!(checklist[1]["failure"], again["dictionaries"][1]["failure"]);
    assert!(evaluation.is_file());
}

#[test]
fn settings_that_cannot_be_meant_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (more, named) in [
        ("[layer.9]\nfeatures = 8\n", "layer.9"),
        ("[layer.1]\nfeaturs = 8\n", "featurs"),
        ("[layer.3]\nsite = \"blocks.1.hook_resid_post\"\n", "layer 1's"),
        ("[extract]\nstore = maybe\n", "store"),
        ("[layer.1]\nfeatures = 4\n", "k"),
        (
            "[compare]\nhistories = [\"missing_history.json\"]\n",
            "missing_history.json",
        ),
    ] {
        let config = job(folder.path(), more);
        refuses(&["run", text(&config), "--out", text(&out)], 2, &[named]);
        assert!(!out.exists(), "{more}");
    }
    let config = job(folder.path(), "");
    refuses(
        &["run", text(&config), "--out", text(&out), "--train-only"],
        2,
        &["activations", "extract"],
    );
    // What no result depends on yet may change: the corrected job goes on, with --resume or without.
    let wrong = job(folder.path(), "[extract]\nstates = \"nowhere\"\n");
    let corrected = folder.path().join("corrected");
    refuses(
        &["run", text(&wrong), "--out", text(&corrected)],
        2,
        &["layer_1_states.pt"],
    );
    let config = job(folder.path(), "");
    let (code, outcome) = run(&[text(&config), "--out", text(&corrected), "--extract-only"]);
    assert_eq!(code, 0, "{outcome:#}");
    let other = job(folder.path(), "[extract]\ntokens = 100\n");
    refuses(
        &["run", text(&other), "--out", text(&corrected), "--resume"],
        2,
        &["another `extract`"],
    );
    for (more, named) in [
        ("[layer.1]\nfeatures = 0\n", "features"),
        ("[compare]\nfeatures = 3\n[evaluates]\n", "evaluates"),
    ] {
        let config = job(folder.path(), more);
        refuses(&["run", text(&config), "--out", text(&out)], 2, &[named]);
    }
    let scenario = assets().join("scenario.toml");
    refuses(
        &["run", text(&scenario), "--out", text(&out), "--extract-only"],
        2,
        &["no job of dictionaries"],
    );
}
