//! The one internal form of a dictionary: encode, decode and their gradients.

use std::sync::Arc;

use glassbox_kernels::{Backend, CpuBackend, KernelError};

use crate::description::DictionaryDescription;
use crate::error::Result;
use crate::feature_encoder::{FeatureEncoder, Vector, all_rows, check_rows};
use crate::normalisation::{RowStatistics, normalise, outer, read_vec};
use crate::parts::DictionaryParts;

/// A dictionary on a device. See [`DictionaryParts`] for the arithmetic.
///
/// Rows of activations are [n, width], feature values [n, features], outputs [n, output_width].
#[derive(Debug)]
pub struct Dictionary<B: Backend = CpuBackend> {
    backend: B,
    description: DictionaryDescription,
    bytes: u64,
    encoder: FeatureEncoder<B>,
    /// [features, output_width].
    decoder: B::Matrix,
    /// [output_width, width].
    skip: Option<B::Matrix>,
    decoder_scale: Option<Vector<B>>,
    /// As stored.
    encoder_bias: Vec<f32>,
    decoder_bias: Vector<B>,
}

/// Feature values of some rows, and what a decoder needs to bring them back to raw space.
#[derive(Debug)]
pub struct Encoded<B: Backend> {
    /// [n, features].
    pub features: B::Buffer,
    /// What undoes the input normalisation of each row, and what a skip connection adds.
    pub statistics: RowStatistics<B>,
}

impl<B: Backend> Dictionary<B> {
    /// Checks the parts and brings them to the device.
    ///
    /// # Errors
    /// [`crate::DictionaryError::Parts`] if they don't fit each other or aren't finite.
    pub fn from_parts(backend: &B, parts: DictionaryParts<'_>) -> Result<Self> {
        parts.check()?;
        parts.check_matrices()?;
        Self::from_checked_matrices(backend, parts)
    }

    /// As [`Dictionary::from_parts`], for matrices that are known to be finite.
    pub(crate) fn from_checked_matrices(backend: &B, parts: DictionaryParts<'_>) -> Result<Self> {
        parts.check()?;
        let (features, width) = (parts.description.features, parts.description.width);
        let output_width = parts.description.output_width;
        let decoder = parts.decoder.upload(backend, features, output_width)?;
        let skip = match &parts.skip {
            Some(skip) => Some(skip.upload(backend, output_width, width)?),
            None => None,
        };
        let description = &parts.description;
        let encoder = FeatureEncoder::new(
            backend,
            &parts.encoder,
            [features, width],
            &description.rule,
            parts.encoder_scale.clone(),
            parts.encoder_bias.clone(),
            description
                .subtract_decoder_bias
                .then_some(parts.decoder_bias.as_slice()),
        )?;
        let bytes = parts.bytes();
        let vector = |host| Vector::new(backend, host);
        Ok(Self {
            backend: backend.clone(),
            bytes,
            encoder,
            decoder,
            skip,
            decoder_scale: parts.decoder_scale.map(vector),
            encoder_bias: parts.encoder_bias,
            decoder_bias: vector(parts.decoder_bias),
            description: parts.description,
        })
    }

    /// Everything but the weights.
    pub fn description(&self) -> &DictionaryDescription {
        &self.description
    }

    /// The device it lies on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Number of features, F.
    pub fn features(&self) -> usize {
        self.description.features
    }

    /// Values per row of the input, d.
    pub fn width(&self) -> usize {
        self.description.width
    }

    /// Values per row of the output.
    pub fn output_width(&self) -> usize {
        self.description.output_width
    }

    /// Whether the output has a part that is linear in the input and independent of the features.
    pub fn has_skip(&self) -> bool {
        self.skip.is_some()
    }

    /// Bytes of its weights in the precision they are stored in.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Encoder bias as stored, [features].
    pub fn encoder_bias(&self) -> &[f32] {
        &self.encoder_bias
    }

    /// Decoder bias, [output_width].
    pub fn decoder_bias(&self) -> &[f32] {
        &self.decoder_bias.host
    }

    /// Factors on the encoder's rows, [features], if it has them.
    pub fn encoder_scale(&self) -> Option<&[f32]> {
        self.encoder.scale.as_ref().map(|scale| scale.host.as_slice())
    }

    /// Factors on the decoder's rows, [features], if it has them.
    pub fn decoder_scale(&self) -> Option<&[f32]> {
        self.decoder_scale.as_ref().map(|scale| scale.host.as_slice())
    }

    /// The encoder bias with the subtracted decoder bias folded in: the bias that belongs to raw (normalised) input.
    pub fn folded_bias(&self) -> &[f32] {
        &self.encoder.bias.host
    }

    /// Thresholds [features], zeros for ReLU; `None` for TopK and GroupMax.
    pub fn threshold(&self) -> Option<&[f32]> {
        self.encoder.threshold()
    }

