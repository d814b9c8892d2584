//! dictionary_learning (Marks, Karvonen and Mueller): `ae.pt` and `config.json` in a folder per trainer.
//!
//! `ae.pt` is a state dict; a backup made during training wraps it as `{step, ae, optimizer, config, norm_factor}`.
//! `checkpoints/ae_N.pt` beside them are state dicts of earlier steps. By `trainer.dict_class`, with d, F:
//!
//! | class | tensors | f |
//! |---|---|---|
//! | AutoEncoder | `bias`, `encoder.*`, `decoder.weight` | max(W_e (x − bias) + b_e, 0), measured by the length of decoder columns |
//! | AutoEncoderNew | `encoder.*`, `decoder.*` | max(W_e x + b_e, 0) |
//! | GatedAutoEncoder | `decoder_bias`, `encoder.weight`, `gate_bias`, `mag_bias`, `r_mag`, `decoder.weight` | gated, on x − decoder_bias |
//! | JumpReluAutoEncoder | `W_enc`, `b_enc`, `W_dec`, `b_dec`, `threshold` [F] | z where z > threshold and z > 0; b_dec is not subtracted |
//! | AutoEncoderTopK | `encoder.*`, `decoder.weight`, `b_dec`, `k`, `threshold` | the k largest of max(W_e (x − b_dec) + b_e, 0) |
//! | BatchTopKSAE | the same | z where z > threshold (one for all features) and z > 0, on x − b_dec |
//! | MatryoshkaBatchTopKSAE | `W_enc`, `b_enc`, `W_dec`, `b_dec`, `k`, `threshold`, `group_sizes` | as BatchTopKSAE |
//!
//! `encoder.weight` is [F, d], `decoder.weight` [d, F], `W_enc` [d, F], `W_dec` [F, d]. The library's loader rescales
//! the decoder columns of AutoEncoder to length one (others keep them), which is done here too. TopK ignores its stored
//! threshold, as its `encode` does. A factor on activations (`norm_factor`) is in the biases and thresholds of finished
//! dictionaries and of checkpoints already, but not in those of backups; there it is applied here.

use std::path::Path;

use glassbox_tensors::{PickledValue, TorchFile};

