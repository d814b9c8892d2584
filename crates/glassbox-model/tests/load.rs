//! Loading models: every fixture, and every way in which a folder can be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::config::{Family, ModelConfig};
use glassbox_model::inspect::inspect;
use glassbox_model::load::load;
use glassbox_model::load_error::LoadError;
use glassbox_model::model_hash::model_hash;
use glassbox_model::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};
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

// --- a folder to damage -------------------------------------------------------------------------------------

/// One tensor of a test checkpoint.
#[derive(Clone)]
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// A model folder to be written.
struct Folder {
    config: Value,
    tensors: Vec<Tensor>,
    /// File of each tensor; all in `model.safetensors` if empty.
    shards: Vec<&'static str>,
}

impl Folder {
    /// A Llama of one block: d_model 4, two heads, one key/value head, d_mlp 6, vocabulary 5, untied.
    fn llama() -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
            "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "vocab_size": 5, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
        });
        let shapes: [(&str, &[usize]); 12] = [
            ("model.embed_tokens.weight", &[5, 4]),
            ("model.layers.0.input_layernorm.weight", &[4]),
            ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
            ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
            ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
            ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
            ("model.layers.0.post_attention_layernorm.weight", &[4]),
            ("model.layers.0.mlp.gate_proj.weight", &[6, 4]),
            ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
            ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
            ("model.norm.weight", &[4]),
            ("lm_head.weight", &[5, 4]),
        ];
        let tensors = shapes
            .iter()
            .enumerate()
            .map(|(i, (name, shape))| numbered(name, shape, i as f32));
        Self {
            config,
            tensors: tensors.collect(),
            shards: Vec::new(),
        }
    }

    /// A GPT-2 of one block, tied, with the names that the published checkpoint has.
    fn gpt2() -> Self {
        let config = json!({
            "model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_layer": 1, "n_positions": 6, "n_ctx": 6,
            "vocab_size": 5, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        });
        let shapes: [(&str, &[usize]); 16] = [
            ("wte.weight", &[5, 4]),
            ("wpe.weight", &[6, 4]),
            ("h.0.ln_1.weight", &[4]),
            ("h.0.ln_1.bias", &[4]),
            ("h.0.attn.c_attn.weight", &[4, 12]),
            ("h.0.attn.c_attn.bias", &[12]),
            ("h.0.attn.c_proj.weight", &[4, 4]),
            ("h.0.attn.c_proj.bias", &[4]),
            ("h.0.ln_2.weight", &[4]),
            ("h.0.ln_2.bias", &[4]),
            ("h.0.mlp.c_fc.weight", &[4, 16]),
            ("h.0.mlp.c_fc.bias", &[16]),
            ("h.0.mlp.c_proj.weight", &[16, 4]),
            ("h.0.mlp.c_proj.bias", &[4]),
            ("ln_f.weight", &[4]),
            ("ln_f.bias", &[4]),
        ];
        let mut tensors: Vec<Tensor> = shapes
            .iter()
            .map(|(name, shape)| numbered(name, shape, 0.0))
            .collect();
        tensors.push(numbered("h.0.attn.bias", &[1, 1, 6, 6], 0.0));
        tensors.push(numbered("h.0.attn.masked_bias", &[], 0.0));
        Self {
            config,
            tensors,
            shards: Vec::new(),
        }
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .unwrap()
    }

    fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    fn with(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    fn sharded(mut self) -> Self {
        let names = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        self.shards = (0..self.tensors.len())
            .map(|i| names[usize::from(i > 4)])
            .collect();
        self
    }

    fn write(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        let file_of = |i: usize| self.shards.get(i).copied().unwrap_or("model.safetensors");
        let mut files: Vec<&str> = (0..self.tensors.len()).map(file_of).collect();
        files.dedup();
        for file in files {
            let views = self
                .tensors
                .iter()
                .enumerate()
                .filter(|(i, _)| file_of(*i) == file)
                .map(|(_, tensor)| {
                    (
                        &tensor.name,
                        TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data).unwrap(),
                    )
                });
            safetensors::serialize_to_file(views, None, &folder.path().join(file)).unwrap();
        }
        if !self.shards.is_empty() {
            let map: serde_json::Map<String, Value> = self
                .tensors
                .iter()
                .zip(&self.shards)
                .map(|(tensor, file)| (tensor.name.clone(), json!(file)))
                .collect();
            let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
            std::fs::write(
                folder.path().join("model.safetensors.index.json"),
                index.to_string(),
            )
            .unwrap();
        }
        folder
    }

    fn error(&self) -> LoadError {
        load_error(self.write().path())
    }
}

/// A tensor with elements 0, 1, 2, … plus `offset`, in single precision.
fn numbered(name: &str, shape: &[usize], offset: f32) -> Tensor {
    let data = (0..shape.iter().product())
        .flat_map(|i: usize| (i as f32 + offset).to_le_bytes())
        .collect();
    Tensor {
        name: name.to_owned(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        data,
    }
}

fn load_cpu(folder: &Path) -> Result<(ModelConfig, Weights<CpuBackend>), LoadError> {
    load(&CpuBackend, folder)
}

fn load_error(folder: &Path) -> LoadError {
    match load_cpu(folder) {
        Ok((config, _)) => panic!("loaded although it is wrong: {config:?}"),
        Err(error) => error,
    }
}

/// The message holds every one of these words.
fn assert_says(error: &LoadError, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
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

// --- what must load -----------------------------------------------------------------------------------------

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

// --- what must not load -------------------------------------------------------------------------------------

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
