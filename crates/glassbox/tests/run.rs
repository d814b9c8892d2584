//! Whole runs of a small experiment: the same numbers again, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::experiment::{assert_same_results, write_dictionary, write_experiment};
use support::{change_text, is_one_message, names_in, prints, prints_json, refuses};
use tempfile::TempDir;

/// An experiment's folder with its scenario.
struct Experiment {
    folder: TempDir,
    scenario: PathBuf,
}

impl Experiment {
    fn new(trials: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenario = write_experiment(folder.path(), trials);
        Self { folder, scenario }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments<'a>(&'a self, out: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
        [&["run", text(&self.scenario), "--out", text(out)], rest].concat()
    }

    /// Runs to the end.
    fn run(&self, name: &str, rest: &[&str]) -> PathBuf {
        let out = self.path(name);
        prints(&self.arguments(&out, rest));
        out
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_prints_its_findings_and_where_the_report_lies() {
    let experiment = Experiment::new(1);
    let out = experiment.path("run");
    let printed = prints(&experiment.arguments(&out, &[]));
    assert!(
        printed.contains("percentile among controls") && printed.contains("L0-"),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("report: {}", out.join("report.html").display())),
        "{printed}"
    );
    let table = printed
        .lines()
        .skip_while(|line| !line.starts_with("feature"))
        .take_while(|line| !line.is_empty());
    assert!(table.clone().count() > 1);
    assert!(
        table.into_iter().all(|line| line.chars().count() <= 100),
        "{printed}"
    );
    assert!(
        fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("</html>")
    );

    // A finished run that is resumed says the same again, and touches no table.
    let before = support::experiment::results(&out);
    let again = prints_json(&experiment.arguments(&out, &["--resume", "--json"]));
    assert_eq!(before, support::experiment::results(&out));
    let features = again["features"].as_array().unwrap();
    assert_eq!(features.len(), 4);
    assert!(
        features
            .iter()
            .all(|row| row["q"].as_f64().is_some_and(|q| (0.0..=1.0).contains(&q)))
    );
    assert!(again["checks"].as_array().unwrap().len() > 3);
    assert_eq!(again["failed_checks"].as_array().unwrap().len(), 0);

    // Its tables and itself can be inspected, and its report written again.
    let found = prints_json(&["inspect", text(&out), "--json"]);
    assert_eq!(
        (&found["kind"], &found["complete"], &found["usable"]),
        (&"run".into(), &true.into(), &true.into())
    );
    let found = prints_json(&[
        "inspect",
        text(&out.join("causal.parquet")),
        "--json",
        "--rows",
        "2",
    ]);
    assert_eq!(
        (&found["table"], found["rows"].as_array().unwrap().len()),
        (&"causal".into(), 2)
    );
    assert!(prints(&["inspect", text(&out)]).contains("sweep     complete"));
    assert!(
        prints(&[
            "inspect",
            text(&out.join("trials.parquet").with_file_name("words.parquet"))
        ])
        .contains("log_odds")
    );
    let page = fs::read(out.join("report.html")).unwrap();
    fs::remove_file(out.join("report.html")).unwrap();
    assert_eq!(
        prints(&["report", text(&out)]),
        format!("{}\n", out.join("report.html").display())
    );
    assert_eq!(fs::read(out.join("report.html")).unwrap(), page);
    assert_eq!(
        prints_json(&["report", text(&out), "--json"])["missing_sections"],
        serde_json::json!([])
    );
}

#[test]
fn two_runs_are_the_same_at_any_number_of_threads() {
    let experiment = Experiment::new(2);
    let first = experiment.run("first", &["--threads", "1"]);
    assert_same_results(&first, &experiment.run("second", &["--threads", "2"]));
    assert_same_results(&first, &experiment.run("third", &["--threads", "3", "--quiet"]));
}

#[test]
fn a_pilot_says_what_the_whole_costs() {
    let experiment = Experiment::new(1);
    let printed = prints(&experiment.arguments(&experiment.path("pilot"), &["--pilot", "1"]));
    assert!(
        printed.contains("1 features") && printed.contains("time") && printed.contains("disk"),
        "{printed}"
    );
    let pilot =
        &prints_json(&experiment.arguments(&experiment.path("again"), &["--pilot", "1", "--json"]))["pilot"];
    assert_eq!(
        (pilot["pilot_features"].as_u64(), pilot["features"].as_u64()),
        (Some(1), Some(4))
    );
    assert!(
        pilot["trials"].as_u64() > pilot["pilot_trials"].as_u64(),
        "{pilot}"
    );
    refuses(
        &experiment.arguments(&experiment.path("none"), &["--pilot", "0"]),
        2,
        &["--pilot", "at least 1"],
    );
}

#[cfg(unix)]
mod interrupted {
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn spawn(arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_glassbox"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn signal(child: &Child, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", child.id())])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn message(child: Child) -> (ExitStatus, String) {
        let output = child.wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    /// Waits until some trials are on disk and others are still to come.
    fn wait_for_trials(child: &mut Child, run: &Path) {
        let since = Instant::now();
        while !run.join("trials").is_dir() || names_in(&run.join("trials")).len() < 3 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the run ended before it could be stopped"
            );
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "no trials within a minute"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn killed_at_any_moment_and_resumed_ends_the_same() {
        let experiment = Experiment::new(2);
        let since = Instant::now();
        let whole = experiment.run("whole", &[]);
        let duration = since.elapsed();
        let out = experiment.path("killed");
        // Each attempt gets a little further, so the kills fall at every stage.
        let mut kills = 0;
        for twentieths in 1..=20_u32 {
            let mut child = spawn(&experiment.arguments(&out, &["--resume", "--quiet"]));
            std::thread::sleep(duration * twentieths / 20);
            let ended = child.try_wait().unwrap();
            if ended.is_some_and(|status| status.success()) {
                break;
            }
            assert!(ended.is_none(), "{}", message(child).1);
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(kills > 0);
        prints(&experiment.arguments(&out, &["--resume"]));
        assert_same_results(&whole, &out);
    }

    #[test]
    fn a_signal_stops_at_the_next_unit_and_says_how_to_go_on() {
        let experiment = Experiment::new(40);
        let out = experiment.path("run");
        for name in ["TERM", "INT"] {
            let mut child = spawn(&experiment.arguments(&out, &["--resume"]));
            // A run that goes on has trials already; the manifest is written again when it begins.
            wait_for_trials(&mut child, &out);
            std::thread::sleep(Duration::from_millis(50));
            signal(&child, name);
            let (status, stderr) = message(child);
            assert_eq!(status.code(), Some(3), "{stderr}");
            let again = format!(
                "glassbox run {} --out {} --resume",
                experiment.scenario.display(),
                out.display()
            );
            is_one_message(
                &stderr,
                &[
                    "stopped during sweep",
                    "units complete",
                    "hint: continue with: ",
                    &again,
                ],
            );
        }
        let resume = experiment.arguments(&out, &[]);
        refuses(&resume, 2, &["already holds a run", "--resume"]);
        let found = prints_json(&["inspect", text(&out), "--json"]);
        assert_eq!(
            (&found["complete"], &found["usable"]),
            (&false.into(), &true.into())
        );
        // A report of what is there so far can be written.
        let report = prints_json(&["report", text(&out), "--json"]);
        assert!(!report["missing_sections"].as_array().unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_can_be_resumed_from() {
        let experiment = Experiment::new(2);
        let whole = experiment.run("whole", &[]);
        let out = experiment.path("full");
        // Small files fit, the table of pathways does not.
        let output = support::with_file_limit(16, &experiment.arguments(&out, &["--quiet"]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        is_one_message(
            &stderr,
            &["the disk is full", ".parquet", "free some space", "--resume"],
        );
        assert!(!out.join("report.html").exists());
        prints(&experiment.arguments(&out, &["--resume"]));
        assert_same_results(&whole, &out);
    }

    #[test]
    fn a_report_that_does_not_fit_is_simply_written_again() {
        let experiment = Experiment::new(1);
        let out = experiment.run("run", &[]);
        let page = fs::read(out.join("report.html")).unwrap();
        let output = support::with_file_limit(1, &["report", text(&out)]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        is_one_message(
            &stderr,
            &["the disk is full", "report.html", "run the command again"],
        );
        assert_eq!(
            fs::read(out.join("report.html")).unwrap(),
            page,
            "the older report is still there"
        );
        assert!(
            names_in(&out).iter().all(|name| !name.starts_with(".tmp")),
            "{:?}",
            names_in(&out)
        );
    }

    #[test]
    fn two_processes_do_not_write_into_one_run() {
        let experiment = Experiment::new(40);
        let out = experiment.path("run");
        let mut child = spawn(&experiment.arguments(&out, &[]));
        wait_for_trials(&mut child, &out);
        refuses(
            &experiment.arguments(&out, &["--resume"]),
            2,
            &["in use by another process", "process"],
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_disk_budget_that_is_too_small_can_be_raised() {
    let experiment = Experiment::new(1);
    let whole = experiment.run("whole", &[]);
    let out = experiment.path("run");
    let original = "batch_rows = 16";
    let small = format!("{original}\ndisk_budget_bytes = 60000");
    change_text(&experiment.scenario, original, &small);
    refuses(
        &experiment.arguments(&out, &["--quiet"]),
        3,
        &[
            "needs about",
            "the disk budget",
            "hint: continue with",
            "--resume",
        ],
    );
    change_text(&experiment.scenario, &small, original);
    prints(&experiment.arguments(&out, &["--resume"]));
    assert_same_results(&whole, &out);
}

#[test]
fn a_damaged_run_is_named_and_mended() {
    let experiment = Experiment::new(1);
    let (whole, out) = (experiment.run("whole", &[]), experiment.run("run", &[]));
    fs::write(out.join("causal.parquet"), "damaged").unwrap();
    let output = support::glassbox()
        .args(["inspect", text(&out)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    is_one_message(
        &String::from_utf8(output.stderr).unwrap(),
        &["causal.parquet", "is damaged", "--resume"],
    );
    prints(&experiment.arguments(&out, &["--resume"]));
    assert_same_results(&whole, &out);
}

#[test]
fn settings_that_differ_are_not_resumed() {
    let experiment = Experiment::new(1);
    let out = experiment.run("run", &[]);
    change_text(&experiment.scenario, "max_new_tokens = 6", "max_new_tokens = 7");
    refuses(
        &experiment.arguments(&out, &["--resume"]),
        2,
        &["config.sweep.max_new_tokens", "stored 6, now 7", "another folder"],
    );
}

#[test]
fn folders_that_cannot_hold_a_run() {
    let experiment = Experiment::new(1);
    let out = experiment.run("run", &[]);
    refuses(
        &experiment.arguments(&out, &[]),
        2,
        &[text(&out), "already holds a run", "--resume"],
    );
    let other = experiment.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "x").unwrap();
    refuses(
        &experiment.arguments(&other, &[]),
        2,
        &[text(&other), "thesis.tex", "empty folder"],
    );
    assert_eq!(names_in(&other), ["thesis.tex"]);
    let below = other.join("thesis.tex/run");
    refuses(
        &experiment.arguments(&below, &[]),
        2,
        &["thesis.tex", "cannot write"],
    );
    refuses(
        &["report", text(&other)],
        2,
        &[text(&other), "not a run directory", "manifest.json"],
    );
}

#[test]
fn scenarios_with_mistakes() {
    let experiment = Experiment::new(1);
    let out = experiment.path("run");
    let original = fs::read_to_string(&experiment.scenario).unwrap();
    let refused = |from: &str, to: &str, words: &[&str]| {
        fs::write(&experiment.scenario, original.replacen(from, to, 1)).unwrap();
        refuses(&experiment.arguments(&out, &["--quiet"]), 2, words);
        assert!(!out.exists(), "{from} → {to}");
    };
    refused(
        "top_per_layer",
        "top_per_later",
        &["scenario.toml", "top_per_later", "top_per_layer"],
    );
    refused("trials = 1", "trials = one", &["scenario.toml", "trials = one"]);
    refused(
        "trials = 1",
        "trials = 0",
        &["scenario.toml", "sweep.trials is 0"],
    );
    refused(
        "target = \"low\"",
        "target = \"lo\"",
        &["scenario.toml", "outcome.target 'lo'", "low, high"],
    );
    refused("'w\\d+$'", "'w\\d+($'", &["last-word", "rule 2"]);
    refused(
        "calm-sweep.jsonl",
        "calm-swept.jsonl",
        &["calm-swept.jsonl", "cannot be read"],
    );
    refused("model = \"model\"", "model = \"modell\"", &["modell"]);
    refused("\"dictionaries\"", "\"dictionary\"", &["dictionary"]);
    refused("\"dictionaries\"", "\"prompts\"", &["prompts", "no dictionaries"]);
    let missing = experiment.path("nowhere.toml");
    refuses(
        &["run", text(&missing), "--out", text(&out)],
        2,
        &["nowhere.toml", "cannot be read", "scenario TOML"],
    );
}

#[test]
fn inputs_that_do_not_fit_together() {
    let experiment = Experiment::new(1);
    let out = experiment.path("run");
    let refused = |words: &[&str]| {
        refuses(&experiment.arguments(&out, &["--quiet"]), 2, words);
        assert!(!out.exists());
    };
    let prompts = experiment.path("prompts/calm-sweep.jsonl");
    let lines = fs::read_to_string(&prompts).unwrap();
    fs::write(&prompts, lines.replacen("sweep-1", "sweep-0", 1)).unwrap();
    refused(&["calm-sweep.jsonl:2", "sweep-0", "twice"]);
    fs::write(&prompts, lines).unwrap();
    let dictionary = experiment.path("dictionaries/layer-1");
    write_dictionary(&dictionary, 1, 48);
    refused(&["blocks.1.hook_resid_post", "48", "32"]);
    write_dictionary(&dictionary, 1, 32);
    fs::remove_file(experiment.path("model/tokenizer.json")).unwrap();
    refused(&["tokenizer.json"]);
    refuses(&["inspect", text(&experiment.scenario)], 2, &["tokenizer.json"]);
}

#[test]
fn a_prompt_longer_than_the_context_is_named() {
    let experiment = Experiment::new(1);
    let long = serde_json::json!({ "id": "long", "text": vec!["w5"; 80].join(" ") });
    fs::write(experiment.path("prompts/calm-sweep.jsonl"), format!("{long}\n")).unwrap();
    let out = experiment.path("run");
    refuses(&experiment.arguments(&out, &["--quiet"]), 2, &["81", "64"]);
}
