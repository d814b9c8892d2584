//! Gemma Scope 2 (Google DeepMind, for Gemma 3): `params.safetensors`, and mostly `config.json`.
//!
//! Tensors: `w_enc` [d_in, F], `w_dec` [F, d_out], `b_enc` [F], `b_dec` [d_out], `threshold` [F]: features are z where
//! z = x · w_enc + b_enc > threshold (and above 0), the output is f · w_dec + b_dec. Skip transcoders have
//! `affine_skip_connection` [d_in, d_out] and add x · it. The decoder bias is never subtracted from the input.
//!
//! Where `config.json` is missing, the site is read from the path, as the makers arranged it:
//! `…gemma-scope-2-1b-pt/…/resid_post/layer_9_width_16k_l0_small`.

use std::path::Path;

use glassbox_model::site::Site;

use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::formats::gating::at_least_zero;
use crate::formats::stated_source::names_along;
use crate::hook_names::site_of_hook;
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "params.safetensors";
/// What the tensors say again, and how it was trained.
const HARMLESS: [&str; 3] = ["width", "l0", "type"];
const EXAMPLE: &str = r#"{ "architecture": "jump_relu", "hf_hook_point_in": "model.layers.9.output" }"#;
const HOOKS: &str = "a Hugging Face hook of Gemma, such as model.layers.9.output";

pub(super) struct GemmaScope2;

impl DictionaryFormat for GemmaScope2 {
    fn name(&self) -> &'static str {
        "gemma_scope_2"
    }

    fn files(&self) -> &'static str {
        "params.safetensors, with or without config.json"
    }

    fn recognises(&self, path: &Path) -> bool {
        path.join(WEIGHTS).is_file()
    }

    fn open(&self, folder: &Path) -> Result<StoredDictionary> {
        let config_path = folder.join(CONFIG);
        let config_bytes = match config_path.is_file() {
            true => Some(read_bytes(&config_path)?),
            false => None,
        };
        let origin = match &config_bytes {
            Some(bytes) => Origin::of_config(&ConfigFile::parse(&config_path, bytes)?)?,
            None => Origin::of_path(folder)?,
        };

        let weights = WeightsFile::open(&folder.join(WEIGHTS))?;
        let mut names = vec!["w_enc", "w_dec", "b_enc", "b_dec", "threshold"];
        let skip = weights.has("affine_skip_connection");
        if skip {
            names.push("affine_skip_connection");
        }
        weights.check_names(&names)?;
        if let Some(stated) = origin.affine
            && stated != skip
        {
            return Err(DictionaryError::BadValue {
                path: config_path,
                key: "affine_connection".to_owned(),
                found: stated.to_string(),
                expected: format!("{skip}: {WEIGHTS} says so by its tensors"),
            });
        }
        let [width, features] = weights.matrix_shape("w_enc", "[d_in, d_sae]")?;
        let [_, output_width] = weights.matrix_shape("w_dec", "[d_sae, d_out]")?;
        weights.find("w_dec", &[features, output_width], "[d_sae, d_out]")?;
        if skip {
            weights.find("affine_skip_connection", &[width, output_width], "[d_in, d_out]")?;
        }
        let encoder_bias = weights.vector("b_enc", features, "[d_sae]")?;
        let decoder_bias = weights.vector("b_dec", output_width, "[d_out]")?;
        let threshold = weights.vector("threshold", features, "[d_sae]")?;
        // The reference takes max(z, 0) as well: a threshold below zero acts as zero.
        let rule = ActivationRule::JumpRelu {
            threshold: at_least_zero(threshold),
        };
        let description = DictionaryDescription {
            output_site: origin.output_site,
            output_width,
            model: ModelReference {
                name: origin.model,
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(origin.site, width, features, rule, self.name(), folder)
        };
        let places = [MatrixPlace::columns("w_enc"), MatrixPlace::rows("w_dec")];
        let mut stored = StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias);
        if let Some(bytes) = config_bytes {
            stored = stored.with_config(config_path, &bytes);
        }
        Ok(StoredDictionary {
            skip: skip.then(|| MatrixPlace::columns("affine_skip_connection")),
            ..stored
        })
    }
}

/// A kind of site, at the layer that is given.
type SiteOfLayer = fn(u32) -> Site;

/// What a dictionary was made for.
struct Origin {
    site: Site,
    output_site: Site,
    model: Option<String>,
    affine: Option<bool>,
}

impl Origin {
    fn of_config(config: &ConfigFile) -> Result<Self> {
        if config.text("architecture", "jump_relu")? != "jump_relu" {
            return Err(config.unsupported("architecture", "jump_relu"));
        }
        let hook = |key| {
            let name = config.optional_text(key)?;
            name.map(|name| site_of_hook(&name).ok_or_else(|| config.unsupported(key, HOOKS)))
                .transpose()
        };
        let site = match hook("hf_hook_point_in")? {
            Some(site) => site,
            None => {
                return Err(DictionaryError::MissingKey {
                    path: config.path().to_path_buf(),
                    key: "hf_hook_point_in".to_owned(),
                    expected: HOOKS.to_owned(),
                });
            }
        };
        let origin = Self {
            site,
            output_site: hook("hf_hook_point_out")?.unwrap_or(site),
            model: config.optional_text("model_name")?,
            affine: config.optional_flag("affine_connection")?,
        };
        config.finish(&HARMLESS)?;
        Ok(origin)
    }

    fn of_path(folder: &Path) -> Result<Self> {
        let parts = names_along(folder);
        let layer = parts.iter().rev().find_map(|part| {
            let digits = part.strip_prefix("layer_")?.split('_').next()?;
            digits.parse::<u32>().ok()
        });
        // `_all` marks the folders with a dictionary for every layer.
        let kind = parts.iter().rev().find_map(|part| {
            let kind = part.strip_suffix("_all").unwrap_or(part);
            let sites: (SiteOfLayer, SiteOfLayer) = match kind {
                "resid_post" => (Site::ResidPost, Site::ResidPost),
                "attn_out" => (Site::Mixed, Site::Mixed),
                "mlp_out" => (Site::MlpOut, Site::MlpOut),
                "transcoder" => (Site::MlpIn, Site::MlpOut),
                _ => return None,
            };
            Some(sites)
        });
        let (site, output_site) = layer
            .zip(kind)
            .map(|(layer, (site, output_site))| (site(layer), output_site(layer)))
            .ok_or_else(|| DictionaryError::NotStated {
                path: folder.to_path_buf(),
                what: "the site (a published path would: resid_post, attn_out, mlp_out or transcoder, then layer_9_…)",
                file: folder.join(CONFIG),
                example: EXAMPLE,
            })?;
        let model = parts.iter().rev().find_map(|part| {
            let name = part.rsplit("--").next().unwrap_or(part);
            let size = name.strip_prefix("gemma-scope-2-")?;
            Some(format!("google/gemma-3-{size}"))
        });
        Ok(Self {
            site,
            output_site,
            model,
            affine: None,
        })
    }
}
