//! Verdicts on made-up logs whose truth is known, and the study's criterion on the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Behaviour, PLAIN, analysis, cells, six_conditions};
use glassbox_log_effects::*;
use glassbox_logs::{Logs, Unwatched};

fn rates(stop: f64, high: f64) -> Behaviour {
    Behaviour { stop, high }
}

/// Either value moves behaviour alike: what a lossy reconstruction does.
fn shared_shift(_: u32, condition: &str) -> Behaviour {
    match (condition.starts_with("safe"), condition.ends_with("baseline")) {
        (true, true) => rates(0.3, 0.2),
        (true, false) => rates(0.6, 0.2),
        (false, true) => rates(0.4, 0.6),
        (false, false) => rates(0.7, 0.3),
    }
}

#[test]
fn a_shared_shift_is_no_specific_effect_though_the_studys_criterion_calls_it_causal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    six_conditions(&path, 60, 100, 1, shared_shift);
    let settings = CausalSettings {
        criterion: Some(StudyCriterion::StudyScan),
        ..CausalSettings::default()
    };
    let found = analyse(&cells(&path, PLAIN), &settings).unwrap();
    assert_eq!(found.verdict, Verdict::SharedShiftOnly, "{}", found.words);
    let stop = &found.measures[0];
    let shared = stop.shared.as_ref().unwrap();
    assert!((shared.mean_effect - 0.3).abs() < 0.02, "{shared:?}");
    assert!(stop.spread.as_ref().unwrap().mean_effect.abs() < 0.02);
    assert_eq!(found.reference, Some("baseline"));
    let study = found.study.unwrap();
    assert_eq!((study.tested, study.causal), (60, 60));
    assert!(study.classes[&DirectionClass::Safe] > 50, "{:?}", study.classes);
    assert!(study.passing_fdr > 55);
    // Baselines are the same in truth: nothing drifts.
    assert!(
        found
            .baseline_drift
            .iter()
            .all(|drift| drift.p_more > 0.001 && drift.p_less > 0.001)
    );
}

#[test]
fn true_effects_are_found_and_named_and_chance_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    // Features 3 and 7 act by their value, everything shifts besides.
    six_conditions(&path, 60, 100, 2, |feature, condition| {
        let base = shared_shift(feature, condition);
        match (
            feature,
            condition.ends_with("safe_patch"),
            condition.ends_with("risky_patch"),
        ) {
            (3, true, _) => rates(base.stop + 0.2, base.high),
            (3, _, true) => rates(base.stop - 0.2, base.high),
            (7, _, true) => rates(base.stop - 0.35, base.high),
            _ => base,
        }
    });
    let found = analysis(&path);
    assert_eq!(found.verdict, Verdict::SpecificEffect, "{}", found.words);
    let mut names = found.measures[0].found.clone();
    names.sort();
    assert_eq!(names, ["L5-3", "L6-7"]);
    let row = found
        .effects
        .iter()
        .find(|row| {
            (row.feature, row.measure.as_str(), row.comparison.as_str()) == (3, "stop", "value_b_vs_value_a")
        })
        .unwrap();
    assert!(
        row.ci_low.unwrap() < -0.4 && row.ci_high.unwrap() > -0.4,
        "{row:?}"
    );
    assert!(row.odds_high.unwrap() < 0.5 && row.d_high.unwrap() < -0.5);
    // Families hold every feature and measure.
    let family = found
        .families
        .iter()
        .find(|family| family.name == "value_b_vs_value_a")
        .unwrap();
    assert_eq!(family.tests, 120);
    assert!(family.pi0 > 0.8);
    // The blocks' table counts them.
    let lowered: u64 = found
        .layers
        .iter()
        .filter(|row| row.measure == "stop")
        .map(|row| row.lowered)
        .sum();
    assert_eq!(lowered, 2);
}

#[test]
fn nothing_is_nothing_only_where_the_data_could_have_seen_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let flat = |_: u32, condition: &str| {
        if condition.starts_with("safe") {
            rates(0.3, 0.2)
        } else {
            rates(0.5, 0.5)
        }
    };
    six_conditions(&path, 80, 100, 3, flat);
    assert_eq!(analysis(&path).verdict, Verdict::NoEffect);
    six_conditions(&path, 3, 10, 4, flat);
    let few = analysis(&path);
    assert_eq!(few.verdict, Verdict::CannotTell, "{}", few.words);
    assert!(few.words.contains("80 % power"), "{}", few.words);
    // One feature is judged by its interval.
    six_conditions(&path, 1, 2000, 5, flat);
    assert_eq!(analysis(&path).verdict, Verdict::NoEffect);
    six_conditions(&path, 1, 30, 6, flat);
    assert_eq!(analysis(&path).verdict, Verdict::CannotTell);
    // Everything stops.
    six_conditions(&path, 10, 20, 7, |_, _| rates(1.0, 0.0));
    let degenerate = analysis(&path);
    assert_eq!(degenerate.verdict, Verdict::CannotTell);
    assert!(
        degenerate.words.contains("one and the same value"),
        "{}",
        degenerate.words
    );
}

#[test]
fn chance_alone_seldom_makes_a_specific_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let runs = 200;
    let specific = (0..runs)
        .filter(|run| {
            six_conditions(&path, 10, 25, 100 + run, shared_shift);
            analysis(&path).verdict == Verdict::SpecificEffect
        })
        .count() as f64
        / runs as f64;
    // Alpha for named features and a fifth of it for the spread.
    assert!(
        specific <= 0.06 + 2.0 * (0.06_f64 * 0.94 / runs as f64).sqrt(),
        "{specific}"
    );
}

