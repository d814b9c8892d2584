//! Feature edits inside a model's forward pass and its gradient.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use glassbox_dictionary::{FeatureEdit, InputNormalisation};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::edits::Add;
use glassbox_model::forward::{ForwardOutput, ForwardRequest};
use glassbox_model::gradient::Seeds;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use support::{Draws, Plain, backend, relative_difference, widen};

const SITE: Site = Site::ResidPost(1);
const RULES: [&str; 3] = ["relu", "jump_relu", "top_k"];
const NORMALISATIONS: [InputNormalisation; 2] = [InputNormalisation::None, InputNormalisation::LayerNorm];

fn model() -> Model<CpuBackend> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../glassbox-model/tests/fixtures");
    Model::open(backend(), &fixtures.join("models/llama_gqa")).unwrap()
}

fn at(
    rows: BatchRows,
    site: Site,
    positions: Positions,
    edit: Arc<dyn RowEdit<CpuBackend>>,
) -> RowIntervention<CpuBackend> {
    RowIntervention {
        rows,
        site,
        positions,
        heads: None,
        edit,
    }
}

fn run(
    model: &Model<CpuBackend>,
    batch: &TokenBatch,
    interventions: Vec<RowIntervention<CpuBackend>>,
) -> ForwardOutput {
    let program = RowProgram { interventions };
    let request = ForwardRequest::new(batch).program(&program).record(&[SITE]);
    model.forward(&mut model.workspace(), request).unwrap()
}

/// The first random dictionary for which none of these rows lies near a feature's switch, where rounding decides.
fn clear_dictionary(rule: &str, normalisation: InputNormalisation, rows: &[&[f32]], margin: f64) -> Plain {
    let width = rows[0].len();
    (0..10_000)
        .map(|seed| Plain::random(seed, width, width, rule, normalisation))
        .find(|plain| rows.iter().all(|row| plain.margin(&widen(row)) > margin))
        .expect("no dictionary is clear on these rows")
}

/// Every row of a batch sets its own feature, and gets what it would get alone.
#[test]
fn rows_with_their_own_features_equal_the_loop_over_rows() {
    let model = model();
    let width = model.config().d_model;
    let rows: [&[u32]; 4] = [&[1, 5, 9, 13], &[1, 20, 3], &[1, 7, 7, 40, 60], &[1, 33]];
    let batch = TokenBatch::from_rows(&rows).unwrap();
    let clean = run(&model, &batch, Vec::new());
    let residuals: Vec<&[f32]> = (0..4)
        .map(|row| clean.recording.at(SITE, row, rows[row].len() as u32 - 1).unwrap())
        .collect();
    for rule in RULES {
        for normalisation in NORMALISATIONS {
            let plain = clear_dictionary(rule, normalisation, &residuals, 1e-4);
            let dictionary = plain.dictionary();
            dictionary
                .description()
                .check_model(model.config(), None)
                .unwrap();
            // The last row stays as it is.
            let edits = [
                FeatureEdit::SetByDelta {
                    feature: 3,
                    value: 1.25,
                },
                FeatureEdit::SetByReconstruction {
                    feature: 30,
                    value: -0.5,
                },
                FeatureEdit::ReconstructOnly,
            ];
            let interventions = |row: usize, in_batch: u32| {
                let edit = edits[row].compile(&dictionary).unwrap();
                at(BatchRows::One(in_batch), SITE, Positions::LastOfPrompt, edit)
            };
            let together = run(
                &model,
                &batch,
                (0..3).map(|row| interventions(row, row as u32)).collect(),
            );
            for (row, tokens) in rows.iter().enumerate() {
                let last = tokens.len() as u32 - 1;
                let logits = together.logits.at(row as u32, last).unwrap();
                let (expected, site) = if row < 3 {
                    let alone = TokenBatch::from_row(tokens).unwrap();
                    let alone = run(&model, &alone, vec![interventions(row, 0)]);
                    let before = widen(clean.recording.at(SITE, row, last).unwrap());
                    let f = plain.encode(&before);
                    let set = |feature: usize, value: f64| {
                        let mut f = f.clone();
                        f[feature] = value;
                        plain.decode(&f, &before)
                    };
                    let site = match row {
                        0 => {
                            let (after, decoded) = (set(3, 1.25), plain.decode(&f, &before));
                            (0..width).map(|j| before[j] + after[j] - decoded[j]).collect()
                        }
                        1 => set(30, -0.5),
                        _ => plain.decode(&f, &before),
                    };
                    (alone.logits.at(0, last).unwrap().to_vec(), site)
                } else {
                    (
                        clean.logits.at(3, last).unwrap().to_vec(),
                        widen(clean.recording.at(SITE, 3, last).unwrap()),
                    )
                };
                assert!(
                    relative_difference(logits, &widen(&expected)) < 1e-5,
                    "{rule} {normalisation} row {row}"
                );
                let found = together.recording.at(SITE, row, last).unwrap();
                assert!(
                    relative_difference(found, &site) < 2e-5,
                    "{rule} {normalisation} row {row}"
                );
            }
        }
    }
}

