//! The evaluation against figures that torch computed from their definitions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_corpus::{MemoryActivations, Split, TokenRow};
use glassbox_dictionary::{FeatureEdit, formats};
use glassbox_interpretation::evaluation::{
    Evaluation, EvaluationSettings, EvaluationSubject, Evidence, TrainingFigures, evaluate,
    evaluate_activations,
};
use glassbox_interpretation::{InterpretationError, Unwatched, Watch};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use serde_json::Value;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/evaluation")
}

fn model() -> Model {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../glassbox-model/tests/fixtures/models/llama_gqa");
    Model::open(CpuBackend, &folder).unwrap()
}

fn figures() -> Value {
    serde_json::from_slice(&std::fs::read(fixture().join("figures.json")).unwrap()).unwrap()
}

fn rows(figures: &Value) -> Vec<TokenRow> {
    let list = |key: &str, row: usize| figures["rows"][key][row].as_array().unwrap().clone();
    (0..figures["rows"]["tokens"].as_array().unwrap().len())
        .map(|row| TokenRow {
            number: row as u64,
            split: Split::HeldOut,
            document_positions: Vec::new(),
            tokens: list("tokens", row)
                .iter()
                .map(|v| v.as_u64().unwrap() as u32)
                .collect(),
            documents: list("documents", row)
                .iter()
                .map(|v| v.as_u64().unwrap())
                .collect(),
            keep: list("keep", row).iter().map(|v| v.as_bool().unwrap()).collect(),
        })
        .collect()
}

fn subject(at_training: Option<TrainingFigures>) -> EvaluationSubject<CpuBackend> {
    EvaluationSubject {
        name: "fixture".to_owned(),
        dictionary: Arc::new(formats::load(&fixture().join("dictionary"), &CpuBackend).unwrap()),
        at_training,
    }
}

/// Passes of three rows, as the fixture's legacy figure assumes.
fn settings() -> EvaluationSettings {
    EvaluationSettings {
        tokens_per_pass: 60,
        ..EvaluationSettings::default()
    }
}

fn evaluated(rows: &[TokenRow], settings: &EvaluationSettings) -> Evaluation {
    evaluate(&model(), &[subject(None)], rows, settings, &Unwatched)
        .unwrap()
        .remove(0)
}

#[track_caller]
fn near(what: &str, found: f64, expected: &Value) {
    let expected = expected
        .as_f64()
        .unwrap_or_else(|| panic!("{what}: no expected value"));
    let difference = (found - expected).abs() / expected.abs().max(1e-2);
    assert!(difference < 2e-5, "{what}: {found} against {expected}");
}

#[test]
fn every_figure_equals_its_definition() {
    let figures = figures();
    let found = serde_json::to_value(evaluated(&rows(&figures), &settings())).unwrap();
    for (key, expected) in figures["reconstruction"].as_object().unwrap() {
        near(key, found["reconstruction"][key].as_f64().unwrap(), expected);
    }
    for (key, expected) in figures["position_zero"].as_object().unwrap() {
        let place = match key.as_str() {
            "l0" | "loss" => &found["position_zero"][key],
            _ => &found["position_zero"]["reconstruction"][key],
        };
        near(key, place.as_f64().unwrap(), expected);
    }
    for (key, expected) in figures["loss"].as_object().unwrap() {
        let place = &found["loss"][key];
        near(
            key,
            place.as_f64().or_else(|| place["estimate"].as_f64()).unwrap(),
            expected,
        );
    }
    near("l0", found["sparsity"]["l0"].as_f64().unwrap(), &figures["l0"]);
    assert_eq!(found["sparsity"]["dead_features"], figures["dead_features"]);
    near(
        "explained variance with interval",
        found["explained_variance"]["estimate"].as_f64().unwrap(),
        &figures["reconstruction"]["explained_variance"],
    );
    assert_eq!(found["documents"], 24);
    for figure in [
        "recovered_against_zero",
        "recovered_against_mean",
        "divergence_spliced",
    ] {
        let figure = &found["loss"][figure];
        let [low, estimate, high] = ["low", "estimate", "high"].map(|key| figure[key].as_f64().unwrap());
        assert!(low < estimate && estimate < high, "{figure}");
    }
}

#[test]
fn nothing_but_the_legacy_figure_depends_on_the_passes() {
    let rows = rows(&figures());
    let mut whole = evaluated(&rows, &EvaluationSettings::default());
    let mut parts = evaluated(&rows, &settings());
    assert_ne!(
        whole.reconstruction.explained_variance_saelens_legacy,
        parts.reconstruction.explained_variance_saelens_legacy
    );
    for evaluation in [&mut whole, &mut parts] {
        evaluation.reconstruction.explained_variance_saelens_legacy = None;
        evaluation.position_zero = None;
    }
    assert_eq!(whole.sparsity, parts.sparsity);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} against {b}");
    close(
        whole.explained_variance.unwrap().low.unwrap(),
        parts.explained_variance.unwrap().low.unwrap(),
    );
    let (whole, parts) = (whole.loss.unwrap(), parts.loss.unwrap());
    close(whole.spliced, parts.spliced);
    close(
        whole.recovered_against_zero.unwrap().high.unwrap(),
        parts.recovered_against_zero.unwrap().high.unwrap(),
    );
}

