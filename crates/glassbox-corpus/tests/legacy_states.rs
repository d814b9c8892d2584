//! States that GhostTrack extracted (`tools/fixtures/make_pickled_dictionary_fixtures.py` writes such files).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use glassbox_corpus::{
    ActivationBatch, ActivationSource, CorpusError, LegacyLayers, LegacyStates, SourceState, Split,
};
use glassbox_tensors::ElementType;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../glassbox-dictionary/tests/fixtures/ghosttrack")
        .join(name)
}

#[test]
fn states_are_given_in_their_order_with_the_last_twentieth_held_out() {
    let mut states = LegacyStates::open(&fixture("layer_3_states.pt")).unwrap();
    assert_eq!((states.tokens(), states.width()), (30, 12));
    assert_eq!(states.site().to_string(), "blocks.3.hook_resid_post");
    assert_eq!(states.tokens_per_pass(), Some(30));
    let start = states.state();
    let mut batch = ActivationBatch::new();
    assert!(states.next(&mut batch).unwrap());
    assert_eq!(batch.len(), 30);
    assert_eq!(batch.sites[0], states.rows(0, 30).unwrap());
    let held_out: Vec<usize> = (0..30).filter(|i| batch.splits[*i] == Split::HeldOut).collect();
    assert_eq!(held_out, [29]);
    let first = batch.clone();
    assert!(!states.next(&mut batch).unwrap() && batch.is_empty());
    let end = states.state();
    states.restore(&start).unwrap();
    states.next(&mut batch).unwrap();
    assert_eq!(batch, first);
    states.restore(&end).unwrap();
    assert!(!states.next(&mut batch).unwrap());
    states.rewind().unwrap();
    assert!(states.next(&mut batch).unwrap());
}

#[test]
fn half_precision_states_are_widened() {
    let whole = LegacyStates::open(&fixture("layer_3_states.pt")).unwrap();
    let half = LegacyStates::open(&fixture("layer_4_states.pt")).unwrap();
    assert_eq!(
        (whole.element_type(), half.element_type()),
        (ElementType::F32, ElementType::F16)
    );
    assert_eq!(half.site().to_string(), "blocks.4.hook_resid_post");
    for (wide, narrow) in whole.rows(7, 5).unwrap().iter().zip(half.rows(7, 5).unwrap()) {
        assert!((wide - narrow).abs() <= 2e-3, "{wide} {narrow}");
    }
    assert!(whole.rows(28, 3).is_err());
}

#[test]
fn other_files_are_refused() {
    let error = LegacyStates::open(&fixture("sae_layer_3_best.pt")).unwrap_err();
    assert!(matches!(error, CorpusError::LegacyStates { .. }), "{error}");
    assert!(error.to_string().contains("num_tokens") && error.to_string().contains("sae_layer_3_best.pt"));

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("layer_3_states.pt");
    let bytes = std::fs::read(fixture("layer_3_states.pt")).unwrap();
    std::fs::write(&copy, &bytes[..bytes.len() - 200]).unwrap();
    let error = LegacyStates::open(&copy).unwrap_err();
    assert!(matches!(error, CorpusError::Tensors(_)), "{error}");
    assert!(error.to_string().contains("layer_3_states.pt"), "{error}");

    // A NaN in the stored states: the first float of the storage that holds 30 * 12 of them.
    let whole = LegacyStates::open(&fixture("layer_3_states.pt")).unwrap();
    let value = whole.rows(2, 1).unwrap()[5].to_le_bytes();
    let at = bytes.windows(4).position(|window| window == value).unwrap();
    let mut damaged = bytes.clone();
    damaged[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&copy, damaged).unwrap();
    let mut states = LegacyStates::open(&copy).unwrap();
    let error = states.next(&mut ActivationBatch::new()).unwrap_err().to_string();
    assert!(
        error.contains("state 2") && error.contains("column 5") && error.contains("NaN"),
        "{error}"
    );
}

#[test]
fn a_split_is_given_alone() {
    let open = || LegacyStates::open(&fixture("layer_3_states.pt")).unwrap();
    let mut batch = ActivationBatch::new();
    for (split, first, count) in [(Split::Train, 0, 29), (Split::HeldOut, 29, 1)] {
        let mut states = open().only(Some(split));
        assert_eq!(states.tokens_per_pass(), Some(count as u64));
        for _ in 0..2 {
            assert!(states.next(&mut batch).unwrap());
            assert_eq!(batch.sites[0], open().rows(first, count).unwrap());
            assert!(batch.splits.iter().all(|found| *found == split));
            assert!(!states.next(&mut batch).unwrap());
            states.rewind().unwrap();
        }
    }
    let end = SourceState::LegacyStates { given: 30 };
    assert!(open().only(Some(Split::Train)).restore(&end).is_err());
}

#[test]
fn several_layers_are_one_source() {
    let (third, fourth) = (fixture("layer_3_states.pt"), fixture("layer_4_states.pt"));
    let mut both = LegacyLayers::open(&[third.clone(), fourth.clone()], Some(Split::Train)).unwrap();
    let sites: Vec<String> = both.sites().iter().map(|site| site.site.to_string()).collect();
    assert_eq!(sites, ["blocks.3.hook_resid_post", "blocks.4.hook_resid_post"]);
    let mut batch = ActivationBatch::new();
    assert!(both.next(&mut batch).unwrap());
    assert_eq!(batch.len(), 29);
    for (place, path) in [&third, &fourth].into_iter().enumerate() {
        assert_eq!(
            batch.sites[place],
            LegacyStates::open(path).unwrap().rows(0, 29).unwrap()
        );
    }
    let end = both.state();
    assert!(!both.next(&mut batch).unwrap() && batch.is_empty());
    both.rewind().unwrap();
    assert!(both.next(&mut batch).unwrap());
    both.restore(&end).unwrap();
    assert!(!both.next(&mut batch).unwrap());
    let error = LegacyLayers::open(&[third.clone(), third], None).unwrap_err();
    assert!(error.to_string().contains("one file for each layer"), "{error}");
}
