//! Verdicts on the slot-machine study's published files, by value. Where the files are not at hand, nothing is tested here; made-up
//! logs with the same faults are tested in `verdicts.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{PLAIN, analysis, cells, published};
use glassbox_log_effects::*;

#[track_caller]
fn near(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 5e-7, "{actual}, expected {expected}");
}

#[test]
fn no_feature_of_the_dose_scan_moves_the_decision_beyond_chance() {
    let Some(path) = published("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let found = analysis(&path);
    assert_eq!(found.verdict, Verdict::NoEffect, "{}", found.words);
    assert_eq!((found.features, found.trials), (30, 12_600));
    assert_eq!((found.repeats.rows, found.repeats.repeats), (13_782, 1_182));
    let repeated: Vec<(&str, u64)> = found
        .repeats
        .features
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(
        repeated,
        [("L30-16039", 420), ("L30-22493", 420), ("L30-18100", 342)]
    );
    let stop = &found.measures[0];
    assert_eq!((stop.measure.as_str(), stop.question), ("stop", Question::Doses));
    // By NumPy and statsmodels: Mantel's trend within prompts, repeats taken out, the first kept.
    let spread = stop.spread.as_ref().unwrap();
    near(spread.variance_z, 0.706298);
    near(spread.mean_z, -0.121214);
    assert!(
        spread.variance_low < 1.0 && spread.variance_high > 1.0,
        "within chance"
    );
    let of = |layer, feature, measure: &str| {
        found
            .doses
            .iter()
            .find(|row| (row.layer, row.feature, row.measure.as_str()) == (layer, feature, measure))
            .unwrap()
    };
    let smallest = of(30, 18100, "stop");
    near(smallest.p.unwrap(), 0.003815354);
    assert!(
        found
            .doses
            .iter()
            .filter(|row| row.measure == "stop")
            .all(|row| row.q.unwrap() > 0.1)
    );
    // The evidence to the contrary: among recorded amounts one feature's mean bet rises with the dose, on the safe prompt, which
    // offers a single bet of $10. 20,000 permutations within prompts give p = 0.00075; HC3 as statsmodels computes it:
    let amount = of(25, 2552, "amount");
    near(amount.p.unwrap(), 0.000343257);
    near(amount.effect.unwrap(), 32.730043);
    assert!(
        found.words.contains("L25-2552") && found.words.contains("select"),
        "{}",
        found.words
    );
    assert_eq!(found.measures[1].found, ["L25-2552"]);
}

#[test]
fn what_repeats_change_in_the_dose_scan() {
    let Some(path) = published("exp2_revalidation_trials.jsonl") else {
        return;
    };
    let smallest_p = |repeats| {
        let settings = CountSettings { repeats, ..PLAIN };
        let found = analyse(&cells(&path, settings), &CausalSettings::default()).unwrap();
        assert_eq!(found.verdict, Verdict::NoEffect);
        let stop = found.doses.iter().filter(|row| row.measure == "stop");
        (found.trials, stop.filter_map(|row| row.p).fold(1.0, f64::min))
    };
    let (all, p) = smallest_p(Repeats::All);
    assert_eq!(all, 13_782);
    near(p, 0.126116897);
    let (last, _) = smallest_p(Repeats::Last);
    assert_eq!(last, 12_600);
}

#[test]
fn the_file_of_zeros_cannot_tell_anything() {
    let Some(path) = published("exp2_binary_causality_392features_allzero.json") else {
        return;
    };
    let found = analysis(&path);
    assert_eq!(found.verdict, Verdict::CannotTell);
    assert!(
        found.words.contains("All 1568 stated stop rates are exactly 0"),
        "{}",
        found.words
    );
    assert_eq!(found.features, 392);
}

#[test]
fn stated_deltas_without_counts_are_described_and_not_tested() {
    let Some(path) = published("exp2_feature_group_summary.jsonl") else {
        return;
    };
    let found = analysis(&path);
    assert_eq!(found.verdict, Verdict::CannotTell);
    let deltas: Vec<(&str, usize, usize)> = found
        .reported
        .iter()
        .map(|delta| (delta.measure.as_str(), delta.features, delta.incomplete))
        .collect();
    assert_eq!(
        deltas,
        [
            ("avg_bet_delta", 1364, 2),
            ("bankruptcy_delta", 1364, 2),
            ("risky_stop_delta", 1364, 2),
            ("stop_delta", 1188, 178)
        ]
    );
    // Both values did the same: correlation .94 on the safe prompt's stop rate, by NumPy.
    let stop = &found.reported[3];
    near(stop.correlation.unwrap(), 0.936416);
    near(stop.mean_a, 0.094508);
    near(stop.mean_b, 0.097987);
    assert!(stop.shared_deviation > 5.0 * stop.specific_deviation);
}
