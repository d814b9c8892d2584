//! Every way in which a model folder can be wrong: an error that names the file and what is wrong in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model_folder;

use glassbox_model::load_error::LoadError;
use model_folder::{Folder, Tensor, assert_says, load_cpu, load_error, numbered};
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use serde_json::json;

#[test]
fn missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(
        &load_error(folder.path()),
        &["config.json", &folder.path().to_string_lossy()],
    );
    std::fs::write(
        folder.path().join("config.json"),
        Folder::llama().config.to_string(),
    )
    .unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    assert_says(
        &load_error(folder.path()),
        &[
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "save_pretrained",
        ],
    );
}

#[test]
fn a_missing_shard_is_named_with_its_tensors() {
    let folder = Folder::llama().sharded().write();
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    let error = load_error(folder.path());
    assert!(matches!(&error, LoadError::MissingShards { tensors, .. } if tensors.len() == 7));
    assert_says(
        &error,
        &["model-00002-of-00002.safetensors", "lm_head.weight", "index.json"],
    );
}

#[test]
fn a_shard_must_hold_what_the_index_says() {
    let folder = Folder::llama().sharded().write();
    let index = folder.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replacen("00002-of", "00001-of", 1)).unwrap();
    assert!(
        matches!(load_error(folder.path()), LoadError::ShardLacksTensors { tensors, .. } if tensors.len() == 1)
    );
    for (content, word) in [
        (
            r#"{"weight_map": {"a": "../x.safetensors"}}"#,
            "file in this folder",
        ),
        (r#"{"weight_map": {"a": 1}}"#, "file in this folder"),
        (r#"{"weight_map": {}}"#, "empty"),
        ("{}", "weight_map"),
        ("[", "JSON"),
    ] {
        std::fs::write(&index, content).unwrap();
        assert_says(
            &load_error(folder.path()),
            &["model.safetensors.index.json", word],
        );
    }
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let mut folder = Folder::llama().sharded();
    folder.tensors.insert(0, numbered("lm_head.weight", &[5, 4], 0.0));
    folder.shards.insert(0, "model-00001-of-00002.safetensors");
    assert!(
        matches!(folder.error(), LoadError::DuplicateTensor { tensor, .. } if tensor == "lm_head.weight")
    );
}

#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let folder = Folder::llama().write();
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [
        0,
        5,
        8,
        20,
        header - 1,
        header,
        header + 1,
        whole.len() - 1,
        whole.len() + 3,
    ] {
        let mut bytes = whole.clone();
        bytes.resize(length, 0);
        std::fs::write(&path, bytes).unwrap();
        let error = load_error(folder.path());
        let LoadError::FileLength { expected, found, .. } = &error else {
            panic!("{length}: {error}")
        };
        assert_eq!(*found, length as u64);
        let promised = if length < 8 {
            8
        } else if length < header {
            header
        } else {
            whole.len()
        };
        assert_eq!(*expected, promised as u64, "cut at {length}");
        assert_says(&error, &["model.safetensors"]);
    }
}

#[test]
fn damaged_headers_are_refused() {
    let folder = Folder::llama().write();
    let path = folder.path().join("model.safetensors");
    let with_header = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[0; 64]);
        bytes
    };
    let cases: [Vec<u8>; 7] = [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n".to_vec(),
        vec![0xff; 100],
        with_header("{"),
        with_header("[]"),
        with_header(r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}"#),
        with_header(
            r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 64]}}"#,
        ),
        with_header(
            r#"{"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [60, 64]}}"#,
        ),
    ];
    for bytes in cases {
        std::fs::write(&path, &bytes).unwrap();
        let error = load_error(folder.path());
        assert!(matches!(error, LoadError::Header { .. }), "{error}");
        assert_says(&error, &["model.safetensors"]);
    }
}

