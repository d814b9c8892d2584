//! Every format against its own reference encoder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use glassbox_dictionary::formats;
use glassbox_kernels::Backend;
use support::{backend, copy_folder, fixtures, read, relative_difference, tensor, widen};

fn check(folder: &Path, reference: &Path, features: &str, reconstruction: &str) {
    let dictionary = formats::load(folder, &backend()).unwrap();
    let (shape, x) = tensor(reference, "x");
    let (_, expected_features) = tensor(reference, features);
    let (_, expected_reconstruction) = tensor(reference, reconstruction);
    let n = shape[0];
    let x = backend().upload(&x);

    let encoded = dictionary.encode(&x, n).unwrap();
    let found = read(&encoded.features, expected_features.len());
    let active = |values: &[f32]| values.iter().map(|value| *value != 0.0).collect::<Vec<_>>();
    assert_eq!(
        active(&found),
        active(&expected_features),
        "{}: active set",
        folder.display()
    );
    let difference = relative_difference(&found, &widen(&expected_features));
    assert!(
        difference <= 1e-5,
        "{}: features differ by {difference}",
        folder.display()
    );

    let output = dictionary
        .decode(&encoded.features, n, &encoded.statistics)
        .unwrap();
    let found = read(&output, expected_reconstruction.len());
    let difference = relative_difference(&found, &widen(&expected_reconstruction));
    assert!(
        difference <= 1e-5,
        "{}: reconstruction differs by {difference}",
        folder.display()
    );
}

fn folders(format: &str) -> Vec<std::path::PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(fixtures().join(format))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() >= 10, "the fixtures of {format} are missing");
    folders
}

#[test]
fn saelens_dictionaries_equal_saelens() {
    for folder in folders("saelens") {
        // Its factor is not in the configuration: see below.
        if !folder.ends_with("standard_expected_average") {
            check(
                &folder,
                &folder.join("reference.safetensors"),
                "features",
                "reconstruction",
            );
        }
    }
}

#[test]
fn llama_scope_dictionaries_equal_the_published_order_of_operations() {
    for folder in folders("llama_scope") {
        check(
            &folder,
            &folder.join("reference.safetensors"),
            "features",
            "reconstruction",
        );
    }
}

#[test]
fn a_stated_expected_average_factor_is_folded_as_saelens_folds_it() {
    let folder = fixtures().join("saelens/standard_expected_average");
    let error = formats::open(&folder).unwrap_err().to_string();
    assert!(
        error.contains("cfg.json") && error.contains("norm_scaling_factor"),
        "{error}"
    );

    let reference = folder.join("reference.safetensors");
    let factor = tensor(&reference, "norm_scaling_factor").1[0];
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&folder, copy.path());
    let config = std::fs::read_to_string(folder.join("cfg.json")).unwrap();
    let stated = config.replacen('{', &format!("{{ \"norm_scaling_factor\": {factor},"), 1);
    std::fs::write(copy.path().join("cfg.json"), stated).unwrap();
    check(
        copy.path(),
        &reference,
        "folded.features",
        "folded.reconstruction",
    );

    // As a training checkpoint keeps it.
    std::fs::write(copy.path().join("cfg.json"), config).unwrap();
    std::fs::write(
        copy.path().join("activation_scaler.json"),
        format!("{{\"scaling_factor\": {factor}}}"),
    )
    .unwrap();
    check(
        copy.path(),
        &reference,
        "folded.features",
        "folded.reconstruction",
    );
}

#[test]
fn a_dictionary_keeps_its_arithmetic_through_every_writer() {
    for folder in folders("saelens").into_iter().chain(folders("llama_scope")) {
        if folder.ends_with("standard_expected_average") {
            continue;
        }
        let dictionary = formats::load(&folder, &backend()).unwrap();
        let target = tempfile::tempdir().unwrap();
        let (own, theirs) = (target.path().join("own"), target.path().join("saelens"));
        formats::write_glassbox(&dictionary, &own, glassbox_dictionary::Precision::F32, None).unwrap();
        let reference = folder.join("reference.safetensors");
        check(&own, &reference, "features", "reconstruction");
        formats::write_saelens(&dictionary, &theirs, None).unwrap();
        check(&theirs, &reference, "features", "reconstruction");
    }
}

#[test]
fn inspect_recognises_every_format() {
    for (format, name) in [("saelens", "topk"), ("llama_scope", "bf16")] {
        let summary = formats::inspect(&fixtures().join(format).join(name)).unwrap();
        assert_eq!(summary.format, format);
        assert_eq!((summary.width, summary.features), (24, 96));
        assert_eq!(summary.site, "blocks.1.hook_resid_post");
        assert!(summary.to_string().contains(&summary.rule), "{summary}");
    }
    // How often features were active, where SAELens's runner stored it: three of forty never.
    let summary = formats::inspect(&fixtures().join("saelens/gated")).unwrap();
    let frequency = summary.stored_frequency.unwrap();
    assert_eq!(frequency.never_active, 3);
    assert!((frequency.median_log10 - -3.18).abs() < 0.01, "{frequency:?}");
    assert!(
        summary.to_string().contains("3 features never active"),
        "{summary}"
    );
}
