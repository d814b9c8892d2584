//! Equality with Hugging Face transformers, from tiny checkpoints of every family: logits, all sites, gradients,
//! padded batches, greedy continuations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::fixture::{self, largest_difference};
use glassbox_kernels::backend::NormKind;
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::{ForwardRequest, LogitPositions};
use glassbox_model::site::{Norm, Site};

/// Largest difference of logits and sites.
const TOLERANCE: f32 = 1e-4;

#[test]
fn logits_and_every_site_equal_transformers() {
    for fixture in fixture::all() {
        let model = fixture.model();
        let sites = Site::all(model.config());
        let batch = TokenBatch::from_rows(&fixture.integers["tokens"].rows()).unwrap();
        let request = ForwardRequest::new(&batch)
            .logits(LogitPositions::All)
            .record(&sites);
        let output = model.forward(&mut model.workspace(), request).unwrap();

        let difference = largest_difference(&output.logits.values, &fixture.tensors["logits"].values);
        assert!(
            difference <= TOLERANCE,
            "{}: logits differ by {difference}",
            fixture.name
        );

        // The hub form of GPT-2 has logits only; its weights are those of `gpt2`.
        if fixture.name == "gpt2_hub" {
            continue;
        }
        let mut compared = 0;
        for (name, reference) in &fixture.tensors {
            let Ok(site) = name.parse::<Site>() else { continue };
            let recorded = output.recording.get(site).unwrap();
            assert_eq!(recorded.shape, reference.shape, "{} {name}", fixture.name);
            let difference = largest_difference(&recorded.values, &reference.values);
            assert!(
                difference <= TOLERANCE,
                "{} {name} differs by {difference}",
                fixture.name
            );
            compared += 1;
        }
        // transformers has no name of its own for what the MLP reads: it is the norm's result, times its weight.
        for layer in 0..model.config().n_layers as u32 {
            let mut expected = fixture.tensors[&Site::NormNormalized(Norm::Mlp(layer)).to_string()]
                .values
                .clone();
            if model.config().norm == NormKind::Rms {
                let weight = fixture.weight(&format!("model.layers.{layer}.post_attention_layernorm.weight"));
                expected
                    .iter_mut()
                    .zip(weight.iter().cycle())
                    .for_each(|(x, w)| *x *= w);
            }
            let recorded = output.recording.get(Site::MlpIn(layer)).unwrap();
            let difference = largest_difference(&recorded.values, &expected);
            assert!(
                difference <= TOLERANCE,
                "{} {layer} differs by {difference}",
                fixture.name
            );
            compared += 1;
        }
        assert_eq!(compared, sites.len(), "{}: a site has no reference", fixture.name);
    }
}

#[test]
fn padded_batches_equal_transformers() {
    for fixture in fixture::all() {
        let Some(mask) = fixture.integers.get("padded.attention_mask") else {
            continue;
        };
        let rows: Vec<Vec<u32>> = fixture.integers["padded.tokens"]
            .rows()
            .into_iter()
            .zip(mask.rows())
            .map(|(tokens, mask)| {
                tokens
                    .into_iter()
                    .zip(mask)
                    .filter(|(_, seen)| *seen == 1)
                    .map(|(id, _)| id)
                    .collect()
            })
            .collect();
        let model = fixture.model();
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let mut workspace = model.workspace();
        let request = ForwardRequest::new(&batch).logits(LogitPositions::All);
        let output = model.forward(&mut workspace, request).unwrap();
        assert_eq!(
            workspace.layout().position_ids(),
            fixture.integers["padded.position_ids"].values
        );

        let reference = &fixture.tensors["padded.logits"];
        let (width, vocab) = (reference.shape[1], reference.shape[2]);
        for (i, at) in output.logits.positions.iter().enumerate() {
            let column = width - rows[at.row as usize].len() + at.position as usize;
            let begin = (at.row as usize * width + column) * vocab;
            let difference =
                largest_difference(output.logits.row(i), &reference.values[begin..begin + vocab]);
            assert!(
                difference <= TOLERANCE,
                "{} {at:?} differs by {difference}",
                fixture.name
            );
        }
    }
}
