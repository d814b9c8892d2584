//! Gemma Scope (Lieberum et al. 2024): `params.npz`, stored or compressed, and nothing beside it.
//!
//! Arrays: `W_enc` [d, F], `W_dec` [F, d], `b_enc` [F], `b_dec` [d], `threshold` [F] (`w_enc`, `w_dec` in some files).
//! h = x · W_enc + b_enc, f = h where h > threshold and h > 0, x̂ = f · W_dec + b_dec; b_dec is not subtracted.
//!
//! Model and site stand in the path only: `gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz`.
//! - res reads the residual stream after the block, mlp the MLP's output, att the heads' mixed values side by side;
//! - transcoders read the MLP's input just after its RMS norm, before the norm's weight (which the authors had folded
//!   into the MLP), and write the MLP's output;
//! - `embedding` in place of the layer was trained on rows of the embedding matrix. The residual stream begins with √d
//!   times these rows, so x is divided by √d and the whole output multiplied with it. (SAELens multiplies W_dec and
//!   leaves b_dec as it is: its reconstruction is off by (√d − 1) · b_dec.)

use std::path::{Path, PathBuf};

use glassbox_model::site::{Norm, Site};

use super::stated_source::{StatedSource, name_of, names_along, not_stated, number_after};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::Result;
use crate::formats::DictionaryFormat;
use crate::formats::gating::at_least_zero;
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

const WEIGHTS: &str = "params.npz";

pub(super) struct GemmaScope;

impl DictionaryFormat for GemmaScope {
    fn name(&self) -> &'static str {
        "gemma_scope"
    }

    fn files(&self) -> &'static str {
        WEIGHTS
    }

    fn recognises(&self, path: &Path) -> bool {
        weights_of(path).is_file()
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
        let path = weights_of(path);
        let folder = super::stated_source::folder_of(&path);
        let source = Source::find(&path, &folder)?;
        let weights = WeightsFile::open(&path)?;
        let name = |upper: &'static str, lower: &'static str| if weights.has(upper) { upper } else { lower };
        let (encoder, decoder) = (name("W_enc", "w_enc"), name("W_dec", "w_dec"));
        weights.check_names(&[encoder, decoder, "b_enc", "b_dec", "threshold"])?;
        let [width, features] = weights.matrix_shape(encoder, "[d_in, d_sae]")?;
        let [_, output_width] = weights.matrix_shape(decoder, "[d_sae, d_out]")?;
        weights.find(encoder, &[width, features], "[d_in, d_sae]")?;
        weights.find(decoder, &[features, output_width], "[d_sae, d_out]")?;
        let rule = ActivationRule::JumpRelu {
            threshold: at_least_zero(weights.vector("threshold", features, "[d_sae]")?),
        };
        let encoder_bias = weights.vector("b_enc", features, "[d_sae]")?;
        let decoder_bias = weights.vector("b_dec", output_width, "[d_out]")?;
        let description = DictionaryDescription {
            output_site: source.output_site,
            output_width,
            model: ModelReference {
                name: source.model,
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(source.site, width, features, rule, self.name(), &folder)
        };
        let factor = if source.site == Site::Embed {
            1.0 / (width as f64).sqrt()
        } else {
            1.0
        };
        let places = [MatrixPlace::columns(encoder), MatrixPlace::rows(decoder)];
        Ok(StoredDictionary {
            folding: Folding {
                factor_in: factor,
                factor_out: factor,
                ..Folding::NONE
            },
            ..StoredDictionary::new(description, weights, places, encoder_bias, decoder_bias)
        })
    }
}

/// The weights of a folder, or the file itself.
fn weights_of(path: &Path) -> PathBuf {
    if name_of(path) == Some(WEIGHTS) {
        path.to_path_buf()
    } else {
        path.join(WEIGHTS)
    }
}

/// What the path says.
struct Source {
    model: Option<String>,
    site: Site,
    output_site: Site,
}

impl Source {
    fn find(path: &Path, folder: &Path) -> Result<Self> {
        let stated = StatedSource::read(folder)?;
        let names = names_along(path);
        let repository = names.iter().rev().find_map(|name| Repository::read(name));
        let place = names.iter().rev().find_map(|name| Place::read(name));
        let model = stated
            .model
            .or(repository.as_ref().map(|found| found.model.clone()));
        let sites = match (stated.site, &repository, place) {
            (Some(site), ..) => Some((site, stated.output_site.unwrap_or(site))),
            (None, Some(repository), Some(place)) => repository.sites(place),
            _ => None,
        };
        let Some((site, output_site)) = sites else {
            return Err(not_stated(
                path,
                "which model and site the dictionary is for (the published path is \
                 gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz)",
                r#"{ "model": "google/gemma-2-2b", "site": "blocks.20.hook_resid_post" }"#,
            ));
        };
        Ok(Self {
            model,
            site,
            output_site: stated.output_site.unwrap_or(output_site),
        })
    }
}

/// A repository's name: `gemma-scope-2b-pt-res`, `…-9b-it-mlp`, `…-2b-pt-transcoders`, each perhaps with `-canonical`.
struct Repository {
    model: String,
    kind: String,
}

impl Repository {
    fn read(name: &str) -> Option<Self> {
        let rest = &name[name.find("gemma-scope-")? + "gemma-scope-".len()..];
        let mut parts = rest.split('-');
        let (size, training, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let suffix = match training {
            "pt" => "",
            "it" => "-it",
            _ => return None,
        };
        Some(Self {
            model: format!("google/gemma-2-{size}{suffix}"),
            kind: kind.to_owned(),
        })
    }

    fn sites(&self, place: Place) -> Option<(Site, Site)> {
        Some(match (self.kind.as_str(), place) {
            ("res", Place::Embedding) => (Site::Embed, Site::Embed),
            ("res", Place::Layer(l)) => (Site::ResidPost(l), Site::ResidPost(l)),
            ("mlp", Place::Layer(l)) => (Site::MlpOut(l), Site::MlpOut(l)),
            ("att", Place::Layer(l)) => (Site::Mixed(l), Site::Mixed(l)),
            ("transcoders", Place::Layer(l)) => (Site::NormNormalized(Norm::Mlp(l)), Site::MlpOut(l)),
            _ => return None,
        })
    }
}

/// Where in the model.
#[derive(Clone, Copy)]
enum Place {
    Layer(u32),
    Embedding,
}

impl Place {
    fn read(name: &str) -> Option<Self> {
        if name == "embedding" {
            return Some(Self::Embedding);
        }
        let number = name.strip_prefix("layer_")?;
        number_after(number, "").map(Self::Layer)
    }
}
