//! Every layout comes to the same records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;

use glassbox_logs::{Arm, Collected, FeatureId, Layout, Logs, Outcome, ProblemKind};
use rstest::rstest;
use support::{read_as, study_file};

fn id(layer: u32, feature: u32) -> FeatureId {
    FeatureId { layer, feature }
}

fn clean(read: Collected) -> Collected {
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    read
}

const RESPONSES: &str = r#"[
  {"feature": "L9-456", "condition": "safe_with_risky_patch", "trial": 3, "response": "1) Bet $10\n\u20a9", "parsed": {"action": "bet", "bet": 10, "valid": true, "response": "x"}},
  {"feature": "L9-456", "condition": "safe_amplification", "trial": 4, "attempt": 2, "response": "2", "parsed": {"action": "stop", "bet": 0, "valid": false, "reason": "default"}}
]"#;

#[test]
fn response_logs() {
    let read = clean(read_as("responses.json", RESPONSES));
    let [bet, stop] = &read.trials[..] else {
        panic!("{read:?}")
    };
    assert_eq!(bet.feature, Some(id(9, 456)));
    assert_eq!(bet.condition.to_string(), "safe/value_b");
    assert_eq!(bet.condition_name.as_deref(), Some("safe_with_risky_patch"));
    assert_eq!((bet.trial, bet.attempt), (Some(3), None));
    assert_eq!(bet.response, "1) Bet $10\n₩");
    let recorded = bet.recorded.as_ref().unwrap();
    assert_eq!(recorded.outcome, Outcome::Bet { amount: Some(10.0) });
    assert_eq!(stop.condition.to_string(), "safe/value_a");
    assert_eq!(stop.attempt, Some(2));
    let recorded = stop.recorded.as_ref().unwrap();
    assert_eq!(recorded.outcome, Outcome::Stop);
    assert_eq!(
        (recorded.valid, recorded.method.as_deref()),
        (Some(false), Some("default"))
    );
    let offset = stop.place.offset.unwrap() as usize;
    assert!(RESPONSES[offset..].starts_with(r#"{"feature": "L9-456", "condition": "safe_amp"#));
    assert_eq!(stop.place.row, 2);
}

#[test]
fn patch_trials_of_phase_one_and_of_its_successor() {
    let text = r#"{"target_feature": "L1-29", "target_layer": 1, "target_feature_id": 29, "patch_condition": "safe_mean", "patch_value": 0.5, "prompt_type": "risky", "trial": 0, "response": "1", "generated_token_ids": [1, 2], "all_features": {"L1-29": 0.5}}
{"feature_name": "L1-29", "feature_type": "safe", "patch_condition": "risky_patch", "prompt_type": "safe", "trial": 1, "response": "2", "action": "bet", "bet_amount": 20, "is_stop": false, "is_valid": true, "parse_method": "choice"}

{"feature_name": "L1-29", "patch_condition": "baseline", "prompt_type": "safe", "trial": 1, "response": "2", "is_stop": true}
"#;
    let read = clean(read_as("phase1.jsonl", text));
    let conditions: Vec<String> = read
        .trials
        .iter()
        .map(|trial| trial.condition.to_string())
        .collect();
    assert_eq!(conditions, ["risky/value_a", "safe/value_b", "safe/baseline"]);
    assert!(read.trials.iter().all(|trial| trial.feature == Some(id(1, 29))));
    assert_eq!(read.trials[0].recorded, None);
    let recorded = read.trials[1].recorded.as_ref().unwrap();
    assert_eq!(recorded.outcome, Outcome::Bet { amount: Some(20.0) });
    assert_eq!(read.trials[2].recorded.as_ref().unwrap().outcome, Outcome::Stop);
    assert_eq!(read.trials[2].place.row, 4);
    assert_eq!(read.report.files[0].layouts, [(Layout::PatchTrials, 3)].into());
}

#[test]
fn dose_trials() {
    let text = r#"{"layer": 30, "feature_id": 16039, "prompt_type": "risky", "scale": 0.3, "trial_index": 7, "response": "2\n", "decision": "stop", "bet": 0, "source": "stop", "valid": true}"#;
    let read = clean(read_as("dose.jsonl", text));
    let trial = &read.trials[0];
    assert_eq!(trial.feature, Some(id(30, 16039)));
    assert_eq!((trial.scale, trial.trial), (Some(0.3), Some(7)));
    assert_eq!(trial.condition.arm, Arm::Dose);
    assert_eq!(trial.condition.prompt_name(), "risky");
}

#[test]
fn responses_parsed_again() {
    let text = r#"{"L9-456": {"risky_baseline": [
        {"trial": 0, "response": "2", "original_bet": 0, "original_valid": true, "reparsed_bet": 0, "reparsed_valid": true, "reparsed_reason": "stop"},
        {"trial": 1, "response": "?", "original_bet": 10, "original_valid": false, "reparsed_bet": 0, "reparsed_valid": false, "reparsed_reason": "none"},
        {"trial": 2, "response": "1", "original_bet": 10, "original_valid": true, "reparsed_bet": -1, "reparsed_valid": true, "reparsed_reason": "bet_unknown"}]}}"#;
    let read = clean(read_as("reparsed.json", text));
    let outcomes: Vec<_> = read
        .trials
        .iter()
        .map(|trial| trial.recorded.as_ref().unwrap().outcome.clone())
        .collect();
    assert_eq!(
        outcomes,
        [Outcome::Stop, Outcome::Unknown, Outcome::Bet { amount: None }]
    );
    assert_eq!(read.report.files[0].rows, 3);
}

