//! Goodfire's dictionaries (2025): one file `MODEL-SAE-l19.pth` (or `.pt`), a state dict of two linear layers.
//!
//! Tensors: `encoder_linear.weight` [F, d], `encoder_linear.bias` [F], `decoder_linear.weight` [d, F],
//! `decoder_linear.bias` [d]. f = max(W_enc x + b_enc, 0), x̂ = W_dec f + b_dec; b_dec is not subtracted. Model and
//! layer stand in the file's name only; the site is the residual stream after that block.

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;

use super::stated_source::{StatedSource, files_named, folder_of, name_of, not_stated};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::Result;
use crate::formats::DictionaryFormat;
use crate::formats::linear_layers::{LayerNames, LinearLayers};
use crate::stored_dictionary::StoredDictionary;

const NAMES: LayerNames = LayerNames {
    encoder: "encoder_linear.weight",
    encoder_bias: "encoder_linear.bias",
    decoder: "decoder_linear.weight",
    decoder_bias: "decoder_linear.bias",
};

pub(super) struct Goodfire;

impl DictionaryFormat for Goodfire {
    fn name(&self) -> &'static str {
        "goodfire"
    }

    fn files(&self) -> &'static str {
        "MODEL-SAE-lLAYER.pth or .pt"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.is_file() && name_of(path).is_some_and(|name| model_and_layer(name).is_some())
    }

    fn members(&self, folder: &Path) -> Vec<PathBuf> {
        files_named(folder, |name| model_and_layer(name).is_some())
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
        let stated = StatedSource::read(&folder_of(path))?;
        let named = name_of(path).and_then(model_and_layer);
        let site = stated
            .site
            .or(named.as_ref().map(|(_, layer)| Site::ResidPost(*layer)));
        let Some(site) = site else {
            return Err(not_stated(
                path,
                "which site the dictionary is for (the published name is MODEL-SAE-lLAYER.pth)",
                r#"{ "model": "meta-llama/Llama-3.1-8B-Instruct", "site": "blocks.19.hook_resid_post" }"#,
            ));
        };
        let layers = LinearLayers::open(path, &NAMES)?;
        let (width, features) = (layers.width, layers.features);
        let description = DictionaryDescription {
            model: ModelReference {
                name: stated.model.or(named.map(|(model, _)| model)),
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(site, width, features, ActivationRule::Relu, self.name(), path)
        };
        Ok(StoredDictionary::of_layers(description, layers))
    }
}

/// The model and the block that a file's name states.
fn model_and_layer(name: &str) -> Option<(String, u32)> {
    let stem = name.strip_suffix(".pth").or_else(|| name.strip_suffix(".pt"))?;
    let (model, layer) = stem.rsplit_once("-SAE-l")?;
    Some((model.to_owned(), layer.parse().ok()?))
}
