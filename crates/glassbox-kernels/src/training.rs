//! The operations that training a dictionary needs beyond [`Backend`]: sparse codes, their gradients, Adam.
//!
//! A dictionary has an encoder [features, width], a decoder [features, output width] and biases, all in buffers,
//! since every step changes them. Feature values are kept as *codes*: the pairs (row, feature) whose
//! pre-activation z passed a selection, with z and the feature value f. No operation stores a matrix
//! [rows, features], except for `relu_rows` and `relu_rows_backward`, which serve codes that are not sparse.
//!
//! The conventions of [`Backend`] hold; besides, gradients of a feature are summed over its rows in rising order, so
//! that any number of threads gives equal bits.

use crate::backend::{Backend, Result};

/// Counts over codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CodeTotals {
    /// Pairs whose feature value is not zero.
    pub active: u64,
    /// Σ f over all pairs.
    pub sum: f64,
}

/// Codes read back: row i has the entries `row_offsets[i]..row_offsets[i + 1]`, by rising feature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRows {
    /// [rows + 1].
    pub row_offsets: Vec<usize>,
    /// The feature of each entry.
    pub features: Vec<u32>,
    /// Its value f.
    pub values: Vec<f32>,
}

/// One step of Adam (Kingma & Ba 2015), as PyTorch's `Adam` without weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Factor on the gradient: that of clipping.
    pub gradient_scale: f32,
}

/// A matrix [rows, width] that is trained, with its moments.
#[derive(Debug)]
pub struct Trained<'a, Buffer> {
    /// The weights.
    pub weights: &'a mut Buffer,
    /// Adam's first moment.
    pub first: &'a mut Buffer,
    /// Adam's second moment.
    pub second: &'a mut Buffer,
}

/// See the module's page.
pub trait TrainingBackend: Backend {
    /// Codes of some rows, with room to work in: reuse one for all steps.
    type Codes: Default + Send + Sync + std::fmt::Debug;

    // --- codes --------------------------------------------------------------------------------------------

    /// Codes of x [n, width]: of z = x·encoderᵀ + bias the k largest of each row, of these the ones above zero (NaN
    /// counts as the largest and stays). Of equal values the lower feature stays. f = z.
    fn encode_top_k(
        &self,
        x: &Self::Buffer,
        n: usize,
        width: usize,
        encoder: &Self::Buffer,
        bias: &Self::Buffer,
        features: usize,
        k: usize,
        codes: &mut Self::Codes,
    ) -> Result<()>;
    /// Codes of x [n, width]: all pairs with z > bound [features], or with z NaN. f = max(z, 0).
    fn encode_above(
        &self,
        x: &Self::Buffer,
        n: usize,
        width: usize,
        encoder: &Self::Buffer,
        bias: &Self::Buffer,
        features: usize,
        bound: &Self::Buffer,
        codes: &mut Self::Codes,
    ) -> Result<()>;
    /// Keeps the `count` pairs with the largest z of all rows together; of equal values the lower row, then the lower
    /// feature. Gives the least value kept, if a pair is left.
    fn keep_largest(&self, codes: &mut Self::Codes, count: usize) -> Result<Option<f32>>;
    /// Makes `to` a copy of `from`.
    fn copy_codes(&self, from: &Self::Codes, to: &mut Self::Codes) -> Result<()>;
    /// Adds to `counts` [features] how many rows each feature is active in (f ≠ 0), and gives totals.
    fn count_codes(&self, codes: &Self::Codes, counts: &mut [u32]) -> Result<CodeTotals>;
    /// How many pairs there are, active or not.
    fn code_pairs(&self, codes: &Self::Codes) -> usize;
    /// Reads the codes back; pairs that are not active are left out.
    fn read_codes(&self, codes: &Self::Codes) -> Result<SparseRows>;
    /// f = z where z > threshold [features], else 0 (Rajamanoharan et al. 2024b).
    fn jump_relu(&self, codes: &mut Self::Codes, threshold: &Self::Buffer) -> Result<()>;
    /// f = max(e^log_scale · (z − gate_bias) + bias, 0), all [features]: the magnitudes of a gated dictionary whose
    /// gates are z (Rajamanoharan et al. 2024a).
    fn magnitude(
        &self,
        codes: &mut Self::Codes,
        gate_bias: &Self::Buffer,
        log_scale: &Self::Buffer,
        bias: &Self::Buffer,
    ) -> Result<()>;

    // --- decode and its error -----------------------------------------------------------------------------

