//! `train`: from a corpus, from stored activations, from states of the study; continued, and refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{dictionary_fixture, glassbox, prints, prints_json, refuses, with_file_limit};

fn demo_model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model");
    path.display().to_string()
}

/// A folder with a corpus and its activations at two sites.
struct Prepared {
    folder: tempfile::TempDir,
    corpus: String,
    activations: String,
}

impl Prepared {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..120)
            .map(|i| {
                format!(
                    "{{\"text\": \"you win game {i} and lose {} coins of {}\"}}\n",
                    i % 7,
                    i % 11
                )
            })
            .collect();
        let corpus = folder.path().join("corpus.jsonl");
        fs::write(&corpus, lines).unwrap();
        let (corpus, activations) = (corpus.display().to_string(), folder.path().join("activations"));
        let prepared = Self {
            activations: activations.display().to_string(),
            folder,
            corpus,
        };
        let (model, sites) = (demo_model(), "blocks.{1,2}.hook_resid_post");
        let rows = ["--packing", "document_per_row", "--context", "32"];
        let to = [
            "--held-out",
            "0.2",
            "--dtype",
            "f32",
            "--out",
            &prepared.activations,
        ];
        let from = ["extract", &model, "--corpus", &prepared.corpus, "--sites", sites];
        prints(&[&from[..], &rows, &to].concat());
        prepared
    }

    fn path(&self, name: &str) -> (PathBuf, String) {
        let path = self.folder.path().join(name);
        let text = path.display().to_string();
        (path, text)
    }
}

const SMALL: [&str; 12] = [
    "--k",
    "4",
    "--features",
    "2d",
    "--tokens",
    "4096",
    "--batch",
    "256",
    "--shuffle",
    "1024",
    "--seeds",
    "0",
];

#[test]
fn a_corpus_gives_dictionaries_that_the_other_verbs_use() {
    let prepared = Prepared::new();
    let (model, (folder, out)) = (demo_model(), prepared.path("trained"));
    let arguments = [
        &["train", &model, "--corpus", &prepared.corpus, "--held-out", "0.2"][..],
        &["--packing", "document_per_row", "--context", "32"],
        &["--sites", "blocks.{1,2}.hook_resid_post", "--out", &out],
        &SMALL,
    ]
    .concat();
    let summary = prints_json(&[&arguments[..], &["--json"]].concat());
    assert_eq!(summary["finished"], true);
    assert_eq!(summary["steps"], 16);
    let dictionaries = summary["dictionaries"].as_array().unwrap();
    assert_eq!(dictionaries.len(), 2);
    for dictionary in dictionaries {
        let record = &dictionary["record"];
        assert!(record["explained_variance"].as_f64().unwrap() > 0.5, "{record}");
        assert_eq!(record["rows"]["packing"], "document_per_row");
        let shown = prints_json(&["inspect", dictionary["folder"].as_str().unwrap(), "--json"]);
        assert_eq!(shown["kind"], "dictionary", "{shown}");
    }
    let history = fs::read_to_string(
        folder
            .join("history")
            .join(format!("{}.jsonl", dictionaries[0]["name"].as_str().unwrap())),
    );
    assert!(history.unwrap().lines().count() > 1);

    refuses(&arguments, 2, &["holds a training run already", "--resume"]);
    let again = prints_json(&[&arguments[..], &["--resume", "--json"]].concat());
    assert_eq!(again["dictionaries"], summary["dictionaries"]);
    let other = [&arguments[..], &["--resume", "--learning-rate", "0.1"]].concat();
    refuses(&other, 2, &["other settings"]);
    let fewer = [&arguments[..], &["--resume", "--max-documents", "100"]].concat();
    refuses(&fewer, 2, &["other activations"]);

    // As long as before, and another text.
    let text = fs::read_to_string(&prepared.corpus).unwrap();
    fs::write(&prepared.corpus, text.replacen("win", "net", 1)).unwrap();
    refuses(
        &[&arguments[..], &["--resume"]].concat(),
        2,
        &["other activations"],
    );
}