/// The gradient of the logits at the input of the model flows through the edit.
#[test]
fn gradients_flow_through_feature_edits() {
    let model = model();
    let width = model.config().d_model;
    let batch = TokenBatch::from_row(&[1, 5, 9, 13]).unwrap();
    let clean = run(&model, &batch, Vec::new());
    let mut draws = Draws(3);
    let weights = draws.normals(model.config().vocab_size, 1.0);
    let direction = draws.normals(width, 1.0);
    for normalisation in NORMALISATIONS {
        let residual = clean.recording.at(SITE, 0, 3).unwrap();
        let dictionary = clear_dictionary("relu", normalisation, &[residual], 0.02).dictionary();
        for edit in [
            FeatureEdit::SetByDelta {
                feature: 3,
                value: 1.25,
            },
            FeatureEdit::SetByReconstruction {
                feature: 3,
                value: 1.25,
            },
            FeatureEdit::AddDecoderDirection {
                feature: 3,
                strength: 0.5,
            },
        ] {
            let edited = || {
                at(
                    BatchRows::All,
                    SITE,
                    Positions::LastOfPrompt,
                    edit.compile(&dictionary).unwrap(),
                )
            };
            let program = RowProgram {
                interventions: vec![edited()],
            };
            let request = ForwardRequest::new(&batch).program(&program);
            let (_, mut tape) = model.forward_with_tape(&mut model.workspace(), request).unwrap();
            let seeds = Seeds::new().logits(0, 3, &weights);
            let gradients = tape.backward(&seeds, &[Site::ResidPre(0)]).unwrap();
            let found: f64 = gradients
                .at(Site::ResidPre(0), 0, 3)
                .unwrap()
                .iter()
                .zip(&direction)
                .map(|(g, d)| f64::from(*g) * f64::from(*d))
                .sum();
            let scalar = |step: f32| -> f64 {
                let moved: Vec<f32> = direction.iter().map(|d| d * step).collect();
                let add = Arc::new(Add::new(&backend(), &moved).unwrap());
                let moved = at(BatchRows::All, Site::ResidPre(0), Positions::LastOfPrompt, add);
                let output = run(&model, &batch, vec![moved, edited()]);
                let logits = output.logits.at(0, 3).unwrap();
                logits
                    .iter()
                    .zip(&weights)
                    .map(|(l, w)| f64::from(*l) * f64::from(*w))
                    .sum()
            };
            // The embedding is small, and the first norm makes large steps of small ones.
            let step = 1e-4;
            let expected = (scalar(step) - scalar(-step)) / f64::from(2.0 * step);
            let difference = (found - expected).abs() / expected.abs().max(1.0);
            assert!(
                difference < 5e-3,
                "{edit:?} {normalisation}: {found} against {expected}"
            );
        }
    }
}
