//! A dictionary's weights on the host, as a file or a trainer has them.

use glassbox_kernels::Backend;
use glassbox_kernels::KernelError;
use glassbox_kernels::backend::StoredValues;
use half::{bf16, f16};

use crate::description::{ActivationRule, DictionaryDescription, InputNormalisation};
use crate::error::{DictionaryError, Result};
use crate::stored_dictionary::Folding;

/// A matrix [rows, columns] as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredMatrix<'a> {
    /// Its elements, row after row.
    pub values: StoredValues<'a>,
    /// Whether the rows stored are those of the transpose [columns, rows].
    pub transposed: bool,
}

/// Everything a dictionary is made of.
///
/// With x the (normalised) input: z = ((x − b_dec, where subtracted) · encoderᵀ) ⊙ encoder_scale + encoder_bias,
/// f = rule(z), and the output is (f ⊙ decoder_scale) · decoder + decoder_bias + x_raw · skipᵀ, x_raw being the input
/// before its normalisation. The scales keep constant factors (of
/// the data, of decoder rows) out of the matrices, which therefore stay in the precision that they are stored in.
#[derive(Clone, Debug)]
pub struct DictionaryParts<'a> {
    /// Everything but the weights.
    pub description: DictionaryDescription,
    /// [features, width].
    pub encoder: StoredMatrix<'a>,
    /// [features, output_width]: one row per feature.
    pub decoder: StoredMatrix<'a>,
    /// [output_width, width]: what a skip transcoder adds to its output, whatever the features are; `None` is zero.
    pub skip: Option<StoredMatrix<'a>>,
    /// [features].
    pub encoder_bias: Vec<f32>,
    /// [output_width].
    pub decoder_bias: Vec<f32>,
    /// [features]; `None` is one everywhere.
    pub encoder_scale: Option<Vec<f32>>,
    /// [features]; `None` is one everywhere.
    pub decoder_scale: Option<Vec<f32>>,
}

/// Bytes per stored value.
pub(crate) fn value_size(values: &StoredValues<'_>) -> usize {
    match values {
        StoredValues::F32(_) => 4,
        StoredValues::Bf16(_) | StoredValues::F16(_) => 2,
    }
}

fn bytes_of<'a>(values: &StoredValues<'a>) -> &'a [u8] {
    match values {
        StoredValues::F32(bytes) | StoredValues::Bf16(bytes) | StoredValues::F16(bytes) => bytes,
    }
}

