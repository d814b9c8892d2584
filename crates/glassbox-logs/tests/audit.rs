//! What the audit finds, on the study's own data and on a synthetic twin with the same defects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use glassbox_logs::audit::{
    Analysis, AuditReport, AuditSettings, DictionaryFacts, Echo, Finding, FindingKind, Severity, audit,
};
use glassbox_logs::{Logs, Unwatched, parser_named};
use rstest::rstest;
use support::study_file;

fn settings() -> AuditSettings {
    AuditSettings::new(Echo::study().unwrap())
}

fn compared() -> AuditSettings {
    AuditSettings {
        compare: Some([parser_named("scan").unwrap(), parser_named("b-complete").unwrap()]),
        ..settings()
    }
}

fn audit_path(path: &Path, settings: &AuditSettings) -> AuditReport {
    let logs = Logs::find(&[path.to_path_buf()]).unwrap();
    audit(&logs, settings, &|_| Vec::new(), &Unwatched).unwrap()
}

fn audit_text(name: &str, text: &str, settings: &AuditSettings) -> AuditReport {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    audit_path(&path, settings)
}

fn finding(report: &AuditReport, kind: FindingKind) -> &Finding {
    report
        .findings
        .iter()
        .find(|finding| finding.kind == kind)
        .unwrap_or_else(|| panic!("no {kind:?} in {:#?}", report.findings))
}

fn has(report: &AuditReport, kind: FindingKind) -> bool {
    report.findings.iter().any(|finding| finding.kind == kind)
}

/// Examples as (name, count).
fn named(finding: &Finding) -> Vec<(&str, u64)> {
    finding
        .examples
        .iter()
        .map(|example| (example.name.as_str(), example.count))
        .collect()
}

/// A dose scan of three features, two prompts, seven scales and ten trials per cell; the first feature is doubled with other
/// text, four cells of the second with the same text. The first line says 2 (a stop) or 1, and an echo of the prompt makes
/// the scan parser see a stop in every third bet.
fn dose_twin() -> String {
    let row = |feature: u32, prompt: &str, scale: f64, trial: u32, run: u32| {
        let stops = (trial + run).is_multiple_of(5);
        let echoes = trial % 3 == 1;
        let response = match (stops, echoes) {
            (true, _) => "2\\n".to_owned(),
            (false, true) => format!("1\\nrun {run} of {trial}\\nChoose:\\n1) Bet\\n2) Stop"),
            (false, false) => format!("1\\nAmount: ${}", 10 + trial),
        };
        let scanned = if stops || echoes { "stop" } else { "bet" };
        format!(
            r#"{{"layer": 30, "feature_id": {feature}, "prompt_type": "{prompt}", "scale": {scale}, "trial_index": {trial}, "response": "{response}", "decision": "{scanned}", "bet": 0, "source": "x", "valid": true}}"#
        )
    };
    let mut rows = Vec::new();
    for (feature, run) in [(1, 0), (2, 0), (1, 1), (3, 0)] {
        for prompt in ["safe", "risky"] {
            for scale in [0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0] {
                for trial in 0..10 {
                    rows.push(row(feature, prompt, scale, trial, run));
                    if feature == 2 && prompt == "safe" && scale > 1.0 && trial == 9 {
                        rows.extend((0..10).map(|trial| row(feature, prompt, scale, trial, run)));
                    }
                }
            }
        }
    }
    rows.join("\n")
}

#[test]
fn a_twin_of_the_dose_scan() {
    let report = audit_text("trials.jsonl", &dose_twin(), &compared());
    assert_eq!(report.support.analysis, Analysis::Dose);
    assert!(report.support.supported, "{:#?}", report.findings);
    assert_eq!((report.totals.rows, report.totals.trials), (590, 420));
    assert_eq!(report.totals.surplus_rows, 170);
    let plan = report.totals.planned.as_ref().unwrap();
    assert_eq!((plan.cells, plan.per_cell, plan.trials), (42, 10, 420));
    let repeats = finding(&report, FindingKind::RepeatedTrials);
    assert_eq!(named(repeats), [("L30-1", 140), ("L30-2", 30)]);
    assert!(repeats.examples[0].note.starts_with("doubled"), "{repeats:?}");
    assert!(
        repeats.examples[1].note.starts_with("partly: 3 of 14"),
        "{repeats:?}"
    );
    let comparison = report.comparison.unwrap();
    // Trials 1, 4 and 7 echo; 0 and 5 (4 and 9 in the second run) stop.
    let first = &comparison.sets[1];
    assert_eq!((first.responses, first.disagree), (420, 3 * 42));
    assert_eq!(first.labels, ["stop", "bet"]);
    assert_eq!(first.confusion, [[2 * 42, 3 * 42], [0, 5 * 42]]);
    let all = &comparison.sets[0];
    assert_eq!((all.responses, all.disagree), (590, 3 * 42 + 3 * 3 + 2 * 14));
}

