//! GhostTrack's training checkpoints (2026): `sae_layer_N_best.pt` and `sae_layer_N_final.pt`.
//!
//! `{layer_idx, epoch, model_state_dict, optimizer_state_dict, scheduler_state_dict, best_loss, history, config}` with
//! `W_enc.weight` [F, d], `W_enc.bias` [F], `W_dec.weight` [d, F], `W_dec.bias` [d] and one scalar `threshold` for all
//! features in `model_state_dict`. z = W_enc x + b_enc, f = z where z > threshold, x̂ = W_dec f + b_dec; b_dec is not
//! subtracted. The threshold had no gradient in training: it is what the configuration set. The site is the residual
//! stream after block `layer_idx`; the model is not stated.

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;
use glassbox_tensors::{PickledValue, TorchFile};
use serde_json::json;

use super::stated_source::{StatedSource, files_named, folder_of, name_of};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

pub(super) struct GhostTrack;

impl DictionaryFormat for GhostTrack {
    fn name(&self) -> &'static str {
        "ghosttrack"
    }

    fn files(&self) -> &'static str {
        "sae_layer_N_best.pt or sae_layer_N_final.pt"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.is_file() && name_of(path).is_some_and(|name| layer_and_kind(name).is_some())
    }

    /// The best checkpoint of each layer, or the final one where there is no other.
    fn members(&self, folder: &Path) -> Vec<PathBuf> {
        let files = files_named(folder, |name| layer_and_kind(name).is_some());
        let layer = |path: &PathBuf| name_of(path).and_then(layer_and_kind).map(|(layer, _)| layer);
        let mut members: Vec<PathBuf> = Vec::new();
        // By name, `best` comes before `final`.
        for path in files {
            if !members.iter().any(|member| layer(member) == layer(&path)) {
                members.push(path);
            }
        }
        members
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
        let file = TorchFile::open(path)?;
        let root = file.root();
        let missing = |key: &'static str, expected: &'static str| DictionaryError::MissingKey {
            path: path.to_path_buf(),
            key: key.to_owned(),
            expected: expected.to_owned(),
        };
        let layer = root.get("layer_idx").and_then(PickledValue::integer);
        let layer = layer
            .and_then(|layer| u32::try_from(layer).ok())
            .ok_or_else(|| missing("layer_idx", "the number of the block, from 0"))?;
        let state = root
            .get("model_state_dict")
            .filter(|state| state.is_dict())
            .ok_or_else(|| missing("model_state_dict", "the dictionary's tensors"))?;
        let weights = WeightsFile::new(file.tensors(state)?);
        weights.check_names(&[
            "threshold",
            "W_enc.weight",
            "W_enc.bias",
            "W_dec.weight",
            "W_dec.bias",
        ])?;
        let [features, width] = weights.matrix_shape("W_enc.weight", "[d_hidden, d_model]")?;
        weights.find("W_enc.weight", &[features, width], "[d_hidden, d_model]")?;
        weights.find("W_dec.weight", &[width, features], "[d_model, d_hidden]")?;
        let threshold = weights.scalar("threshold", "the threshold of all features")?;
        if threshold < 0.0 {
            return Err(DictionaryError::TensorValue {
                path: path.to_path_buf(),
                tensor: "threshold".to_owned(),
                index: Vec::new(),
                value: threshold as f32,
                expected: "a threshold of at least 0 (below it, features would be negative)",
            });
        }
        let rule = ActivationRule::JumpRelu {
            threshold: vec![threshold as f32; features],
        };
        let encoder_bias = weights.vector("W_enc.bias", features, "[d_hidden]")?;
        let decoder_bias = weights.vector("W_dec.bias", width, "[d_model]")?;
        let stated = StatedSource::read(&folder_of(path))?;
        let site = stated.site.unwrap_or(Site::ResidPost(layer));
        let description = DictionaryDescription {
            model: ModelReference {
                name: stated.model,
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), path)
        };
        let number = |value: Option<PickledValue<'_>>| value.and_then(PickledValue::number);
        let notes = json!({
            "epoch": number(root.get("epoch")),
            "best_validation_mean_squared_error": number(root.get("best_loss")),
            "threshold": "one scalar, which had no gradient in training",
        });
        let places = [
            MatrixPlace::rows("W_enc.weight"),
            MatrixPlace::columns("W_dec.weight"),
        ];
        Ok(StoredDictionary {
            notes: Some(notes),
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
        })
    }
}

fn layer_and_kind(name: &str) -> Option<(u32, &str)> {
    let (layer, kind) = name
        .strip_prefix("sae_layer_")?
        .strip_suffix(".pt")?
        .split_once('_')?;
    matches!(kind, "best" | "final").then_some((layer.parse().ok()?, kind))
}
