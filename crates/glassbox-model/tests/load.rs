//! Loading models: every fixture, and folders as they may be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model_folder;

use std::path::{Path, PathBuf};

use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::config::Family;
use glassbox_model::inspect::inspect;
use glassbox_model::load::load_with;
use glassbox_model::load_error::LoadError;
use glassbox_model::load_options::{LoadOptions, WeightType};
use glassbox_model::model_hash::model_hash;
use glassbox_model::weights::Weights;
use model_folder::{Folder, Tensor, assert_says, load_cpu, load_error, numbered};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

fn fixture_folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures()).expect("the fixtures' folder");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("config.json").is_file());
    folders.sort();
    assert!(folders.len() >= 16, "fixtures are missing: {folders:?}");
    folders
}

fn row(matrix: &<CpuBackend as Backend>::Matrix, row: u32) -> Vec<f32> {
    let (_, columns) = CpuBackend.matrix_shape(matrix);
    let mut buffer = CpuBackend.zeros(columns);
    CpuBackend.matrix_rows(matrix, &[row], &mut buffer).unwrap();
    read(&buffer)
}

fn read(buffer: &<CpuBackend as Backend>::Buffer) -> Vec<f32> {
    let mut values = vec![0.0; CpuBackend.len(buffer)];
    CpuBackend.read(buffer, 0, &mut values).unwrap();
    values
}

