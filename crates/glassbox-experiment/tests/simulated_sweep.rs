//! The causal and words stages on simulated trials whose truth is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_experiment::calibration::permuted_label_check;
use glassbox_experiment::causal::{BOTH, TARGET_RATE, causal_rows};
use glassbox_experiment::plan::{ControlFeature, Plan, SelectedFeature};
use glassbox_experiment::prompts::Prompt;
use glassbox_experiment::scenario::{CausalSettings, InterventionKind, WordSettings};
use glassbox_experiment::tables::{CausalRow, PlanRow, TrialRow};
use glassbox_experiment::trial_index::TrialIndex;
use glassbox_experiment::verdict::verdicts;
use glassbox_experiment::words::ResponseWords;

const FAMILIES: [&str; 2] = ["calm", "tense"];

/// A number in [0, 1) that depends on its keys alone.
fn uniform(keys: &[&str]) -> f64 {
    let hash = blake3::hash(keys.join("\u{0}").as_bytes());
    let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().unwrap();
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

struct World {
    features: Vec<SelectedFeature>,
    trials: Vec<TrialRow>,
}

/// Feature 0 has a specific effect of 30 points; feature 1 shifts both values by −30 points; feature 2's value B makes half of
/// the texts unreadable and changes no decision; the rest do nothing. Pairs share
/// their random number, as real trials do.
fn simulate(salt: &str, effects: bool) -> World {
    let prompts: Vec<Prompt> = (0..20)
        .map(|index| Prompt {
            id: format!("p{index}"),
            family: FAMILIES[index / 10].into(),
            text: String::new(),
        })
        .collect();
    let features: Vec<SelectedFeature> = (0..12)
        .map(|feature| SelectedFeature {
            layer: feature % 3,
            feature,
            value_a: 1.0,
            value_b: 3.0,
        })
        .collect();
    let controls: Vec<ControlFeature> = (0..40)
        .map(|index| ControlFeature {
            layer: index % 3,
            feature: 100 + index,
            matched_feature: index % 12,
            value_a: 0.0,
            value_b: 2.0,
        })
        .collect();
    let plan: Vec<PlanRow> = Plan::new(&prompts, &features, &controls, 8, 64).rows().collect();
    let trials = plan
        .into_iter()
        .map(|row| {
            let trial = row.trial.to_string();
            let common = uniform(&[salt, &row.prompt_id, &trial]);
            let own = uniform(&[
                salt,
                &row.prompt_id,
                &trial,
                &row.arm,
                &format!("{:?}{:?}", row.layer, row.feature),
            ]);
            let shift = match (row.feature, row.arm.as_str()) {
                (Some(0), "value_b") if effects => 0.3,
                (Some(1), "value_a" | "value_b") if effects => -0.3,
                _ => 0.0,
            };
            // A tenth of the trials draw anew, as after a token that differs.
            let draw = if own < 0.1 { own * 10.0 } else { common };
            let stops = draw < 0.5 + shift;
            let unreadable = effects
                && row.feature == Some(2)
                && row.arm == "value_b"
                && uniform(&[salt, "u", &row.prompt_id, &trial]) < 0.5;
            let text = if row.arm == "value_b" && row.feature == Some(0) && effects && own < 0.6 {
                "I want it all back. $10"
            } else {
                "Fine. $5"
            };
            TrialRow {
                run: "test".into(),
                unit: row.unit,
                prompt_id: row.prompt_id,
                family: row.family,
                arm: row.arm,
                layer: row.layer,
                feature: row.feature,
                matched_feature: row.matched_feature,
                value: row.value,
                trial: row.trial,
                text: text.into(),
                token_ids: vec![1],
                stop_reason: "end".into(),
                outcome: if unreadable {
                    "unknown"
                } else if stops {
                    "stop"
                } else {
                    "go"
                }
                .into(),
                amount: (!stops && !unreadable).then_some(5.0 + 10.0 * own),
                parser: "test@1".into(),
                parser_hash: "0".into(),
                ..TrialRow::default()
            }
        })
        .collect();
    World { features, trials }
}

fn index(world: &World) -> TrialIndex {
    let mut index = TrialIndex::new();
    for row in &world.trials {
        index.add(row, "stop").unwrap();
    }
    index
}

fn value_rows(rows: &[CausalRow]) -> Vec<&CausalRow> {
    rows.iter()
        .filter(|row| {
            row.contrast == "value_b_vs_value_a" && row.family == BOTH && row.measure == TARGET_RATE
        })
        .collect()
}

#[test]
fn true_effects_shared_shifts_and_nothing_are_told_apart() {
    let world = simulate("truth", true);
    let index = index(&world);
    let rows = causal_rows(&index, FAMILIES, InterventionKind::Delta).unwrap();
    let verdicts = verdicts(
        &world.features,
        &rows,
        &index,
        &CausalSettings::default(),
        "stop",
        InterventionKind::Delta,
        1,
    )
    .unwrap();
    assert_eq!(verdicts.len(), 12);
    let specific = &verdicts[0];
    assert_eq!(specific.verdict, "specific_effect", "{specific:?}");
    assert_eq!(specific.direction, "raises_target");
    assert!(specific.ci_low < 0.3 && 0.3 < specific.ci_high, "{specific:?}");
    assert!(specific.control_percentile.unwrap() > 95.0);
    let shared = &verdicts[1];
    assert_eq!(shared.verdict, "shared_shift_only", "{shared:?}");
    assert!(shared.shared_shift < -0.2);
    let unreadable = &verdicts[2];
    assert_eq!(unreadable.verdict, "cannot_tell", "{unreadable:?}");
    assert!(
        unreadable.q < 0.05 && unreadable.words.contains("no readable outcome"),
        "{unreadable:?}"
    );
    let false_specific = verdicts[3..]
        .iter()
        .filter(|row| row.verdict == "specific_effect")
        .count();
    assert_eq!(false_specific, 0, "{verdicts:?}");
    assert!(
        verdicts[2..]
            .iter()
            .filter(|row| row.verdict == "no_effect")
            .count()
            >= 8
    );
}

#[test]
fn every_test_of_selected_features_is_in_one_family_and_controls_are_not() {
    let world = simulate("family", true);
    let rows = causal_rows(&index(&world), FAMILIES, InterventionKind::Delta).unwrap();
    assert!(
        rows.iter()
            .filter(|row| row.role == "selected")
            .all(|row| row.q.is_some() == row.p.is_some())
    );
    assert!(
        rows.iter()
            .filter(|row| row.role != "selected")
            .all(|row| row.q.is_none())
    );
    // Three contrasts, three families, two measures, twelve features.
    assert_eq!(
        rows.iter().filter(|row| row.role == "selected").count(),
        3 * 3 * 2 * 12
    );
    assert_eq!(
        rows.iter().filter(|row| row.role == "control").count(),
        40 * 3 * 2
    );
}

#[test]
fn the_test_keeps_its_level_without_effects() {
    let (mut tests, mut rejected) = (0.0, 0.0);
    for round in 0..12 {
        let rows = causal_rows(
            &index(&simulate(&format!("null {round}"), false)),
            FAMILIES,
            InterventionKind::Delta,
        )
        .unwrap();
        for row in value_rows(&rows) {
            tests += 1.0;
            rejected += f64::from(u8::from(row.p.unwrap() < 0.05));
        }
    }
    assert!(
        rejected / tests <= 0.05 + 2.0 * (0.05 * 0.95 / tests).sqrt(),
        "{rejected} of {tests}"
    );
}

#[test]
fn permuted_labels_keep_the_level_even_where_effects_are_strong() {
    let world = simulate("permuted", true);
    let check = permuted_label_check(&world.features, &index(&world), 50, 3).unwrap();
    assert_eq!(check.result, "passed", "{check:?}");
}

#[test]
fn a_doubled_trial_is_refused() {
    let world = simulate("doubled", false);
    let mut index = index(&world);
    let error = index.add(&world.trials[5], "stop").unwrap_err().to_string();
    assert!(error.contains("twice"), "{error}");
}

#[test]
fn words_are_found_where_they_were_put_and_counted_per_response() {
    let world = simulate("words", true);
    let settings = WordSettings::default();
    let mut words = ResponseWords::new(&settings).unwrap();
    for row in &world.trials {
        words.add(row).unwrap();
    }
    let rows = words.test(&settings).unwrap();
    let found: Vec<(u32, &str, &str)> = rows
        .iter()
        .filter(|row| row.q.is_some_and(|q| q < 0.05))
        .map(|row| (row.feature, row.word.as_str(), row.change.as_str()))
        .collect();
    assert!(found.contains(&(0, "$10", "added")), "{found:?}");
    assert!(
        found.contains(&(0, "back", "added")) && found.contains(&(0, "fine", "removed")),
        "{found:?}"
    );
    assert!(found.iter().all(|(feature, _, _)| *feature == 0), "{found:?}");
    for row in &rows {
        assert!(row.responses_1 <= row.n_1 && row.responses_2 <= row.n_2);
    }
}
