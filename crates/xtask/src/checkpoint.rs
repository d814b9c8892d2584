//! The model's files in Hugging Face Llama form: `config.json` and `model.safetensors` in bf16.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use half::bf16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use crate::tokenizer::{BEGIN, END};
use crate::train::{Parameters, Shape};

/// Rounds every weight to bf16, so that all that is measured later is measured on the stored weights.
pub fn round_to_stored(parameters: &mut Parameters) {
    for value in &mut parameters.values {
        *value = bf16::from_f32(*value).to_f32();
    }
}

/// Writes `config.json` and `model.safetensors` into an existing folder.
///
/// # Errors
/// If a file cannot be written.
pub fn save(parameters: &Parameters, folder: &Path) -> Result<()> {
    let shape = &parameters.shape;
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.d_model,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.max_positions,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.key_value_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": shape.rms_eps,
        "rope_scaling": null,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
        "use_cache": true,
        "vocab_size": shape.vocabulary,
    });
    write_json(&folder.join("config.json"), &config)?;
    let bytes: Vec<Vec<u8>> = parameters
        .places
        .tensors
        .iter()
        .map(|tensor| {
            let weights = &parameters.values[tensor.range.clone()];
            weights
                .iter()
                .flat_map(|&weight| bf16::from_f32(weight).to_le_bytes())
                .collect()
        })
        .collect();
    let mut views = Vec::new();
    for (tensor, bytes) in parameters.places.tensors.iter().zip(&bytes) {
        views.push((
            tensor.name.clone(),
            TensorView::new(Dtype::BF16, tensor.shape.clone(), bytes)?,
        ));
    }
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a checkpoint that [`save`] wrote.
///
/// # Errors
/// If a file is missing, or a weight is missing or of another shape or type.
pub fn load(folder: &Path, expected: Shape) -> Result<Parameters> {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{}", path.display()))?;
    let mut parameters = Parameters::initialize(expected, 0);
    for tensor in &parameters.places.tensors {
        let view = file
            .tensor(&tensor.name)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        ensure!(
            view.shape() == tensor.shape && view.dtype() == Dtype::BF16,
            "{}: {} is {:?} {:?}, expected BF16 {:?}; run `cargo xtask demo-model` to make it again",
            path.display(),
            tensor.name,
            view.dtype(),
            view.shape(),
            tensor.shape
        );
        for (value, pair) in parameters.values[tensor.range.clone()]
            .iter_mut()
            .zip(view.data().chunks_exact(2))
        {
            *value = bf16::from_le_bytes([pair[0], pair[1]]).to_f32();
        }
    }
    Ok(parameters)
}

/// Writes indented JSON with a final newline.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
