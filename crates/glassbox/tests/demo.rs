//! The shipped model: the verb that unpacks and runs it, and runs of a scenario cut down to seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::experiment::assert_same_results;
use support::{change_text, glassbox, is_one_message, names_in, prints, prints_json, refuses};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/demo")
        .canonicalize()
        .unwrap()
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_glassbox"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The shipped scenario with few features, prompts and trials.
fn small_scenario() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.toml");
    let original = fs::read_to_string(assets().join("scenario.toml")).unwrap();
    // The settings of every stage are replaced, the rest stays.
    let settings = original.find("[select]").unwrap();
    let small = "
[select]
top_per_layer = 1
[sweep]
trials = 2
max_prompts = 3
max_new_tokens = 60
temperature = 0.8
batch_rows = 64
controls_per_feature = 1
[pathways]
sources = 1
second_wave = 1
control_sources = 1
trials = 1
max_prompts = 3
";
    fs::write(&scenario, format!("{}{small}", &original[..settings])).unwrap();
    for (from, to) in [("\"model\"", "model"), ("\"dictionaries\"", "dictionaries")] {
        change_text(&scenario, from, &format!("{:?}", assets().join(to)));
    }
    for name in ["safe", "risky", "safe_sweep", "risky_sweep"] {
        let prompts = assets().join(format!("prompts/{name}.jsonl"));
        change_text(
            &scenario,
            &format!("\"prompts/{name}.jsonl\""),
            &format!("{prompts:?}"),
        );
    }
    (folder, scenario)
}

#[test]
fn the_shipped_scenario_is_usable_and_its_cost_is_known_before_it_runs() {
    let scenario = assets().join("scenario.toml");
    let found = prints_json(&["inspect", text(&scenario), "--json"]);
    assert_eq!(
        (&found["kind"], &found["usable"], &found["held_out"]),
        (&"scenario".into(), &true.into(), &true.into())
    );
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    let plan = prints_json(&["run", text(&scenario), "--out", text(&run), "--dry-run", "--json"]);
    assert!(
        plan["trials"].as_u64().unwrap() > 1000 && plan["tokens_per_second"].as_f64().unwrap() > 0.0,
        "{plan}"
    );
    let printed = prints(&["run", text(&scenario), "--out", text(&run), "--dry-run"]);
    assert!(
        ["trials", "time", "memory", "disk"]
            .iter()
            .all(|word| printed.contains(word)),
        "{printed}"
    );
    assert!(!run.exists(), "a dry run writes nothing");
}

#[test]
fn the_shipped_model_decides() {
    let line = fs::read_to_string(assets().join("prompts/safe_sweep.jsonl")).unwrap();
    let prompt: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let model = assets().join("model");
    let flags = [
        "--trials",
        "8",
        "--temperature",
        "0.8",
        "--max-new-tokens",
        "90",
        "--json",
    ];
    let generate = [
        "generate",
        "--model",
        text(&model),
        "--prompt",
        prompt["text"].as_str().unwrap(),
    ];
    let described = prints_json(&[&generate[..], &flags].concat());
    let trials = described["trials"].as_array().unwrap();
    let decided = trials
        .iter()
        .filter(|trial| trial["text"].as_str().unwrap().contains("Final decision: "));
    assert!(decided.count() >= 7, "{described}");
}

#[test]
fn runs_of_the_shipped_model_are_the_same_also_when_killed_and_resumed() {
    let (folder, scenario) = small_scenario();
    let out = |name: &str| folder.path().join(name);
    let arguments = |out: &str, resume: bool| -> Vec<String> {
        let mut arguments: Vec<String> = ["run", text(&scenario), "--out", out, "--quiet", "--json"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(resume.then(|| "--resume".to_owned()));
        arguments
    };
    let since = Instant::now();
    let first = out("first");
    // Few trials may well fail a check of the science; they must still give the same tables.
    let finish = |out: &Path, resume: bool| {
        let output = glassbox().args(arguments(text(out), resume)).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{stderr}");
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            found["failed_checks"] != serde_json::json!([]),
            output.status.code() == Some(1)
        );
    };
    finish(&first, false);
    let duration = since.elapsed();

    let killed = out("killed");
    let mut kills = 0;
    for fifths in 1..=4_u32 {
        let resume = arguments(text(&killed), true);
        let mut child = spawn(&resume.iter().map(String::as_str).collect::<Vec<_>>());
        std::thread::sleep(duration * fifths / 5);
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    finish(&killed, true);
    assert_same_results(&first, &killed);
}

#[test]
fn demo_unpacks_the_shipped_files_and_can_be_killed_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("my demo");
    let (shipped, run) = (out.join("shipped"), out.join("run"));
    let demo = ["demo", "--out", text(&out), "--resume"];
    // Killed while it unpacks, and a little later.
    for milliseconds in [3, 30, 300] {
        let mut child = spawn(&demo);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let child = spawn(&demo);
    let since = Instant::now();
    while !run.join("trials").is_dir() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "no trials within a minute"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(names_in(&out), ["run", "shipped"]);
    for name in [
        "scenario.toml",
        "model/model.safetensors",
        "prompts/risky_sweep.jsonl",
    ] {
        assert!(
            fs::read(shipped.join(name)).unwrap() == fs::read(assets().join(name)).unwrap(),
            "{name}"
        );
    }
    refuses(
        &["demo", "--out", text(&out)],
        2,
        &["already holds an unfinished demo", "--resume", "--out"],
    );
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", child.id())])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let again = format!(
        "hint: continue with: glassbox demo --out '{}' --resume",
        out.display()
    );
    is_one_message(&stderr, &["stopped during sweep", &again]);

    // A file that was changed is neither used nor written over.
    fs::write(shipped.join("scenario.toml"), "name = 'mine'").unwrap();
    refuses(
        &demo,
        2,
        &["scenario.toml was changed", "glassbox run", "remove the file"],
    );
    assert_eq!(
        fs::read_to_string(shipped.join("scenario.toml")).unwrap(),
        "name = 'mine'"
    );
}

#[test]
fn demo_refuses_folders_that_are_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    refuses(
        &["demo", "--out", text(folder.path())],
        2,
        &[text(folder.path()), "thesis.tex", "--out"],
    );
    assert_eq!(names_in(folder.path()), ["thesis.tex"]);
    for out in ["thesis.tex", "thesis.tex/demo"] {
        let out = folder.path().join(out);
        refuses(&["demo", "--out", text(&out)], 2, &["thesis.tex", "cannot write"]);
    }
}