use super::dictionary_learning_site::{BUFFER_HARMLESS, Sites, TRAINER_HARMLESS};
use super::gating::{Encoder, at_least_zero};
use super::stated_source::{StatedSource, folder_of, name_of};
use crate::config_file::{ConfigFile, read_bytes};
use crate::description::{ActivationRule, DictionaryDescription, ModelReference};
use crate::error::{DictionaryError, Result};
use crate::formats::DictionaryFormat;
use crate::stored_dictionary::{Folding, MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "ae.pt";
const CLASSES: &str = "AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder, AutoEncoderTopK, BatchTopKSAE, \
                       MatryoshkaBatchTopKSAE";

pub(super) struct DictionaryLearning;

impl DictionaryFormat for DictionaryLearning {
    fn name(&self) -> &'static str {
        "dictionary_learning"
    }

    fn files(&self) -> &'static str {
        "ae.pt and config.json, or checkpoints/ae_N.pt in the same folder"
    }

    fn recognises(&self, path: &Path) -> bool {
        if path.is_dir() {
            return path.join(WEIGHTS).is_file();
        }
        path.is_file() && (name_of(path) == Some(WEIGHTS) || is_checkpoint(path))
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
        let parent = folder_of(path);
        let path = if name_of(path) == Some(WEIGHTS) {
            &parent
        } else {
            path
        };
        // Of a folder, the finished dictionary or the last backup; of a checkpoint, itself.
        let (folder, weights_path) = if path.is_dir() {
            (path.to_path_buf(), path.join(WEIGHTS))
        } else {
            (folder_of(&folder_of(path)), path.to_path_buf())
        };
        let config_path = folder.join(CONFIG);
        let config_bytes = read_bytes(&config_path)?;
        let config = ConfigFile::parse(&config_path, &config_bytes)?;
        let trainer = config.object("trainer")?;
        let class = Class::read(&trainer)?;
        let (width, features) = (trainer.count("activation_dim")?, trainer.count("dict_size")?);
        let model = trainer.optional_text("lm_name")?;
        let k = trainer.optional_count("k")?;
        let buffer = config.optional_object("buffer")?;
        let stated = StatedSource::read(&folder)?;
        let sites = Sites::find(&folder, &trainer, buffer.as_ref(), &stated)?;
        trainer.finish(&TRAINER_HARMLESS)?;
        if let Some(buffer) = &buffer {
            buffer.finish(&BUFFER_HARMLESS)?;
        }
        config.finish(&[])?;

        let state = State::open(&weights_path)?;
        let weights = &state.weights;
        weights.check_names(class.tensors())?;
        let (out_in, in_out) = ("[dict_size, activation_dim]", "[activation_dim, dict_size]");
        let places = if class.has_linear_layers() {
            weights.find("encoder.weight", &[features, width], out_in)?;
            weights.find("decoder.weight", &[width, features], in_out)?;
            [
                MatrixPlace::rows("encoder.weight"),
                MatrixPlace::columns("decoder.weight"),
            ]
        } else {
            weights.find("W_enc", &[width, features], in_out)?;
            weights.find("W_dec", &[features, width], out_in)?;
            [MatrixPlace::columns("W_enc"), MatrixPlace::rows("W_dec")]
        };
        let mut parts = class.encoder(weights, features, k, &trainer)?;
        let mut decoder_bias = weights.vector(class.decoder_bias(), width, "[activation_dim]")?;
        if let Some(factor) = state.norm_factor {
            parts.scale(factor);
            multiply(&mut decoder_bias, factor);
        }
        let description = DictionaryDescription {
            output_site: sites.output,
            subtract_decoder_bias: class.subtracts_bias(),
            model: ModelReference {
                name: stated.model.or(model),
                ..ModelReference::default()
            },
            ..DictionaryDescription::plain(sites.input, width, features, parts.rule, self.name(), path)
        };
        Ok(StoredDictionary {
            encoder_scale: parts.scale,
            folding: Folding {
                decoder_lengths: class == Class::Standard,
                ..Folding::NONE
            },
            ..StoredDictionary::new(description, state.weights, places, parts.bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}

/// `checkpoints/ae_N.pt` of a folder with a configuration.
fn is_checkpoint(path: &Path) -> bool {
    let step = name_of(path).and_then(|name| name.strip_prefix("ae_")?.strip_suffix(".pt"));
    let folder = folder_of(path);
    step.is_some_and(|step| !step.is_empty())
        && name_of(&folder) == Some("checkpoints")
        && folder_of(&folder).join(CONFIG).is_file()
}

fn multiply(values: &mut [f32], factor: f64) {
    for value in values {
        *value = (f64::from(*value) * factor) as f32;
    }
}

/// A state dict, perhaps out of a backup.
struct State {
    weights: WeightsFile,
    /// What the activations were divided by, where the biases don't have it.
    norm_factor: Option<f64>,
}

impl State {
    fn open(path: &Path) -> Result<Self> {
        let file = TorchFile::open(path)?;
        let root = file.root();
        let Some(state) = root.get("ae").filter(|state| state.is_dict()) else {
            return Ok(Self {
                weights: WeightsFile::new(file.tensors(root)?),
                norm_factor: None,
            });
        };
        let norm_factor = match root.get("norm_factor") {
            None => None,
            Some(value) if value.is_none() => None,
            Some(value) => Some(Self::norm_factor(&file, value, path)?),
        };
        Ok(Self {
            weights: WeightsFile::new(file.tensors(state)?),
            norm_factor,
        })
    }

    fn norm_factor(file: &TorchFile, value: PickledValue<'_>, path: &Path) -> Result<f64> {
        let number = if value.is_tensor() {
            WeightsFile::new(file.tensors(file.root())?)
                .scalar("norm_factor", "what activations were divided by")?
        } else {
            value.number().unwrap_or(f64::NAN)
        };
        if number.is_finite() && number > 0.0 {
            return Ok(number);
        }
        Err(DictionaryError::BadValue {
            path: path.to_path_buf(),
            key: "norm_factor".to_owned(),
            found: number.to_string(),
            expected: "a number above 0: what activations were divided by".to_owned(),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Standard,
    New,
    Gated,
    JumpRelu,
    TopK,
    BatchTopK,
    Matryoshka,
}

impl Class {
    fn read(trainer: &ConfigFile) -> Result<Self> {
        Ok(match trainer.text("dict_class", CLASSES)?.as_str() {
            "AutoEncoder" => Self::Standard,
            "AutoEncoderNew" => Self::New,
            "GatedAutoEncoder" => Self::Gated,
            "JumpReluAutoEncoder" => Self::JumpRelu,
            "AutoEncoderTopK" => Self::TopK,
            "BatchTopKSAE" => Self::BatchTopK,
            "MatryoshkaBatchTopKSAE" => Self::Matryoshka,
            _ => return Err(trainer.unsupported("dict_class", CLASSES)),
        })
    }

    fn has_linear_layers(self) -> bool {
        !matches!(self, Self::JumpRelu | Self::Matryoshka)
    }

    fn subtracts_bias(self) -> bool {
        !matches!(self, Self::New | Self::JumpRelu)
    }

    fn tensors(self) -> &'static [&'static str] {
        match self {
            Self::Standard => &["bias", "encoder.weight", "encoder.bias", "decoder.weight"],
            Self::New => &["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"],
            Self::Gated => &[
                "decoder_bias",
                "encoder.weight",
                "r_mag",
                "gate_bias",
                "mag_bias",
                "decoder.weight",
            ],
            Self::JumpRelu => &["W_enc", "b_enc", "W_dec", "b_dec", "threshold"],
            Self::TopK | Self::BatchTopK => &[
                "encoder.weight",
                "encoder.bias",
                "decoder.weight",
                "b_dec",
                "k",
                "threshold",
            ],
            Self::Matryoshka => &[
                "W_enc",
                "b_enc",
                "W_dec",
                "b_dec",
                "k",
                "threshold",
                "group_sizes",
            ],
        }
    }

    fn decoder_bias(self) -> &'static str {
        match self {
            Self::Standard => "bias",
            Self::New => "decoder.bias",
            Self::Gated => "decoder_bias",
            _ => "b_dec",
        }
    }

    /// Rule, bias and scale of the encoder; `k` is the configuration's.
    fn encoder(
        self,
        weights: &WeightsFile,
        features: usize,
        k: Option<usize>,
        trainer: &ConfigFile,
    ) -> Result<Encoder> {
        let vector = |name| weights.vector(name, features, "[dict_size]");
        let rule = match self {
            Self::Gated => {
                return Ok(Encoder::gated(
                    &vector("gate_bias")?,
                    &vector("r_mag")?,
                    vector("mag_bias")?,
                ));
            }
            Self::Standard | Self::New => ActivationRule::Relu,
            Self::JumpRelu => ActivationRule::JumpRelu {
                threshold: at_least_zero(vector("threshold")?),
            },
            Self::TopK => ActivationRule::top_k(Self::k(weights, features, k, trainer)?),
            // Below zero until training has estimated it: every positive value then counts.
            Self::BatchTopK | Self::Matryoshka => {
                let threshold = weights.scalar("threshold", "the threshold of all features")?;
                ActivationRule::JumpRelu {
                    threshold: vec![threshold.max(0.0) as f32; features],
                }
            }
        };
        let bias = vector(if self.has_linear_layers() {
            "encoder.bias"
        } else {
            "b_enc"
        })?;
        Ok(Encoder {
            rule,
            bias,
            scale: None,
        })
    }

    /// k, of the weights where they have it; the configuration must agree, as the library demands.
    fn k(
        weights: &WeightsFile,
        features: usize,
        stated: Option<usize>,
        trainer: &ConfigFile,
    ) -> Result<usize> {
        let stored = if weights.has("k") {
            Some(weights.scalar("k", "how many features are active per token")?)
        } else {
            None
        };
        match (stored, stated) {
            (Some(stored), Some(stated)) if stored != stated as f64 => Err(trainer.bad(
                "k",
                format!("{stored}, which {} states", weights.path().display()),
            )),
            (None, Some(k)) if k <= features => Ok(k),
            (Some(k), _) if k >= 1.0 && k <= features as f64 && k.fract() == 0.0 => Ok(k as usize),
            (None, None) => Err(trainer.bad("k", "a whole number of at least 1")),
            _ => Err(trainer.bad("k", format!("a whole number from 1 to dict_size = {features}"))),
        }
    }
}