    /// Encoder rows of some features [ids.len(), width], scales applied.
    ///
    /// # Errors
    /// [`crate::DictionaryError::FeatureOutOfRange`].
    pub fn encoder_rows(&self, ids: &[u32]) -> Result<B::Buffer> {
        self.rows(&self.encoder.matrix, self.width(), self.encoder_scale(), ids)
    }

    /// Decoder rows of some features [ids.len(), output_width], scales applied.
    ///
    /// # Errors
    /// [`crate::DictionaryError::FeatureOutOfRange`].
    pub fn decoder_rows(&self, ids: &[u32]) -> Result<B::Buffer> {
        self.rows(&self.decoder, self.output_width(), self.decoder_scale(), ids)
    }

    /// The skip connection [output_width, width] on the host, if there is one.
    ///
    /// # Errors
    /// What the backend says.
    pub fn skip_values(&self) -> Result<Option<Vec<f32>>> {
        let Some(skip) = &self.skip else { return Ok(None) };
        let mut rows = self.backend.zeros(self.output_width() * self.width());
        self.backend
            .matrix_rows(skip, &all_rows(self.output_width()), &mut rows)?;
        let count = self.output_width() * self.width();
        Ok(Some(read_vec(&self.backend, &rows, count)?))
    }

    /// Rows of the encoder and the decoder as stored, without scales: what a writer keeps.
    pub(crate) fn stored_rows(&self, ids: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let read = |matrix, width| -> Result<Vec<f32>> {
            let rows = self.rows(matrix, width, None, ids)?;
            Ok(read_vec(&self.backend, &rows, ids.len() * width)?)
        };
        Ok((
            read(&self.encoder.matrix, self.width())?,
            read(&self.decoder, self.output_width())?,
        ))
    }

    fn rows(
        &self,
        matrix: &B::Matrix,
        width: usize,
        scale: Option<&[f32]>,
        ids: &[u32],
    ) -> Result<B::Buffer> {
        for id in ids {
            self.description.check_feature(*id)?;
        }
        let mut rows = self.backend.zeros(ids.len() * width);
        self.backend.matrix_rows(matrix, ids, &mut rows)?;
        if let Some(scale) = scale {
            let scales: Vec<f32> = ids.iter().map(|id| scale[*id as usize]).collect();
            let ones = self.backend.upload(&vec![1.0; width]);
            let factors = outer(
                &self.backend,
                &self.backend.upload(&scales),
                ids.len(),
                &ones,
                width,
            )?;
            self.backend
                .multiply_rows(&mut rows, 1, ids.len() * width, &factors)?;
        }
        Ok(rows)
    }

    /// How many rows keep a buffer of feature values within 64 MiB.
    pub fn rows_at_a_time(&self) -> usize {
        ((1 << 24) / self.features()).max(1)
    }

    /// Feature values of rows x [n, width], by the dictionary's own rule.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if x is too short; [`KernelError::Parameter`] if a value of x isn't finite (a threshold
    /// would turn it into an innocent zero), or if the input normalisation divides by the length of a row of zeros.
    pub fn encode(&self, x: &B::Buffer, n: usize) -> Result<Encoded<B>, KernelError> {
        let (normalised, mut statistics) = self.normalise(x, n)?;
        let features = self.encode_normalised(normalised.as_ref().unwrap_or(x), n)?;
        self.add_skip(x, n, &mut statistics)?;
        Ok(Encoded { features, statistics })
    }

    /// What decoding features of rows x [n, width] needs to know of these rows: what [`Dictionary::encode`] gives beside
    /// the features.
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn statistics(&self, x: &B::Buffer, n: usize) -> Result<RowStatistics<B>, KernelError> {
        let (_, mut statistics) = self.normalise(x, n)?;
        self.add_skip(x, n, &mut statistics)?;
        Ok(statistics)
    }

    fn add_skip(
        &self,
        x: &B::Buffer,
        n: usize,
        statistics: &mut RowStatistics<B>,
    ) -> Result<(), KernelError> {
        if let Some(skip) = &self.skip {
            let mut output = self.backend.zeros(n * self.output_width());
            self.backend.linear(x, n, skip, None, &mut output)?;
            statistics.set_skip(output);
        }
        Ok(())
    }

    /// Checks rows x [n, width] and normalises them; no rows come back where they stay as they are.
    pub(crate) fn normalise(
        &self,
        x: &B::Buffer,
        n: usize,
    ) -> Result<(Option<B::Buffer>, RowStatistics<B>), KernelError> {
        let width = self.width();
        check_rows(&self.backend, x, n, width, self.description.site)?;
        normalise(&self.backend, self.description.input_normalisation, x, n, width)
    }

    /// Feature values [n, features] of rows that are normalised already.
    pub(crate) fn encode_normalised(&self, y: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        self.encoder.encode(y, n)
    }