#[test]
fn condition_metrics() {
    let text = r#"{"analyzed_features": [{"gpu": 4, "layer": 28, "feature_id": 31643, "feature_key": "L28-31643", "is_original_causal": true, "original_cohen_d": -0.5,
        "condition_metrics": {"safe_baseline": {"stop_rate": 0.5, "avg_bet": 10.0, "high_risk_rate": 0.1, "bankruptcy_rate": 0.0, "total_trials": 30, "bet_amounts": [10, 5], "stop_count": 15, "high_risk_count": 3, "bankruptcy_count": 0},
                              "risky_with_safe_patch": {"stop_rate": 0.3, "total_trials": 10}}}],
        "summary_statistics": {}, "metadata": {}}"#;
    let read = clean(read_as("metrics.json", text));
    let [baseline, patched] = &read.aggregates[..] else {
        panic!("{read:?}")
    };
    assert_eq!(baseline.feature, Some(id(28, 31643)));
    assert_eq!(baseline.condition.to_string(), "safe/baseline");
    assert_eq!((baseline.trials, baseline.stop.count), (Some(30), Some(15)));
    assert_eq!(
        (baseline.high_risk.count, &baseline.amounts[..]),
        (Some(3), &[10.0, 5.0][..])
    );
    assert_eq!(patched.condition.to_string(), "risky/value_a");
    assert_eq!(patched.stop.count, Some(3));
    assert_eq!(read.features[0].measures.causal, Some(true));
    assert_eq!(read.features[0].measures.cohen_d, Some(-0.5));
}

#[rstest]
#[case::by_layer(r#"{"layer_results": {"1": {"significant_features": [{"feature_idx": 29, "cohen_d": 0.4, "p_value": 0.001, "bankrupt_mean": 2.0, "safe_mean": 1.0, "bankrupt_std": 0.5, "safe_std": 0.25}]}}}"#, Layout::LayerResults)]
#[case::means(r#"{"source": "x", "total_features": 1, "feature_means": {"L1-29": {"safe_mean": 1.0, "risky_mean": 2.0, "cohen_d": 0.4, "p_value": 0.001}}}"#, Layout::FeatureMeans)]
#[case::rows_with_texts(r#"[{"feature_key": "layer_1_29", "layer": "layer_1", "feature_id": "29", "p_value": 0.001, "cohens_d": 0.4, "safe_mean": 1.0, "risky_mean": 2.0, "safe_n": 5, "risky_n": 6, "direction": "increases_risk"}]"#, Layout::FeatureRows)]
fn feature_lists(#[case] text: &str, #[case] layout: Layout) {
    let read = clean(read_as("features.json", text));
    assert_eq!(read.report.files[0].layouts, [(layout, 1)].into());
    let [feature] = &read.features[..] else {
        panic!("{read:?}")
    };
    assert_eq!(feature.feature, id(1, 29));
    let measures = &feature.measures;
    assert_eq!((measures.mean_a, measures.mean_b), (Some(1.0), Some(2.0)));
    assert_eq!((measures.cohen_d, measures.p), (Some(0.4), Some(0.001)));
}

#[test]
fn lists_without_means() {
    let text = r#"{"source": "x", "total_features": 2, "layers": [1], "layer_distribution": {"1": 2}, "features": [{"layer": 1, "feature_id": 29, "type": "safe"}, {"layer": 1, "feature_id": 30}]}"#;
    let read = clean(read_as("causal_features_list.json", text));
    assert_eq!(read.features[0].measures.class.as_deref(), Some("safe"));
    assert_eq!(read.features[1].feature, id(1, 30));
}

