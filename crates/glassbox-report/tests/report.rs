//! The page of whole, partial, hostile and extreme runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod simulated;
mod sound;

use std::path::Path;

use glassbox_experiment::tables::{
    ChainRow, CheckRow, DecisionEffectRow, PathwayRow, SelectionRow, VerdictRow, WordRow,
};
use glassbox_report::data::{
    ExamplePair, ExampleResponse, FeatureId, PathwayData, PromptText, SelectionData, TrialData, WordData,
};
use glassbox_report::{ReportData, render, render_run, write_report};
use simulated::{Size, Until, write_run};
use sound::assert_sound;
use tempfile::TempDir;

fn run(until: Until) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), Size::SMALL, until);
    folder
}

fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{id}\">")).unwrap();
    let end = start + page[start..].find("</section>").unwrap();
    &page[start..end]
}

#[test]
fn a_whole_run_fills_every_section() {
    let folder = run(Until::Words);
    let summary = write_report(folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_sound(&page);
    assert_eq!(summary.bytes, page.len() as u64);
    assert_eq!(summary.missing_sections, Vec::<&str>::new());
    assert_eq!(summary.judged_features, 4);
    assert!(
        summary.headline.contains("of 4 tested features"),
        "{}",
        summary.headline
    );
    assert_eq!(page.matches("<section").count(), 7);
    for (id, expected) in [
        ("summary", "How to read this page"),
        ("summary", "Your goal: reach"),
        ("summary", "same random numbers"),
        ("selection", "Cohen’s d (risky minus safe)"),
        ("causal", "safe_with_risky_patch"),
        ("causal", "risky prompts"),
        ("pathways", "layer 1"),
        ("words", "log odds ratio"),
        ("doubts", "permuted labels"),
        ("doubts", "reconstruct only"),
        ("doubts", "Limits of the method"),
        ("data", "read_parquet"),
        ("data", "causal.parquet"),
    ] {
        let found = section(&page, id).replace("<wbr>", "");
        assert!(found.contains(expected), "{id} lacks {expected}");
    }
}

#[test]
fn equal_runs_give_equal_bytes_and_nothing_of_time_or_place() {
    let (one, other) = (run(Until::Words), run(Until::Words));
    let page = render_run(one.path()).unwrap().0;
    assert_eq!(page, render_run(other.path()).unwrap().0);
    write_report(one.path()).unwrap();
    assert_eq!(page, render_run(one.path()).unwrap().0);
    let manifest = std::fs::read_to_string(one.path().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert!(!page.contains(manifest["created_utc"].as_str().unwrap()));
    assert!(!page.contains(&one.path().display().to_string()));
}

#[test]
fn a_run_that_was_stopped_says_what_is_missing() {
    for (until, missing) in [
        (
            Until::Nothing,
            vec!["Selection", "Causal effects", "Pathways", "Words"],
        ),
        (Until::Select, vec!["Causal effects", "Pathways", "Words"]),
        (Until::Sweep, vec!["Causal effects", "Pathways", "Words"]),
        (Until::Causal, vec!["Pathways", "Words"]),
        (Until::Pathways, vec!["Words"]),
    ] {
        let folder = run(until);
        let (page, summary) = render_run(folder.path()).unwrap();
        assert_sound(&page);
        assert_eq!(summary.missing_sections, missing, "{until:?}");
        let said = page.matches("has not been run, or was stopped").count();
        assert_eq!(said, missing.len(), "{until:?}");
    }
    // The checks of the causal stage are shown although the joint table comes last.
    assert!(
        render_run(run(Until::Causal).path())
            .unwrap()
            .0
            .contains("permuted labels")
    );
}

#[test]
fn unfinished_shards_and_tables_do_not_count() {
    let folder = run(Until::Sweep);
    let trials = |path: &Path| {
        glassbox_report::ReportData::load(path)
            .unwrap()
            .trials
            .unwrap()
            .trials
    };
    let before = trials(folder.path());
    std::fs::remove_file(folder.path().join("trials/unit-0000000.json")).unwrap();
    std::fs::write(
        folder.path().join("causal.parquet"),
        "left from an attempt that was begun again",
    )
    .unwrap();
    assert!(trials(folder.path()) < before);
}

#[test]
fn changed_tables_and_other_folders_are_errors() {
    let folder = run(Until::Words);
    let path = folder.path().join("verdicts.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = write_report(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("verdicts.parquet") && error.contains("--resume"),
        "{error}"
    );
    assert!(!folder.path().join("report.html").exists());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(write_report(folder.path()).unwrap().judged_features, 0);

    let empty = tempfile::tempdir().unwrap();
    let error = write_report(empty.path()).unwrap_err().to_string();
    assert!(error.contains("manifest.json"), "{error}");
}

const HOSTILE: &str =
    "</td></script><script>alert(1)</script>\"' onmouseover='x' {{ 7*7 }} \u{202e}עברית 漢字 \0";

fn verdict(layer: u32, feature: u32, effect: f64, q: f64) -> VerdictRow {
    VerdictRow {
        layer,
        feature,
        value_a: 0.0,
        value_b: 1e30,
        effect,
        ci_low: (effect - 0.1).max(-1.0),
        ci_high: (effect + 0.1).min(1.0),
        p: q,
        q,
        control_percentile: None,
        p_by_controls: None,
        shift_a: -effect / 2.0,
        shift_b: effect / 2.0,
        shared_shift: 0.0,
        shared_shift_p: None,
        unknown_share: 0.0,
        effect_known: None,
        p_known: None,
        shared_shift_q: 1.0,
        detectable_effect: None,
        direction: "raises_target".into(),
        verdict: "specific_effect".into(),
        words: HOSTILE.into(),
    }
}

fn word(feature: u32, word: &str, log_odds: f64) -> WordRow {
    WordRow {
        layer: 3,
        feature,
        role: "selected".into(),
        contrast: "value_b_vs_value_a".into(),
        word: word.into(),
        n_1: 0,
        n_2: 9,
        responses_1: 0,
        responses_2: 9,
        log_odds,
        ci_low: log_odds - 2.0,
        ci_high: log_odds + 2.0,
        p: 1e-300,
        q: Some(1e-300),
        change: "added".into(),
    }
}

fn selection_row(layer: u32, feature: u32, cohen_d: Option<f64>) -> SelectionRow {
    SelectionRow {
        layer,
        feature,
        mean_a: 0.0,
        mean_b: 1.0,
        sd_a: 0.0,
        sd_b: 0.0,
        n_a: 2,
        n_b: 2,
        active_share_a: 0.0,
        active_share_b: 1.0,
        welch_t: None,
        degrees_of_freedom: None,
        p: Some(0.0),
        q: Some(0.0),
        cohen_d,
        rank_in_layer: Some(1),
        selected: true,
    }
}

fn edge(target_feature: u32, cohen_dz: Option<f64>) -> PathwayRow {
    PathwayRow {
        source_layer: 3,
        source_feature: 1,
        source_role: HOSTILE.into(),
        target_layer: 31,
        target_feature,
        contrast: "value_b_vs_value_a".into(),
        pairs: 1,
        prompts: 1,
        active_share: 1.0,
        mean_1: 0.0,
        mean_2: 1e12,
        effect: 1e12,
        ci_low: 1e12,
        ci_high: 1e12,
        cohen_dz,
        p: 0.0,
        q: Some(0.0),
        control_percentile: Some(50.0),
        effect_at_prompt_end: 0.0,
    }
}

/// A run of extreme values, with markup in every text.
fn hostile() -> ReportData {
    let mut scenario = simulated::scenario(Size::SMALL);
    scenario.name = HOSTILE.into();
    scenario.description = HOSTILE.into();
    scenario.model = HOSTILE.into();
    for (family, letter) in scenario.families.iter_mut().zip(["a", "b"]) {
        family.name = format!("{letter}{HOSTILE}");
    }
    scenario.outcome.target = HOSTILE.into();
    scenario.outcome.amount_unit = HOSTILE.into();
    let names = (scenario.family_a().to_owned(), scenario.family_b().to_owned());
    let mut selection = SelectionData {
        alpha: Some(0.05),
        ..SelectionData::default()
    };
    for (feature, d) in [(0, Some(1e18)), (1, Some(-4.0)), (2, None)] {
        selection.add(selection_row(3, feature, d));
    }
    let mut pathways = PathwayData {
        alpha: Some(0.05),
        ..PathwayData::default()
    };
    let swept = [FeatureId { layer: 3, feature: 1 }].into();
    for (feature, dz) in [(1, Some(1e300)), (2, None), (3, Some(-0.1))] {
        pathways.add(edge(feature, dz), &swept);
    }
    pathways.prune(&swept);
    let mut words = WordData {
        alpha: Some(0.05),
        ..WordData::default()
    };
    words.add(word(1, &"long".repeat(2000), 15.0));
    words.add(word(1, HOSTILE, -15.0));
    words.prune();
    let response = |text: &str| ExampleResponse {
        text: text.into(),
        outcome: HOSTILE.into(),
        amount: Some(1e9),
    };
    let trials = TrialData {
        example_feature: Some(FeatureId { layer: 3, feature: 1 }),
        examples: vec![ExamplePair {
            family: names.0.clone(),
            prompt_id: HOSTILE.into(),
            trial: 0,
            a: response(&format!("same {HOSTILE}")),
            b: response(&format!("same {}", "無限".repeat(9000))),
            pairs: 1,
            differing: 0,
        }],
        ..TrialData::default()
    };
    let check = CheckRow {
        stage: HOSTILE.into(),
        check: HOSTILE.into(),
        figure: Some(1e-300),
        limit: None,
        result: "failed".into(),
        words: HOSTILE.into(),
    };
    let chain = ChainRow {
        layer_1: 0,
        feature_1: 0,
        layer_2: 1,
        feature_2: 0,
        layer_3: 2,
        feature_3: 0,
        effect_12: 0.0,
        q_12: 0.0,
        effect_23: 0.0,
        q_23: 0.0,
        predicted_13: 0.0,
        measured_13: 0.0,
        ci_low: 0.0,
        ci_high: 0.0,
        q_13: 0.0,
    };
    ReportData {
        scenario: Some(scenario),
        prompts: vec![PromptText {
            family: names.1,
            prompt_id: HOSTILE.into(),
            text: HOSTILE.into(),
        }],
        selection: Some(selection),
        verdicts: Some(vec![
            verdict(3, 1, 1.0, 1e-300),
            verdict(3, 2, -1.0, 0.0),
            verdict(31, u32::MAX, 0.0, 1.0),
        ]),
        causal: Some(glassbox_report::data::CausalData::default()),
        checks: Some(vec![check]),
        pathways: Some(pathways),
        chains: Some(vec![chain]),
        words: Some(words),
        trials: Some(trials),
        ..ReportData::default()
    }
}

#[test]
fn hostile_texts_stay_texts_and_extreme_values_stay_readable() {
    let page = render(&hostile()).unwrap();
    assert_sound(&page);
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("onmouseover='x'"));
    assert!(!page.contains('\0') && !page.contains('\u{202e}'));
    assert!(page.contains("עברית"));
    assert!(page.contains("1.0e\u{2212}300"));
    assert!(page.contains("q &lt; 1e\u{2212}300") || page.contains("q &#60; 1e\u{2212}300"));
}

#[test]
fn no_features_and_empty_tables_are_said_to_be_empty() {
    let data = ReportData {
        scenario: Some(simulated::scenario(Size::SMALL)),
        selection: Some(SelectionData::default()),
        verdicts: Some(Vec::new()),
        causal: Some(glassbox_report::data::CausalData::default()),
        checks: Some(Vec::new()),
        pathways: Some(PathwayData::default()),
        chains: Some(Vec::new()),
        words: Some(WordData::default()),
        trials: Some(TrialData::default()),
        ..ReportData::default()
    };
    let page = render(&data).unwrap();
    assert_sound(&page);
    assert!(page.contains("No feature was selected, so no causal effect was tested."));
    assert!(page.contains("There are no random-feature controls in this run"));
    assert_sound(&render(&ReportData::default()).unwrap());
}

#[test]
fn large_runs_give_pages_of_bounded_size() {
    let mut data = hostile();
    data.verdicts = Some(
        (0..6_000)
            .map(|feature| verdict(feature % 31, feature, 0.5, 1e-9))
            .collect(),
    );
    let mut selection = SelectionData {
        alpha: Some(0.05),
        ..SelectionData::default()
    };
    for feature in 0..6_000 {
        selection.add(selection_row(
            feature % 31,
            feature,
            Some(f64::from(feature % 80) / 10.0 - 4.0),
        ));
    }
    data.selection = Some(selection);
    let page = render(&data).unwrap();
    assert!(page.contains("more rows in verdicts.parquet"));
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
}

#[test]
fn the_summary_and_the_graph_look_as_they_did() {
    let folder = run(Until::Words);
    let page = render_run(folder.path()).unwrap().0;
    let summary = section(&page, "summary");
    insta::assert_snapshot!("summary", &summary[..summary.find("<h3>What was run").unwrap()]);
    let pathways = section(&page, "pathways");
    let start = pathways.find("<div class=\"drawing\">").unwrap();
    let end = start + pathways[start..].find("</svg>").unwrap();
    insta::assert_snapshot!("graph", pathways[start..end].replace("><", ">\n<"));
}

#[test]
fn a_decision_has_a_section_where_the_scenario_reads_one() {
    let folder = run(Until::Words);
    let mut data = ReportData::load(folder.path()).unwrap();
    assert!(!render(&data).unwrap().contains("id=\"decision\""));
    let row = |contrast: &str, feature: u32, effect: f64| DecisionEffectRow {
        layer: 3,
        feature: Some(feature),
        role: "selected".into(),
        matched_feature: None,
        family: "both".into(),
        contrast: contrast.into(),
        prompts: 24,
        mean_1: 0.5,
        mean_2: 0.5 + effect,
        effect,
        ci_low: Some(effect - 0.1),
        ci_high: None,
        cohen_dz: None,
        p: None,
        p_sign_flip: 0.0123,
        q: Some(0.031),
        control_percentile: Some(97.0),
    };
    data.decision = Some(vec![
        row("value_b_vs_value_a", 71, 0.25),
        row("value_b_vs_value_a", 72, -1.5),
        row("value_a_vs_baseline", 73, 9.0),
    ]);
    let page = render(&data).unwrap();
    assert_sound(&page);
    let shown = section(&page, "decision");
    let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(place("L3-72") < place("L3-71") && !shown.contains("L3-73"));
    assert!(shown.contains("0.012") && shown.contains("97"), "{shown}");
}
