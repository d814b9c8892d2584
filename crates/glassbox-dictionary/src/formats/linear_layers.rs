//! Two linear layers as PyTorch stores them: what several makers saved of a dictionary.

use std::path::Path;

use crate::description::DictionaryDescription;
use crate::error::Result;
use crate::stored_dictionary::{MatrixPlace, StoredDictionary};
use crate::weights_file::WeightsFile;

/// Names of the four tensors.
pub(super) struct LayerNames {
    /// [F, d].
    pub encoder: &'static str,
    /// [F].
    pub encoder_bias: &'static str,
    /// [d, F].
    pub decoder: &'static str,
    /// [d].
    pub decoder_bias: &'static str,
}

/// The four tensors of a file and nothing else, with sizes that agree.
pub(super) struct LinearLayers {
    pub weights: WeightsFile,
    pub features: usize,
    pub width: usize,
    /// Encoder and decoder.
    pub places: [MatrixPlace; 2],
    pub encoder_bias: Vec<f32>,
    pub decoder_bias: Vec<f32>,
}

impl LinearLayers {
    /// Opens a file.
    ///
    /// # Errors
    /// [`crate::DictionaryError`] with the tensor that is missing, superfluous or of another shape.
    pub(super) fn open(path: &Path, names: &LayerNames) -> Result<Self> {
        let weights = WeightsFile::open(path)?;
        weights.check_names(&[
            names.encoder,
            names.decoder,
            names.encoder_bias,
            names.decoder_bias,
        ])?;
        let [features, width] = weights.matrix_shape(names.encoder, "[d_sae, d_in]")?;
        weights.find(names.encoder, &[features, width], "[d_sae, d_in]")?;
        weights.find(names.decoder, &[width, features], "[d_in, d_sae]")?;
        Ok(Self {
            encoder_bias: weights.vector(names.encoder_bias, features, "[d_sae]")?,
            decoder_bias: weights.vector(names.decoder_bias, width, "[d_in]")?,
            places: [
                MatrixPlace::rows(names.encoder),
                MatrixPlace::columns(names.decoder),
            ],
            weights,
            features,
            width,
        })
    }
}

impl StoredDictionary {
    /// A dictionary of two such layers.
    pub(super) fn of_layers(description: DictionaryDescription, layers: LinearLayers) -> Self {
        Self::new(
            description,
            layers.weights,
            layers.places,
            layers.encoder_bias,
            layers.decoder_bias,
        )
    }
}
