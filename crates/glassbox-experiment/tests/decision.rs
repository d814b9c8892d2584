//! The decision read-out on the shipped model: equal to one full pass per arm, and refused where it would be ambiguous.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use glassbox_dictionary::FeatureEdit;
use glassbox_experiment::Scenario;
use glassbox_experiment::decision::{ArmEdit, DecisionSettings, DecisionTokens};
use glassbox_experiment::prompts::PromptSets;
use glassbox_experiment::session::Session;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_model::site::Site;

fn scenario() -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
    Scenario::read(&path).unwrap()
}

fn settings(stop: &[&str], bet: &[&str]) -> DecisionSettings {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    DecisionSettings {
        prefix: "\nFinal decision:".into(),
        labels: BTreeMap::from([("stop".to_owned(), texts(stop)), ("bet".to_owned(), texts(bet))]),
    }
}

fn log_softmax(logits: &[f32], token: u32) -> f64 {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    f64::from(logits[token as usize]) - sum.ln()
}

#[test]
fn every_arm_equals_full_passes_that_feed_each_continuation() {
    let scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    let model = session.model();
    let prompts = PromptSets::read(&scenario).unwrap();
    let continuations = [&[" Stop\n", " I"][..], &[" Bet $1", " Bet $5"][..]];
    let settings = settings(continuations[0], continuations[1]);
    let layer = session.layers()[1];
    let dictionary = session.dictionary(layer).unwrap();
    let mut arms: Vec<ArmEdit> = vec![None];
    for edit in [
        FeatureEdit::ReconstructOnly,
        FeatureEdit::SetByDelta {
            feature: 3,
            value: 2.5,
        },
        FeatureEdit::SetByDelta {
            feature: 40,
            value: 4.0,
        },
    ] {
        arms.push(Some((layer, edit.compile(&dictionary).unwrap())));
    }
    let mut workspace = model.workspace();
    for prompt in [&prompts.sweep[0], &prompts.sweep[prompts.sweep.len() - 1]] {
        let tokens = DecisionTokens::resolve(&session, &settings, "stop", &prompt.text).unwrap();
        for positions in [
            Positions::LastAndGenerated,
            Positions::LastOfPrompt,
            Positions::All,
        ] {
            for at_most in [1, 64] {
                let readings = tokens
                    .readings(model, &mut workspace, &arms, &positions, at_most)
                    .unwrap();
                for (arm, reading) in arms.iter().zip(readings) {
                    let mut labels = [0.0, 0.0];
                    for (label, texts) in continuations.iter().enumerate() {
                        for text in *texts {
                            let before = session
                                .encode(&format!("{}{}", prompt.text, settings.prefix))
                                .unwrap();
                            let whole = session
                                .encode(&format!("{}{}{text}", prompt.text, settings.prefix))
                                .unwrap();
                            let batch = TokenBatch::from_row(&whole).unwrap();
                            let lengths = [session.encode(&prompt.text).unwrap().len() as u32];
                            let mut program = RowProgram::default();
                            if let Some((layer, edit)) = arm {
                                program.interventions.push(RowIntervention {
                                    rows: BatchRows::All,
                                    site: Site::ResidPost(*layer),
                                    positions: positions.clone(),
                                    heads: None,
                                    edit: edit.clone(),
                                });
                            }
                            let request = ForwardRequest::new(&batch)
                                .logits(LogitPositions::All)
                                .prompt_lengths(&lengths)
                                .program(&program);
                            let logits = model.forward(&mut model.workspace(), request).unwrap().logits;
                            let log_probability: f64 = (before.len()..whole.len())
                                .map(|at| log_softmax(logits.row(at - 1), whole[at]))
                                .sum();
                            labels[label] += log_probability.exp();
                        }
                    }
                    let (target, other) = (labels[0].ln(), labels[1].ln());
                    assert!(
                        (reading.target - target).abs() < 1e-4 && (reading.other - other).abs() < 1e-4,
                        "{positions:?}, {at_most} rows: {reading:?} instead of {target}, {other}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_shipped_scenario_reads_nearly_all_of_the_probability() {
    let scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    let settings = scenario.decision.clone().unwrap();
    let prompts = PromptSets::read(&scenario).unwrap();
    let mut workspace = session.model().workspace();
    for prompt in prompts.sweep.iter().step_by(7) {
        let tokens =
            DecisionTokens::resolve(&session, &settings, &scenario.outcome.target, &prompt.text).unwrap();
        let readings = tokens
            .readings(
                session.model(),
                &mut workspace,
                &[None],
                &Positions::LastAndGenerated,
                8,
            )
            .unwrap();
        let mass = readings[0].target.exp() + readings[0].other.exp();
        assert!(mass > 0.9 && mass <= 1.0 + 1e-6, "{}: {mass}", prompt.id);
    }
}

#[test]
fn continuations_that_cannot_be_told_apart_are_refused() {
    let scenario = scenario();
    let session = Session::load(&scenario).unwrap();
    let prompt = "Slot machine session\nChoice:";
    for (stop, bet, expected) in [
        (&[" Bet"][..], &[" Bet $5"][..], "begins with"),
        (&[" Stop"][..], &[" Stop"][..], "begins with"),
        (&[""][..], &[" Bet"][..], "is empty"),
    ] {
        let error = DecisionTokens::resolve(&session, &settings(stop, bet), "stop", prompt).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let long = "Choice: ".repeat(2000);
    let error =
        DecisionTokens::resolve(&session, &settings(&[" Stop"], &[" Bet"]), "stop", &long).unwrap_err();
    assert!(error.to_string().contains("context holds"), "{error}");
}