#[rstest]
#[case::flat(r#"{"results": [{"feature": "L9-456", "layer": 9, "feature_id": 456, "is_causal": true, "cohen_d": 0.4}]}"#, None)]
#[case::nested(r#"{"timestamp": "t", "layer_range": "L1-L9", "results": [{"feature": "L9-456", "layer": 9, "feature_id": 456, "cohen_d": 0.4, "causality": {"is_causal_safe": false, "is_causal_risky": true, "safe_effect_size": 0.05, "risky_effect_size": NaN, "safe_p_value": 0.5, "risky_p_value": 0.01, "interpretation": "risky_context_causal"}}]}"#, Some("risky_context_causal"))]
fn checkpoints(#[case] text: &str, #[case] class: Option<&str>) {
    let read = clean(read_as("checkpoint_L1_9.json", text));
    let [feature] = &read.features[..] else {
        panic!("{read:?}")
    };
    assert_eq!(feature.feature, id(9, 456));
    assert_eq!(feature.measures.causal, Some(true));
    assert_eq!(feature.measures.class.as_deref(), class);
    if class.is_some() {
        let effect = read
            .reported
            .iter()
            .find(|number| number.measure == "risky_effect_size")
            .unwrap();
        assert_eq!(effect.value, None);
        assert_eq!(read.report.files[0].repaired, 1);
    }
}

#[test]
fn compressed_files_are_read_as_plain_ones() {
    let plain = clean(read_as("responses.json", RESPONSES));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(RESPONSES.as_bytes()).unwrap();
    let zstandard = zstd::encode_all(RESPONSES.as_bytes(), 1).unwrap();
    for (name, bytes) in [("r.json.gz", gzip.finish().unwrap()), ("r.json.zst", zstandard)] {
        assert_eq!(clean(read_as(name, bytes)).trials, plain.trials, "{name}");
    }
}

#[test]
fn a_row_without_what_its_layout_needs_is_reported() {
    for (row, kind, expected) in [
        (
            r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": 0}"#,
            ProblemKind::MissingKey,
            "`response`",
        ),
        (
            r#"{"feature": "L9-456", "trial": 0, "response": "1"}"#,
            ProblemKind::MissingKey,
            "`condition`",
        ),
        (
            r#"{"condition": "safe_with_safe_patch", "trial": 0, "response": "1"}"#,
            ProblemKind::MissingKey,
            "`feature`",
        ),
        (
            r#"{"feature": "L9-456", "layer": 9, "feature_id": 457, "condition": "safe_baseline", "response": "1"}"#,
            ProblemKind::BadValue,
            "L9-457",
        ),
        (
            r#"{"feature": "nine", "condition": "safe_baseline", "response": "1"}"#,
            ProblemKind::BadValue,
            "'nine'",
        ),
        (
            r#"{"feature": "L9-456", "condition": "safe_baseline", "response": 1}"#,
            ProblemKind::WrongType,
            "`response` is a number",
        ),
        (
            r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": "x", "response": "1"}"#,
            ProblemKind::WrongType,
            "`trial`",
        ),
        (
            r#"{"feature": "L9-456", "condition": "safe_baseline", "response": null}"#,
            ProblemKind::WrongType,
            "null",
        ),
        (
            r#"{"word": "bet", "count": 4}"#,
            ProblemKind::UnknownLayout,
            "word, count",
        ),
        ("[1]", ProblemKind::WrongType, "a number"),
    ] {
        let read = read_as("log.json", row);
        let [problem] = &read.problems[..] else {
            panic!("{row}: {read:?}")
        };
        assert_eq!(problem.kind, kind, "{row}: {problem}");
        assert!(problem.what.contains(expected), "{row}: {problem}");
    }
}

#[test]
fn the_published_files_are_read_whole() {
    let Some(trials) = study_file("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let read = clean(Logs::find(&[trials]).unwrap().collect().unwrap());
    assert_eq!(read.trials.len(), 13_782);
    let count =
        |name: &str| study_file(name).map(|path| clean(Logs::find(&[path]).unwrap().collect().unwrap()));
    assert_eq!(
        count("exp1_significant_features_v2.json").unwrap().features.len(),
        356
    );
    assert_eq!(
        count("exp2_binary_causality_392features_allzero.json")
            .unwrap()
            .aggregates
            .len(),
        4 * 392
    );
    let summary = count("exp2_feature_group_summary.jsonl").unwrap();
    assert_eq!(summary.reported.len(), 8 * 1_366);
    assert_eq!(
        count("exp2_revalidation_summary.jsonl").unwrap().report.files[0].rows,
        30
    );
}
