//! The input normalisations of dictionaries, forward and backward.
//!
//! Forward, per row x [d]: y = c / scale, with c = x − mean and scale = std + 1e-5 for [`InputNormalisation::LayerNorm`],
//! c = x and scale = ‖x‖/√d for [`InputNormalisation::ConstantNormRescale`]. A decoder's row r goes back to raw space as
//! r · factor + mean, where factor is std or ‖x‖/√d and mean is zero without centring. A direction in the dictionary's
//! space therefore is `factor` times as long in raw space.

use glassbox_kernels::backend::NormKind;
use glassbox_kernels::{Backend, KernelError};

use crate::description::InputNormalisation;

/// What SAELens adds to the standard deviation before it divides.
const LAYER_NORM_EPS: f32 = 1e-5;

/// What brings a decoder's output back to the space of some rows: it undoes their normalisation and adds what a skip
/// connection makes of them.
#[derive(Debug)]
pub struct RowStatistics<B: Backend> {
    normalisation: Option<Statistics<B>>,
    /// [n, output_width].
    skip: Option<B::Buffer>,
}

#[derive(Debug)]
struct Statistics<B: Backend> {
    kind: NormKind,
    /// sqrt(mean(c²)), [n].
    spread: B::Buffer,
    /// What c is divided by, [n].
    scale: B::Buffer,
    /// What undoes the division, [n].
    factor: Vec<f32>,
    /// d factor / d spread.
    factor_per_spread: f32,
    /// [n].
    mean: Option<B::Buffer>,
}

/// The outer product [n, width] of a column [n] and a row [width].
pub(crate) fn outer<B: Backend>(
    backend: &B,
    column: &B::Buffer,
    n: usize,
    row: &B::Buffer,
    width: usize,
) -> Result<B::Buffer, KernelError> {
    use glassbox_kernels::matmul::Layout::Normal;
    let mut product = backend.zeros(n * width);
    backend.matmul(&mut product, n, width, column, Normal, row, Normal, 1, 0.0, 1.0)?;
    Ok(product)
}

/// The product [n] of rows x [n, width] with one row [width].
pub(crate) fn row_dots<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    n: usize,
    row: &B::Buffer,
    width: usize,
) -> Result<B::Buffer, KernelError> {
    use glassbox_kernels::matmul::Layout::Normal;
    let mut dots = backend.zeros(n);
    backend.matmul(&mut dots, n, 1, x, Normal, row, Normal, width, 0.0, 1.0)?;
    Ok(dots)
}

pub(crate) fn read_vec<B: Backend>(
    backend: &B,
    buffer: &B::Buffer,
    n: usize,
) -> Result<Vec<f32>, KernelError> {
    let mut values = vec![0.0; n];
    backend.read(buffer, 0, &mut values)?;
    Ok(values)
}

/// Normalises rows x [n, width]; `None` in place of the rows means that they stay as they are.
///
/// # Errors
/// [`KernelError::Parameter`] for a row of zeros where its length is divided by.
pub(crate) fn normalise<B: Backend>(
    backend: &B,
    normalisation: InputNormalisation,
    x: &B::Buffer,
    n: usize,
    width: usize,
) -> Result<(Option<B::Buffer>, RowStatistics<B>), KernelError> {
    let kind = match normalisation {
        InputNormalisation::None => return Ok((None, RowStatistics::identity())),
        InputNormalisation::LayerNorm => NormKind::Layer,
        InputNormalisation::ConstantNormRescale => NormKind::Rms,
    };
    let mut spread = backend.zeros(n);
    backend.norm_scale(kind, x, n, width, 0.0, &mut spread)?;
    let spreads = read_vec(backend, &spread, n)?;
    let (factor_per_spread, added) = match kind {
        NormKind::Layer => (
            (width as f64 / (width as f64 - 1.0)).sqrt() as f32,
            LAYER_NORM_EPS,
        ),
        NormKind::Rms => (1.0, 0.0),
    };
    let factor: Vec<f32> = spreads.iter().map(|s| s * factor_per_spread).collect();
    let scales: Vec<f32> = factor.iter().map(|f| f + added).collect();
    if let Some(row) = scales.iter().position(|s| *s == 0.0) {
        return Err(KernelError::Parameter {
            op: "normalise",
            what: format!("row {row} is all zeros, {normalisation} divides by its length"),
        });
    }
    let scale = backend.upload(&scales);
    let mut y = backend.zeros(n * width);
    backend.norm_apply(kind, x, &scale, n, width, None, None, &mut y)?;
    let mean = match kind {
        NormKind::Layer => {
            let weights = backend.upload(&vec![1.0 / width as f32; width]);
            Some(row_dots(backend, x, n, &weights, width)?)
        }
        NormKind::Rms => None,
    };
    let statistics = Statistics {
        kind,
        spread,
        scale,
        factor,
        factor_per_spread,
        mean,
    };
    let statistics = RowStatistics {
        normalisation: Some(statistics),
        skip: None,
    };
    Ok((Some(y), statistics))
}