#[test]
fn every_fixture_loads() {
    for folder in fixture_folders() {
        let (config, weights) =
            load_cpu(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert_eq!(weights.blocks.len(), config.n_layers);
        assert_eq!(weights.unembed.is_none(), config.tied);
        assert_eq!(
            CpuBackend.matrix_shape(&weights.embed),
            (config.vocab_size, config.d_model)
        );
        let summary = inspect(&folder).unwrap();
        assert_eq!(summary.config, config);
        assert_eq!(summary.parameters * 4, summary.memory.weights_f32);
    }
}

#[test]
fn both_forms_of_a_configuration_say_the_same() {
    let folder = fixtures().join("llama3_rope");
    let read = |name: &str| {
        let path = folder.join(name);
        let json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        glassbox_model::config_parse::parse_config(&path, &json).unwrap()
    };
    let newer = read("config.json");
    assert_eq!(newer, read("config.transformers4.json"));
    assert_eq!(newer.eos_token_ids, [2, 66]);
}

#[test]
fn the_published_names_of_gpt2_hold_the_same_weights() {
    let (config, ours) = load_cpu(&fixtures().join("gpt2")).unwrap();
    let (_, published) = load_cpu(&fixtures().join("gpt2_hub")).unwrap();
    assert_eq!(config.family, Family::Gpt2);
    for (a, b) in ours.blocks.iter().zip(&published.blocks) {
        assert_eq!(row(&a.query.weight, 3), row(&b.query.weight, 3));
        assert_eq!(
            read(a.key.bias.as_ref().unwrap()),
            read(b.key.bias.as_ref().unwrap())
        );
    }
}

#[test]
fn weights_come_out_in_their_places() {
    let (_, weights) = load_cpu(Folder::llama().write().path()).unwrap();
    let block = &weights.blocks[0];
    assert_eq!(row(&weights.embed, 1), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(row(&block.key.weight, 1), [7.0, 8.0, 9.0, 10.0]);
    assert_eq!(row(&block.down.weight, 0), [9.0, 10.0, 11.0, 12.0, 13.0, 14.0]);
    assert_eq!(read(&weights.ln_final.weight), [10.0, 11.0, 12.0, 13.0]);
    assert_eq!(
        row(weights.unembed.as_ref().unwrap(), 0),
        [11.0, 12.0, 13.0, 14.0]
    );
    assert!(block.query.bias.is_none());
}

#[test]
fn gpt2s_joint_map_is_split_and_turned() {
    let (config, weights) = load_cpu(Folder::gpt2().write().path()).unwrap();
    assert!(config.tied && weights.unembed.is_none());
    let block = &weights.blocks[0];
    // Stored [in 4, out 12] with element 12·in + out; key is outputs 4 to 7.
    assert_eq!(row(&block.key.weight, 1), [5.0, 17.0, 29.0, 41.0]);
    assert_eq!(read(block.value.bias.as_ref().unwrap()), [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(CpuBackend.matrix_shape(&block.up.weight), (16, 4));
    assert_eq!(row(&block.down.weight, 2)[3], 14.0);
}

#[test]
fn shards_and_half_precision_load() {
    let mut folder = Folder::llama().sharded();
    let bf16: Vec<u8> = (0..4)
        .flat_map(|i| half::bf16::from_f32(i as f32 * 0.5).to_le_bytes())
        .collect();
    let f16: Vec<u8> = (0..20)
        .flat_map(|i| half::f16::from_f32(i as f32 * 0.25).to_le_bytes())
        .collect();
    *folder.tensor("model.norm.weight") = Tensor {
        name: "model.norm.weight".into(),
        dtype: Dtype::BF16,
        shape: vec![4],
        data: bf16,
    };
    *folder.tensor("lm_head.weight") = Tensor {
        name: "lm_head.weight".into(),
        dtype: Dtype::F16,
        shape: vec![5, 4],
        data: f16,
    };
    let folder = folder.write();
    let (_, weights) = load_cpu(folder.path()).unwrap();
    assert_eq!(read(&weights.ln_final.weight), [0.0, 0.5, 1.0, 1.5]);
    assert_eq!(row(weights.unembed.as_ref().unwrap(), 4), [4.0, 4.25, 4.5, 4.75]);
    let summary = inspect(folder.path()).unwrap();
    assert_eq!(
        (summary.element_types["BF16"], summary.element_types["F16"]),
        (4, 20)
    );
    assert_eq!(summary.files.len(), 2);
}

#[test]
fn a_tied_head_may_be_stored_if_it_is_the_embedding() {
    let mut folder = Folder::llama().config("tie_word_embeddings", json!(true));
    folder.tensor("lm_head.weight").data = folder.tensor("model.embed_tokens.weight").data.clone();
    assert!(load_cpu(folder.write().path()).unwrap().1.unembed.is_none());
    folder.tensor("lm_head.weight").data[4 * 6 + 2] ^= 1;
    let error = folder.error();
    assert!(matches!(error, LoadError::TiedHeadDiffers { .. }));
    assert_says(&error, &["lm_head.weight", "[1, 2]", "tie_word_embeddings"]);
}

#[test]
fn names_without_prefix_and_derived_tables_load() {
    let mut folder = Folder::llama();
    for tensor in &mut folder.tensors {
        tensor.name = tensor.name.trim_start_matches("model.").to_owned();
    }
    let folder = folder.with(numbered("layers.0.self_attn.rotary_emb.inv_freq", &[1], 1.0));
    load_cpu(folder.write().path()).unwrap();
}

#[test]
fn end_tokens_come_from_the_generation_configuration() {
    let folder = Folder::llama().config("bos_token_id", Value::Null).write();
    let path = folder.path().join("generation_config.json");
    std::fs::write(
        &path,
        r#"{"eos_token_id": [3, 4], "bos_token_id": 0, "temperature": 0.6}"#,
    )
    .unwrap();
    let (config, _) = load_cpu(folder.path()).unwrap();
    assert_eq!((config.eos_token_ids, config.bos_token_id), (vec![3, 4], Some(0)));
    std::fs::write(&path, r#"{"eos_token_id": 7}"#).unwrap();
    assert_says(
        &load_error(folder.path()),
        &["generation_config.json", "eos_token_id", "5"],
    );
}

#[test]
fn the_hash_changes_with_every_file_and_every_byte() {
    let folder = Folder::llama().sharded().write();
    let first = model_hash(folder.path()).unwrap();
    assert_eq!((first.len(), &first), (64, &model_hash(folder.path()).unwrap()));
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let second = model_hash(folder.path()).unwrap();
    assert_ne!(first, second);
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_ne!(second, model_hash(folder.path()).unwrap());
}

#[test]
fn weights_are_held_in_the_type_asked_for() {
    let folder = fixtures().join("llama3_rope");
    let load = |weights| {
        load_with(&CpuBackend, &folder, &LoadOptions { weights })
            .unwrap()
            .1
    };
    let stored = load(WeightType::Stored);
    let (widened, rounded) = (load(WeightType::F32), load(WeightType::Bf16));
    for (place, matrix) in matrices(&stored).into_iter().enumerate() {
        for r in 0..CpuBackend.matrix_shape(matrix).0 as u32 {
            let exact = row(matrix, r);
            assert_eq!(row(matrices(&widened)[place], r), exact);
            let expected: Vec<f32> = exact.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
            assert_eq!(
                row(matrices(&rounded)[place], r),
                expected,
                "matrix {place}, row {r}"
            );
        }
    }
    for (a, b) in stored.blocks.iter().zip(&rounded.blocks) {
        assert_eq!(read(&a.ln1.weight), read(&b.ln1.weight), "norms are not rounded");
    }
}

fn matrices(weights: &Weights<CpuBackend>) -> Vec<&<CpuBackend as Backend>::Matrix> {
    let blocks = weights.blocks.iter().flat_map(|block| {
        [
            &block.query,
            &block.key,
            &block.value,
            &block.out,
            &block.up,
            &block.down,
        ]
        .into_iter()
        .chain(&block.gate)
        .map(|map| &map.weight)
    });
    blocks.chain([&weights.embed]).chain(&weights.unembed).collect()
}

#[test]
fn a_weight_beyond_bfloat16_is_refused_by_name() {
    let mut folder = Folder::llama();
    let tensor = folder.tensor("model.layers.0.mlp.down_proj.weight");
    tensor.data[12..16].copy_from_slice(&f32::MAX.to_le_bytes());
    let folder = folder.write();
    let options = LoadOptions {
        weights: WeightType::Bf16,
    };
    let error = load_with(&CpuBackend, folder.path(), &options).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { .. }));
    assert_says(
        &error,
        &["mlp.down_proj.weight", "[0, 3]", "bf16", "as they are stored"],
    );
}