#[test]
fn missing_and_extra_tensors_are_listed() {
    let error = Folder::llama()
        .without("model.norm.weight")
        .without("lm_head.weight")
        .error();
    assert!(matches!(&error, LoadError::MissingTensors { tensors, .. } if tensors.len() == 2));
    assert_says(&error, &["model.norm.weight [4]", "lm_head.weight [5, 4]"]);

    let error = Folder::llama()
        .with(numbered("model.layers.0.self_attn.q_norm.weight", &[2], 0.0))
        .error();
    assert!(matches!(error, LoadError::ExtraTensors { .. }));
    assert_says(&error, &["model.layers.0.self_attn.q_norm.weight", "llama"]);
    // A bias that the configuration doesn't announce, and a layer too many.
    let error = Folder::llama()
        .with(numbered("model.layers.0.self_attn.q_proj.bias", &[4], 0.0))
        .error();
    assert!(matches!(error, LoadError::ExtraTensors { .. }));
    let error = Folder::llama()
        .with(numbered("model.layers.1.input_layernorm.weight", &[4], 0.0))
        .error();
    assert!(matches!(error, LoadError::ExtraTensors { .. }));
    let error = Folder::llama().config("attention_bias", json!(true)).error();
    assert!(matches!(&error, LoadError::MissingTensors { tensors, .. } if tensors.len() == 4));
}

#[test]
fn a_wrong_shape_names_both_shapes() {
    let error = Folder::llama().config("vocab_size", json!(7)).error();
    assert!(
        matches!(&error, LoadError::TensorShape { expected, found, .. } if expected == &[7, 4] && found == &[5, 4])
    );
    assert_says(&error, &["model.embed_tokens.weight", "model.safetensors"]);
}

#[test]
fn every_element_type_but_three_is_refused() {
    let mut folder = Folder::llama();
    folder.tensor("model.norm.weight").dtype = Dtype::I32;
    let error = folder.error();
    assert!(matches!(error, LoadError::ElementType { .. }));
    assert_says(&error, &["model.norm.weight", "I32", "F32, F16, BF16"]);
}

#[test]
fn a_weight_that_is_not_finite_is_named_with_its_index() {
    for (tensor, place, index) in [
        ("model.layers.0.mlp.down_proj.weight", 10, "[1, 4]"),
        ("model.norm.weight", 3, "[3]"),
        ("lm_head.weight", 19, "[4, 3]"),
    ] {
        for (value, name) in [
            (f32::NAN, "NaN"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            let mut folder = Folder::llama();
            folder.tensor(tensor).data[4 * place..4 * place + 4].copy_from_slice(&value.to_le_bytes());
            let error = folder.error();
            assert!(matches!(error, LoadError::NotFinite { .. }));
            assert_says(&error, &[tensor, index, name, "model.safetensors"]);
        }
    }
    for (dtype, bits) in [(Dtype::F16, 0x7c00_u16), (Dtype::BF16, 0xff80)] {
        let mut folder = Folder::llama();
        let data: Vec<u8> = [0, 0, bits, 0]
            .iter()
            .flat_map(|bits: &u16| bits.to_le_bytes())
            .collect();
        *folder.tensor("model.norm.weight") = Tensor {
            name: "model.norm.weight".into(),
            dtype,
            shape: vec![4],
            data,
        };
        assert_says(&folder.error(), &["model.norm.weight", "[2]", "inf"]);
    }
}

proptest! {
    /// Whatever a byte of a file becomes, loading ends with a model or an error.
    #[test]
    fn no_damage_makes_loading_panic(place in 0_usize..2600, byte: u8, config: bool) {
        let folder = Folder::llama().write();
        let path = folder.path().join(if config { "config.json" } else { "model.safetensors" });
        let mut bytes = std::fs::read(&path).unwrap();
        let place = place % bytes.len();
        bytes[place] = byte;
        std::fs::write(&path, bytes).unwrap();
        if let Err(error) = load_cpu(folder.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
