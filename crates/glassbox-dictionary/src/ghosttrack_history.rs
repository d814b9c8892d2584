//! The training histories of GhostTrack (2026): `sae_layer_N_history.json`, one list per measure with a value per epoch.
//!
//! `val_loss` is the mean squared reconstruction error on the last 5 % of the states, without the sparsity term.
//! `sparsity` is the share of all features that are active for a token, there. The project read it as a count and found
//! its target of 50 to 100 active features met; L0 is that share times the number of features.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config_file::{ConfigFile, read_bytes};
use crate::error::{DictionaryError, Result};
use crate::formats;

/// Active features per token that the project aimed at.
pub const GHOSTTRACK_TARGET_L0: RangeInclusive<f64> = 50.0..=100.0;

const ENDING: &str = "_history.json";
const MEASURES: &str = "a list of finite numbers, one per epoch";

/// What was measured after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GhostTrackEpoch {
    /// Reconstruction error plus the weighted sparsity term, mean over the training batches.
    pub training_loss: f64,
    /// Mean over tokens and elements of the squared reconstruction error, in training.
    pub training_mean_squared_error: f64,
    /// The same on the held-out tokens (`val_loss`).
    pub mean_squared_error: f64,
    /// Mean over tokens and features of |f|, in training.
    pub mean_absolute_feature: f64,
    /// Share of the features that are active for a token, in training; later versions didn't keep it.
    pub training_active_share: Option<f64>,
    /// The same on the held-out tokens (`sparsity`).
    pub active_share: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

impl GhostTrackEpoch {
    /// Mean number of active features per token of a dictionary with so many features, on the held-out tokens.
    #[must_use]
    pub fn l0(&self, features: usize) -> f64 {
        self.active_share * features as f64
    }
}

/// A training history of GhostTrack.
#[derive(Clone, Debug, PartialEq)]
pub struct GhostTrackHistory {
    path: PathBuf,
    /// The epochs in their order, at least one.
    pub epochs: Vec<GhostTrackEpoch>,
}

impl GhostTrackHistory {
    /// Whether a file's name ends as those of histories do.
    #[must_use]
    pub fn recognises(path: &Path) -> bool {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.ends_with(ENDING))
    }

    /// Reads a history.
    ///
    /// # Errors
    /// [`DictionaryError`] naming file and key: a measure that is missing, unknown, not finite or of another length, or no
    /// epochs at all.
    pub fn read(path: &Path) -> Result<Self> {
        let file = ConfigFile::parse(path, &read_bytes(path)?)?;
        let optional = |key: &str| match file.value(key) {
            None => Ok(None),
            Some(value) => numbers(value).map(Some).ok_or_else(|| file.bad(key, MEASURES)),
        };
        let measure = |key: &str| {
            optional(key)?.ok_or_else(|| DictionaryError::MissingKey {
                path: path.to_path_buf(),
                key: key.to_owned(),
                expected: MEASURES.to_owned(),
            })
        };
        let errors = measure("val_loss")?;
        if errors.is_empty() {
            return Err(file.bad("val_loss", "at least one epoch"));
        }
        let others = ["train_loss", "recon_loss", "sparsity_loss", "sparsity", "lr"]
            .map(|key| measure(key).map(|values| (key, values)));
        let [train_loss, recon_loss, sparsity_loss, sparsity, lr] = others;
        let (train_loss, recon_loss) = (train_loss?, recon_loss?);
        let (sparsity_loss, sparsity, lr) = (sparsity_loss?, sparsity?, lr?);
        let train_sparsity = optional("train_sparsity")?;
        file.finish(&[])?;
        let lengths = [&train_loss, &recon_loss, &sparsity_loss, &sparsity, &lr]
            .map(|(key, values)| (*key, values.len()))
            .into_iter()
            .chain(
                train_sparsity
                    .as_ref()
                    .map(|values| ("train_sparsity", values.len())),
            );
        for (key, length) in lengths {
            if length != errors.len() {
                let expected = format!("{} values, as val_loss has (it has {length})", errors.len());
                return Err(file.bad(key, expected));
            }
        }
        for (key, values) in [
            ("sparsity", Some(&sparsity.1)),
            ("train_sparsity", train_sparsity.as_ref()),
        ] {
            if values.is_some_and(|values| values.iter().any(|share| !(0.0..=1.0).contains(share))) {
                return Err(file.bad(key, "shares of the features, from 0 to 1"));
            }
        }
        let epochs = (0..errors.len())
            .map(|i| GhostTrackEpoch {
                training_loss: train_loss.1[i],
                training_mean_squared_error: recon_loss.1[i],
                mean_squared_error: errors[i],
                mean_absolute_feature: sparsity_loss.1[i],
                training_active_share: train_sparsity.as_ref().map(|values| values[i]),
                active_share: sparsity.1[i],
                learning_rate: lr.1[i],
            })
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            epochs,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The epoch of the lowest held-out error, which the `best` checkpoint holds: its number from 0, and what it is.
    #[must_use]
    pub fn best(&self) -> Option<(usize, &GhostTrackEpoch)> {
        let epochs = self.epochs.iter().enumerate();
        epochs.min_by(|(_, a), (_, b)| a.mean_squared_error.total_cmp(&b.mean_squared_error))
    }

    /// Number of features (`d_hidden`), which histories don't state, from the checkpoint beside the file; `None` if there
    /// is none.
    ///
    /// # Errors
    /// Whatever is wrong with the checkpoint.
    pub fn features_beside(&self) -> Result<Option<usize>> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(ENDING));
        let beside = |kind: &str| Some(self.path.with_file_name(format!("{}_{kind}.pt", stem?)));
        let checkpoint = ["best", "final"]
            .into_iter()
            .filter_map(beside)
            .find(|path| formats::recognise(path).is_some());
        checkpoint
            .map(|path| Ok(formats::open(&path)?.description().features))
            .transpose()
    }
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value
        .as_array()?
        .iter()
        .map(|value| value.as_f64().filter(|number| number.is_finite()))
        .collect()
}
