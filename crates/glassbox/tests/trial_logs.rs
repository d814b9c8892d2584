//! `audit`, `causal`, `words` and `import` on trial logs: the study's own where they are at hand, made-up ones with the same
//! defects always.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::trial_logs::{DoseScan, published, six_conditions};
use support::{glassbox, refuses};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the program, which must end with this code and without an error; what it printed.
fn ends(code: i32, arguments: &[&str]) -> String {
    let output = glassbox().args(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(
        !stderr.contains("error:") && !stderr.contains("panicked"),
        "{stderr}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn ends_json(code: i32, arguments: &[&str]) -> Value {
    serde_json::from_str(&ends(code, &[arguments, &["--json"]].concat())).unwrap()
}

/// The made-up scan, and the published one where it is at hand.
fn dose_scans(folder: &Path) -> Vec<DoseScan> {
    let mut scans = vec![DoseScan::twin(folder)];
    scans.extend(DoseScan::published());
    scans
}

fn finding<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind} in {findings:#?}"))
}

#[test]
fn the_audit_finds_the_surplus_rows_and_names_the_features() {
    let folder = tempfile::tempdir().unwrap();
    for scan in dose_scans(folder.path()) {
        let report = ends_json(0, &["audit", text(&scan.path)]);
        let totals = &report["totals"];
        assert_eq!(totals["rows"], 13_782);
        assert_eq!(totals["trials"], 12_600);
        assert_eq!(totals["surplus_rows"], 1_182);
        let plan = json!({"cells": 420, "per_cell": 30, "stated": false, "trials": 12_600});
        assert_eq!(totals["planned"], plan);
        let repeated = finding(&report, "repeated_trials");
        let examples = repeated["examples"].as_array().unwrap();
        let names: Vec<(&str, u64)> = examples
            .iter()
            .map(|example| {
                (
                    example["name"].as_str().unwrap(),
                    example["count"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(names, scan.repeated);
        let notes: Vec<&str> = examples
            .iter()
            .map(|example| example["note"].as_str().unwrap())
            .collect();
        assert!(
            notes[0].starts_with("doubled, 840 rows") && notes[1].starts_with("doubled"),
            "{notes:?}"
        );
        assert!(
            notes[2].starts_with("partly: 1") && notes[2].contains("762 rows"),
            "{notes:?}"
        );
        let page = ends(0, &["audit", text(&scan.path)]);
        assert!(page.contains("1,182 surplus rows of 13,782"), "{page}");
        assert!(
            page.contains(scan.repeated[2].0) && page.contains("420 cells × 30"),
            "{page}"
        );
    }
}

#[test]
fn parsers_are_compared_with_and_without_repeats() {
    let folder = tempfile::tempdir().unwrap();
    for scan in dose_scans(folder.path()) {
        let arguments = ["audit", text(&scan.path), "--compare-parsers", "scan,b-complete"];
        let report = ends_json(0, &arguments);
        let comparison = &report["comparison"];
        assert_eq!(comparison["parsers"][0]["id"], "scan@1");
        assert_eq!(comparison["parsers"][1]["id"], "b-complete@1");
        assert_eq!(comparison["kept"], "the first in the order of files and rows");
        let sets = comparison["sets"].as_array().unwrap();
        for (set, rows, responses, disagree) in [
            (&sets[0], "all rows", 13_782, scan.disagree.0),
            (&sets[1], "first of each trial", 12_600, scan.disagree.1),
        ] {
            assert_eq!(set["rows"], rows);
            assert_eq!(set["responses"], responses);
            assert_eq!(set["disagree"], disagree);
            let cells = set["confusion"].as_array().unwrap();
            let sum: u64 = cells
                .iter()
                .flat_map(|row| row.as_array().unwrap())
                .map(|n| n.as_u64().unwrap())
                .sum();
            assert_eq!(sum, responses);
        }
        let flips = comparison["flips"].as_array().unwrap();
        assert_eq!(flips.len(), 2);
        assert_eq!(flips[1]["flipped"], 0);
        let page = ends(0, &arguments);
        assert!(
            page.contains("the first in the order of files and rows was kept"),
            "{page}"
        );
        if scan.path.file_name().unwrap() != "dose_scan.jsonl" {
            // The two figures that the study's own files give.
            assert!(
                page.contains("4,394 of 13,782 outcomes differ (31.9 %)"),
                "{page}"
            );
            assert!(
                page.contains("4,084 of 12,600 outcomes differ (32.4 %)"),
                "{page}"
            );
        }
    }
}

#[test]
fn no_dose_moves_the_decision_beyond_chance() {
    let folder = tempfile::tempdir().unwrap();
    for scan in dose_scans(folder.path()) {
        let found = ends_json(0, &["causal", text(&scan.path)]);
        assert_eq!(found["verdict"], "no_effect", "{}", found["words"]);
        assert_eq!(
            (&found["trials"], &found["features"]),
            (&json!(12_600), &json!(30))
        );
        assert_eq!(found["repeats"]["repeats"], 1_182);
        let stop = &found["measures"][0];
        assert_eq!(
            (&stop["measure"], &stop["question"]),
            (&json!("stop"), &json!("doses"))
        );
        assert_eq!(stop["found"], json!([]));
        let spread = &stop["spread"];
        let of = |key: &str| spread[key].as_f64().unwrap();
        assert!(of("variance_low") < 1.0 && of("variance_high") > 1.0, "{spread}");
        let caution = found["cautions"][0].as_str().unwrap();
        assert!(
            caution.contains("1182") && caution.contains(scan.repeated[0].0),
            "{caution}"
        );
        // With other choices of what counts, too.
        for choice in ["last", "all"] {
            let other = ends_json(0, &["causal", text(&scan.path), "--duplicates", choice]);
            assert_eq!(other["verdict"], "no_effect", "{choice}: {}", other["words"]);
            assert_eq!(other["trials"], if choice == "all" { 13_782 } else { 12_600 });
        }
        let words = [
            "1182 rows",
            scan.repeated[0].0,
            scan.repeated[1].0,
            "--duplicates first",
        ];
        refuses(&["causal", text(&scan.path), "--duplicates", "refuse"], 2, &words);
        let page = ends(0, &["causal", text(&scan.path)]);
        assert!(page.starts_with("no_effect: No effect beyond chance"), "{page}");
    }
}

#[test]
fn no_word_of_the_scan_goes_with_the_dose() {
    let folder = tempfile::tempdir().unwrap();
    for scan in dose_scans(folder.path()) {
        let found = ends_json(1, &["words", text(&scan.path)]);
        assert_eq!(found["verdict"], "cannot_tell", "{}", found["words"]);
        assert_eq!(
            (&found["responses"], &found["repeats"]["repeats"]),
            (&json!(12_600), &json!(1_182))
        );
        let comparisons = found["comparisons"].as_array().unwrap();
        assert_eq!(comparisons.len(), 1);
        assert_eq!(comparisons[0]["comparison"], "high_vs_low_doses");
        assert_eq!(comparisons[0]["found"], 0);
    }
}

/// The study's file of 392 features whose every rate is 0, made up and published.
#[test]
fn rates_that_are_all_zero_tell_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let twin = folder.path().join("allzero.json");
    let rows: Vec<Value> = (0..392)
        .map(|feature| {
            json!({
                "layer": 25 + 5 * (feature % 2), "feature_id": feature, "stop_rate_safe_safe": 0.0, "stop_rate_safe_risky": 0.0,
                "stop_rate_risky_safe": 0.0, "stop_rate_risky_risky": 0.0
            })
        })
        .collect();
    fs::write(&twin, Value::Array(rows).to_string()).unwrap();
    let mut files = vec![twin];
    files.extend(published("exp2_binary_causality_392features_allzero.json"));
    for file in files {
        let found = ends_json(1, &["causal", text(&file)]);
        assert_eq!(found["verdict"], "cannot_tell");
        assert_eq!(found["features"], 392);
        let words = found["words"].as_str().unwrap();
        assert!(
            words.contains("All 1568 stated stop rates are exactly 0"),
            "{words}"
        );
        let report = ends_json(1, &["audit", text(&file)]);
        assert_eq!(report["support"]["supported"], false);
        let degenerate = finding(&report, "degenerate_outcomes");
        assert_eq!(
            (&degenerate["severity"], &degenerate["count"]),
            (&json!("error"), &json!(1_568))
        );
        refuses(&["words", text(&file)], 2, &["no row holds a response"]);
    }
}

fn same(_: u32, _: &str) -> (&'static str, f64) {
    ("well", 0.3)
}

#[test]
fn each_verdict_has_its_name_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("responses.json");
    let shifted = |condition: &str| if condition.ends_with("baseline") { 0.3 } else { 0.6 };
    six_conditions(&log, 60, 100, 1, |_, condition| shifted(condition), same);
    let found = ends_json(0, &["causal", text(&log), "--criterion", "study-scan"]);
    assert_eq!(found["verdict"], "shared_shift_only", "{}", found["words"]);
    assert_eq!(found["reference"], "baseline");
    // What the study's own criterion makes of the same.
    assert!(
        found["study"]["causal"].as_u64().unwrap() > 55,
        "{}",
        found["study"]["causal"]
    );
    let page = ends(0, &["causal", text(&log), "--criterion", "study-scan"]);
    assert!(
        page.starts_with("shared_shift_only: ") && page.contains("The study's own criterion"),
        "{page}"
    );

    let acts = |feature: u32, condition: &str| match (feature, condition.ends_with("risky_patch")) {
        (3, true) => 0.1,
        _ => shifted(condition),
    };
    six_conditions(&log, 20, 60, 2, acts, same);
    let found = ends_json(0, &["causal", text(&log)]);
    assert_eq!(found["verdict"], "specific_effect", "{}", found["words"]);
    assert_eq!(found["measures"][0]["found"], json!(["L5-3"]));

    six_conditions(&log, 60, 100, 3, |_, _| 0.4, same);
    assert_eq!(ends_json(0, &["causal", text(&log)])["verdict"], "no_effect");
    six_conditions(&log, 2, 12, 4, |_, _| 0.4, same);
    assert_eq!(ends_json(1, &["causal", text(&log)])["verdict"], "cannot_tell");
}

#[test]
fn a_word_that_a_value_adds_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, table) = (
        folder.path().join("responses.json"),
        folder.path().join("words.parquet"),
    );
    let word = |feature: u32, condition: &str| match (feature, condition) {
        (3, "risky_with_risky_patch") => ("jackpot", 0.6),
        _ => ("jackpot", 0.1),
    };
    six_conditions(&log, 10, 60, 5, |_, _| 0.4, word);
    let found = ends_json(0, &["words", text(&log), "--out", text(&table)]);
    assert_eq!(found["verdict"], "specific_effect", "{}", found["words"]);
    let listed: Vec<&Value> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["comparison"] == "value_b_vs_value_a" && row["q"].as_f64().unwrap() <= 0.05)
        .collect();
    // The one word replaces the other.
    let names: Vec<(&str, &str)> = listed
        .iter()
        .map(|row| (row["word"].as_str().unwrap(), row["change"].as_str().unwrap()))
        .collect();
    assert!(
        names.contains(&("jackpot", "added")) && names.contains(&("enough", "removed")),
        "{names:?}"
    );
    assert!(
        listed
            .iter()
            .all(|row| row["feature"] == 3 && row["prompt"] == "risky"),
        "{listed:?}"
    );
    let inspected = ends(0, &["inspect", text(&table)]);
    assert!(inspected.contains("log_words"), "{inspected}");
    for view in ["frequency", "tf-idf"] {
        let page = ends(0, &["words", text(&log), "--view", view]);
        assert!(page.contains("jackpot") || page.contains("enough"), "{page}");
    }
    // The study's method lists words and corrects for nothing: it is no verdict.
    let study = ends_json(
        1,
        &["words", text(&log), "--method", "study", "--baseline", "own"],
    );
    assert_eq!(study["verdict"], "cannot_tell");
}