impl<B: Backend> RowStatistics<B> {
    /// Of rows that weren't normalised.
    pub fn identity() -> Self {
        Self {
            normalisation: None,
            skip: None,
        }
    }

    /// Rows [n, output_width] that are added to the output as they are.
    pub(crate) fn set_skip(&mut self, skip: B::Buffer) {
        self.skip = Some(skip);
    }

    pub(crate) fn has_skip(&self) -> bool {
        self.skip.is_some()
    }

    /// Length in raw space of a unit length in the dictionary's space, for row i.
    pub(crate) fn factor(&self, i: usize) -> f32 {
        self.normalisation
            .as_ref()
            .map_or(1.0, |statistics| statistics.factor[i])
    }

    /// r · factor, in place on r [n, width].
    pub(crate) fn stretch(
        &self,
        backend: &B,
        r: &mut B::Buffer,
        n: usize,
        width: usize,
    ) -> Result<(), KernelError> {
        let Some(statistics) = &self.normalisation else {
            return Ok(());
        };
        let factor = backend.upload(&statistics.factor);
        let ones = backend.upload(&vec![1.0; width]);
        let factors = outer(backend, &factor, n, &ones, width)?;
        backend.multiply_rows(r, 1, n * width, &factors)
    }

    /// r · factor + mean, and what a skip connection adds, in place on r [n, width].
    pub(crate) fn undo(
        &self,
        backend: &B,
        r: &mut B::Buffer,
        n: usize,
        width: usize,
    ) -> Result<(), KernelError> {
        self.stretch(backend, r, n, width)?;
        let mean = self
            .normalisation
            .as_ref()
            .and_then(|statistics| statistics.mean.as_ref());
        if let Some(mean) = mean {
            let ones = backend.upload(&vec![1.0; width]);
            let means = outer(backend, mean, n, &ones, width)?;
            backend.add(&means, n * width, r)?;
        }
        if let Some(skip) = &self.skip {
            backend.add(skip, n * width, r)?;
        }
        Ok(())
    }

    /// Whether rows keep their scale.
    pub(crate) fn keeps_scale(&self) -> bool {
        self.normalisation.is_none()
    }

    /// The gradient with respect to x [n, width], from those with respect to the normalised rows (`d_y` [n, width]),
    /// to the factors (`d_factor` [n]) and, when the rows' means were added back, to the result (`d_result` [n, width]).
    ///
    /// # Errors
    /// [`KernelError::Parameter`] for a row without spread, where the standard deviation has no derivative.
    pub(crate) fn backward(
        &self,
        backend: &B,
        x: &B::Buffer,
        n: usize,
        width: usize,
        d_y: B::Buffer,
        d_factor: &[f32],
        d_result: Option<&B::Buffer>,
    ) -> Result<B::Buffer, KernelError> {
        let Some(statistics) = &self.normalisation else {
            return Ok(d_y);
        };
        let spreads = read_vec(backend, &statistics.spread, n)?;
        if let Some(row) = spreads.iter().position(|s| *s == 0.0) {
            return Err(KernelError::Parameter {
                op: "normalise_backward",
                what: format!("row {row} is constant, its normalisation has no gradient there"),
            });
        }
        let mut d_x = backend.zeros(n * width);
        let mut d_scale = backend.zeros(n);
        backend.norm_apply_backward(
            statistics.kind,
            x,
            &statistics.scale,
            &d_y,
            n,
            width,
            None,
            false,
            &mut d_x,
            &mut d_scale,
        )?;
        // Both scale and factor grow with the spread by the same slope.
        let d_spread: Vec<f32> = read_vec(backend, &d_scale, n)?
            .iter()
            .zip(d_factor)
            .map(|(d_scale, d_factor)| (d_scale + d_factor) * statistics.factor_per_spread)
            .collect();
        let d_spread = backend.upload(&d_spread);
        backend.norm_scale_backward(
            statistics.kind,
            x,
            &statistics.spread,
            &d_spread,
            n,
            width,
            &mut d_x,
        )?;
        if let (Some(d_result), Some(_)) = (d_result, &statistics.mean) {
            let weights = backend.upload(&vec![1.0 / width as f32; width]);
            let d_mean = row_dots(backend, d_result, n, &weights, width)?;
            let ones = backend.upload(&vec![1.0; width]);
            let spread_evenly = outer(backend, &d_mean, n, &ones, width)?;
            backend.add(&spread_evenly, n * width, &mut d_x)?;
        }
        Ok(d_x)
    }
}
