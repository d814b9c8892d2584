//! `extract`: what it writes and prints, what a stop leaves, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{glassbox, prints, prints_json, refuses, with_file_limit};

fn demo_model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model");
    path.display().to_string()
}

/// A folder with two files of JSON lines.
fn corpus(folder: &Path, documents: usize) -> String {
    let path = folder.join("corpus");
    fs::create_dir(&path).unwrap();
    for file in ["a.jsonl", "b.jsonl"] {
        let lines: String = (0..documents)
            .map(|i| {
                format!(
                    "{{\"text\": \"you win the {file} game {i} and lose the {} coin\"}}\n",
                    i % 7
                )
            })
            .collect();
        fs::write(path.join(file), lines).unwrap();
    }
    path.display().to_string()
}

fn out(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let text = path.display().to_string();
    (path, text)
}

#[test]
fn extract_writes_shards_and_says_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (model, corpus) = (demo_model(), corpus(folder.path(), 40));
    let (path, out) = out(folder.path(), "out");
    let arguments = [
        "extract",
        &model,
        "--corpus",
        &corpus,
        "--sites",
        "blocks.{1..3}.hook_resid_post",
        "--tokens",
        "700",
        "--held-out",
        "0.2",
        "--context",
        "32",
        "--out",
        &out,
    ];
    let summary = prints_json(&[&arguments[..], &["--json"]].concat());
    assert_eq!(summary["tokens"], 700);
    assert_eq!(summary["sites"].as_array().unwrap().len(), 3);
    assert_eq!(summary["sites"][0]["site"], "blocks.1.hook_resid_post");
    assert_eq!(summary["rows"]["bos"], "every_document");
    assert!(summary["held_out_tokens"].as_u64().unwrap() > 0);
    assert!(path.join("shard-00000.safetensors").is_file());
    refuses(&arguments, 2, &["already holds activations", "--resume"]);
    let text = prints(&[&arguments[..], &["--resume"]].concat());
    assert!(
        text.contains("blocks.3.hook_resid_post") && text.contains("700, of which"),
        "{text}"
    );
    let shown = prints_json(&["inspect", &out, "--json"]);
    assert_eq!(
        (shown["kind"].as_str(), shown["usable"].as_bool()),
        (Some("activations"), Some(true))
    );
    fs::write(path.join("shard-00000.safetensors"), "short").unwrap();
    let output = glassbox().args(["inspect", &out]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
#[cfg(unix)]
fn a_full_disk_ends_with_3_and_a_resume_completes() {
    let folder = tempfile::tempdir().unwrap();
    let (model, corpus) = (demo_model(), corpus(folder.path(), 1500));
    let whole = out(folder.path(), "whole");
    let parts = out(folder.path(), "parts");
    let arguments = |out: &str| -> Vec<String> {
        [
            "extract",
            &model,
            "--corpus",
            &corpus,
            "--sites",
            "blocks.*.hook_resid_post",
            "--dtype",
            "f32",
            "--shard-size",
            "1",
            "--tokens",
            "4000",
            "--out",
            out,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    prints(&arguments(&whole.1));
    let limited = arguments(&parts.1);
    let limited: Vec<&str> = limited.iter().map(String::as_str).collect();
    let output = with_file_limit(900, &limited);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("continue with: glassbox extract") && stderr.contains("--resume"),
        "{stderr}"
    );
    prints(&[&limited[..], &["--resume"]].concat());
    for file in fs::read_dir(&whole.0).unwrap() {
        let name = file.unwrap().file_name();
        if name != ".lock" {
            assert_eq!(
                fs::read(whole.0.join(&name)).unwrap(),
                fs::read(parts.0.join(&name)).unwrap(),
                "{name:?}"
            );
        }
    }
}

#[test]
fn extract_refuses_what_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let (model, corpus) = (demo_model(), corpus(folder.path(), 5));
    let (_, out) = out(folder.path(), "out");
    let refuse = |extra: &[&str], words: &[&str]| {
        let base = ["extract", &model, "--out", &out];
        refuses(&[&base[..], extra].concat(), 2, words);
    };
    let site = ["--sites", "blocks.0.hook_resid_post"];
    refuse(
        &[&["--corpus", "/nowhere/text"][..], &site].concat(),
        &["/nowhere/text", "no such file or folder"],
    );
    refuse(&site, &["no corpus was given"]);
    refuse(
        &["--corpus", &corpus, "--sites", "blocks.{7..9}.hook_resid_post"],
        &["selects no site"],
    );
    refuse(
        &["--corpus", &corpus, "--sites", "blocks.0.attn.hook_pattern"],
        &["per pair of positions"],
    );
    refuse(
        &[&["--corpus", &corpus, "--min-characters", "9999"][..], &site].concat(),
        &["the corpus is empty", "of 10 documents"],
    );
    refuse(
        &[&["--corpus", &corpus, "--held-out", "2"][..], &site].concat(),
        &["held_out_share"],
    );
    let bad = folder.path().join("bad.txt");
    fs::write(&bad, b"caf\xe9").unwrap();
    refuse(
        &[&["--corpus", bad.to_str().unwrap()][..], &site].concat(),
        &["bad.txt", "not UTF-8 at byte 3"],
    );
}