#[test]
fn repeats_are_kept_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let row = |trial: u32, action: &str| {
        format!(
            "{{\"feature\":\"L9-456\",\"condition\":\"safe_baseline\",\"trial\":{trial},\"response\":\"\",\"parsed\":{{\"action\":\"{action}\",\"bet\":0,\"valid\":true}}}}\n"
        )
    };
    std::fs::write(
        &path,
        row(0, "stop") + &row(1, "stop") + &row(0, "bet") + &row(2, "bet"),
    )
    .unwrap();
    let stops = |repeats| {
        let cells = cells(&path, CountSettings { repeats, ..PLAIN });
        let tally = cells.tallies.values().next().unwrap();
        (
            tally.known(&Measure::Stop).events,
            tally.trials(),
            cells.repeats.repeats,
        )
    };
    assert_eq!(stops(Repeats::First), (2, 3, 1));
    assert_eq!(stops(Repeats::Last), (1, 3, 1));
    assert_eq!(stops(Repeats::All), (2, 4, 1));
    let refused = Cells::read(
        &Logs::find(&[path]).unwrap(),
        CountSettings {
            repeats: Repeats::Refuse,
            ..PLAIN
        },
        &Unwatched,
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("L9-456 (1)") && message.contains("--duplicates"),
        "{message}"
    );
}

#[test]
fn later_attempts_do_not_count_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let row = |attempt: u32, action: &str| {
        format!(
            "{{\"feature\":\"L9-456\",\"condition\":\"safe_baseline\",\"trial\":4,\"attempt\":{attempt},\"response\":\"\",\"parsed\":{{\"action\":\"{action}\",\"bet\":0,\"valid\":true}}}}\n"
        )
    };
    std::fs::write(&path, row(1, "unknown") + &row(2, "stop") + &row(1, "unknown")).unwrap();
    let counts = |attempts| {
        let cells = cells(&path, CountSettings { attempts, ..PLAIN });
        let tally = cells.tallies.values().next().unwrap().clone();
        (
            tally.trials(),
            tally.unknown(),
            cells.repeats.later_attempts,
            cells.repeats.repeats,
        )
    };
    assert_eq!(counts(Attempts::First), (1, 1, 1, 1));
    assert_eq!(counts(Attempts::All), (2, 1, 0, 1));
}

#[test]
fn counted_cells_give_what_their_trials_give() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.json");
    six_conditions(&log, 12, 40, 8, shared_shift);
    let counted = cells(&log, PLAIN);
    let mut features = Vec::new();
    for feature in counted.features() {
        let metrics: serde_json::Map<String, serde_json::Value> = counted
            .tallies
            .iter()
            .filter(|(key, _)| key.feature == Some(feature))
            .map(|(key, tally)| {
                let arm = match key.arm.name() {
                    "value_a" => "with_safe_patch",
                    "value_b" => "with_risky_patch",
                    other => other,
                };
                let bets: Vec<f64> = tally
                    .amounts()
                    .flat_map(|(amount, count)| std::iter::repeat_n(amount, count as usize))
                    .collect();
                let stops = tally.known(&Measure::Stop).events;
                let high = tally.known(&Measure::BetAbove(15.0)).events;
                let metrics = serde_json::json!({
                    "stop_rate": stops as f64 / tally.trials() as f64, "total_trials": tally.trials(), "stop_count": stops,
                    "bet_amounts": bets, "high_risk_count": high, "bankruptcy_count": 0,
                });
                (format!("{}_{arm}", key.prompt), metrics)
            })
            .collect();
        features.push(serde_json::json!({
            "layer": feature.layer, "feature_id": feature.feature, "feature_key": feature.to_string(), "condition_metrics": metrics,
        }));
    }
    let path = folder.path().join("metrics.json");
    let file = serde_json::json!({"analyzed_features": features, "metadata": {}});
    std::fs::write(&path, file.to_string()).unwrap();
    let (from_trials, from_counts) = (analysis(&log), analysis(&path));
    assert_eq!(from_counts.counted_cells, 72);
    assert_eq!(from_counts.effects, from_trials.effects);
    assert_eq!(
        (from_counts.verdict, from_counts.words),
        (from_trials.verdict, from_trials.words)
    );
    let flags = CausalSettings {
        measures: vec![Measure::HighRisk],
        ..CausalSettings::default()
    };
    let high = analyse(&cells(&path, PLAIN), &flags).unwrap();
    let above = CausalSettings {
        measures: vec![Measure::BetAbove(15.0)],
        ..CausalSettings::default()
    };
    let of_trials = analyse(&counted, &above).unwrap();
    assert_eq!(high.effects[0].p, of_trials.effects[0].p);
}

#[test]
fn threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    six_conditions(&path, 20, 40, 9, shared_shift);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| analysis(&path))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn unusable_files_are_errors_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    std::fs::write(&path, "[{\"neither\": 1}").unwrap();
    let logs = Logs::find(&[path]).unwrap();
    let message = Cells::read(&logs, PLAIN, &Unwatched).unwrap_err().to_string();
    assert!(message.contains("glassbox audit"), "{message}");
}
