//! The program's own format keeps a dictionary as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use glassbox_dictionary::{Dictionary, InputNormalisation, Precision, formats};
use glassbox_kernels::CpuBackend;
use half::{bf16, f16};
use proptest::prelude::*;
use serde_json::json;
use support::{Plain, backend, read};

fn rows(dictionary: &Dictionary<CpuBackend>) -> (Vec<f32>, Vec<f32>) {
    let ids: Vec<u32> = (0..dictionary.features() as u32).collect();
    let count = dictionary.features() * dictionary.width();
    (
        read(&dictionary.encoder_rows(&ids).unwrap(), count),
        read(&dictionary.decoder_rows(&ids).unwrap(), count),
    )
}

fn same(one: &Dictionary<CpuBackend>, other: &Dictionary<CpuBackend>) {
    assert_eq!(rows(one), rows(other));
    assert_eq!(one.encoder_bias(), other.encoder_bias());
    assert_eq!(one.decoder_bias(), other.decoder_bias());
    assert_eq!(one.encoder_scale(), other.encoder_scale());
    assert_eq!(one.decoder_scale(), other.decoder_scale());
    assert_eq!(one.folded_bias(), other.folded_bias());
    let mut description = one.description().clone();
    description.provenance = other.description().provenance.clone();
    assert_eq!(&description, other.description());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn f32_is_kept_bit_by_bit(seed in any::<u64>(), features in 1_usize..2100, rule in 0_usize..3, scales in any::<bool>()) {
        let rules = ["relu", "top_k", "jump_relu"];
        let mut plain = Plain::random(seed, features, 3, rules[rule], InputNormalisation::LayerNorm);
        if !scales {
            plain.encoder_scale = None;
            plain.decoder_scale = None;
        }
        let dictionary = plain.dictionary();
        let folder = tempfile::tempdir().unwrap();
        let notes = json!({ "recipe": "random", "seed": seed });
        formats::write_glassbox(&dictionary, folder.path(), Precision::F32, Some(&notes)).unwrap();
        let again = formats::load(folder.path(), &backend()).unwrap();
        same(&dictionary, &again);
        prop_assert_eq!(formats::inspect(folder.path()).unwrap().notes, Some(notes));
        prop_assert_eq!(again.description().provenance.checksums.len(), 2);
    }
}

#[test]
fn narrow_precisions_round_to_nearest_and_keep_what_they_hold() {
    let plain = Plain::random(6, 12, 5, "jump_relu", InputNormalisation::None);
    let folder = tempfile::tempdir().unwrap();
    for (precision, round) in [
        (
            Precision::Bf16,
            (|x| bf16::from_f32(x).to_f32()) as fn(f32) -> f32,
        ),
        (Precision::F16, |x| f16::from_f32(x).to_f32()),
    ] {
        formats::write_glassbox(&plain.dictionary(), folder.path(), precision, None).unwrap();
        let mut rounded = plain.clone();
        rounded
            .encoder
            .iter_mut()
            .chain(&mut rounded.decoder)
            .for_each(|value| *value = round(*value));
        let again = formats::load(folder.path(), &backend()).unwrap();
        same(&rounded.dictionary(), &again);
        let second = tempfile::tempdir().unwrap();
        formats::write_glassbox(&again, second.path(), precision, None).unwrap();
        same(&again, &formats::load(second.path(), &backend()).unwrap());
    }
}

#[test]
fn f16_refuses_what_it_cannot_hold() {
    let mut plain = Plain::random(6, 12, 5, "relu", InputNormalisation::None);
    plain.encoder[7] = 1e6;
    let folder = tempfile::tempdir().unwrap();
    let error =
        formats::write_glassbox(&plain.dictionary(), folder.path(), Precision::F16, None).unwrap_err();
    assert!(error.to_string().contains("1000000"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn equal_dictionaries_give_equal_files() {
    let plain = Plain::random(6, 12, 5, "jump_relu", InputNormalisation::None);
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &other] {
        formats::write_glassbox(&plain.dictionary(), folder.path(), Precision::F32, None).unwrap();
    }
    for file in ["dictionary.json", "dictionary.safetensors"] {
        assert_eq!(
            std::fs::read(one.path().join(file)).unwrap(),
            std::fs::read(other.path().join(file)).unwrap()
        );
    }
}