#[test]
fn the_published_dose_scan() {
    let Some(path) = study_file("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let report = audit_path(&path, &compared());
    assert_eq!((report.totals.rows, report.totals.trials), (13_782, 12_600));
    assert_eq!(report.totals.surplus_rows, 1_182);
    let plan = report.totals.planned.as_ref().unwrap();
    assert_eq!((plan.cells, plan.per_cell, plan.trials), (420, 30, 12_600));
    let repeats = finding(&report, FindingKind::RepeatedTrials);
    assert_eq!(
        named(repeats),
        [("L30-16039", 420), ("L30-22493", 420), ("L30-18100", 342)]
    );
    let notes: Vec<&str> = repeats
        .examples
        .iter()
        .map(|example| example.note.as_str())
        .collect();
    assert!(notes[0].starts_with("doubled, 840 rows"), "{notes:?}");
    assert!(notes[1].starts_with("doubled, 840 rows"), "{notes:?}");
    assert!(
        notes[2].starts_with("partly: ") && notes[2].contains("762 rows"),
        "{notes:?}"
    );
    let comparison = report.comparison.as_ref().unwrap();
    let [all, first] = &comparison.sets[..] else {
        panic!()
    };
    assert_eq!((all.responses, all.disagree), (13_782, 4_394));
    assert_eq!((first.responses, first.disagree), (12_600, 4_084));
    assert_eq!(
        format!(
            "{:.1} {:.1}",
            100.0 * all.disagree_share,
            100.0 * first.disagree_share
        ),
        "31.9 32.4"
    );
    assert!(has(&report, FindingKind::ClampedAmounts));
    assert!(report.support.supported);
}

#[test]
fn the_scan_parser_reproduces_what_the_study_recorded() {
    let Some(path) = study_file("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let scan = parser_named("scan").unwrap();
    let read = Logs::find(&[path]).unwrap().collect().unwrap();
    for trial in &read.trials {
        let outcome = scan.parse(&trial.response, trial.condition.prompt_type.as_deref());
        let recorded = trial.recorded.as_ref().unwrap();
        assert_eq!(outcome.label, recorded.outcome.label(), "{trial:?}");
        assert_eq!(outcome.amount, recorded.outcome.amount(), "{trial:?}");
        let method = ["stop", "dollar", "number"][outcome.rule.unwrap()];
        assert_eq!(recorded.method.as_deref(), Some(method), "{trial:?}");
    }
}

#[test]
fn the_published_file_of_zeros_supports_nothing() {
    let Some(path) = study_file("exp2_binary_causality_392features_allzero.json") else {
        return;
    };
    let report = audit_path(&path, &settings());
    assert!(!report.support.supported);
    let degenerate = finding(&report, FindingKind::DegenerateOutcomes);
    assert_eq!(
        (degenerate.severity, degenerate.count),
        (Severity::Error, 4 * 392)
    );
}

/// A response log: trials of each condition, of which so many stop.
fn responses(feature: &str, cells: &[(&str, u32, u32)], text: impl Fn(&str, u32) -> String) -> Vec<String> {
    let mut rows = Vec::new();
    for (condition, trials, stops) in cells {
        for trial in 0..*trials {
            let action = if trial < *stops { "stop" } else { "bet" };
            let response = text(condition, trial);
            rows.push(format!(
                r#"{{"feature": "{feature}", "condition": "{condition}", "trial": {trial}, "response": "{response}", "parsed": {{"action": "{action}", "bet": 20, "valid": true}}}}"#
            ));
        }
    }
    rows
}

const SIX: [(&str, u32, u32); 6] = [
    ("safe_baseline", 30, 10),
    ("safe_with_safe_patch", 30, 25),
    ("safe_with_risky_patch", 30, 12),
    ("risky_baseline", 30, 8),
    ("risky_with_safe_patch", 30, 9),
    ("risky_with_risky_patch", 30, 7),
];

fn array(rows: &[String]) -> String {
    format!("[{}]", rows.join(",\n"))
}

fn distinct_text(condition: &str, trial: u32) -> String {
    format!("1 {condition} {trial}")
}

#[test]
fn a_whole_six_condition_log_is_supported() {
    let rows = [
        responses("L9-456", &SIX, distinct_text),
        responses("L9-457", &SIX, distinct_text),
    ]
    .concat();
    let report = audit_text("responses.json", &array(&rows), &settings());
    assert!(report.support.supported, "{:#?}", report.findings);
    assert_eq!(
        (report.support.analysis, report.support.features),
        (Analysis::Effects, 2)
    );
    assert_eq!(report.of(Severity::Error).count(), 0);
    assert_eq!(report.totals.planned.unwrap().trials, 360);
    assert_eq!(report.treatments.len(), 6);
    let names: Vec<&str> = report
        .condition_names
        .iter()
        .map(|(_, read)| read.as_str())
        .collect();
    assert!(names.contains(&"risky/value_a"), "{names:?}");
}

#[test]
fn greedy_copies_are_no_replicates() {
    let rows = responses("L9-456", &SIX, |condition, _| format!("1 {condition}"));
    let report = audit_text("responses.json", &array(&rows), &settings());
    let identical = finding(&report, FindingKind::IdenticalResponses);
    assert_eq!((identical.severity, identical.count), (Severity::Error, 6));
    assert!(!report.support.supported);
    let words = AuditSettings {
        analysis: Some(Analysis::Words),
        ..settings()
    };
    assert!(
        audit_text("responses.json", &array(&rows), &words)
            .support
            .supported
    );
}

#[test]
fn missing_conditions_and_too_few_trials() {
    let mut cells = SIX[..5].to_vec();
    cells[0].1 = 5;
    let rows = [
        responses("L9-456", &SIX, distinct_text),
        responses("L9-458", &SIX, distinct_text),
        responses("L9-457", &cells, distinct_text),
    ]
    .concat();
    let report = audit_text("responses.json", &array(&rows), &settings());
    let missing = finding(&report, FindingKind::MissingConditions);
    assert_eq!(named(missing), [("L9-457", 1)]);
    assert_eq!(missing.examples[0].note, "risky/value_b");
    assert_eq!(
        named(finding(&report, FindingKind::TooFewTrials)),
        [("L9-457 safe/baseline", 5)]
    );
    assert_eq!(report.support.features, 3);
}

#[test]
fn a_parser_that_sees_one_outcome_only_is_an_error() {
    let cells: Vec<_> = SIX
        .iter()
        .map(|(condition, trials, _)| (*condition, *trials, 0))
        .collect();
    let rows = responses("L9-456", &cells, distinct_text);
    let report = audit_text("responses.json", &array(&rows), &settings());
    assert_eq!(
        finding(&report, FindingKind::DegenerateOutcomes).severity,
        Severity::Error
    );
}

#[test]
fn unknown_conditions_empty_texts_and_retries_are_told() {
    let mut rows = responses("L9-456", &SIX, distinct_text);
    rows.extend(responses("L9-456", &[("safe_with_odd_patch", 3, 0)], |_, _| {
        String::new()
    }));
    rows.push(r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": 0, "attempt": 2, "response": "2", "parsed": {"action": "stop"}}"#.into());
    let report = audit_text("responses.json", &array(&rows), &settings());
    assert_eq!(
        named(finding(&report, FindingKind::UnknownConditions)),
        [("safe_with_odd_patch", 3)]
    );
    assert_eq!(finding(&report, FindingKind::EmptyResponses).count, 3);
    assert_eq!(finding(&report, FindingKind::RetriedTrials).count, 1);
}

#[test]
fn validity_that_depends_on_the_arm_is_a_warning() {
    let rows: Vec<String> = responses("L9-456", &SIX, distinct_text)
        .into_iter()
        .map(|row| {
            if row.contains("safe_with_safe_patch") && row.contains(r#""bet","#) {
                row.replace(r#""valid": true"#, r#""valid": false"#)
            } else {
                row
            }
        })
        .collect();
    let report = audit_text("responses.json", &array(&rows), &settings());
    let validity = finding(&report, FindingKind::Validity);
    assert_eq!((validity.severity, validity.count), (Severity::Warning, 5));
    assert!(validity.what.contains("16.7 points"), "{}", validity.what);
}

fn with_dictionary() -> AuditSettings {
    AuditSettings {
        dictionaries: vec![DictionaryFacts {
            layer: Some(1),
            features: 32_768,
            model_width: Some(4_096),
            is_non_negative: true,
            thresholds: vec![0.5; 32_768],
        }],
        ..settings()
    }
}

#[rstest]
#[case::outside(&[40_000], 1.0, FindingKind::OutsideDictionary, Severity::Error)]
#[case::negative_mean(&[7], -0.5, FindingKind::ImpossibleMeans, Severity::Error)]
#[case::below_the_threshold(&[7], 0.049, FindingKind::ImpossibleMeans, Severity::Error)]
fn features_are_checked_against_the_dictionary(
    #[case] ids: &[u32],
    #[case] mean: f64,
    #[case] kind: FindingKind,
    #[case] severity: Severity,
) {
    let report = audit_text("means.json", &means(ids, mean), &with_dictionary());
    assert_eq!(finding(&report, kind).severity, severity);
}

fn means(ids: &[u32], mean: f64) -> String {
    let entries: Vec<String> = ids
        .iter()
        .map(|id| format!(r#""L1-{id}": {{"safe_mean": {mean}, "safe_n": 10, "risky_mean": 2.0}}"#))
        .collect();
    format!(r#"{{"feature_means": {{{}}}}}"#, entries.join(", "))
}

#[test]
fn ids_below_the_width_of_the_model_are_suspicious() {
    let settings = with_dictionary();
    let ids: Vec<u32> = (0..30).map(|id| id * 130).collect();
    let report = audit_text("means.json", &means(&ids, 1.0), &settings);
    assert!(has(&report, FindingKind::ResidualPositions));
    let report = audit_text("means.json", &means(&[1, 2, 31_000], 1.0), &settings);
    assert!(!has(&report, FindingKind::ResidualPositions));
}

#[test]
fn lists_and_logs_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let rows = responses("L1-29", &SIX, distinct_text);
    std::fs::write(folder.path().join("responses.json"), array(&rows)).unwrap();
    std::fs::write(folder.path().join("means.json"), means(&[29, 30, 31], 1.0)).unwrap();
    let report = audit_path(folder.path(), &settings());
    let join = finding(&report, FindingKind::Unjoined);
    assert_eq!((join.severity, join.count), (Severity::Warning, 2));
    assert!(join.what.contains("33.3 %"), "{}", join.what);
    std::fs::write(folder.path().join("means.json"), means(&[30], 1.0)).unwrap();
    let report = audit_path(folder.path(), &settings());
    assert_eq!(finding(&report, FindingKind::Unjoined).severity, Severity::Error);
}

#[test]
fn damaged_rows_are_told_with_their_place_and_the_rest_is_audited() {
    let mut rows = responses("L9-456", &SIX, distinct_text);
    rows[3] = r#"{"feature": "L9-456", "condition": "safe_baseline"#.into();
    let report = audit_text("responses.jsonl", &rows.join("\n"), &settings());
    assert_eq!(report.totals.rows, 179);
    let [problem] = &report.problems[..] else {
        panic!("{:?}", report.problems)
    };
    assert_eq!(problem.first[0].place.row, 4);
    assert!(report.support.supported);
}

#[test]
fn nothing_to_analyse_is_an_error() {
    let report = audit_text("log.jsonl", "{\"word\": 3}\n", &settings());
    assert!(!report.support.supported);
    assert_eq!(
        finding(&report, FindingKind::NothingToAnalyse).severity,
        Severity::Error
    );
}