/// Widens stored values from element `at` on into `out`.
pub(crate) fn widen(values: &StoredValues<'_>, at: usize, out: &mut [f32]) {
    let size = value_size(values);
    let bytes = &bytes_of(values)[at * size..(at + out.len()) * size];
    match values {
        StoredValues::F32(_) => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        StoredValues::Bf16(_) => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        StoredValues::F16(_) => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

/// `count` values from element `first` on.
pub(crate) fn slice(values: StoredValues<'_>, first: usize, count: usize) -> StoredValues<'_> {
    let size = value_size(&values);
    let range = first * size..(first + count) * size;
    match values {
        StoredValues::F32(bytes) => StoredValues::F32(&bytes[range]),
        StoredValues::Bf16(bytes) => StoredValues::Bf16(&bytes[range]),
        StoredValues::F16(bytes) => StoredValues::F16(&bytes[range]),
    }
}

/// Elements widened at a time when a matrix is scanned.
const SCAN: usize = 1 << 16;

/// Calls `visit(first index, values)` on all values in order, a piece at a time, until it returns `Some`.
pub(crate) fn scan<T>(
    values: &StoredValues<'_>,
    mut visit: impl FnMut(usize, &[f32]) -> Option<T>,
) -> Option<T> {
    let count = bytes_of(values).len() / value_size(values);
    let mut piece = vec![0.0; SCAN.min(count)];
    let mut at = 0;
    while at < count {
        let length = SCAN.min(count - at);
        widen(values, at, &mut piece[..length]);
        if let Some(found) = visit(at, &piece[..length]) {
            return Some(found);
        }
        at += length;
    }
    None
}

impl StoredMatrix<'_> {
    /// Uploads the matrix as [rows, columns].
    pub(crate) fn upload<B: Backend>(
        &self,
        backend: &B,
        rows: usize,
        columns: usize,
    ) -> Result<B::Matrix, KernelError> {
        if self.transposed {
            backend.matrix_from_transposed(self.values, rows, columns)
        } else {
            backend.matrix(self.values, rows, columns)
        }
    }

    /// Euclidean length of each row of the matrix [rows, columns].
    pub(crate) fn row_lengths(&self, rows: usize, columns: usize) -> Vec<f64> {
        let mut squares = vec![0.0_f64; rows];
        let (mut row, mut column) = (0, 0);
        scan::<()>(&self.values, |_, values| {
            for value in values {
                squares[row] += f64::from(*value) * f64::from(*value);
                let (inner, inner_length, outer) = if self.transposed {
                    (&mut row, rows, &mut column)
                } else {
                    (&mut column, columns, &mut row)
                };
                *inner += 1;
                if *inner == inner_length {
                    *inner = 0;
                    *outer += 1;
                }
            }
            None
        });
        squares.into_iter().map(f64::sqrt).collect()
    }

    /// Row, column and value of the first element that isn't finite, by the matrix's own rows.
    pub(crate) fn first_non_finite(&self, rows: usize, columns: usize) -> Option<(usize, usize, f32)> {
        scan(&self.values, |first, values| {
            let at = values.iter().position(|value| !value.is_finite())?;
            let i = first + at;
            let place = if self.transposed {
                (i % rows, i / rows)
            } else {
                (i / columns, i % columns)
            };
            Some((place.0, place.1, values[at]))
        })
    }
}

impl DictionaryParts<'_> {
    /// Bytes of all weights in the precision they are stored in.
    pub(crate) fn bytes(&self) -> u64 {
        let matrices: usize = [Some(&self.encoder), Some(&self.decoder), self.skip.as_ref()]
            .into_iter()
            .flatten()
            .map(|matrix| bytes_of(&matrix.values).len())
            .sum();
        let scales = [&self.encoder_scale, &self.decoder_scale];
        let vectors = 2 * self.encoder_bias.len()
            + self.decoder_bias.len()
            + scales.into_iter().flatten().map(Vec::len).sum::<usize>()
            + match &self.description.rule {
                ActivationRule::Relu | ActivationRule::JumpRelu { .. } => self.encoder_bias.len(),
                ActivationRule::TopK { selection_scale, .. } => selection_scale.as_ref().map_or(0, Vec::len),
                ActivationRule::GroupMax { .. } => 0,
            };
        (matrices + 4 * vectors) as u64
    }

    /// Applies the constant factors that a format leaves to its reader.
    pub(crate) fn fold(&mut self, folding: &Folding) {
        let features = self.description.features;
        let Folding {
            factor_in,
            factor_out,
            raw_units,
            decoder_lengths,
            gated_by_lengths,
        } = *folding;
        if gated_by_lengths {
            let width = self.description.output_width;
            let lengths = self.decoder.row_lengths(features, width);
            self.description.rule.gate_by_lengths(&lengths);
        }
        if raw_units {
            // f / factor_in: the factor on the input and the one on the feature cancel in the encoder.
            multiply(&mut self.encoder_bias, 1.0 / factor_in);
            multiply_optional(&mut self.decoder_scale, features, factor_in / factor_out);
        } else {
            multiply_optional(&mut self.encoder_scale, features, factor_in);
            multiply_optional(&mut self.decoder_scale, features, 1.0 / factor_out);
        }
        multiply(&mut self.decoder_bias, 1.0 / factor_out);
        if decoder_lengths {
            self.fold_decoder_lengths();
        }
    }

    /// Measures features by the length of what they add to the output: z ⊙ ‖decoder row‖, decoder rows divided by it.
    /// A feature whose decoder row is zero adds nothing and becomes inactive.
    fn fold_decoder_lengths(&mut self) {
        let (features, width) = (self.description.features, self.description.output_width);
        let lengths = self.decoder.row_lengths(features, width);
        let encoder_scale = self.encoder_scale.get_or_insert_with(|| vec![1.0; features]);
        let decoder_scale = self.decoder_scale.get_or_insert_with(|| vec![1.0; features]);
        for (i, stored_length) in lengths.into_iter().enumerate() {
            let length = stored_length * f64::from(decoder_scale[i]).abs();
            encoder_scale[i] = (f64::from(encoder_scale[i]) * length) as f32;
            self.encoder_bias[i] = (f64::from(self.encoder_bias[i]) * length) as f32;
            decoder_scale[i] = if length > 0.0 {
                (f64::from(decoder_scale[i]) / length) as f32
            } else {
                0.0
            };
        }
    }

    /// Checks that the matrices hold finite numbers.
    ///
    /// # Errors
    /// [`DictionaryError::Parts`], naming the place.
    pub(crate) fn check_matrices(&self) -> Result<()> {
        for (name, matrix, [rows, columns]) in self.matrices() {
            if let Some((row, column, value)) = matrix.first_non_finite(rows, columns) {
                return Err(DictionaryError::Parts {
                    what: format!(
                        "{name} holds {value} in row {row}, column {column}; expected finite values"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Every matrix with its name and shape.
    fn matrices(&self) -> impl Iterator<Item = (&'static str, &StoredMatrix<'_>, [usize; 2])> {
        let description = &self.description;
        let (features, width, output_width) =
            (description.features, description.width, description.output_width);
        [
            ("encoder", &self.encoder, [features, width]),
            ("decoder", &self.decoder, [features, output_width]),
        ]
        .into_iter()
        .chain(
            self.skip
                .as_ref()
                .map(|skip| ("skip", skip, [output_width, width])),
        )
    }

    /// Checks that the parts fit each other and that the vectors hold finite numbers.
    ///
    /// # Errors
    /// [`DictionaryError::Parts`], naming the part.
    pub(crate) fn check(&self) -> Result<()> {
        let description = &self.description;
        let (features, width, output_width) =
            (description.features, description.width, description.output_width);
        let wrong = |what: String| Err(DictionaryError::Parts { what });
        if features == 0 || width == 0 || output_width == 0 || u32::try_from(features).is_err() {
            return wrong(format!(
                "{features} features of width {width}, expected at least one of each and at most 2^32"
            ));
        }
        if output_width != width && (!description.is_transcoder() || description.subtract_decoder_bias) {
            let why = if description.is_transcoder() {
                "the decoder bias cannot be subtracted from the input"
            } else {
                "input and output are one site"
            };
            return wrong(format!(
                "width {width} and output width {output_width} differ, but {why}"
            ));
        }
        if description.input_normalisation == InputNormalisation::LayerNorm && width == 1 {
            return wrong("input normalisation layer_norm needs a width of at least 2".to_owned());
        }
        if description.is_transcoder() && description.input_normalisation != InputNormalisation::None {
            return wrong(format!(
                "a transcoder with input normalisation {}: what would undo it is not defined",
                description.input_normalisation
            ));
        }
        for (name, matrix, [rows, columns]) in self.matrices() {
            let bytes = bytes_of(&matrix.values).len();
            let expected = rows
                .checked_mul(columns)
                .and_then(|count| count.checked_mul(value_size(&matrix.values)));
            if Some(bytes) != expected {
                return wrong(format!(
                    "{name} holds {bytes} bytes, which is not [{rows}, {columns}]"
                ));
            }
        }
        let (mut threshold, mut scale) = (None, None);
        match &description.rule {
            ActivationRule::Relu => {}
            ActivationRule::JumpRelu { threshold: values } => threshold = Some(values),
            ActivationRule::TopK { k, selection_scale } => {
                if *k == 0 || *k > features {
                    return wrong(format!("k is {k}, expected 1 to {features}"));
                }
                scale = selection_scale.as_ref();
            }
            ActivationRule::GroupMax { groups } => {
                if *groups == 0 || !features.is_multiple_of(*groups) {
                    return wrong(format!(
                        "{groups} groups, expected a divisor of {features} features"
                    ));
                }
            }
        }
        let vectors = [
            ("encoder_bias", Some(&self.encoder_bias), features),
            ("decoder_bias", Some(&self.decoder_bias), output_width),
            ("encoder_scale", self.encoder_scale.as_ref(), features),
            ("decoder_scale", self.decoder_scale.as_ref(), features),
            ("threshold", threshold, features),
            ("selection_scale", scale, features),
        ];
        for (name, vector, length) in vectors {
            let Some(vector) = vector else { continue };
            if vector.len() != length {
                return wrong(format!("{name} has {} values, expected {length}", vector.len()));
            }
            if let Some(i) = vector.iter().position(|value| !value.is_finite()) {
                return wrong(format!("{name}[{i}] is {}, expected a finite value", vector[i]));
            }
        }
        for (name, vector) in [("threshold", threshold), ("selection_scale", scale)] {
            if let Some((i, value)) =
                vector.and_then(|values| values.iter().enumerate().find(|(_, value)| **value < 0.0))
            {
                return wrong(format!("{name}[{i}] is {value}, expected at least 0"));
            }
        }
        Ok(())
    }
}

fn multiply(values: &mut [f32], factor: f64) {
    for value in values {
        *value = (f64::from(*value) * factor) as f32;
    }
}

fn multiply_optional(scale: &mut Option<Vec<f32>>, features: usize, factor: f64) {
    if factor != 1.0 {
        multiply(scale.get_or_insert_with(|| vec![1.0; features]), factor);
    }
}
