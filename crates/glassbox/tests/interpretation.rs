//! `evaluate` and `features` on a tiny model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::experiment::{FEATURES, WIDTH, write_dictionary, write_model};
use support::{glassbox, prints, prints_json, refuses};

struct Folder {
    folder: tempfile::TempDir,
    model: String,
    dictionaries: String,
    corpus: String,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (model, dictionaries, corpus) = (path("model"), path("dictionaries"), path("corpus.jsonl"));
        write_model(Path::new(&model));
        for layer in 0..2 {
            write_dictionary(
                &folder.path().join(format!("dictionaries/layer-{layer}")),
                layer,
                WIDTH,
            );
        }
        let lines: String = (0..60)
            .map(|document| {
                let word = |i: usize| format!("w{}", 5 + (document * 31 + i * i * 7 + i) % 60);
                let text = (0..12 + document % 9).map(word).collect::<Vec<_>>().join(" ");
                format!("{}\n", serde_json::json!({ "text": text }))
            })
            .collect();
        fs::write(&corpus, lines).unwrap();
        Self {
            folder,
            model,
            dictionaries,
            corpus,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn features(&self, out: &str, more: &[&str]) -> PathBuf {
        let out = self.path(out);
        let mut arguments = vec![
            "features",
            &self.model,
            &self.dictionaries,
            "--corpus",
            &self.corpus,
        ];
        arguments.extend(["--out", out.to_str().unwrap()]);
        arguments.extend(more);
        prints(&arguments);
        out
    }
}

#[test]
fn evaluate_measures_and_holds_to_requirements() {
    let folder = Folder::new();
    let out = folder.path("evaluation.json");
    let base = [
        "evaluate",
        &folder.model,
        &folder.dictionaries,
        "--corpus",
        &folder.corpus,
    ];
    let with = |more: &[&str]| {
        base.iter()
            .chain(more)
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    let found = prints_json(&with(&["--json", "--out", out.to_str().unwrap()]));
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(found, written);
    assert_eq!(found["dictionaries"].as_array().unwrap().len(), 2);
    let first = &found["dictionaries"][0];
    assert_eq!(first["name"], "layer-0");
    assert_eq!(first["sparsity"]["features"], FEATURES);
    assert_eq!(first["distribution"]["evidence"], "reconstruction");
    for key in ["clean", "spliced", "zero_ablated", "mean_ablated"] {
        assert!(first["loss"][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!(found["tokens"], first["reconstruction"]["tokens"]);
    let text = prints(&with(&[]));
    assert!(text.contains("layer-1") && text.contains("rec. mean"), "{text}");
    let single = format!("{}/layer-1", folder.dictionaries);
    let text = prints(&[
        "evaluate",
        &folder.model,
        &single,
        "--corpus",
        &folder.corpus,
        "--no-loss",
    ]);
    assert!(
        text.contains("explained variance") && !text.contains("recovered"),
        "{text}"
    );

    let output = glassbox()
        .args(with(&["--require", "ev=0.999,l0=1000", "--json"]))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let missed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        missed["missed"].as_array().unwrap().len(),
        2,
        "{}",
        missed["missed"]
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("0.999 is required")
    );
    prints(&with(&["--require", "l0=1000"]));
}

#[test]
fn features_writes_the_same_files_with_any_threads_and_shows_them() {
    let folder = Folder::new();
    let one = folder.features("one", &["--threads", "1", "--neuronpedia", "res-test"]);
    let two = folder.features("two", &["--threads", "2", "--neuronpedia", "res-test"]);
    let names = [
        "index.html",
        "features.jsonl",
        "features.parquet",
        "contexts.parquet",
        "logit_weights.parquet",
        "neighbours.parquet",
        "census.json",
        "neuronpedia/batch-0.json",
        "neuronpedia/skipped_indexes.json",
    ];
    for layer in ["layer-0", "layer-1"] {
        for name in names {
            let read = |out: &Path| fs::read(out.join(layer).join(name)).unwrap();
            assert!(read(&one) == read(&two), "{layer}/{name}");
        }
    }
    let census: serde_json::Value =
        serde_json::from_slice(&fs::read(one.join("layer-1/census.json")).unwrap()).unwrap();
    assert_eq!(census["features"], FEATURES);
    let page = fs::read_to_string(one.join("layer-1/index.html")).unwrap();
    assert!(page.contains("DATA.packed"));
    for loads in [
        "{{data}}",
        "{{script}}",
        " src=",
        "href=\"http",
        "@import",
        "fetch(",
    ] {
        assert!(!page.contains(loads), "{loads}");
    }
    let batch: serde_json::Value =
        serde_json::from_slice(&fs::read(one.join("layer-1/neuronpedia/batch-0.json")).unwrap()).unwrap();
    assert_eq!(
        (&batch["sae_set"], &batch["layer"]),
        (&"res-test".into(), &1.into())
    );
    let feature = &batch["features"][0];
    let activation = &feature["activations"][0];
    assert_eq!(
        activation["tokens"].as_array().unwrap().len(),
        activation["values"].as_array().unwrap().len()
    );

    let dir = one.to_str().unwrap();
    let lines = fs::read_to_string(one.join("layer-1/features.jsonl")).unwrap();
    let live = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|feature| feature["active_tokens"].as_u64().unwrap() > 20)
        .unwrap();
    let name = live["name"].as_str().unwrap();
    let text = prints(&["features", dir, "--show", name]);
    for words in [name, "promotes", "nearest", "«"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(prints_json(&["features", dir, "--show", name, "--json"]), live);
    refuses(
        &["features", dir, "--show", "L7-1"],
        2,
        &["L7-1", "L0-0 to L1-63"],
    );
    refuses(
        &["features", &folder.model, "--show", "L1-1"],
        2,
        &["features.jsonl"],
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = Folder::new();
    let (model, dictionaries, corpus) = (&*folder.model, &*folder.dictionaries, &*folder.corpus);
    let out = folder.path("out");
    let out = out.to_str().unwrap();
    refuses(&["evaluate", model, dictionaries], 2, &["corpus", "--corpus"]);
    refuses(
        &["features", model, "--corpus", corpus, "--out", out],
        2,
        &["no dictionary"],
    );
    refuses(
        &["features", model, dictionaries, "--corpus", corpus],
        2,
        &["--out"],
    );
    let empty = folder.path("empty.jsonl");
    fs::write(&empty, "{\"text\": \"\"}\n").unwrap();
    refuses(
        &[
            "evaluate",
            model,
            dictionaries,
            "--corpus",
            empty.to_str().unwrap(),
        ],
        2,
        &["corpus is empty"],
    );
    let narrow = folder.path("narrow");
    write_dictionary(&narrow, 0, WIDTH / 2);
    let narrow = narrow.to_str().unwrap();
    refuses(
        &["evaluate", model, narrow, "--corpus", corpus],
        2,
        &["hook_resid_post"],
    );
    let twice = format!("{dictionaries}/layer-0");
    refuses(
        &["evaluate", model, &twice, &twice, "--corpus", corpus],
        2,
        &["both called"],
    );

    // A key that is not there is noticed before any work.
    let endpoint = [
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--label-model",
        "m",
        "--endpoint-key-variable",
        "NO_SUCH_KEY",
    ];
    let mut arguments = vec!["features", model, dictionaries, "--corpus", corpus, "--out", out];
    arguments.extend(endpoint);
    refuses(&arguments, 2, &["NO_SUCH_KEY"]);
    let output = glassbox()
        .args([
            "evaluate",
            model,
            dictionaries,
            "--corpus",
            corpus,
            "--require",
            "fve=1",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("choose among"), "{message}");
}

#[test]
fn nothing_that_is_read_is_written_over_and_nothing_of_others_is_mixed_with_a_census() {
    let folder = Folder::new();
    let before = fs::read(&folder.corpus).unwrap();
    let evaluate = |out: &str| {
        let single = folder.path("dictionaries/layer-1");
        let arguments = [
            "evaluate",
            &folder.model,
            single.to_str().unwrap(),
            "--corpus",
            &folder.corpus,
            "--out",
            out,
        ];
        refuses(&arguments, 2, &["which this command reads"]);
    };
    evaluate(&folder.corpus);
    for inside in ["model/config.json", "dictionaries/layer-1/dictionary.safetensors"] {
        let file = folder.path(inside);
        if file.is_file() {
            evaluate(file.to_str().unwrap());
        }
    }
    assert_eq!(fs::read(&folder.corpus).unwrap(), before);

    let features = |out: &Path, more: &[&str], words: &[&str]| {
        let arguments = [
            &[
                "features",
                &folder.model,
                &folder.dictionaries,
                "--corpus",
                &folder.corpus,
                "--out",
            ][..],
            &[out.to_str().unwrap()],
            more,
        ]
        .concat();
        refuses(&arguments, 2, words);
    };
    features(&folder.path(""), &[], &["no census"]);
    let theirs = folder.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("thesis.txt"), "all of it").unwrap();
    features(&theirs, &[], &["thesis.txt", "no census"]);
    // An endpoint that nobody answers at is noticed before the census.
    let out = folder.path("labelled");
    let endpoint = ["--endpoint", "http://127.0.0.1:9/v1", "--label-model", "none"];
    features(&out, &endpoint, &["did not answer", "nothing was begun"]);
    assert!(!out.exists());
}

#[test]
fn a_census_takes_the_place_of_an_earlier_one() {
    let folder = Folder::new();
    let out = folder.features("again", &[]);
    let page = fs::read(out.join("layer-0/index.html")).unwrap();
    fs::write(out.join("layer-0/index.html"), "cut").unwrap();
    folder.features("again", &[]);
    assert_eq!(fs::read(out.join("layer-0/index.html")).unwrap(), page);
}