#[test]
fn splicing_is_the_reconstruction_edit() {
    let (figures, model) = (figures(), model());
    let rows = rows(&figures);
    let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
    let batch = TokenBatch::from_rows(&tokens).unwrap();
    let subject = subject(None);
    let description = subject.dictionary.description();
    let program = RowProgram {
        interventions: vec![RowIntervention {
            rows: BatchRows::All,
            site: description.site,
            positions: Positions::Absolute((1..rows[0].tokens.len() as u32).collect()),
            heads: None,
            edit: FeatureEdit::ReconstructOnly.compile(&subject.dictionary).unwrap(),
        }],
    };
    let request = ForwardRequest::new(&batch)
        .program(&program)
        .logits(LogitPositions::All);
    let output = model.forward(&mut model.workspace(), request).unwrap();
    let (mut sum, mut count) = (0.0, 0.0);
    for (row, tokens) in rows.iter().enumerate() {
        for position in 1..tokens.tokens.len() - 1 {
            if tokens.documents[position] != tokens.documents[position + 1] {
                continue;
            }
            let logits = output.logits.at(row as u32, position as u32).unwrap();
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            sum += total.ln() - f64::from(logits[tokens.tokens[position + 1] as usize]);
            count += 1.0;
        }
    }
    near("spliced loss", sum / count, &figures["loss"]["spliced"]);
}

#[test]
fn input_of_another_site_is_noticed() {
    let rows = rows(&figures());
    let here = evaluated(&rows, &settings());
    assert!(!here.distribution.out_of_distribution, "{:?}", here.distribution);
    assert_eq!(here.distribution.evidence, Evidence::Reconstruction);
    let recorded = |factor: f64| TrainingFigures {
        mean_squared_error: here.reconstruction.mean_squared_error * factor * factor,
        mean_norm: here.reconstruction.mean_norm * factor,
        explained_variance: here.reconstruction.explained_variance.unwrap(),
    };
    for (factor, expected) in [(1.0, false), (0.1, true), (10.0, true)] {
        let subjects = [subject(Some(recorded(factor)))];
        let found = evaluate(&model(), &subjects, &rows, &settings(), &Unwatched).unwrap();
        assert_eq!(found[0].distribution.out_of_distribution, expected, "{factor}");
        assert_eq!(found[0].distribution.evidence, Evidence::TrainingRecord);
    }
}

#[test]
fn rows_without_data_and_stops_are_errors() {
    let mut rows = rows(&figures());
    struct Impatient;
    impl Watch for Impatient {
        fn advanced(&self, _tokens: u64) {}
        fn should_stop(&self) -> bool {
            true
        }
    }
    let stopped = evaluate(&model(), &[subject(None)], &rows, &settings(), &Impatient);
    assert!(matches!(stopped, Err(InterpretationError::Stopped { .. })));
    rows.iter_mut().for_each(|row| row.keep.fill(false));
    let empty = evaluate(&model(), &[subject(None)], &rows, &settings(), &Unwatched);
    assert!(matches!(empty, Err(InterpretationError::NoTokens { .. })));
}

/// The same tokens from memory give the same figures, without losses.
#[test]
fn activations_without_their_model_give_the_same_reconstruction() {
    let (figures, model) = (figures(), model());
    let rows = rows(&figures);
    let subjects = [subject(None)];
    let description = subjects[0].dictionary.description();
    let (site, width) = (description.site, description.width);
    let mut values = Vec::new();
    for row in &rows {
        let tokens = TokenBatch::from_row(&row.tokens).unwrap();
        let request = ForwardRequest::new(&tokens).record(std::slice::from_ref(&site));
        let output = model.forward(&mut model.workspace(), request).unwrap();
        for position in 1..row.tokens.len() {
            values.extend(output.recording.at(site, 0, position as u32).unwrap());
        }
    }
    let mut source = MemoryActivations::new(vec![(site, width, values)])
        .unwrap()
        .with_batch(57);
    let found = evaluate_activations(&mut source, &subjects, u64::MAX, &settings(), &Unwatched)
        .unwrap()
        .remove(0);
    let inside = evaluated(&rows, &settings());
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} against {b}");
    close(
        found.reconstruction.explained_variance.unwrap(),
        inside.reconstruction.explained_variance.unwrap(),
    );
    close(
        found.explained_variance.unwrap().estimate,
        inside.explained_variance.unwrap().estimate,
    );
    assert_eq!(found.sparsity, inside.sparsity);
    assert_eq!((found.loss, found.documents), (None, 228));
    let another = MemoryActivations::new(vec![(Site::ResidPost(0), width, vec![0.0; width])]);
    let refused = evaluate_activations(&mut another.unwrap(), &subjects, 1, &settings(), &Unwatched);
    assert!(matches!(refused, Err(InterpretationError::SiteNotStored { .. })));
}
