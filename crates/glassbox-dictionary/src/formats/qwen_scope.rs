//! Qwen Scope (2026): a file `layerN.sae.pt` per block, a dict of four tensors.
//!
//! Tensors: `W_enc` [F, d], `W_dec` [d, F], `b_enc` [F], `b_dec` [d]. The k largest of W_enc x + b_enc, then
//! max(·, 0); x̂ = W_dec f + b_dec; b_dec is not subtracted. Width, k and model stand in the repository's name only:
//! `Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`. The site is the residual stream after the block.

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;

use super::stated_source::{
    StatedSource, files_named, folder_of, name_of, names_along, not_stated, number_after,
};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::formats::linear_layers::{LayerNames, LinearLayers};
use crate::stored_dictionary::StoredDictionary;

const NAMES: LayerNames = LayerNames {
    encoder: "W_enc",
    encoder_bias: "b_enc",
    decoder: "W_dec",
    decoder_bias: "b_dec",
};

pub(super) struct QwenScope;

impl DictionaryFormat for QwenScope {
    fn name(&self) -> &'static str {
        "qwen_scope"
    }

    fn files(&self) -> &'static str {
        "layerN.sae.pt"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.is_file() && name_of(path).is_some_and(|name| layer(name).is_some())
    }

    fn members(&self, folder: &Path) -> Vec<PathBuf> {
        files_named(folder, |name| layer(name).is_some())
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
        let stated = StatedSource::read(&folder_of(path))?;
        let repository = names_along(path)
            .iter()
            .rev()
            .find_map(|name| Repository::read(name));
        let site = name_of(path).and_then(layer).map(Site::ResidPost).or(stated.site);
        let (Some(site), Some(k)) = (site, stated.k.or(repository.as_ref().map(|found| found.k))) else {
            return Err(not_stated(
                path,
                "how many features are active per token (k; the published folder is \
                 SAE-Res-MODEL-W32K-L0_50, where k is 50)",
                r#"{ "model": "Qwen/Qwen3-1.7B-Base", "k": 50 }"#,
            ));
        };
        let layers = LinearLayers::open(path, &NAMES)?;
        let (width, features) = (layers.width, layers.features);
        if k == 0 || k > features {
            return Err(DictionaryError::Parts {
                what: format!("{}: k is {k}, expected 1 to {features}", path.display()),
            });
        }
        let rule = ActivationRule::top_k(k);
        let description = DictionaryDescription {
            model: ModelReference {
                name: stated.model.or(repository.map(|found| found.model)),
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(site, width, features, rule, self.name(), path)
        };
        Ok(StoredDictionary::of_layers(description, layers))
    }
}

fn layer(name: &str) -> Option<u32> {
    name.strip_prefix("layer")?.strip_suffix(".sae.pt")?.parse().ok()
}

/// What a repository's name states.
struct Repository {
    model: String,
    k: usize,
}

impl Repository {
    fn read(name: &str) -> Option<Self> {
        let rest = &name[name.find("SAE-Res-")? + "SAE-Res-".len()..];
        let (model, sizes) = rest.rsplit_once("-W")?;
        Some(Self {
            model: format!("Qwen/{model}"),
            k: number_after(sizes, "-L0_")? as usize,
        })
    }
}
