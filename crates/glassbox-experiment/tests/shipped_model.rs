//! Whole runs on the shipped model, small enough for every test run: the same tables again, at any number of threads,
//! interrupted or not; rows of a batch equal to rows alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use glassbox_experiment::events::{Event, Reporter, Silent};
use glassbox_experiment::plan::{Plan, SelectedFeature};
use glassbox_experiment::prompts::PromptSets;
use glassbox_experiment::recording::Recording;
use glassbox_experiment::run::{RunRequest, run};
use glassbox_experiment::scenario::InterventionKind;
use glassbox_experiment::scenario::StopWhenDecided;
use glassbox_experiment::session::Session;
use glassbox_experiment::tables::{PlanRow, TrialRow};
use glassbox_experiment::trial_batch::{TrialContext, UnitResult};
use glassbox_experiment::{ExperimentError, Scenario};

fn scenario() -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
    let mut scenario = Scenario::read(&path).unwrap();
    scenario.select.top_per_layer = 1;
    scenario.select.max_prompts = 24;
    scenario.sweep.max_prompts = 3;
    scenario.sweep.trials = 1;
    scenario.sweep.controls_per_feature = 2;
    scenario.sweep.max_new_tokens = 24;
    scenario.sweep.batch_rows = 16;
    scenario.sweep.unit_trials = 24;
    scenario.pathways.sources = 2;
    scenario.pathways.second_wave = 1;
    scenario.pathways.control_sources = 1;
    scenario.pathways.trials = 1;
    scenario.pathways.max_prompts = 2;
    scenario.words.min_responses = 2;
    scenario
}

fn request(scenario: &Scenario, out: &Path, resume: bool) -> RunRequest {
    RunRequest {
        scenario: scenario.clone(),
        out: out.to_owned(),
        resume,
        pilot: None,
    }
}

