//! What can be done to a feature, compiled into the model's row edits.

use std::sync::Arc;

use glassbox_kernels::Backend;
use glassbox_model::edit::RowEdit;

use crate::delta_edit::{Coefficient, DeltaEdit, ThresholdedDelta};
use crate::description::InputNormalisation;
use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};
use crate::reconstruction_edit::ReconstructionEdit;

/// An intervention on the features of one dictionary, at its site.
///
/// With f(x) the feature values of x by the dictionary's own rule, d_i the decoder row of feature i (scales applied) and
/// σ(x) what one unit in the dictionary's space measures in raw space (1 without input normalisation, the row's
/// standard deviation or ‖x‖/√d with one):
///
/// | edit | x becomes |
/// |---|---|
/// | `SetByDelta` | x + (value − f_i(x)) · σ(x) · d_i, which is decode(f with f_i = value) + (x − decode(f)) |
/// | `SetByReconstruction` | decode(f(x) with f_i = value) |
/// | `ReconstructOnly` | decode(f(x)) |
/// | `AddDecoderDirection` | x + strength · σ(x) · d_i |
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureEdit {
    /// Sets a feature and keeps everything that the dictionary doesn't explain.
    SetByDelta {
        /// The feature.
        feature: u32,
        /// Its value, in the dictionary's units.
        value: f32,
    },
    /// Sets a feature and replaces the row by its reconstruction.
    SetByReconstruction {
        /// The feature.
        feature: u32,
        /// Its value, in the dictionary's units.
        value: f32,
    },
    /// Replaces the row by its reconstruction: the control of `SetByReconstruction`.
    ReconstructOnly,
    /// Adds a multiple of a feature's direction, whatever the feature's value is.
    AddDecoderDirection {
        /// The feature.
        feature: u32,
        /// How many units of it.
        strength: f32,
    },
}

impl FeatureEdit {
    /// The edit for a dictionary, with everything looked up that doesn't depend on the rows.
    ///
    /// The gradient that it pulls back is exact; the derivative at a threshold's jump, and of the choice of the k
    /// largest, is taken as zero.
    ///
    /// # Errors
    /// [`DictionaryError::FeatureOutOfRange`], [`DictionaryError::ValueNotFinite`], [`DictionaryError::EditOfTranscoder`].
    pub fn compile<B: Backend>(&self, dictionary: &Arc<Dictionary<B>>) -> Result<Arc<dyn RowEdit<B>>> {
        self.compile_with(dictionary, true)
    }

    /// As [`FeatureEdit::compile`], but a value that is replaced is always taken from the encoding of all features, as
    /// if the rule asked for it. The numbers are the same; what it costs shows what one encoder row saves.
    ///
    /// # Errors
    /// As [`FeatureEdit::compile`].
    pub fn compile_from_all_features<B: Backend>(
        &self,
        dictionary: &Arc<Dictionary<B>>,
    ) -> Result<Arc<dyn RowEdit<B>>> {
        self.compile_with(dictionary, false)
    }

    fn compile_with<B: Backend>(
        &self,
        dictionary: &Arc<Dictionary<B>>,
        one_row: bool,
    ) -> Result<Arc<dyn RowEdit<B>>> {
        let description = dictionary.description();
        if description.is_transcoder() {
            return Err(DictionaryError::EditOfTranscoder {
                site: description.site,
                output_site: description.output_site,
            });
        }
        let check = |feature: u32, value: f32| {
            description.check_feature(feature)?;
            if value.is_finite() {
                Ok(())
            } else {
                Err(DictionaryError::ValueNotFinite {
                    feature,
                    site: description.site,
                    value,
                })
            }
        };
        match *self {
            Self::SetByDelta { feature, value } => {
                check(feature, value)?;
                let plain = description.input_normalisation == InputNormalisation::None;
                match dictionary.threshold() {
                    _ if !one_row => Ok(Arc::new(DeltaEdit::from_all_features(
                        dictionary,
                        feature,
                        Coefficient::SetTo(value),
                    )?)),
                    Some(threshold) if plain => {
                        let threshold = threshold[feature as usize];
                        Ok(Arc::new(ThresholdedDelta::new(
                            dictionary, feature, threshold, value,
                        )?))
                    }
                    _ => Ok(Arc::new(DeltaEdit::new(
                        dictionary,
                        feature,
                        Coefficient::SetTo(value),
                    )?)),
                }
            }
            Self::AddDecoderDirection { feature, strength } => {
                check(feature, strength)?;
                Ok(Arc::new(DeltaEdit::new(
                    dictionary,
                    feature,
                    Coefficient::Add(strength),
                )?))
            }
            Self::SetByReconstruction { feature, value } => {
                check(feature, value)?;
                Ok(Arc::new(ReconstructionEdit::new(
                    dictionary,
                    Some((feature, value)),
                )))
            }
            Self::ReconstructOnly => Ok(Arc::new(ReconstructionEdit::new(dictionary, None))),
        }
    }
}
