//! A small model folder, written to a temporary place and damaged as a test asks.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;

use glassbox_kernels::CpuBackend;
use glassbox_model::config::ModelConfig;
use glassbox_model::load::load;
use glassbox_model::load_error::LoadError;
use glassbox_model::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// One tensor of a test checkpoint.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// A model folder to be written.
pub struct Folder {
    pub config: Value,
    pub tensors: Vec<Tensor>,
    /// File of each tensor; all in `model.safetensors` if empty.
    pub shards: Vec<&'static str>,
}

impl Folder {
    /// A Llama of one block: d_model 4, two heads, one key/value head, d_mlp 6, vocabulary 5, untied.
    pub fn llama() -> Self {
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
    pub fn gpt2() -> Self {
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

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .unwrap()
    }

    pub fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    pub fn with(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub fn sharded(mut self) -> Self {
        let names = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        self.shards = (0..self.tensors.len())
            .map(|i| names[usize::from(i > 4)])
            .collect();
        self
    }

    pub fn write(&self) -> tempfile::TempDir {
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

    pub fn error(&self) -> LoadError {
        load_error(self.write().path())
    }
}

/// A tensor with elements 0, 1, 2, … plus `offset`, in single precision.
pub fn numbered(name: &str, shape: &[usize], offset: f32) -> Tensor {
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

pub fn load_cpu(folder: &Path) -> Result<(ModelConfig, Weights<CpuBackend>), LoadError> {
    load(&CpuBackend, folder)
}

pub fn load_error(folder: &Path) -> LoadError {
    match load_cpu(folder) {
        Ok((config, _)) => panic!("loaded although it is wrong: {config:?}"),
        Err(error) => error,
    }
}

/// The message holds every one of these words.
pub fn assert_says(error: &LoadError, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}
