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

use std::path::{Path, PathBuf};

use glassbox_model::site::Site;
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
        path.is_file() && is_checkpoint(path)
    }

    fn open(&self, path: &Path) -> Result<StoredDictionary> {
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
        let [encoder, decoder] = class.matrices();
        for (place, rows, columns, axes) in [
            (&encoder, features, width, ["[dict_size, activation_dim]", "[activation_dim, dict_size]"]),
            (&decoder, features, width, ["[dict_size, activation_dim]", "[activation_dim, dict_size]"]),
        ] {
            place.find(weights, [rows, columns], axes)?;
        }
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
            ..StoredDictionary::new(description, state.weights, [encoder, decoder], parts.bias, decoder_bias)
                .with_config(config_path, &config_bytes)
        })
    }
}