#[test]
fn an_import_says_what_the_logs_say() {
    let folder = tempfile::tempdir().unwrap();
    let scan = DoseScan::twin(folder.path());
    let imported = folder.path().join("imported");
    ends(0, &["import", text(&scan.path), "--out", text(&imported)]);
    let tables = folder.path().join("tables");
    let of = |path: &Path| ends_json(0, &["causal", text(path), "--out", text(&tables)]);
    let (from_log, from_import) = (of(&scan.path), of(&imported));
    assert_eq!(from_log, from_import);
    let inspected = ends(0, &["inspect", text(&tables.join("doses.parquet"))]);
    assert!(inspected.contains("log_doses"), "{inspected}");
    let words = |path: &Path| ends_json(1, &["words", text(path)]);
    assert_eq!(words(&scan.path), words(&imported));
}

/// Damage to one row of a log: what is written, and what must be said of it.
#[test]
fn damage_is_named_and_the_rest_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.json");
    six_conditions(&whole, 12, 40, 6, |_, _| 0.4, same);
    let whole = fs::read_to_string(&whole).unwrap();
    let rows: Vec<&str> = whole
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| line.trim_end_matches(','))
        .collect();
    let lines = |change: &dyn Fn(&str) -> Vec<u8>| {
        let mut bytes = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            bytes.extend(if number == 6 {
                change(row)
            } else {
                row.as_bytes().to_vec()
            });
            bytes.push(b'\n');
        }
        bytes
    };
    let offset: usize = rows[..6].iter().map(|row| row.len() + 1).sum();
    let at_row = format!("row 7 at byte {offset}: ");
    let latin = |row: &str| {
        let mut bytes = row.as_bytes().to_vec();
        let at = row.find("I ").unwrap();
        bytes[at] = 0xe9;
        bytes
    };
    let cases: [(&str, Vec<u8>, String); 7] = [
        (
            "truncated.json",
            whole.as_bytes()[..whole.len() - 40].to_vec(),
            format!("row {} at byte", rows.len()),
        ),
        (
            "type.jsonl",
            lines(&|row| row.replace("\"trial\": 6", "\"trial\": [6]").into()),
            at_row.clone(),
        ),
        (
            "feature.jsonl",
            lines(&|row| row.replace("\"L5-0\"", "17").into()),
            at_row.clone(),
        ),
        (
            "key.jsonl",
            lines(&|row| row.replace("\"condition\"", "\"setting\"").into()),
            at_row.clone(),
        ),
        (
            "syntax.jsonl",
            lines(&|row| row.replace("\"trial\":", "\"trial\"").into()),
            at_row.clone(),
        ),
        ("latin.jsonl", lines(&latin), at_row.clone()),
        (
            "huge.jsonl",
            lines(&|row| row.replace("I ", &"x".repeat(70 << 20)).into()),
            at_row,
        ),
    ];
    for (name, bytes, place) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let report = ends_json(0, &["audit", text(&path)]);
        assert_eq!(report["totals"]["trials"], rows.len() as u64 - 1, "{name}");
        let page = ends(0, &["audit", text(&path)])
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(page.contains(&place) && page.contains(name), "{name}: {page}");
        for (verb, code) in [("causal", 0), ("words", 1)] {
            let page = ends(code, &[verb, text(&path)]);
            let caution = page
                .lines()
                .find(|line| line.contains("cannot be used, the first: "))
                .unwrap_or_else(|| panic!("{name}: {page}"));
            assert!(caution.contains(&place) && caution.contains(name), "{caution}");
            let found = ends_json(code, &[verb, text(&path)]);
            assert_eq!(found["unusable_rows"], 1, "{verb} {name}");
            let count = &found[if verb == "causal" { "trials" } else { "responses" }];
            assert_eq!(count, rows.len() as u64 - 1, "{verb} {name}");
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn nothing_to_read_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let file = |name: &str, contents: &str| {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let (blank, none, other) = (
        file("blank.json", ""),
        file("none.json", "[]"),
        file("other.json", r#"{"loss": [1, 2]}"#),
    );
    for verb in ["audit", "causal", "words"] {
        refuses(&[verb, "nowhere/logs"], 2, &["nowhere/logs", "No such file"]);
        refuses(&[verb, text(&empty)], 2, &[text(&empty), "an empty folder"]);
        refuses(&[verb], 2, &["required"]);
    }
    for (path, what) in [
        (&blank, "no rows"),
        (&none, "the array is empty"),
        (&other, "loss"),
    ] {
        for verb in ["causal", "words"] {
            refuses(&[verb, text(path)], 2, &["no row holds", text(path), what]);
        }
        // An audit can be made of it: it finds nothing that supports an analysis.
        let page = ends(1, &["audit", text(path)]);
        assert!(page.contains("do NOT support") && page.contains(what), "{page}");
    }
    // One path that is not there, among others: the others are read, and it is named.
    let log = folder.path().join("responses.json");
    six_conditions(&log, 2, 12, 7, |_, _| 0.4, same);
    for verb in ["causal", "words"] {
        let page = ends(1, &[verb, text(&log), "nowhere/logs"]);
        assert!(
            page.contains("caution: nowhere/logs is not read: No such file"),
            "{page}"
        );
    }
}

#[test]
fn choices_that_do_not_exist_are_refused_with_those_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("responses.json");
    six_conditions(&log, 2, 12, 8, |_, _| 0.4, same);
    let log = text(&log);
    for (arguments, words) in [
        (
            ["audit", log, "--compare-parsers", "scan"],
            ["two parsers, not 1", "scan,b-complete"],
        ),
        (
            ["audit", log, "--compare-parsers", "scan,scam"],
            ["scam", "b-complete"],
        ),
        (["audit", log, "--echo", "("], ["--echo", "regex"]),
        (["causal", log, "--parser", "nothing"], ["nothing", "b-reparse"]),
        (["causal", log, "--outcome", "quit"], ["quit", "bet>=20"]),
        (["causal", log, "--criterion", "mine"], ["mine", "study-reparse"]),
        (["causal", log, "--duplicates", "some"], ["some", "refuse"]),
        (["causal", log, "--baseline", "mean"], ["mean", "pooled or own"]),
        (["causal", log, "--alpha", "2"], ["--alpha is 2", "less than 1"]),
        (
            ["causal", log, "--smallest-effect", "nan"],
            ["--smallest-effect", "more than 0"],
        ),
        (
            ["words", log, "--outcome", "amount"],
            ["--outcome is amount", "label:NAME"],
        ),
        (["words", log, "--pattern", "("], ["(", "regular expression"]),
        (["words", log, "--method", "chi"], ["chi", "log-odds or study"]),
        (
            ["words", log, "--tokenizer", "nowhere"],
            ["nowhere", "tokenizer.json"],
        ),
        (["words", log, "--prior", "0"], ["--prior is 0", "positive"]),
    ] {
        refuses(&arguments, 2, &words);
    }
}

#[test]
fn pages_are_written_whole_with_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let scan = DoseScan::twin(folder.path());
    for (verb, code, title) in [
        ("audit", 0, "Audit of trial logs"),
        ("causal", 0, "Causal effects from trial logs"),
        ("words", 1, "Words from trial logs"),
    ] {
        let page = |name: &str| {
            let path = folder.path().join(name);
            ends(code, &[verb, text(&scan.path), "--html", text(&path), "--json"]);
            fs::read(&path).unwrap()
        };
        let first = page("first.html");
        assert!(first == page("second.html"), "{verb}");
        let first = String::from_utf8(first).unwrap();
        assert!(
            first.starts_with("<!DOCTYPE html>") && first.contains(title),
            "{verb}"
        );
        assert!(
            first.contains("dose_scan.jsonl") && !first[..first.find("<script>").unwrap()].contains("NaN"),
            "{verb}"
        );
        // Over an older page, but over no log and no folder.
        assert_eq!(page("first.html"), first.into_bytes());
        refuses(
            &[verb, text(&scan.path), "--html", text(&scan.path)],
            2,
            &["dose_scan.jsonl", "reads"],
        );
        let words = ["is no file", text(folder.path())];
        refuses(
            &[verb, text(&scan.path), "--html", text(folder.path())],
            2,
            &words,
        );
        let absent = folder.path().join("absent/page.html");
        refuses(&[verb, text(&scan.path), "--html", text(&absent)], 2, &["absent"]);
    }
    let table = ["words", text(&scan.path), "--out", text(&scan.path)];
    refuses(&table, 2, &["dose_scan.jsonl", "another file"]);
}