/// Every table of a run with its bytes.
fn tables(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.insert(
                    path.strip_prefix(root).unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn assert_same_tables(one: &Path, other: &Path) {
    let (one, other) = (tables(one), tables(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(bytes == &other[name], "{} differs", name.display());
    }
    assert!(one.len() > 8, "{:?}", one.keys());
}

/// Asks for a stop after so many units.
struct StopAfter(AtomicUsize);

impl Reporter for StopAfter {
    fn report(&self, event: Event) {
        if matches!(event, Event::Advanced { .. }) {
            let left = self.0.load(Ordering::Relaxed);
            self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        }
    }

    fn should_stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn interrupted_runs_and_other_thread_counts_give_the_same_tables() {
    let scenario = scenario();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let outcome = run(&request(&scenario, &whole, false), &Silent).unwrap();
    assert!(!outcome.verdicts.is_empty() && !outcome.checks.is_empty());

    let single = folder.path().join("single");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| run(&request(&scenario, &single, false), &Silent))
        .unwrap();
    assert_same_tables(&whole, &single);

    let broken = folder.path().join("broken");
    let mut interruptions = 0;
    loop {
        let reporter = StopAfter(AtomicUsize::new(5));
        match run(&request(&scenario, &broken, true), &reporter) {
            Ok(_) => break,
            Err(ExperimentError::Interrupted { done, total, .. }) => {
                assert!(done < total);
                interruptions += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(interruptions >= 3, "{interruptions}");
    assert_same_tables(&whole, &broken);
}

#[test]
fn a_run_without_resume_refuses_a_folder_with_a_run_and_another_scenario_refuses_to_resume_it() {
    let scenario = scenario();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let stop = StopAfter(AtomicUsize::new(0));
    assert!(matches!(
        run(&request(&scenario, &out, false), &stop),
        Err(ExperimentError::Interrupted { .. })
    ));
    let again = run(&request(&scenario, &out, false), &Silent)
        .unwrap_err()
        .to_string();
    assert!(again.contains("resume"), "{again}");
    let mut other = scenario;
    other.sweep.temperature = 0.5;
    let differs = run(&request(&other, &out, true), &Silent)
        .unwrap_err()
        .to_string();
    assert!(differs.contains("temperature"), "{differs}");
}

/// Runs planned rows of one prompt as one unit, or each alone.
fn unit(scenario: &Scenario, session: &Session, alone: bool) -> Vec<TrialRow> {
    let parser = scenario.compiled_parser().unwrap();
    let prompts = PromptSets::read(scenario).unwrap();
    let layers = session.layers();
    let features: Vec<SelectedFeature> = layers
        .iter()
        .map(|&layer| SelectedFeature {
            layer,
            feature: 3 + layer,
            value_a: 0.0,
            value_b: 8.0,
        })
        .collect();
    let plan: Vec<PlanRow> = Plan::new(&prompts.sweep[..1], &features, &[], 2, 1000)
        .rows()
        .collect();
    let context = TrialContext {
        session,
        scenario,
        parser: &parser,
        run: "test",
        baseline_runs: 1,
        progress: &|_, _| {},
    };
    let mut workspace = session.model().workspace();
    let mut run_rows = |rows: &[_]| -> UnitResult {
        context
            .run_unit(&mut workspace, &prompts.sweep[0].text, rows, Recording::None)
            .unwrap()
    };
    if alone {
        plan.iter()
            .flat_map(|row| run_rows(std::slice::from_ref(row)).trials)
            .collect()
    } else {
        run_rows(&plan).trials
    }
}

#[test]
fn a_row_of_a_batch_equals_the_row_alone_under_every_kind_of_intervention() {
    for kind in [InterventionKind::Delta, InterventionKind::Reconstruction] {
        let mut scenario = scenario();
        scenario.sweep.intervention = kind;
        let session = Session::load(&scenario).unwrap();
        let together = unit(&scenario, &session, false);
        assert_eq!(together, unit(&scenario, &session, true));
        // The interventions do something: not all responses of a trial number are equal.
        assert!(together.iter().any(|row| row.text != together[0].text));
    }
}

#[test]
fn arms_that_do_the_same_give_the_same_trials() {
    let scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    let parser = scenario.compiled_parser().unwrap();
    let prompts = PromptSets::read(&scenario).unwrap();
    let features = [SelectedFeature {
        layer: 2,
        feature: 7,
        value_a: 4.0,
        value_b: 4.0,
    }];
    let plan: Vec<PlanRow> = Plan::new(&prompts.sweep[..1], &features, &[], 3, 1000)
        .rows()
        .collect();
    let context = TrialContext {
        session: &session,
        scenario: &scenario,
        parser: &parser,
        run: "test",
        baseline_runs: 1,
        progress: &|_, _| {},
    };
    let mut workspace = session.model().workspace();
    let rows = context
        .run_unit(&mut workspace, &prompts.sweep[0].text, &plan, Recording::None)
        .unwrap()
        .trials;
    let texts = |arm: &str| -> Vec<&str> {
        rows.iter()
            .filter(|row| row.arm == arm)
            .map(|row| row.text.as_str())
            .collect()
    };
    assert_eq!(texts("value_a"), texts("value_b"));
    // Trials of different number draw different random numbers.
    let baseline = texts("baseline");
    assert!(baseline.iter().any(|text| *text != baseline[0]), "{baseline:?}");
}

#[test]
fn one_prompt_per_family_and_reconstruction_are_enough_for_a_run() {
    let mut scenario = scenario();
    let prompts = PromptSets::read(&scenario).unwrap();
    for family in &mut scenario.families {
        family.select_prompts = None;
        family.sweep_prompts = None;
        let found = prompts
            .sweep
            .iter()
            .find(|prompt| prompt.family == family.name)
            .unwrap();
        family.prompt = Some(found.text.clone());
    }
    scenario.sweep.trials = 2;
    scenario.sweep.intervention = InterventionKind::Reconstruction;
    scenario.sweep.stop_when_decided = StopWhenDecided::EndOfLine;
    scenario.sweep.top_logits = 5;
    scenario.pathways.record_tokens = true;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let outcome = run(&request(&scenario, &out, false), &Silent).unwrap();
    assert!(!outcome.verdicts.is_empty());
    let held_out = outcome
        .checks
        .iter()
        .find(|check| check.check == "held_out_prompts")
        .unwrap();
    assert_eq!(held_out.result, "failed");
    let trials: Vec<TrialRow> = glassbox_store::read_table_dir(&out.join("trials")).unwrap();
    assert!(
        trials
            .iter()
            .all(|row| row.top_logit_ids.len() == 5 * row.token_ids.len())
    );
    assert!(tables(&out).keys().any(|name| name.starts_with("features")));
    let findings = std::fs::read_to_string(out.join("findings.json")).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&findings).unwrap();
    assert_eq!(
        findings["verdicts"].as_array().unwrap().len(),
        outcome.verdicts.len()
    );
}

#[test]
fn a_dry_run_counts_what_the_run_will_do() {
    let scenario = scenario();
    let estimate = glassbox_experiment::estimate::estimate(&scenario).unwrap();
    assert_eq!(
        (estimate.layers, estimate.features, estimate.controls),
        (6, 6, 12)
    );
    assert_eq!(estimate.trials, 6 * (1 + 6 + 2 * 18));
    assert!(estimate.tokens_per_second > 0.0 && estimate.memory_bytes > 0 && estimate.seconds_at_most > 0.0);
}

#[test]
fn a_prompt_that_fills_the_context_is_named_before_anything_is_written() {
    let mut scenario = scenario();
    scenario.families[1].select_prompts = None;
    scenario.families[1].sweep_prompts = None;
    scenario.families[1].prompt = Some("Round 1: bet $10, lost. ".repeat(200));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let error = run(&request(&scenario, &out, false), &Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("risky") && error.contains("512"), "{error}");
    assert!(!out.exists());
}
