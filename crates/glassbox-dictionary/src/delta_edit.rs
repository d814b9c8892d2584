//! Edits that add a multiple of one feature's decoder row.

use std::sync::Arc;

use glassbox_kernels::backend::{FeatureDelta, FeatureRows};
use glassbox_kernels::{Backend, KernelError};
use glassbox_model::edit::RowEdit;

use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::normalisation::{outer, read_vec, row_dots};
use crate::subset::FeatureSubset;

/// A thresholded feature on raw rows, set by delta: one encoder row, one decoder row, one kernel.
#[derive(Debug)]
pub(crate) struct ThresholdedDelta<B: Backend> {
    width: usize,
    /// [1, width].
    encoder: B::Buffer,
    /// [1, width].
    decoder: B::Buffer,
    bias: [f32; 1],
    threshold: [f32; 1],
    value: f32,
}

impl<B: Backend> ThresholdedDelta<B> {
    pub(crate) fn new(dictionary: &Dictionary<B>, feature: u32, threshold: f32, value: f32) -> Result<Self> {
        Ok(Self {
            width: dictionary.width(),
            encoder: dictionary.encoder_rows(&[feature])?,
            decoder: dictionary.decoder_rows(&[feature])?,
            bias: [dictionary.folded_bias()[feature as usize]],
            threshold: [threshold],
            value,
        })
    }

    fn deltas(&self, rows: &[u32]) -> Vec<FeatureDelta> {
        rows.iter()
            .map(|row| FeatureDelta {
                row: *row,
                feature: 0,
                value: self.value,
            })
            .collect()
    }

    fn feature_rows(&self) -> FeatureRows<'_, B::Buffer> {
        FeatureRows {
            encoder: &self.encoder,
            decoder: &self.decoder,
            bias: &self.bias,
            threshold: &self.threshold,
        }
    }
}

impl<B: Backend> RowEdit<B> for ThresholdedDelta<B> {
    fn width(&self) -> Option<usize> {
        Some(self.width)
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        check_width(self.width, width)?;
        backend.feature_delta(x, width, &self.feature_rows(), &self.deltas(rows))
    }

    fn pull_back(
        &self,
        backend: &B,
        x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        check_width(self.width, width)?;
        backend.feature_delta_backward(
            x_before,
            gradient,
            width,
            &self.feature_rows(),
            &self.deltas(rows),
        )
    }
}

/// Refuses rows of another width than the dictionary's.
pub(crate) fn check_width(expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found {
        Ok(())
    } else {
        Err(KernelError::Parameter {
            op: "feature_edit",
            what: format!("the rows are {found} wide, the dictionary is {expected} wide"),
        })
    }
}

/// How many units of the decoder row to add.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coefficient {
    /// value − f_i(x).
    SetTo(f32),
    /// The same for every row.
    Add(f32),
}

/// The general form: any rule, any input normalisation.
///
/// With a(x) the coefficient and p = d_i · g the gradient along the decoder row, the gradient g with respect to the
/// edited row becomes g + p · (σ ∇a + a ∇σ), where ∇a = −[f_i > 0] · ∇z_i.
#[derive(Debug)]
pub(crate) struct DeltaEdit<B: Backend> {
    feature: FeatureSubset<B>,
    coefficient: Coefficient,
    /// [1, width].
    encoder: B::Buffer,
    /// [1, width].
    decoder: B::Buffer,
}

impl<B: Backend> DeltaEdit<B> {
    pub(crate) fn new(
        dictionary: &Arc<Dictionary<B>>,
        feature: u32,
        coefficient: Coefficient,
    ) -> Result<Self> {
        Ok(Self {
            feature: dictionary.subset(&[feature])?,
            coefficient,
            encoder: dictionary.encoder_rows(&[feature])?,
            decoder: dictionary.decoder_rows(&[feature])?,
        })
    }

    /// As [`DeltaEdit::new`], with the feature's value picked from the encoding of all features.
    pub(crate) fn from_all_features(
        dictionary: &Arc<Dictionary<B>>,
        feature: u32,
        coefficient: Coefficient,
    ) -> Result<Self> {
        Ok(Self {
            feature: FeatureSubset::picked(dictionary, &[feature])?,
            ..Self::new(dictionary, feature, coefficient)?
        })
    }

    /// Coefficients [n] of rows that are normalised, and whether the feature's own value is part of each.
    fn coefficients(&self, backend: &B, y: &B::Buffer, n: usize) -> Result<Vec<(f32, bool)>, KernelError> {
        match self.coefficient {
            Coefficient::Add(strength) => Ok(vec![(strength, false); n]),
            Coefficient::SetTo(value) => {
                let values = self.feature.encode_normalised(y, n)?;
                Ok(read_vec(backend, &values, n)?
                    .into_iter()
                    .map(|f| (value - f, f > 0.0))
                    .collect())
            }
        }
    }
}

impl<B: Backend> RowEdit<B> for DeltaEdit<B> {
    fn width(&self) -> Option<usize> {
        Some(self.feature.dictionary().width())
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        let dictionary = self.feature.dictionary();
        check_width(dictionary.width(), width)?;
        let n = rows.len();
        let mut before = backend.zeros(n * width);
        backend.gather_rows(x, width, rows, &mut before)?;
        let (normalised, statistics) = dictionary.normalise(&before, n)?;
        let coefficients = self.coefficients(backend, normalised.as_ref().unwrap_or(&before), n)?;
        let raw: Vec<f32> = coefficients
            .iter()
            .enumerate()
            .map(|(i, (a, _))| a * statistics.factor(i))
            .collect();
        let added = outer(backend, &backend.upload(&raw), n, &self.decoder, width)?;
        backend.add_rows(x, width, rows, &added, n)
    }

    fn pull_back(
        &self,
        backend: &B,
        x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        let dictionary = self.feature.dictionary();
        check_width(dictionary.width(), width)?;
        let n = rows.len();
        let mut before = backend.zeros(n * width);
        backend.gather_rows(x_before, width, rows, &mut before)?;
        let mut g = backend.zeros(n * width);
        backend.gather_rows(gradient, width, rows, &mut g)?;
        let along = read_vec(backend, &row_dots(backend, &g, n, &self.decoder, width)?, n)?;

        let (normalised, statistics) = dictionary.normalise(&before, n)?;
        let coefficients = self.coefficients(backend, normalised.as_ref().unwrap_or(&before), n)?;
        let through_value: Vec<f32> = (0..n)
            .map(|i| {
                if coefficients[i].1 {
                    -along[i] * statistics.factor(i)
                } else {
                    0.0
                }
            })
            .collect();
        let through_factor: Vec<f32> = (0..n).map(|i| along[i] * coefficients[i].0).collect();
        let d_y = outer(backend, &backend.upload(&through_value), n, &self.encoder, width)?;
        let d_x = statistics.backward(backend, &before, n, width, d_y, &through_factor, None)?;
        backend.add_rows(gradient, width, rows, &d_x, n)
    }
}