#[test]
fn what_would_not_fit_or_means_nothing_is_refused_before_there_is_a_folder() {
    let prepared = Prepared::new();
    let (_, out) = prepared.path("none");
    let from = ["train", "--activations", &prepared.activations, "--out", &out];
    let with = |more: &[&'static str]| [&from[..], more].concat();
    refuses(
        &with(&["--k", "4", "--features", "2d", "--shuffle", "4000000000"]),
        2,
        &["MiB of memory", "--shuffle"],
    );
    refuses(
        &with(&["--k", "4", "--l1", "0.1", "--features", "2d"]),
        2,
        &["--l1", "relu, gated"],
    );
    refuses(&with(&["--k", "4000", "--features", "2d"]), 2, &["4000"]);
    assert!(!Path::new(&out).join("settings.json").exists());
    prints(&with(&SMALL));
}

#[test]
fn stored_activations_train_as_often_as_one_likes_without_the_model() {
    let prepared = Prepared::new();
    let train = |out: &str, more: &[&str]| {
        let from = [
            "train",
            "--activations",
            &prepared.activations,
            "--out",
            out,
            "--json",
        ];
        prints_json(&[&from[..], &SMALL, more].concat())
    };
    let ((a, a_text), (b, b_text)) = (prepared.path("a"), prepared.path("b"));
    let first = train(&a_text, &[]);
    let sites: Vec<&str> = (first["dictionaries"].as_array().unwrap().iter())
        .map(|dictionary| dictionary["record"]["site"].as_str().unwrap())
        .collect();
    assert_eq!(sites, ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]);
    // Again, of one of the sites, and with the model checked: the same bytes.
    train(&b_text, &[&demo_model(), "--sites", "*.2.*"]);
    let name = "dictionaries/blocks.2.hook_resid_post-topk-seed0/dictionary.safetensors";
    assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap());

    let (_, out) = prepared.path("none");
    let refused = |more: &[&str], words: &[&str]| {
        let from = ["train", "--activations", &prepared.activations, "--out", &out];
        refuses(&[&from[..], &SMALL, more].concat(), 2, words);
    };
    refused(
        &["--sites", "blocks.4.*"],
        &["blocks.4.*", "blocks.2.hook_resid_post"],
    );
    refused(&["--features", "1", "--k", "40"][2..], &["k"]);
    let other = support::model_fixture("llama_tied");
    refused(&[other.to_str().unwrap()], &["another model", "extract"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn states_of_the_study_train_a_dictionary() {
    let prepared = Prepared::new();
    let states = dictionary_fixture("ghosttrack/layer_5_states.pt");
    let (_, out) = prepared.path("states");
    let arguments = [
        "train",
        "--states",
        states.to_str().unwrap(),
        "--architecture",
        "relu",
        "--l1",
        "0.01",
        "--features",
        "2d",
        "--tokens",
        "256",
        "--batch",
        "16",
        "--shuffle",
        "32",
        "--out",
        &out,
        "--json",
    ];
    let summary = prints_json(&arguments);
    let record = &summary["dictionaries"][0]["record"];
    assert_eq!(record["site"], "blocks.5.hook_resid_post");
    assert_eq!(record["held_out_tokens"], 5);

    // A dictionary of the study, and this one, on states of their layers; no model is needed.
    let (theirs, ours) = (
        dictionary_fixture("ghosttrack/sae_layer_3_final.pt"),
        Path::new(&out).join("dictionaries"),
    );
    let their_states = dictionary_fixture("ghosttrack/layer_3_states.pt");
    for (states, dictionary, tokens) in [(&their_states, &theirs, 30), (&states, &ours, 100)] {
        let paths = [states, dictionary].map(|path| path.display().to_string());
        let evaluated = prints_json(&[
            "evaluate",
            "--states",
            &paths[0],
            "--all-documents",
            "--json",
            &paths[1],
        ]);
        assert_eq!(evaluated["model"], serde_json::Value::Null);
        let dictionary = &evaluated["dictionaries"][0];
        assert_eq!(dictionary["reconstruction"]["tokens"], tokens, "{dictionary}");
        assert!(
            dictionary["sparsity"]["l0"].as_f64().unwrap() > 0.0,
            "{dictionary}"
        );
    }
    let wrong = [
        "evaluate",
        "--states",
        states.to_str().unwrap(),
        theirs.to_str().unwrap(),
    ];
    refuses(
        &wrong,
        2,
        &["blocks.3.hook_resid_post", "blocks.5.hook_resid_post"],
    );
}

#[test]
fn written_for_saelens_it_is_read_with_its_figures() {
    let prepared = Prepared::new();
    let (folder, out) = prepared.path("saelens");
    let from = [
        "train",
        "--activations",
        &prepared.activations,
        "--sites",
        "*.1.*",
        "--format",
        "saelens",
    ];
    let summary = prints_json(&[&from[..], &["--out", &out, "--json"], &SMALL].concat());
    let trained = folder.join("dictionaries/blocks.1.hook_resid_post-topk-seed0");
    let cfg: serde_json::Value =
        serde_json::from_slice(&fs::read(trained.join("cfg.json")).unwrap()).unwrap();
    let record = &summary["dictionaries"][0]["record"];
    assert_eq!(&cfg["metadata"]["glassbox"]["training"], record);
    assert_eq!(
        (&cfg["metadata"]["context_size"], &cfg["metadata"]["prepend_bos"]),
        (&32.into(), &true.into())
    );
    let (model, trained) = (demo_model(), trained.display().to_string());
    let activations = ["--activations", &prepared.activations, "--json"];
    let evaluated = prints_json(&[&["evaluate", &model, &trained][..], &activations].concat());
    let distribution = &evaluated["dictionaries"][0]["distribution"];
    assert!(distribution.is_object(), "{evaluated}");
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_its_place() {
    let prepared = Prepared::new();
    let (model, (_, out)) = (demo_model(), prepared.path("refused"));
    refuses(
        &["train", "--k", "4", "--out", &out],
        2,
        &["neither a model nor activations"],
    );
    refuses(
        &[
            "train",
            &model,
            "--k",
            "4",
            "--sites",
            "*.1.hook_resid_post",
            "--out",
            &out,
        ],
        2,
        &["no corpus"],
    );
    let corpus = ["train", &model, "--corpus", &prepared.corpus, "--out", &out];
    refuses(
        &[&corpus[..], &["--k", "4"]].concat(),
        2,
        &["neither --sites nor --config"],
    );
    refuses(
        &[&corpus[..], &["--sites", "blocks.1.hook_resid_post"]].concat(),
        2,
        &["--k"],
    );
    let wide = [
        "--k",
        "300",
        "--features",
        "1d",
        "--sites",
        "blocks.1.hook_resid_post",
    ];
    refuses(
        &[&corpus[..], &wide].concat(),
        2,
        &["k", "300", "number of features"],
    );
    let both = ["--activations", &prepared.activations];
    let output = glassbox().args([&corpus[..], &both].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_full_disk_stops_it_and_it_goes_on_when_there_is_room() {
    let prepared = Prepared::new();
    let ((_, whole), (_, stopped)) = (prepared.path("whole"), prepared.path("stopped"));
    let arguments = |out| {
        let from = [
            "train",
            "--activations",
            &prepared.activations,
            "--sites",
            "*.1.*",
            "--out",
            out,
        ];
        [&from[..], &SMALL].concat()
    };
    prints(&arguments(&whole));
    // A checkpoint needs more than this.
    let output = with_file_limit(200, &arguments(&stopped));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    support::is_one_message(&stderr, &["--resume"]);
    prints(&[&arguments(&stopped)[..], &["--resume"]].concat());
    let name = "dictionaries/blocks.1.hook_resid_post-topk-seed0/dictionary.safetensors";
    let read = |out: &str| fs::read(Path::new(out).join(name)).unwrap();
    assert_eq!(read(&whole), read(&stopped));
}
