//! Cross-layer transcoders against circuit-tracer and llamascopium.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_dictionary::{
    CrossLayerTranscoder, SparseFeatures, SparseSelection, formats, inspect_cross_layer,
};
use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::site::Site;
use serde_json::Value;
use support::{backend, copy_folder, fixtures, read, relative_difference, tensor, widen};

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(fixtures().join("cross_layer"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 8);
    folders
}

fn open(folder: &Path) -> CrossLayerTranscoder<CpuBackend> {
    CrossLayerTranscoder::open(folder, &backend()).unwrap()
}

#[test]
fn features_and_outputs_equal_their_programs() {
    for folder in folders() {
        let name = folder.display();
        let transcoder = open(&folder);
        let description = transcoder.description().clone();
        let reference = folder.join("reference.safetensors");
        let (shape, x) = tensor(&reference, "x");
        let (_, features) = tensor(&reference, "features");
        let (_, outputs) = tensor(&reference, "reconstruction");
        let [layers, n, width] = shape[..] else {
            panic!("{shape:?}")
        };
        assert_eq!((description.layers(), description.width), (layers, width));
        let mut sparse: Vec<SparseFeatures> = Vec::new();
        for layer in 0..layers {
            let x = backend().upload(&x[layer * n * width..][..n * width]);
            let ours = read(
                &transcoder.encode(layer, &x, n).unwrap(),
                n * description.features,
            );
            let theirs = &features[layer * n * description.features..][..n * description.features];
            let active = |values: &[f32]| values.iter().map(|value| *value != 0.0).collect::<Vec<_>>();
            assert_eq!(
                active(&ours),
                active(theirs),
                "{name}: active set of layer {layer}"
            );
            let difference = relative_difference(&ours, &widen(theirs));
            assert!(
                difference <= 1e-5,
                "{name}: features of layer {layer} differ by {difference}"
            );
            sparse.push(
                transcoder
                    .encode_sparse(layer, &x, n, &SparseSelection::default())
                    .unwrap(),
            );
            let output = transcoder.reconstruct(layer, &sparse, Some(&x)).unwrap();
            let theirs = &outputs[layer * n * width..][..n * width];
            let difference = relative_difference(&read(&output, n * width), &widen(theirs));
            assert!(
                difference <= 1e-5,
                "{name}: output of layer {layer} differs by {difference}"
            );
        }
    }
}

