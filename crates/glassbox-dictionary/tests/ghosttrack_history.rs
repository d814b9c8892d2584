//! Training histories of GhostTrack: the published ones where they lie beside the repository, and a sample of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_dictionary::{GHOSTTRACK_TARGET_L0, GhostTrackHistory};
use support::fixtures;

fn sample() -> PathBuf {
    fixtures().join("ghosttrack_sae_layer_0_history.json")
}

/// The first two epochs and the last of the published history of layer 0.
#[test]
fn the_active_share_is_an_l0_far_above_the_target() {
    let history = GhostTrackHistory::read(&sample()).unwrap();
    assert!(GhostTrackHistory::recognises(history.path()));
    assert_eq!(history.epochs.len(), 3);
    let (number, best) = history.best().unwrap();
    assert_eq!(number, 2);
    assert_eq!(format!("{:.6}", best.mean_squared_error), "0.001247");
    assert_eq!(format!("{:.6}", best.training_mean_squared_error), "0.001265");
    assert_eq!(format!("{:.3}", best.active_share), "0.146");
    assert_eq!(best.l0(5120).round(), 749.0);
    assert!(!GHOSTTRACK_TARGET_L0.contains(&best.l0(5120)));
    assert_eq!(history.features_beside().unwrap(), None);
}

#[test]
fn the_published_histories_have_the_published_l0() {
    let shared = std::env::var_os("GLASSBOX_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("data/ghosttrack");
    if !folder.is_dir() {
        eprintln!(
            "skipped: {} is not there (GLASSBOX_SHARED names its parent)",
            folder.display()
        );
        return;
    }
    for (layer, error, l0) in [
        (0, "0.001247", 749.0),
        (12, "0.001530", 2947.0),
        (23, "0.004094", 2970.0),
    ] {
        let path = folder.join(format!("gpt2m_sae_layer_{layer}_history.json"));
        let history = GhostTrackHistory::read(&path).unwrap();
        assert_eq!(history.epochs.len(), 20);
        let (number, best) = history.best().unwrap();
        assert_eq!(number, 19);
        assert_eq!(format!("{:.6}", best.mean_squared_error), error);
        assert_eq!(best.l0(5120).round(), l0);
    }
}

#[test]
fn the_number_of_features_comes_from_the_checkpoint_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae_layer_3_history.json");
    std::fs::copy(sample(), &path).unwrap();
    let checkpoint = fixtures().join("ghosttrack/sae_layer_3_best.pt");
    std::fs::copy(&checkpoint, folder.path().join("sae_layer_3_final.pt")).unwrap();
    let history = GhostTrackHistory::read(&path).unwrap();
    assert_eq!(history.features_beside().unwrap(), Some(40));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sae_layer_0_history.json");
    let whole = std::fs::read_to_string(sample()).unwrap();
    let refused = |from: &str, to: &str, words: &[&str]| {
        assert!(whole.contains(from), "{from}");
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let error = GhostTrackHistory::read(&path).unwrap_err().to_string();
        for word in words.iter().chain(&["sae_layer_0_history.json"]) {
            assert!(error.contains(word), "{error} (expected {word})");
        }
    };
    refused("\"val_loss\"", "\"validation\"", &["`val_loss`", "missing"]);
    refused("\"lr\": [", "\"rate\": [1], \"lr\": [", &["unknown key `rate`"]);
    refused("\"lr\": [", "\"lr\": [1.0,", &["`lr`", "3 values", "it has 4"]);
    refused(
        "\"sparsity\": [",
        "\"sparsity\": [null,",
        &["`sparsity`", "finite"],
    );
    refused(
        "\"sparsity\": [\n    0.",
        "\"sparsity\": [\n    1.",
        &["`sparsity`", "0 to 1"],
    );
    refused("{", "", &["not valid JSON"]);
}
