//! Patching equals the naive loop: one full pass with a set edit per cell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use glassbox_experiment::events::Silent;
use glassbox_experiment::patching::{PatchSite, patch_grid};
use glassbox_kernels::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::Set;
use glassbox_model::forward::ForwardRequest;
use glassbox_model::model::Model;
use proptest::prelude::*;

const FIXTURES: [&str; 6] = [
    "gpt2",
    "mistral_window",
    "llama_gqa",
    "llama_head_dim",
    "qwen2",
    "llama_tied",
];

fn model(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../glassbox-model/tests/fixtures/models")
        .join(name);
    Model::open(CpuBackend, &folder).unwrap()
}

fn metric(logits: &[f32]) -> f64 {
    f64::from(logits[3]) - f64::from(logits[5])
}

/// One full pass of the corrupted prompt with one activation of the clean one.
fn naive(model: &Model, clean: &[u32], corrupted: &[u32], site: PatchSite, layer: u32, position: u32) -> f64 {
    let mut workspace = model.workspace();
    let batch = TokenBatch::from_row(clean).unwrap();
    let site = site.at(layer);
    let recording = model
        .forward(&mut workspace, ForwardRequest::new(&batch).record(&[site]))
        .unwrap()
        .recording;
    let program = RowProgram {
        interventions: vec![RowIntervention {
            rows: BatchRows::All,
            site,
            positions: Positions::Absolute(vec![position]),
            heads: None,
            edit: Arc::new(Set::new(&CpuBackend, recording.at(site, 0, position).unwrap()).unwrap()),
        }],
    };
    let batch = TokenBatch::from_row(corrupted).unwrap();
    let output = model
        .forward(&mut workspace, ForwardRequest::new(&batch).program(&program))
        .unwrap();
    metric(output.logits.row(0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_cell_equals_a_full_pass_with_that_one_edit(
        name in prop::sample::select(FIXTURES.to_vec()),
        tokens in prop::collection::vec(0_u32..32, 1..14),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u32..32), 1..4),
    ) {
        let model = model(name);
        let mut corrupted = tokens.clone();
        for (at, by) in changes {
            let at = at.index(tokens.len());
            corrupted[at] = (tokens[at] + by) % 32;
        }
        prop_assume!(corrupted != tokens);
        let grid = patch_grid(&model, &tokens, &corrupted, &PatchSite::ALL, &metric, &Silent).unwrap();
        for site in PatchSite::ALL {
            for layer in 0..grid.layers {
                for position in 0..grid.positions {
                    let expected = naive(&model, &tokens, &corrupted, site, layer as u32, position as u32);
                    let found = grid.cell(site, layer, position).unwrap();
                    prop_assert!(
                        (found - expected).abs() <= 1e-4,
                        "{name} {} layer {layer} position {position}: {found} instead of {expected}", site.name()
                    );
                }
            }
        }
    }
}

#[test]
fn cells_before_the_first_difference_are_not_computed_and_the_ends_are_right() {
    let model = model("llama_gqa");
    let clean = [1, 2, 3, 4, 5, 6];
    let corrupted = [1, 2, 3, 9, 5, 6];
    let grid = patch_grid(
        &model,
        &clean,
        &corrupted,
        &[PatchSite::ResidPre],
        &metric,
        &Silent,
    )
    .unwrap();
    let layers = grid.layers as u64;
    assert_eq!(grid.computed, 1 + (layers - 1) * 3);
    assert_eq!(grid.cell(PatchSite::ResidPre, 0, 0), Some(grid.corrupted));
    // Only position 3 differs at the embedding, so that this patch undoes the corruption.
    let whole = grid.cell(PatchSite::ResidPre, 0, 3).unwrap();
    assert!((whole - grid.clean).abs() < 1e-5);
    assert!((grid.recovered(whole).unwrap() - 1.0).abs() < 1e-3);
    assert_eq!(grid.cell(PatchSite::ResidPre, 0, 6), None);
    assert_eq!(grid.cell(PatchSite::MlpOut, 0, 0), None);
}

#[test]
fn prompts_that_cannot_be_patched_are_refused() {
    let model = model("gpt2");
    for (corrupted, expected) in [
        (vec![1, 2], "3 tokens and the corrupted one 2"),
        (vec![1, 2, 3], "same tokens"),
    ] {
        let error = patch_grid(
            &model,
            &[1, 2, 3],
            &corrupted,
            &[PatchSite::ResidPre],
            &metric,
            &Silent,
        )
        .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
