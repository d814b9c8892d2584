//! Where the weights of a cross-layer transcoder lie on disk.

use crate::cross_layer::CrossLayerDescription;
use crate::description::ActivationRule;
use crate::error::{DictionaryError, Result};
use crate::parts::{StoredMatrix, slice, widen};
use crate::weights_file::WeightsFile;

/// Part of a tensor: elements from `first` on.
#[derive(Clone, Debug)]
pub(crate) struct TensorPart {
    /// Which file.
    pub(crate) file: usize,
    pub(crate) tensor: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) first: usize,
    /// For an encoder whether it is stored as [width, features]; for a skip connection as [input, output].
    pub(crate) transposed: bool,
}

/// The decoder rows of a layer's features to another layer: feature i has the `width` elements from `first` + i · `stride` on.
#[derive(Clone, Debug)]
pub(crate) struct DecoderPlace {
    pub(crate) part: TensorPart,
    pub(crate) stride: usize,
}

/// One layer. Dataset norms are folded: features are in units of raw activations.
#[derive(Clone, Debug)]
pub(crate) struct StoredLayer {
    pub(crate) encoder: TensorPart,
    /// [features].
    pub(crate) encoder_bias: Vec<f32>,
    /// Of the output at this layer, [width].
    pub(crate) decoder_bias: Vec<f32>,
    pub(crate) rule: ActivationRule,
    pub(crate) skip: Option<TensorPart>,
    /// To this layer and each later one.
    pub(crate) decoders: Vec<DecoderPlace>,
    /// The layer's inputs were trained times this.
    pub(crate) factor_in: f64,
    /// And its outputs times this.
    pub(crate) factor_out: f64,
}

/// A cross-layer transcoder opened on disk.
#[derive(Debug)]
pub(crate) struct StoredCrossLayer {
    pub(crate) description: CrossLayerDescription,
    pub(crate) files: Vec<WeightsFile>,
    pub(crate) layers: Vec<StoredLayer>,
    /// Whether features are chosen by their value times the length of all their stored decoder rows together.
    pub(crate) gated_by_lengths: bool,
}

impl StoredCrossLayer {
    fn matrix(&self, part: &TensorPart, rows: usize, columns: usize) -> Result<StoredMatrix<'_>> {
        let file = &self.files[part.file];
        let values = slice(
            file.unchecked(&part.tensor, &part.shape, "")?,
            part.first,
            rows * columns,
        );
        let matrix = StoredMatrix {
            values,
            transposed: part.transposed,
        };
        match matrix.first_non_finite(rows, columns) {
            None => Ok(matrix),
            Some((row, column, value)) => {
                let at = match part.transposed {
                    true => column * rows + row,
                    false => row * columns + column,
                };
                Err(self.not_finite(part, part.first + at, value))
            }
        }
    }

    fn not_finite(&self, part: &TensorPart, mut flat: usize, value: f32) -> DictionaryError {
        let mut index = vec![0; part.shape.len()];
        for (place, size) in index.iter_mut().zip(&part.shape).rev() {
            *place = flat % size;
            flat /= size;
        }
        DictionaryError::TensorValue {
            path: self.files[part.file].path().to_path_buf(),
            tensor: part.tensor.clone(),
            index,
            value,
            expected: "finite values",
        }
    }

    /// Encoder [features, width] of a layer.
    pub(crate) fn encoder(&self, layer: usize) -> Result<StoredMatrix<'_>> {
        let description = &self.description;
        self.matrix(
            &self.layers[layer].encoder,
            description.features,
            description.width,
        )
    }

    /// Skip connection [output, input] of a layer.
    pub(crate) fn skip(&self, layer: usize) -> Result<Option<StoredMatrix<'_>>> {
        let width = self.description.width;
        let part = self.layers[layer].skip.as_ref();
        part.map(|part| self.matrix(part, width, width)).transpose()
    }

    /// How a layer's features are chosen, in units of raw activations.
    pub(crate) fn rule(&self, layer: usize) -> Result<ActivationRule> {
        let mut rule = self.layers[layer].rule.clone();
        if self.gated_by_lengths {
            rule.gate_by_lengths(&self.decoder_lengths(layer)?);
        }
        Ok(rule)
    }

    /// Euclidean length over all targets of each feature's stored decoder rows, [features].
    fn decoder_lengths(&self, source: usize) -> Result<Vec<f64>> {
        let mut squares = vec![0.0_f64; self.description.features];
        for place in &self.layers[source].decoders {
            for (feature, square) in squares.iter_mut().enumerate() {
                let mut row = vec![0.0; self.description.width];
                self.read_row(place, feature, &mut row)?;
                *square += row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>();
            }
        }
        Ok(squares.into_iter().map(f64::sqrt).collect())
    }

    /// Decoder rows [ids, width] from one layer to another, for outputs in raw units.
    pub(crate) fn decoder_rows(&self, source: usize, target: usize, ids: &[u32]) -> Result<Vec<f32>> {
        let place = &self.layers[source].decoders[target - source];
        let factor = self.layers[source].factor_in / self.layers[target].factor_out;
        let width = self.description.width;
        let mut rows = vec![0.0; ids.len() * width];
        for (id, row) in ids.iter().zip(rows.chunks_exact_mut(width)) {
            self.read_row(place, *id as usize, row)?;
            if factor != 1.0 {
                row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            }
        }
        Ok(rows)
    }

    fn read_row(&self, place: &DecoderPlace, feature: usize, row: &mut [f32]) -> Result<()> {
        let part = &place.part;
        let values = self.files[part.file].unchecked(&part.tensor, &part.shape, "")?;
        let first = part.first + feature * place.stride;
        widen(&values, first, row);
        match row.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => Err(self.not_finite(part, first + at, row[at])),
        }
    }
}
