//! What a dictionary is, apart from its weights.

use std::fmt;
use std::path::{Path, PathBuf};

use glassbox_kernels::backend::NormKind;
use glassbox_model::config::ModelConfig;
use glassbox_model::site::Site;

use crate::error::{DictionaryError, Result};

/// How a pre-activation z [F] becomes feature values f [F].
#[derive(Clone, Debug, PartialEq)]
pub enum ActivationRule {
    /// f = max(z, 0).
    Relu,
    /// The k largest of z, then max(·, 0) (Gao et al. 2024). Of equal values the lower index stays.
    TopK {
        /// Features kept per row.
        k: usize,
        /// [F], at least zero: the k largest of z ⊙ scale are kept instead, with the values that z gives them; a
        /// feature of scale zero is never active. `None` is one everywhere.
        selection_scale: Option<Vec<f32>>,
    },
    /// The largest z of each of `groups` equal groups of neighbouring features, then max(·, 0) (sparsify's groupmax).
    /// Of equal values the lower index stays.
    GroupMax {
        /// Number of groups, which divides F: at most so many features are active per row.
        groups: usize,
    },
    /// f = z where z > threshold, else 0 (Rajamanoharan et al. 2024); also how a BatchTopK dictionary encodes once it
    /// is trained. Every threshold is at least zero.
    JumpRelu {
        /// [F], in the units of the feature values.
        threshold: Vec<f32>,
    },
}

impl ActivationRule {
    /// TopK on the pre-activations as they are.
    pub fn top_k(k: usize) -> Self {
        Self::TopK {
            k,
            selection_scale: None,
        }
    }

    /// Has features chosen by z ⊙ lengths, with the value z; lengths [F] are those of decoder rows. A feature whose
    /// decoder row is zero adds nothing and stays inactive.
    pub(crate) fn gate_by_lengths(&mut self, lengths: &[f64]) {
        match self {
            Self::JumpRelu { threshold } => {
                for (threshold, length) in threshold.iter_mut().zip(lengths) {
                    // No value is above the largest one: the feature of a row of zeros stays inactive.
                    *threshold = ((f64::from(*threshold) / length) as f32).min(f32::MAX);
                }
            }
            Self::TopK { selection_scale, .. } => {
                *selection_scale = Some(lengths.iter().map(|length| *length as f32).collect());
            }
            // z · length is above zero, or the largest of its group, where z is; groups are never gated so.
            Self::Relu | Self::GroupMax { .. } => {}
        }
    }

    /// Whether the value of a feature depends on its own pre-activation only.
    pub fn is_thresholded(&self) -> bool {
        matches!(self, Self::Relu | Self::JumpRelu { .. })
    }
}

impl fmt::Display for ActivationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relu => write!(f, "ReLU"),
            Self::TopK {
                k,
                selection_scale: None,
            } => write!(f, "TopK (k = {k})"),
            Self::TopK { k, .. } => write!(f, "TopK (k = {k}, chosen by scaled values)"),
            Self::GroupMax { groups } => write!(f, "GroupMax ({groups} groups)"),
            Self::JumpRelu { threshold } => {
                let (low, high) = threshold
                    .iter()
                    .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), t| {
                        (low.min(*t), high.max(*t))
                    });
                if low == high {
                    write!(f, "JumpReLU (threshold {low})")
                } else {
                    write!(f, "JumpReLU (thresholds {low} to {high})")
                }
            }
        }
    }
}

/// What is done to each row of activations before the encoder, and undone after the decoder. Constant factors
/// aren't here: they are folded into the dictionary's scales when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputNormalisation {
    /// Nothing.
    None,
    /// (x − mean) / (std + 1e-5) with the standard deviation of denominator d − 1; undone by · std + mean.
    LayerNorm,
    /// x · √d / ‖x‖; undone by · ‖x‖ / √d.
    ConstantNormRescale,
}

impl fmt::Display for InputNormalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::LayerNorm => "layer_norm",
            Self::ConstantNormRescale => "constant_norm_rescale",
        })
    }
}

/// The model that a dictionary was made for, as far as its files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelReference {
    /// Its name, as the makers wrote it.
    pub name: Option<String>,
    /// Its hash, in this program's own format.
    pub hash: Option<String>,
    /// Options of TransformerLens's weight processing that were on when the activations were made.
    pub processing: Vec<String>,
}

/// Where a dictionary comes from; recorded with every result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The format's name, `memory` for a dictionary that was never a file.
    pub format: String,
    /// The folder it was read from.
    pub path: Option<PathBuf>,
    /// BLAKE3 checksums of the files it was read from, by file name.
    pub checksums: Vec<(String, String)>,
}

impl Provenance {
    /// Of a dictionary that was made in memory.
    pub fn in_memory() -> Self {
        Self {
            format: "memory".to_owned(),
            path: None,
            checksums: Vec::new(),
        }
    }
}