    /// Output [n, output_width] of feature values [n, features] in the space of rows with these statistics.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the values are too short; [`KernelError::Parameter`] if the dictionary has a skip
    /// connection and the statistics are not of its own encoding.
    pub fn decode(
        &self,
        features: &B::Buffer,
        n: usize,
        statistics: &RowStatistics<B>,
    ) -> Result<B::Buffer, KernelError> {
        let mut output = self.decode_normalised(features, n)?;
        self.undo(statistics, &mut output, n)?;
        Ok(output)
    }

    /// From the decoder's space to that of rows with these statistics, in place on output [n, output_width].
    pub(crate) fn undo(
        &self,
        statistics: &RowStatistics<B>,
        output: &mut B::Buffer,
        n: usize,
    ) -> Result<(), KernelError> {
        if self.has_skip() != statistics.has_skip() {
            return Err(KernelError::Parameter {
                op: "decode",
                what: format!(
                    "the statistics are not of this dictionary's encoding ({}): its skip connection needs those that \
                     encode or statistics give",
                    self.description.site
                ),
            });
        }
        statistics.undo(&self.backend, output, n, self.output_width())
    }

    /// Output [n, output_width] before the input normalisation is undone.
    pub(crate) fn decode_normalised(&self, features: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        let width = self.output_width();
        let mut output = self.backend.zeros(n * width);
        self.backend
            .set_rows(&mut output, width, &all_rows(n), &self.decoder_bias.device, 1)?;
        match &self.decoder_scale {
            None => self
                .backend
                .linear_backward(features, n, &self.decoder, true, &mut output)?,
            Some(scale) => {
                let mut scaled = self.backend.zeros(n * self.features());
                self.backend.copy(features, n * self.features(), &mut scaled)?;
                self.backend
                    .multiply_rows(&mut scaled, n, self.features(), &scale.device)?;
                self.backend
                    .linear_backward(&scaled, n, &self.decoder, true, &mut output)?;
            }
        }
        Ok(output)
    }

    /// decode(encode(x)), [n, output_width].
    ///
    /// # Errors
    /// As [`Dictionary::encode`].
    pub fn reconstruct(&self, x: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        let encoded = self.encode(x, n)?;
        self.decode(&encoded.features, n, &encoded.statistics)
    }

    /// Gradient with respect to x [n, width] of a scalar whose gradient with respect to the feature values of x is
    /// `d_features` [n, features]. The derivative at a threshold's jump, and of the choice of the k largest, is taken
    /// as zero.
    ///
    /// # Errors
    /// As [`Dictionary::encode`], and [`KernelError::Parameter`] where a constant row's normalisation has no derivative.
    pub fn encode_backward(
        &self,
        x: &B::Buffer,
        n: usize,
        d_features: &B::Buffer,
    ) -> Result<B::Buffer, KernelError> {
        let encoded = self.encode(x, n)?;
        let d_y = self.encode_normalised_backward(&encoded.features, n, d_features)?;
        encoded
            .statistics
            .backward(&self.backend, x, n, self.width(), d_y, &vec![0.0; n], None)
    }

    /// Gradient with respect to normalised rows, from the feature values that they gave.
    pub(crate) fn encode_normalised_backward(
        &self,
        features: &B::Buffer,
        n: usize,
        d_features: &B::Buffer,
    ) -> Result<B::Buffer, KernelError> {
        self.encoder.encode_backward(features, n, d_features)
    }

    /// Gradient with respect to x [n, width] through the skip connection, from that with respect to the output
    /// [n, output_width]; `None` without one.
    pub(crate) fn skip_backward(
        &self,
        d_output: &B::Buffer,
        n: usize,
    ) -> Result<Option<B::Buffer>, KernelError> {
        let Some(skip) = &self.skip else { return Ok(None) };
        let mut d_x = self.backend.zeros(n * self.width());
        self.backend.linear_backward(d_output, n, skip, false, &mut d_x)?;
        Ok(Some(d_x))
    }

    /// Gradient with respect to feature values [n, features], from that with respect to the output before the input
    /// normalisation is undone, [n, output_width]: the product of every decoder row with every row.
    ///
    /// # Errors
    /// [`KernelError::Shape`] if the rows are too short.
    pub fn decode_normalised_backward(
        &self,
        d_output: &B::Buffer,
        n: usize,
    ) -> Result<B::Buffer, KernelError> {
        let mut d_features = self.backend.zeros(n * self.features());
        self.backend
            .linear(d_output, n, &self.decoder, None, &mut d_features)?;
        if let Some(scale) = &self.decoder_scale {
            self.backend
                .multiply_rows(&mut d_features, n, self.features(), &scale.device)?;
        }
        Ok(d_features)
    }

    /// A chosen subset of features, ready to be encoded at the cost of the subset only (for TopK at the full cost).
    ///
    /// # Errors
    /// [`crate::DictionaryError::FeatureOutOfRange`].
    pub fn subset(self: &Arc<Self>, ids: &[u32]) -> Result<crate::subset::FeatureSubset<B>> {
        crate::subset::FeatureSubset::new(self, ids)
    }
}