/// circuit-tracer 0.5.0 drops the last layer of Gemma Scope 2's and then fails; here every layer is read.
#[test]
fn the_last_layer_is_read() {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(fixtures().join("manifest.json")).unwrap()).unwrap();
    let entry = &manifest["cross_layer"]["dictionaries"]["gemma_scope_2"];
    assert_eq!(entry["layers"], 3);
    assert_eq!(entry["layers_that_circuit_tracer_reads_by_itself"], 0);
    let description = inspect_cross_layer(&fixtures().join("cross_layer/gemma_scope_2")).unwrap();
    assert_eq!(description.layers(), 3);
    assert_eq!(description.sites[2], Site::MlpIn(2));
    assert_eq!(description.output_sites[2], Site::MlpOut(2));
    assert_eq!(description.format, "gemma_scope_2");
    assert!(!description.skip);
    // A set that has lost a file says so.
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&fixtures().join("cross_layer/gemma_scope_2"), copy.path());
    std::fs::remove_file(copy.path().join("params_layer_2.safetensors")).unwrap();
    let error = inspect_cross_layer(copy.path()).unwrap_err().to_string();
    assert!(
        error.contains("`w_dec`") && error.contains("[20, 3, 10]") && error.contains("[20, 2, 10]"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let transcoder = open(&fixtures().join("cross_layer/gemma_scope_2_affine"));
    let x = backend().zeros(20);
    let refused = |result: glassbox_dictionary::Result<_>, words: &[&str]| {
        let error = result.map(|_: Vec<f32>| ()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is missing in: {error}");
        }
    };
    let read = |buffer| read(&buffer, 1);
    refused(
        transcoder.encode(3, &x, 2).map(read),
        &["layer 3", "layers are 0 to 2"],
    );
    let mut bad = vec![0.0; 20];
    bad[13] = f32::NAN;
    refused(
        transcoder.encode(1, &backend().upload(&bad), 2).map(read),
        &["row 1, column 3", "blocks.1.mlp.hook_in"],
    );
    refused(transcoder.encode(1, &x, 3).map(read), &["x"]);
    let mut one = SparseFeatures::default();
    one.push_row(&[0.0, 2.0], &SparseSelection::default());
    let two = |extra: &SparseFeatures| vec![one.clone(), extra.clone()];
    refused(
        transcoder.reconstruct(2, &two(&one), Some(&x)).map(read),
        &["2 layers", "0 to 2"],
    );
    refused(
        transcoder.reconstruct(1, &two(&one), None).map(read),
        &["skip", "blocks.1.mlp.hook_in"],
    );
    let mut long = one.clone();
    long.push_row(&[1.0], &SparseSelection::default());
    refused(
        transcoder.reconstruct(1, &two(&long), Some(&x)).map(read),
        &["layer 1 has 2 rows", "layer 0 has 1"],
    );
    let mut outside = SparseFeatures::default();
    outside.push_row(&[vec![0.0; 20], vec![1.0]].concat(), &SparseSelection::default());
    refused(
        transcoder.reconstruct(1, &two(&outside), Some(&x)).map(read),
        &["feature 20", "0 to 19"],
    );
    refused(transcoder.decoder_rows(2, 1, &[0]), &["layer 2", "0 to 1"]);
    assert_eq!(transcoder.decoder_rows(1, 2, &[4, 4]).unwrap().len(), 20);
}

#[test]
fn damaged_files_are_refused_with_their_place() {
    let damaged = |name: &str, change: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&fixtures().join("cross_layer").join(name), copy.path());
        change(copy.path());
        let transcoder = CrossLayerTranscoder::open(copy.path(), &backend());
        let x = backend().upload(&[0.4; 10]);
        transcoder.and_then(|transcoder| {
            for layer in 0..3 {
                transcoder.encode(layer, &x, 1)?;
                for target in layer..3 {
                    transcoder.decoder_rows(layer, target, &(0..20).collect::<Vec<_>>())?;
                }
            }
            Ok(())
        })
    };
    let nan_at_the_end = |file: &'static str| {
        move |folder: &Path| {
            let path = folder.join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 4;
            bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
            std::fs::write(path, bytes).unwrap();
        }
    };
    let remove = |file: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(file)).unwrap();
    let text = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    type Change = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Change, &[&str])> = vec![
        (
            "circuit_tracer_relu",
            Box::new(nan_at_the_end("W_dec_1.safetensors")),
            &["W_dec_1.safetensors", "`W_dec_1`", "NaN", "[19, 1, 9]"],
        ),
        (
            "circuit_tracer_relu",
            Box::new(remove("W_dec_2.safetensors")),
            &["W_dec_2.safetensors"],
        ),
        (
            "circuit_tracer_relu",
            Box::new(remove("W_enc_2.safetensors")),
            &["W_dec_0.safetensors", "[20, 3, 10]", "[20, 2, 10]"],
        ),
        (
            "circuit_tracer_relu",
            Box::new(remove("config.yaml")),
            &["config.yaml"],
        ),
        (
            "circuit_tracer_relu",
            Box::new(text("config.yaml", "cross_layer_transcoder", "transcoder_set")),
            &["config.yaml", "model_kind", "cross_layer_transcoder"],
        ),
        (
            "llamascopium_relu",
            Box::new(text("config.json", "blocks.2.hook_mlp_out", "blocks.2.hook_mlp")),
            &["config.json", "hook_points_out", "blocks.2.hook_mlp_out"],
        ),
        (
            "llamascopium_relu",
            Box::new(text("config.json", "dataset-wise", "token-wise")),
            &["config.json", "norm_activation", "inference"],
        ),
        (
            "llamascopium_topk",
            Box::new(text("config.json", "\"topk\"", "\"layertopk\"")),
            &["config.json", "act_fn", "layertopk"],
        ),
        (
            "gemma_scope_2",
            Box::new(nan_at_the_end("params_layer_1.safetensors")),
            &["params_layer_1.safetensors", "NaN"],
        ),
    ];
    for (name, change, words) in cases {
        let error = damaged(name, &*change).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is missing in: {error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let error = inspect_cross_layer(folder.path()).unwrap_err().to_string();
    assert!(error.contains("W_enc_{i}.safetensors"), "{error}");
    // Asked for as a plain dictionary, it says what it is.
    let error = formats::open(&fixtures().join("cross_layer/llamascopium_relu"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("clt") && error.contains("CrossLayerTranscoder"),
        "{error}"
    );
}
