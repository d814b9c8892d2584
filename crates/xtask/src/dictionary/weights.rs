//! A dictionary's weights, and its files in the layout of SAELens 6 (`architecture: jumprelu`).

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use glassbox_kernels::matmul::{Layout, matmul};
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;

use crate::checkpoint::write_json;

/// `h = x W_enc + b_enc`, `f = h [h > threshold]`, `x̂ = f W_dec + b_dec`, all for raw activations.
#[derive(Clone)]
pub struct Dictionary {
    /// Width of the activations.
    pub d_model: usize,
    /// Number of features.
    pub features: usize,
    /// Encoder, one row per feature, [features, d_model]; the file holds the transpose.
    pub encoder: Vec<f32>,
    /// [features].
    pub encoder_bias: Vec<f32>,
    /// Decoder, unit rows, [features, d_model].
    pub decoder: Vec<f32>,
    /// [d_model].
    pub decoder_bias: Vec<f32>,
    /// [features].
    pub threshold: Vec<f32>,
}

impl Dictionary {
    /// Pre-activations `h` [n, features] of rows `x` [n, d_model].
    ///
    /// # Errors
    /// If a buffer does not fit, which would be a fault of this code.
    pub fn scores(&self, h: &mut Vec<f32>, x: &[f32]) -> Result<()> {
        let n = x.len() / self.d_model;
        h.resize(n * self.features, 0.0);
        for row in h.chunks_exact_mut(self.features) {
            row.copy_from_slice(&self.encoder_bias);
        }
        let (encoder, d) = (&self.encoder, self.d_model);
        Ok(matmul(
            h,
            n,
            self.features,
            x,
            Layout::Normal,
            encoder,
            Layout::Transposed,
            d,
            1.0,
            1.0,
        )?)
    }

    /// Rounds encoder and decoder to the precision of the file.
    pub fn round_to_stored(&mut self) {
        for value in self.encoder.iter_mut().chain(&mut self.decoder) {
            *value = f16::from_f32(*value).to_f32();
        }
    }

    /// Writes `cfg.json` and `sae_weights.safetensors` into a folder, made if need be.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path, layer: usize) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let config = json!({
            "architecture": "jumprelu",
            "d_in": self.d_model,
            "d_sae": self.features,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": false,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": {
                "model_name": "glassbox-demo",
                "hook_name": format!("blocks.{layer}.hook_resid_post"),
                "hook_head_index": null,
                "context_size": 256,
                "prepend_bos": true,
            },
        });
        write_json(&folder.join("cfg.json"), &config)?;
        let (d, f) = (self.d_model, self.features);
        let half = |values: &mut dyn Iterator<Item = f32>| -> Vec<u8> {
            values
                .flat_map(|value| f16::from_f32(value).to_le_bytes())
                .collect()
        };
        let full =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let encoder = half(&mut (0..d * f).map(|index| self.encoder[index % f * d + index / f]));
        let decoder = half(&mut self.decoder.iter().copied());
        let (encoder_bias, decoder_bias) = (full(&self.encoder_bias), full(&self.decoder_bias));
        let threshold = full(&self.threshold);
        let tensors = [
            ("W_enc", TensorView::new(Dtype::F16, vec![d, f], &encoder)?),
            ("W_dec", TensorView::new(Dtype::F16, vec![f, d], &decoder)?),
            ("b_enc", TensorView::new(Dtype::F32, vec![f], &encoder_bias)?),
            ("b_dec", TensorView::new(Dtype::F32, vec![d], &decoder_bias)?),
            ("threshold", TensorView::new(Dtype::F32, vec![f], &threshold)?),
        ];
        let path = folder.join("sae_weights.safetensors");
        safetensors::serialize_to_file(tensors, None, &path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what [`Dictionary::save`] wrote.
    ///
    /// # Errors
    /// If the file is missing, or a tensor is missing or of another type.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("sae_weights.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{}", path.display()))?;
        let read = |name: &str| -> Result<Vec<f32>> {
            let view = file
                .tensor(name)
                .map_err(|error| anyhow!("{}: {error}", path.display()))?;
            match view.dtype() {
                Dtype::F16 => Ok(view
                    .data()
                    .chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                    .collect()),
                Dtype::F32 => {
                    let words = view.data().chunks_exact(4);
                    Ok(words
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                        .collect())
                }
                other => Err(anyhow!(
                    "{}: {name} is {other:?}, expected F16 or F32",
                    path.display()
                )),
            }
        };
        let (stored, encoder_bias, decoder_bias) = (read("W_enc")?, read("b_enc")?, read("b_dec")?);
        let (d, f) = (decoder_bias.len(), encoder_bias.len());
        let decoder = read("W_dec")?;
        ensure!(
            d * f > 0 && stored.len() == d * f && decoder.len() == d * f,
            "{}: W_enc and W_dec must hold d_in * d_sae = {d} * {f} values",
            path.display()
        );
        let encoder = (0..d * f)
            .map(|index| stored[index % d * f + index / d])
            .collect();
        let threshold = read("threshold")?;
        ensure!(
            threshold.len() == f,
            "{}: threshold must hold d_sae = {f} values",
            path.display()
        );
        Ok(Self {
            d_model: d,
            features: f,
            encoder,
            encoder_bias,
            decoder,
            decoder_bias,
            threshold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_what_was_saved() {
        let mut dictionary = Dictionary {
            d_model: 3,
            features: 4,
            encoder: (0..12).map(|i| i as f32 / 7.0).collect(),
            encoder_bias: vec![0.1, 0.2, 0.3, 0.4],
            decoder: (0..12).map(|i| 1.0 - i as f32 / 9.0).collect(),
            decoder_bias: vec![-0.1, 0.0, 0.7],
            threshold: vec![0.25; 4],
        };
        dictionary.round_to_stored();
        let folder = tempfile::tempdir().unwrap();
        dictionary.save(folder.path(), 2).unwrap();
        let read = Dictionary::load(folder.path()).unwrap();
        assert_eq!(read.encoder, dictionary.encoder);
        assert_eq!(read.decoder, dictionary.decoder);
        assert_eq!(read.encoder_bias, dictionary.encoder_bias);
        assert_eq!(read.decoder_bias, dictionary.decoder_bias);
        assert_eq!(read.threshold, dictionary.threshold);
    }
}