/// What a dictionary is, apart from its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryDescription {
    /// The site that it reads.
    pub site: Site,
    /// The site that its decoder writes: `site` itself, or another one for a transcoder.
    pub output_site: Site,
    /// Values per row of `site`, d.
    pub width: usize,
    /// Values per row of `output_site`: d again, unless a transcoder's sites differ in width.
    pub output_width: usize,
    /// Number of features, F.
    pub features: usize,
    /// How features are made of pre-activations.
    pub rule: ActivationRule,
    /// Whether the decoder bias is subtracted from the (normalised) input before the encoder.
    pub subtract_decoder_bias: bool,
    /// What is done to each row before the encoder and undone after the decoder.
    pub input_normalisation: InputNormalisation,
    /// The model that it was made for.
    pub model: ModelReference,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl DictionaryDescription {
    /// Of a dictionary that reads and writes one site as it is and subtracts nothing from it; a format changes what
    /// differs.
    pub(crate) fn plain(
        site: Site,
        width: usize,
        features: usize,
        rule: ActivationRule,
        format: &str,
        path: &Path,
    ) -> Self {
        Self {
            site,
            output_site: site,
            width,
            output_width: width,
            features,
            rule,
            subtract_decoder_bias: false,
            input_normalisation: InputNormalisation::None,
            model: ModelReference::default(),
            provenance: Provenance {
                format: format.to_owned(),
                path: Some(path.to_path_buf()),
                checksums: Vec::new(),
            },
        }
    }

    /// Whether it reads one site and writes another.
    pub fn is_transcoder(&self) -> bool {
        self.site != self.output_site
    }

    /// The usual name of a feature: `L25-10096` for feature 10096 of block 25 (a site outside of blocks is named in full).
    pub fn feature_name(&self, feature: u32) -> String {
        match self.site.layer() {
            Some(block) => format!("L{block}-{feature}"),
            None => format!("{}-{feature}", self.site),
        }
    }

    /// Checks that the dictionary has this feature.
    ///
    /// # Errors
    /// [`DictionaryError::FeatureOutOfRange`], with the valid range.
    pub fn check_feature(&self, feature: u32) -> Result<()> {
        if (feature as usize) < self.features {
            Ok(())
        } else {
            Err(DictionaryError::FeatureOutOfRange {
                feature,
                site: self.site,
                last: self.features - 1,
            })
        }
    }

    /// Checks that the dictionary fits a model: the model has the site, the width agrees, the activations are those
    /// that the dictionary was made on, and the hash agrees where both are known.
    ///
    /// # Errors
    /// [`DictionaryError::SiteNotInModel`], [`DictionaryError::WidthMismatch`] (both with the sites that would fit),
    /// [`DictionaryError::ProcessedModel`], [`DictionaryError::ModelMismatch`].
    pub fn check_model(&self, model: &ModelConfig, hash: Option<&str>) -> Result<()> {
        for (site, width) in [(self.site, self.width), (self.output_site, self.output_width)] {
            let valid = || sites_of_width(model, width);
            if let Err(cause) = site.check(model) {
                return Err(DictionaryError::SiteNotInModel {
                    cause: Box::new(cause),
                    width,
                    valid: valid(),
                });
            }
            // Scores and patterns have no width of their own; no dictionary fits them.
            let model_width = site.axes(model).edit_width(false).unwrap_or(0);
            if model_width != width {
                return Err(DictionaryError::WidthMismatch {
                    site,
                    width,
                    model_width,
                    valid: valid(),
                });
            }
            if let Some(option) = self
                .model
                .processing
                .iter()
                .find(|option| changes_site(option, site, model))
            {
                return Err(DictionaryError::ProcessedModel {
                    site,
                    option: option.clone(),
                });
            }
        }
        let site = self.site;
        match (&self.model.hash, hash) {
            (Some(stated), Some(found)) if stated != found => Err(DictionaryError::ModelMismatch {
                site,
                stated: stated.clone(),
                found: found.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Names of the model's sites that are `width` wide, those of blocks as one name with the range of blocks.
fn sites_of_width(model: &ModelConfig, width: usize) -> String {
    let fits = |site: &Site| site.axes(model).edit_width(false) == Some(width);
    let last = model.n_layers.saturating_sub(1);
    let names: Vec<String> = Site::all(model)
        .into_iter()
        .filter(fits)
        .filter_map(|site| match site.layer() {
            None => Some(site.to_string()),
            Some(0) => Some(
                site.to_string()
                    .replacen("blocks.0.", &format!("blocks.{{0..{last}}}."), 1),
            ),
            Some(_) => None,
        })
        .collect();
    if names.is_empty() {
        format!("none (the residual stream is {} wide)", model.d_model)
    } else {
        names.join(", ")
    }
}

/// Whether an option of TransformerLens's weight processing changes the values at a site of this model.
fn changes_site(option: &str, site: Site, model: &ModelConfig) -> bool {
    match option {
        // Only models with layer norm are centred: their norms remove the mean again.
        "center_writing_weights" => {
            model.norm == NormKind::Layer
                && matches!(
                    site,
                    Site::Embed
                        | Site::PosEmbed
                        | Site::ResidPre(_)
                        | Site::ResidMid(_)
                        | Site::ResidPost(_)
                        | Site::AttentionOut(_)
                        | Site::MlpOut(_)
                )
        }
        // The weight and bias of a layer norm leave `hook_normalized`; an RMS norm's weight was never in it.
        "fold_ln" => model.norm == NormKind::Layer && matches!(site, Site::NormNormalized(_)),
        "fold_value_biases" => matches!(site, Site::Value(_) | Site::Mixed(_)),
        "refactor_factored_attn_matrices" => matches!(
            site,
            Site::Query(_)
                | Site::Key(_)
                | Site::Value(_)
                | Site::RotaryQuery(_)
                | Site::RotaryKey(_)
                | Site::Mixed(_)
        ),
        _ => false,
    }
}
