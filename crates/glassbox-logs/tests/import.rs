//! Imported tables hold what the logs hold, and say what they could not use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_logs::{
    Collected, ImportSummary, LogProblemRow, Logs, LogsError, Outcome, Place, TrialRecord, Unwatched, import,
    parser_named,
};
use glassbox_store::{Storage, read_table};
use support::study_file;

const TRIALS: &str = r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": 0, "attempt": 1, "response": "1\n$20", "parsed": {"action": "bet", "bet": 20, "valid": true, "reason": "dollar"}}
{"feature": "L9-456", "condition": "safe_baseline", "trial": 0, "attempt": 1, "response": "1\n$30", "parsed": {"action": "bet", "bet": 30, "valid": true}}
{"layer": 9, "feature_id": 456, "prompt_type": "risky", "scale": 0.5, "trial_index": 3, "response": "2\n", "decision": "stop", "bet": 0, "source": "stop", "valid": true}
{"feature": "L9-456", "condition": "odd", "trial": 0, "response": "한글"}
{"feature": "L9-456", "condition": "safe_baseline", "trial": 1}
{"feature": "L9-456",
"#;
const METRICS: &str = r#"{"analyzed_features": [{"layer": 28, "feature_id": 31643, "original_cohen_d": 0.5, "original_safe_effect": 0.1, "condition_metrics": {"safe_baseline": {"stop_rate": 0.5, "total_trials": 4, "bet_amounts": [10, 5.5], "avg_bet": 7.75}}}]}"#;

fn logs() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    std::fs::write(logs.join("a.jsonl"), TRIALS).unwrap();
    std::fs::write(logs.join("b.json"), METRICS).unwrap();
    std::fs::write(logs.join("c.csv"), "x,y").unwrap();
    (folder, logs)
}

fn run(logs: &Path, out: &Path, parser: Option<&str>) -> Result<ImportSummary, LogsError> {
    let parser = parser.map(|name| parser_named(name).unwrap());
    let logs = Logs::find(&[logs.to_path_buf(), "/nowhere/x.json".into()]).unwrap();
    import(&logs, out, parser.as_ref(), &Storage::new(), &Unwatched)
}

fn collect(path: &Path) -> Collected {
    Logs::find(&[path.to_path_buf()]).unwrap().collect().unwrap()
}

/// The trials with their places taken off.
fn without_places(trials: &[TrialRecord<'static>]) -> Vec<TrialRecord<'static>> {
    let place = Place {
        file: 0,
        row: 0,
        offset: None,
    };
    trials
        .iter()
        .cloned()
        .map(|trial| TrialRecord { place, ..trial })
        .collect()
}

#[test]
fn what_was_imported_is_read_again_as_it_was() {
    let (folder, logs) = logs();
    let out = folder.path().join("out");
    let summary = run(&logs, &out, None).unwrap();
    assert_eq!((summary.trials, summary.repeats), (4, 1));
    assert_eq!((summary.features, summary.aggregates, summary.numbers), (1, 1, 1));
    let (before, after) = (collect(&logs), collect(&out));
    assert!(after.problems.is_empty(), "{:?}", after.problems);
    assert_eq!(without_places(&after.trials), without_places(&before.trials));
    assert_eq!(after.features[0].measures, before.features[0].measures);
    assert_eq!(after.aggregates[0].amounts, before.aggregates[0].amounts);
    assert_eq!(after.aggregates[0].stop, before.aggregates[0].stop);
    assert_eq!(after.reported[0].value, before.reported[0].value);
}

#[test]
fn every_row_that_cannot_be_used_is_listed_with_its_place() {
    let (folder, logs) = logs();
    let out = folder.path().join("out");
    let summary = run(&logs, &out, None).unwrap();
    let problems: Vec<LogProblemRow> = read_table(&out.join("problems.parquet")).unwrap();
    assert_eq!(summary.problems, 3);
    let kinds: Vec<&str> = problems.iter().map(|problem| problem.kind.as_str()).collect();
    assert_eq!(kinds, ["missing key", "truncated", "absent"]);
    assert!(problems[0].file.ends_with("a.jsonl"));
    assert_eq!(problems[0].row, 5);
    let offset = problems[0].offset.unwrap() as usize;
    assert!(
        TRIALS[offset..].starts_with(r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": 1}"#)
    );
    assert_eq!(summary.read.passed_over.len(), 1);
}

#[test]
fn outcomes_can_be_read_anew() {
    let (folder, logs) = logs();
    let out = folder.path().join("out");
    let summary = run(&logs, &out, Some("b-complete")).unwrap();
    assert_eq!(summary.parser.as_deref(), Some("b-complete@1"));
    let outcomes: Vec<Outcome<'_>> = collect(&out)
        .trials
        .into_iter()
        .map(|trial| trial.recorded.unwrap().outcome)
        .collect();
    let bet = Outcome::Bet { amount: Some(10.0) };
    assert_eq!(outcomes, [bet.clone(), bet, Outcome::Stop, Outcome::Unknown]);
}

#[test]
fn nothing_is_written_over() {
    let (folder, logs) = logs();
    let out = folder.path().join("out");
    run(&logs, &out, None).unwrap();
    let error = run(&logs, &out, None).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn the_published_trials_come_back_whole() {
    let Some(path) = study_file("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&path, folder.path(), None).unwrap();
    assert_eq!((summary.trials, summary.repeats), (13_782, 1_182));
    assert_eq!(
        without_places(&collect(folder.path()).trials),
        without_places(&collect(&path).trials)
    );
}
