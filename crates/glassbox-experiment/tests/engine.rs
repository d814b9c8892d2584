//! What a sweep saves changes none of its results: every switch of `[sweep.engine]` off, against all on, trial by trial
//! and token by token, on the shipped model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use glassbox_experiment::Scenario;
use glassbox_experiment::plan::{Plan, SelectedFeature};
use glassbox_experiment::prompts::PromptSets;
use glassbox_experiment::recording::{Recording, WantedFeatures};
use glassbox_experiment::scenario::{EngineSettings, InterventionPositions, StopWhenDecided};
use glassbox_experiment::session::Session;
use glassbox_experiment::tables::{PlanRow, TrialRow};
use glassbox_experiment::trial_batch::TrialContext;

fn scenario() -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
    let mut scenario = Scenario::read(&path).unwrap();
    scenario.sweep.batch_rows = 24;
    scenario.sweep.max_new_tokens = 40;
    scenario.sweep.top_logits = 2;
    scenario
}

fn trials(scenario: &Scenario, session: &Session, prompt: usize, runs: usize) -> Vec<TrialRow> {
    let prompts = PromptSets::read(scenario).unwrap();
    let layers = session.layers();
    let features: Vec<SelectedFeature> = (0..8)
        .map(|i| SelectedFeature {
            layer: layers[i as usize % layers.len()],
            feature: 31 * i + 5,
            value_a: 0.0,
            value_b: 3.0 + f64::from(i),
        })
        .collect();
    let plan = Plan::new(&prompts.sweep[prompt..=prompt], &features, &[], 3, 1000);
    let rows: Vec<PlanRow> = plan.rows().collect();
    let parser = scenario.compiled_parser().unwrap();
    let context = TrialContext {
        session,
        scenario,
        parser: &parser,
        run: "test",
        baseline_runs: runs,
        progress: &|_, _| {},
    };
    let wanted = (0..40).map(|i| (layers[i as usize % layers.len()], i * 7 + 1));
    let alone = scenario.sweep.engine.encode_recorded_only;
    let wanted = WantedFeatures::new(session, wanted, alone).unwrap();
    let mut workspace = session.model().workspace();
    let text = &prompts.sweep[prompt].text;
    let result = context.run_unit(&mut workspace, text, &rows, Recording::Wanted(&wanted));
    result.unwrap().trials
}

/// Values within 1e-4; features that are active in one list only must be nearly inactive.
fn assert_same_features(one: &TrialRow, other: &TrialRow, what: &str) {
    let lookup = |row: &TrialRow, layer: u32, feature: u32| -> [f32; 3] {
        (0..row.recorded_layers.len())
            .find(|&i| (row.recorded_layers[i], row.recorded_features[i]) == (layer, feature))
            .map_or([0.0; 3], |i| {
                [
                    row.recorded_means[i],
                    row.recorded_maxima[i],
                    row.recorded_at_prompt_end[i],
                ]
            })
    };
    for row in [one, other] {
        for (&layer, &feature) in row.recorded_layers.iter().zip(&row.recorded_features) {
            let (a, b) = (lookup(one, layer, feature), lookup(other, layer, feature));
            for (a, b) in a.iter().zip(b) {
                assert!(
                    (a - b).abs() < 1e-4 * a.abs().max(1.0),
                    "{what}: L{layer}-{feature}: {a} and {b}"
                );
            }
        }
    }
}

#[test]
fn every_switch_off_gives_the_same_trials() {
    let mut scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    let all = EngineSettings::default();
    for (temperature, stop) in [
        (0.0, StopWhenDecided::Never),
        (0.8, StopWhenDecided::Never),
        (0.8, StopWhenDecided::EndOfLine),
    ] {
        scenario.sweep.temperature = temperature;
        scenario.sweep.stop_when_decided = stop;
        scenario.sweep.batch_rows = 24;
        // Where interventions act the most.
        scenario.sweep.positions = InterventionPositions::LastAndGenerated;
        scenario.sweep.engine = all;
        let expected = trials(&scenario, &session, 0, 1);
        assert!(expected.iter().all(|row| !row.recorded_means.is_empty()));
        assert!(expected.iter().any(|row| row.text != expected[0].text));
        let ways: [(&str, EngineSettings, usize, usize); 8] = [
            (
                "share_prefix",
                EngineSettings {
                    share_prefix: false,
                    ..all
                },
                24,
                1,
            ),
            (
                "resume_at_edit",
                EngineSettings {
                    resume_at_edit: false,
                    ..all
                },
                24,
                1,
            ),
            (
                "continuous",
                EngineSettings {
                    continuous: false,
                    ..all
                },
                24,
                1,
            ),
            (
                "one_row_deltas",
                EngineSettings {
                    one_row_deltas: false,
                    ..all
                },
                24,
                1,
            ),
            (
                "encode_recorded_only",
                EngineSettings {
                    encode_recorded_only: false,
                    ..all
                },
                24,
                1,
            ),
            (
                "pool_baselines",
                EngineSettings {
                    pool_baselines: false,
                    ..all
                },
                24,
                3,
            ),
            ("batches", all, 1, 1),
            (
                "everything",
                EngineSettings {
                    share_prefix: false,
                    resume_at_edit: false,
                    continuous: false,
                    one_row_deltas: false,
                    encode_recorded_only: false,
                    pool_baselines: false,
                    ..all
                },
                1,
                2,
            ),
        ];
        let mut ties = 0;
        for (name, engine, batch_rows, runs) in ways {
            scenario.sweep.engine = engine;
            scenario.sweep.batch_rows = batch_rows;
            let found = trials(&scenario, &session, 0, runs);
            assert_eq!(found.len(), expected.len(), "{name}");
            for (index, (one, other)) in expected.iter().zip(&found).enumerate() {
                let what = format!("without {name}, temperature {temperature}, trial {index}");
                if let Some(step) = one
                    .token_ids
                    .iter()
                    .zip(&other.token_ids)
                    .position(|(a, b)| a != b)
                {
                    let margin = one.top_logit_values[2 * step] - one.top_logit_values[2 * step + 1];
                    assert!(margin < 1e-4, "{what}: differs at token {step}, margin {margin}");
                    ties += 1;
                    continue;
                }
                assert_eq!((&one.text, &one.outcome), (&other.text, &other.outcome), "{what}");
                assert_same_features(one, other, &what);
            }
        }
        assert!(ties <= 2, "{ties} trials differ after a near-tie");
    }
}

#[test]
fn without_common_random_numbers_arms_differ_where_their_interventions_do_not() {
    let mut scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    scenario.sweep.temperature = 1.0;
    let shared = trials(&scenario, &session, 0, 1);
    scenario.sweep.engine.common_random_numbers = false;
    let own = trials(&scenario, &session, 0, 1);
    let same = |rows: &[TrialRow]| {
        let baseline = |trial: u32| {
            rows.iter()
                .find(|row| row.arm == "baseline" && row.trial == trial)
        };
        rows.iter()
            .filter(|row| baseline(row.trial).is_some_and(|baseline| baseline.text == row.text))
            .count()
    };
    assert!(
        same(&shared) > same(&own) + 5,
        "{} and {}",
        same(&shared),
        same(&own)
    );
}
