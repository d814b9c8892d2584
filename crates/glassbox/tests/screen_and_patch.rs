//! The verbs `screen` and `patch`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use glassbox_experiment::tables::{PatchRow, ScreenRow};
use support::{model_fixture, prints, prints_json, refuses};

fn scenario() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/scenario.toml");
    path.to_str().unwrap().to_owned()
}

#[test]
fn patch_writes_a_row_per_cell_and_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("patch.parquet");
    let (model, out_text) = (model_fixture("gpt2"), out.to_str().unwrap());
    let arguments = [
        "patch",
        model.to_str().unwrap(),
        "--clean-tokens",
        "1,2,3,4",
        "--corrupted-tokens",
        "1,2,7,4",
        "--metric",
        "logit_difference #5 #6",
        "--sites",
        "resid_pre,mlp_out",
        "--out",
        out_text,
    ];
    let printed = prints_json(&[&arguments[..], &["--json"]].concat());
    let layers = printed["layers"].as_u64().unwrap();
    let rows: Vec<PatchRow> = glassbox_store::read_table(&out).unwrap();
    assert_eq!(rows.len() as u64, 2 * layers * 4);
    // The embedding differs at position 2 alone, so that this patch brings the clean run back.
    let whole = rows
        .iter()
        .find(|row| row.site == "resid_pre" && row.layer == 0 && row.position == 2)
        .unwrap();
    assert!((whole.recovered.unwrap() - 1.0).abs() < 1e-3);
    assert!((printed["sites"]["resid_pre"][0][2].as_f64().unwrap() - whole.value).abs() < 1e-12);
    assert_eq!((whole.clean_token, whole.corrupted_token), (3, 7));
    let shown = prints(&arguments);
    assert!(
        shown.contains("percent of the clean run's metric") && shown.contains("100"),
        "{shown}"
    );
}

#[test]
fn patch_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("patch.parquet");
    let (model, out) = (model_fixture("gpt2"), out.to_str().unwrap());
    let with = |corrupted: &str, metric: &str, sites: &str, expected: &str| {
        refuses(
            &[
                "patch",
                model.to_str().unwrap(),
                "--clean-tokens",
                "1,2,3",
                "--corrupted-tokens",
                corrupted,
                "--metric",
                metric,
                "--sites",
                sites,
                "--out",
                out,
            ],
            2,
            &[expected],
        );
    };
    with("1,2", "logit #5", "resid_pre", "3 tokens and the corrupted one 2");
    with("1,2,3", "logit #5", "resid_pre", "same tokens");
    with("1,2,4", "loss", "resid_pre", "logit_difference A B");
    with("1,2,4", "logit #999999", "resid_pre", "no token #999999");
    with("1,2,4", "logit Mary", "resid_pre", "by id");
    with("1,2,4", "logit #5", "resid", "mlp_out");
    assert!(!Path::new(out).exists());
}

#[test]
fn screen_ranks_features_and_says_how_far_to_trust_it() {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, out) = (scenario(), folder.path().join("screen.parquet"));
    let arguments = [
        "screen",
        &scenario,
        "--prompts",
        "3",
        "--check",
        "4",
        "--top",
        "5",
        "--out",
        out.to_str().unwrap(),
    ];
    let printed = prints_json(&[&arguments[..], &["--json"]].concat());
    let rows: Vec<ScreenRow> = glassbox_store::read_table(&out).unwrap();
    assert_eq!(
        printed["features_with_an_effect"].as_u64().unwrap(),
        rows.len() as u64
    );
    assert_eq!(printed["top"].as_array().unwrap().len(), 5);
    assert_eq!(printed["passes_backward"], 6);
    assert_eq!(printed["trust"]["top"], 4);
    assert_eq!(
        rows[0].feature,
        printed["top"][0]["feature"].as_u64().unwrap() as u32
    );
    let shown = prints(&[&arguments[..], &["--target", "L3-7", "--mode", "zero"]].concat());
    assert!(
        shown.contains("pre-activation of L3-7") && shown.contains("How far it can be trusted"),
        "{shown}"
    );
}

#[test]
fn screen_refuses_targets_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("s.parquet");
    for (target, expected) in [("L99-1", "99"), ("L3-999999", "999999"), ("words", "L3-89")] {
        refuses(
            &[
                "screen",
                &scenario(),
                "--target",
                target,
                "--out",
                out.to_str().unwrap(),
            ],
            2,
            &[expected],
        );
    }
}
