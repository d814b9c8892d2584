//! From rows of activations to feature values: the reading half of a dictionary, and of each layer of a cross-layer
//! transcoder.

use glassbox_kernels::backend::ActivationKind;
use glassbox_kernels::{Backend, KernelError};
use glassbox_model::site::Site;

use crate::description::ActivationRule;
use crate::error::Result;
use crate::normalisation::read_vec;
use crate::parts::StoredMatrix;

/// A vector on the host and on the device.
#[derive(Debug)]
pub(crate) struct Vector<B: Backend> {
    pub(crate) host: Vec<f32>,
    pub(crate) device: B::Buffer,
}

impl<B: Backend> Vector<B> {
    pub(crate) fn new(backend: &B, host: Vec<f32>) -> Self {
        let device = backend.upload(&host);
        Self { host, device }
    }
}

/// Which pre-activations become feature values.
#[derive(Debug)]
enum Selection<B: Backend> {
    /// Those above a threshold [features], zeros for ReLU.
    Threshold(Vector<B>),
    /// The k largest, after a factor [features] that is undone by its inverse (zero where it is zero).
    TopK {
        k: usize,
        scale: Option<(B::Buffer, B::Buffer)>,
    },
    /// The largest of each group.
    GroupMax { groups: usize },
}

/// z = (x · encoderᵀ) ⊙ scale + bias and f = rule(z).
#[derive(Debug)]
pub(crate) struct FeatureEncoder<B: Backend> {
    backend: B,
    /// [features, width].
    pub(crate) matrix: B::Matrix,
    features: usize,
    width: usize,
    pub(crate) scale: Option<Vector<B>>,
    /// With what is subtracted from the input folded in: b_enc − (encoder · b) ⊙ scale.
    pub(crate) bias: Vector<B>,
    selection: Selection<B>,
}

impl<B: Backend> FeatureEncoder<B> {
    /// Brings an encoder [features, width] to the device; `subtracted` [width] is taken from each row before it.
    pub(crate) fn new(
        backend: &B,
        matrix: &StoredMatrix<'_>,
        [features, width]: [usize; 2],
        rule: &ActivationRule,
        scale: Option<Vec<f32>>,
        mut bias: Vec<f32>,
        subtracted: Option<&[f32]>,
    ) -> Result<Self> {
        let matrix = matrix.upload(backend, features, width)?;
        if let Some(subtracted) = subtracted {
            let mut shift = backend.zeros(features);
            backend.linear(&backend.upload(subtracted), 1, &matrix, None, &mut shift)?;
            for (i, shift) in read_vec(backend, &shift, features)?.into_iter().enumerate() {
                bias[i] -= shift * scale.as_ref().map_or(1.0, |scale| scale[i]);
            }
        }
        let selection = match rule {
            ActivationRule::Relu => Selection::Threshold(Vector::new(backend, vec![0.0; features])),
            ActivationRule::JumpRelu { threshold } => {
                Selection::Threshold(Vector::new(backend, threshold.clone()))
            }
            ActivationRule::TopK { k, selection_scale } => Selection::TopK {
                k: *k,
                scale: selection_scale.as_ref().map(|scale| {
                    let inverse: Vec<f32> = scale
                        .iter()
                        .map(|s| if *s > 0.0 { 1.0 / s } else { 0.0 })
                        .collect();
                    (backend.upload(scale), backend.upload(&inverse))
                }),
            },
            ActivationRule::GroupMax { groups } => Selection::GroupMax { groups: *groups },
        };
        Ok(Self {
            backend: backend.clone(),
            matrix,
            features,
            width,
            scale: scale.map(|scale| Vector::new(backend, scale)),
            bias: Vector::new(backend, bias),
            selection,
        })
    }

    /// Thresholds [features], zeros for ReLU; `None` where a feature's value depends on the others.
    pub(crate) fn threshold(&self) -> Option<&[f32]> {
        match &self.selection {
            Selection::Threshold(threshold) => Some(&threshold.host),
            _ => None,
        }
    }

    /// Feature values [n, features] of rows y [n, width].
    pub(crate) fn encode(&self, y: &B::Buffer, n: usize) -> Result<B::Buffer, KernelError> {
        let (backend, features) = (&self.backend, self.features);
        let mut z = backend.zeros(n * features);
        match &self.scale {
            None => backend.linear(y, n, &self.matrix, Some(&self.bias.device), &mut z)?,
            Some(scale) => {
                backend.linear(y, n, &self.matrix, None, &mut z)?;
                backend.multiply_rows(&mut z, n, features, &scale.device)?;
                backend.add_rows(&mut z, features, &all_rows(n), &self.bias.device, 1)?;
            }
        }
        match &self.selection {
            Selection::Threshold(threshold) => backend.threshold(&mut z, n, features, &threshold.device)?,
            Selection::TopK { k, scale } => {
                if let Some((scale, _)) = scale {
                    backend.multiply_rows(&mut z, n, features, scale)?;
                }
                backend.keep_top_k(&mut z, n, features, *k)?;
                if let Some((_, inverse)) = scale {
                    backend.multiply_rows(&mut z, n, features, inverse)?;
                }
            }
            // A row of features is one row per group.
            Selection::GroupMax { groups } => backend.keep_top_k(&mut z, n * groups, features / groups, 1)?,
        }
        Ok(z)
    }

    /// Gradient with respect to rows [n, width], from the feature values that they gave and the gradient with respect
    /// to these, both [n, features].
    pub(crate) fn encode_backward(
        &self,
        features: &B::Buffer,
        n: usize,
        d_features: &B::Buffer,
    ) -> Result<B::Buffer, KernelError> {
        let (backend, count) = (&self.backend, self.features);
        let mut d_z = backend.zeros(n * count);
        // A feature is active exactly where its value is positive, and there it grows as its pre-activation does.
        backend.activation_backward(ActivationKind::Relu, features, d_features, n * count, &mut d_z)?;
        if let Some(scale) = &self.scale {
            backend.multiply_rows(&mut d_z, n, count, &scale.device)?;
        }
        let mut d_y = backend.zeros(n * self.width);
        backend.linear_backward(&d_z, n, &self.matrix, false, &mut d_y)?;
        Ok(d_y)
    }
}

/// Refuses rows x [n, width] that are too short or not finite: a threshold would turn the latter into innocent zeros.
pub(crate) fn check_rows<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    n: usize,
    width: usize,
    site: Site,
) -> Result<(), KernelError> {
    KernelError::check("encode", "x", backend.len(x), n * width)?;
    match backend.first_non_finite(x, n, width)? {
        None => Ok(()),
        Some((row, column)) => Err(KernelError::Parameter {
            op: "encode",
            what: format!("x is not finite in row {row}, column {column} ({site})"),
        }),
    }
}

/// The row numbers 0 to n.
pub(crate) fn all_rows(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}