    /// y [prefixes, n, width]: y[p] = bias + Σ f · decoder row over the features below `ends[p]`. `ends` rises and ends
    /// with the number of features; a plain dictionary has one prefix, a Matryoshka dictionary several.
    fn decode_codes(
        &self,
        codes: &Self::Codes,
        decoder: &Self::Buffer,
        width: usize,
        bias: Option<&Self::Buffer>,
        ends: &[u32],
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// For y [scales.len(), count]: gives Σ (y[p] − target)² of each prefix p, and turns y[p] into
    /// Σ_{q ≥ p} scales[q] · (y[q] − target), the gradient that the features of prefix p but not p − 1 see.
    fn residual(
        &self,
        target: &Self::Buffer,
        count: usize,
        scales: &[f32],
        y: &mut Self::Buffer,
    ) -> Result<Vec<f64>>;

    // --- gradients ----------------------------------------------------------------------------------------

    /// For `error` [prefixes, n, width] as [`TrainingBackend::residual`] leaves it: the gradient with respect to every
    /// feature value, decoder row · error row, is kept in the codes; `d_decoder` [features, width], where given, becomes
    /// Σ f · error row, or grows by it when `accumulate`.
    fn decoder_backward(
        &self,
        codes: &mut Self::Codes,
        error: &Self::Buffer,
        decoder: &Self::Buffer,
        width: usize,
        ends: &[u32],
        accumulate: bool,
        d_decoder: Option<&mut Self::Buffer>,
    ) -> Result<()>;
    /// The kept gradients become those with respect to z of f = max(z, 0): (d_f + l1)·[f > 0].
    fn relu_backward(&self, codes: &mut Self::Codes, l1: f32) -> Result<()>;
    /// The kept gradients become those with respect to z: d_f·[z > threshold]. `d_threshold` [features] becomes the
    /// straight-through estimate −Σ (threshold · d_f + l0)/bandwidth · [|z − threshold| < bandwidth/2], where `l0` is the
    /// gradient with respect to the number of active pairs (Rajamanoharan et al. 2024b, rectangle kernel).
    fn jump_relu_backward(
        &self,
        codes: &mut Self::Codes,
        threshold: &Self::Buffer,
        bandwidth: f32,
        l0: f32,
        d_threshold: &mut Self::Buffer,
    ) -> Result<()>;
    /// Backward of [`TrainingBackend::magnitude`]: the kept gradients become those with respect to z − gate_bias;
    /// `d_log_scale` and `d_bias` [features] are overwritten.
    fn magnitude_backward(
        &self,
        codes: &mut Self::Codes,
        gate_bias: &Self::Buffer,
        log_scale: &Self::Buffer,
        d_log_scale: &mut Self::Buffer,
        d_bias: &mut Self::Buffer,
    ) -> Result<()>;
    /// With the kept gradients d: `d_encoder` [features, width] becomes Σ d · row of x, or grows by it when
    /// `accumulate`; `d_bias` [features] becomes Σ d.
    fn encoder_backward(
        &self,
        codes: &Self::Codes,
        x: &Self::Buffer,
        width: usize,
        accumulate: bool,
        d_encoder: &mut Self::Buffer,
        d_bias: &mut Self::Buffer,
    ) -> Result<()>;

    // --- rows ---------------------------------------------------------------------------------------------

    /// y = scale · x − shift, row by row; x, y [n, width], shift [width].
    fn scale_and_shift(
        &self,
        x: &Self::Buffer,
        n: usize,
        width: usize,
        scale: f32,
        shift: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// sums [width] = Σ rows of x [n, width], added to `sums` when `accumulate`.
    fn column_sums(
        &self,
        x: &Self::Buffer,
        n: usize,
        width: usize,
        accumulate: bool,
        sums: &mut Self::Buffer,
    ) -> Result<()>;
    /// Σ x² of n elements.
    fn sum_of_squares(&self, x: &Self::Buffer, n: usize) -> Result<f64>;
    /// z = max(z + bias, 0) in place on z [n, features]; NaN stays. Adds to `counts` [features] and gives totals.
    fn relu_rows(
        &self,
        z: &mut Self::Buffer,
        n: usize,
        features: usize,
        bias: &Self::Buffer,
        counts: &mut [u32],
    ) -> Result<CodeTotals>;
    /// d = (d + l1)·[f > 0] in place on d [n, features], f as `relu_rows` leaves it.
    fn relu_rows_backward(
        &self,
        f: &Self::Buffer,
        n: usize,
        features: usize,
        l1: f32,
        d: &mut Self::Buffer,
    ) -> Result<()>;

    // --- optimizer ----------------------------------------------------------------------------------------

    /// Takes from each row of `gradient` [rows, width] its part along the row of `weights`. Rows of zeros stay.
    fn remove_parallel(
        &self,
        gradient: &mut Self::Buffer,
        weights: &Self::Buffer,
        rows: usize,
        width: usize,
    ) -> Result<()>;
    /// One step of Adam on a matrix [rows, width]; with `unit_rows` every row is then brought to length one.
    fn adam(
        &self,
        trained: Trained<'_, Self::Buffer>,
        gradient: &Self::Buffer,
        rows: usize,
        width: usize,
        step: &AdamStep,
        unit_rows: bool,
    ) -> Result<()>;
    /// x = max(x, least) on n elements; NaN stays.
    fn raise_to(&self, x: &mut Self::Buffer, n: usize, least: f32) -> Result<()>;
}
