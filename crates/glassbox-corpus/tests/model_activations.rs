//! Activations from the forward pass: those of the model itself, in any batch, and continued anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Corpus, model, model_config, model_with_row, tokenizer};
use glassbox_corpus::{
    ActivationBatch, ActivationSource, CorpusError, ModelActivations, Packing, RowOptions, ShuffleBuffer,
    ShuffleSettings, Split, TokenRows,
};
use glassbox_model::batch::TokenBatch;
use glassbox_model::forward::ForwardRequest;
use glassbox_model::model::Model;
use glassbox_model::site::Site;

const SITES: [Site; 4] = [Site::ResidPost(3), Site::Embed, Site::Mixed(2), Site::MlpOut(4)];

fn options(packing: Packing) -> RowOptions {
    RowOptions {
        context: 24,
        packing,
        held_out_share: 0.3,
        ..RowOptions::default()
    }
}

fn source<'a>(
    model: &'a Model,
    corpus: &Corpus,
    options: &RowOptions,
    only: Option<Split>,
) -> ModelActivations<'a> {
    let rows = TokenRows::new(corpus.reader(), tokenizer(), model.config(), options, only).unwrap();
    ModelActivations::new(model, Some("hash".to_owned()), rows, &SITES, 100).unwrap()
}

fn batches(source: &mut dyn ActivationSource) -> Vec<ActivationBatch> {
    let mut found = Vec::new();
    let mut batch = ActivationBatch::new();
    while source.next(&mut batch).unwrap() {
        found.push(batch.clone());
    }
    found
}

#[test]
fn the_values_are_those_of_each_row_alone() {
    let corpus = Corpus::of_lengths(&[3, 40, 9, 17, 1, 30, 8]);
    for packing in [Packing::Packed, Packing::DocumentPerRow] {
        let mut rows = TokenRows::new(
            corpus.reader(),
            tokenizer(),
            model_config(),
            &options(packing),
            None,
        )
        .unwrap();
        let found = batches(&mut source(model(), &corpus, &options(packing), None));
        let mut compared = 0;
        while let Some(row) = rows.next_row().unwrap() {
            let alone = TokenBatch::from_row(&row.tokens).unwrap();
            let output = model()
                .forward(
                    &mut model().workspace(),
                    ForwardRequest::new(&alone).record(&SITES),
                )
                .unwrap();
            for batch in &found {
                for i in (0..batch.len()).filter(|&i| batch.rows[i] == row.number) {
                    let position = batch.positions[i] as usize;
                    assert!(row.keep[position] && batch.splits[i] == row.split);
                    let known = (batch.tokens[i], batch.documents[i], batch.document_positions[i]);
                    assert_eq!(
                        known,
                        (
                            row.tokens[position],
                            row.documents[position],
                            row.document_positions[position]
                        )
                    );
                    for (s, site) in SITES.iter().enumerate() {
                        let expected = output.recording.at(*site, 0, position as u32).unwrap();
                        let values = &batch.sites[s][i * expected.len()..(i + 1) * expected.len()];
                        let scale = expected
                            .iter()
                            .fold(0.0_f32, |scale, value| scale.max(value.abs()));
                        for (value, expected) in values.iter().zip(expected) {
                            assert!(
                                (value - expected).abs() <= 1e-4 * scale,
                                "{site}: {value} {expected}"
                            );
                        }
                    }
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, found.iter().map(ActivationBatch::len).sum::<usize>());
        assert_eq!(compared as u64, rows.state().counts.kept_tokens);
    }
}

#[test]
fn what_follows_a_state_is_the_same_to_the_bit() {
    let corpus = Corpus::of_lengths(&[3, 40, 9, 17, 1, 30, 8, 22, 35]);
    let options = options(Packing::DocumentPerRow);
    let make = || source(model(), &corpus, &options, Some(Split::Train));
    let whole = batches(&mut make());
    assert!(
        whole.len() > 1
            && whole
                .iter()
                .all(|batch| batch.splits.iter().all(|&split| split == Split::Train))
    );
    let mut first = make();
    for taken in 0..=whole.len() {
        let state = serde_json::to_string(&first.state()).unwrap();
        let mut resumed = make();
        resumed.restore(&serde_json::from_str(&state).unwrap()).unwrap();
        assert_eq!(batches(&mut resumed), whole[taken..]);
        first.next(&mut ActivationBatch::new()).unwrap();
    }
    first.rewind().unwrap();
    assert_eq!(batches(&mut first), whole);
    let origin = first.origin();
    assert_eq!(origin.model.as_deref(), Some("hash"));
    assert_eq!(origin.documents.unwrap().paths, [corpus.path()]);
    assert!(origin.content.is_some());
}

#[test]
fn a_shuffle_buffer_in_front_of_a_model_resumes_to_the_bit() {
    let corpus = Corpus::of_lengths(&[30; 12]);
    let settings = ShuffleSettings {
        capacity: 64,
        seed: 1,
        split: Split::Train,
        passes: Some(2),
    };
    let make = || {
        ShuffleBuffer::new(
            source(model(), &corpus, &options(Packing::Packed), Some(Split::Train)),
            settings.clone(),
        )
        .unwrap()
    };
    let rest = |buffer: &mut ShuffleBuffer<ModelActivations<'_>>| {
        let mut into = vec![Vec::new(); SITES.len()];
        let mut given = Vec::new();
        while buffer.next_batch(16, &mut into).unwrap() > 0 {
            given.push(into.clone());
        }
        given
    };
    let mut whole = make();
    let mut into = vec![Vec::new(); SITES.len()];
    for _ in 0..7 {
        whole.next_batch(16, &mut into).unwrap();
    }
    let mut saved = Vec::new();
    whole.save(&mut saved).unwrap();
    let mut resumed = make();
    resumed.restore(&mut saved.as_slice()).unwrap();
    assert_eq!(rest(&mut resumed), rest(&mut whole));
}

#[test]
fn values_that_are_not_finite_are_named_with_site_document_and_position() {
    let corpus = Corpus::of_texts(vec!["win the game".into(), "you lose the coin".into()]);
    let folder = tempfile::tempdir().unwrap();
    // The largest finite weights: their products overflow in the MLP of block 2.
    let model = model_with_row(folder.path(), "model.layers.2.mlp.down_proj.weight", 5, 0x7F7F);
    let mut source = source(&model, &corpus, &options(Packing::DocumentPerRow), None);
    let error = source.next(&mut ActivationBatch::new()).unwrap_err();
    let CorpusError::NonFiniteActivation {
        ref site, position, ..
    } = error
    else {
        panic!("{error}")
    };
    // By block 3 the whole row is not finite, from the first token that is data on.
    assert_eq!(
        (site.as_str(), position),
        ("blocks.3.hook_resid_post", 1),
        "{error}"
    );
    assert!(error.to_string().contains("at document "), "{error}");
}

#[test]
fn sites_that_cannot_be_had_are_refused() {
    let corpus = Corpus::of_lengths(&[5]);
    let refused = |sites: &[Site]| {
        let rows = TokenRows::new(
            corpus.reader(),
            tokenizer(),
            model_config(),
            &RowOptions::default(),
            None,
        )
        .unwrap();
        ModelActivations::new(model(), None, rows, sites, 100)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&[]).contains("no site was asked for"));
    assert!(refused(&[Site::Embed, Site::Embed]).contains("named twice"));
    assert!(refused(&[Site::AttentionPattern(0)]).contains("per pair of positions"));
    assert!(refused(&[Site::ResidPost(9)]).contains("blocks are 0 to 5"));
}
