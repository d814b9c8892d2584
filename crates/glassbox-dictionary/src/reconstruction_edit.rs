//! Edits that replace a row by what the dictionary makes of it.

use std::sync::Arc;

use glassbox_kernels::{Backend, KernelError};
use glassbox_model::edit::RowEdit;

use crate::delta_edit::check_width;
use crate::dictionary::Dictionary;
use crate::normalisation::{read_vec, row_dots};

/// x := decode(f(x)), with one feature set to a value where asked for.
#[derive(Debug)]
pub(crate) struct ReconstructionEdit<B: Backend> {
    dictionary: Arc<Dictionary<B>>,
    set: Option<(u32, f32)>,
}

impl<B: Backend> ReconstructionEdit<B> {
    pub(crate) fn new(dictionary: &Arc<Dictionary<B>>, set: Option<(u32, f32)>) -> Self {
        Self {
            dictionary: Arc::clone(dictionary),
            set,
        }
    }

    /// Writes a value into the set feature's column of n rows of feature values.
    fn set_column(
        &self,
        backend: &B,
        features: &mut B::Buffer,
        n: usize,
        value: f32,
    ) -> Result<(), KernelError> {
        let Some((feature, _)) = self.set else {
            return Ok(());
        };
        let count = self.dictionary.features();
        // Single elements are rows of width one.
        let at: Vec<u32> = (0..n).map(|row| (row * count) as u32 + feature).collect();
        backend.set_rows(features, 1, &at, &backend.upload(&[value]), 1)
    }
}

impl<B: Backend> RowEdit<B> for ReconstructionEdit<B> {
    fn width(&self) -> Option<usize> {
        Some(self.dictionary.width())
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        check_width(self.dictionary.width(), width)?;
        for rows in rows.chunks(self.dictionary.rows_at_a_time()) {
            let n = rows.len();
            let mut before = backend.zeros(n * width);
            backend.gather_rows(x, width, rows, &mut before)?;
            let mut encoded = self.dictionary.encode(&before, n)?;
            if let Some((_, value)) = self.set {
                self.set_column(backend, &mut encoded.features, n, value)?;
            }
            let output = self
                .dictionary
                .decode(&encoded.features, n, &encoded.statistics)?;
            backend.set_rows(x, width, rows, &output, n)?;
        }
        Ok(())
    }

    fn pull_back(
        &self,
        backend: &B,
        x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        check_width(self.dictionary.width(), width)?;
        for rows in rows.chunks(self.dictionary.rows_at_a_time()) {
            let n = rows.len();
            let mut before = backend.zeros(n * width);
            backend.gather_rows(x_before, width, rows, &mut before)?;
            let mut g = backend.zeros(n * width);
            backend.gather_rows(gradient, width, rows, &mut g)?;
            let encoded = self.dictionary.encode(&before, n)?;

            let d_factor = if encoded.statistics.keeps_scale() {
                vec![0.0; n]
            } else {
                // The output is r · factor + mean, so the factor's gradient is r · g.
                let mut features = backend.zeros(n * self.dictionary.features());
                backend.copy(&encoded.features, n * self.dictionary.features(), &mut features)?;
                if let Some((_, value)) = self.set {
                    self.set_column(backend, &mut features, n, value)?;
                }
                let mut products = self.dictionary.decode_normalised(&features, n)?;
                backend.multiply_rows(&mut products, 1, n * width, &g)?;
                let ones = backend.upload(&vec![1.0; width]);
                read_vec(backend, &row_dots(backend, &products, n, &ones, width)?, n)?
            };

            let mut d_output = backend.zeros(n * width);
            backend.copy(&g, n * width, &mut d_output)?;
            encoded.statistics.stretch(backend, &mut d_output, n, width)?;
            let mut d_features = self.dictionary.decode_normalised_backward(&d_output, n)?;
            self.set_column(backend, &mut d_features, n, 0.0)?;
            let d_y = self
                .dictionary
                .encode_normalised_backward(&encoded.features, n, &d_features)?;
            let mut d_x =
                encoded
                    .statistics
                    .backward(backend, &before, n, width, d_y, &d_factor, Some(&g))?;
            if let Some(through_skip) = self.dictionary.skip_backward(&g, n)? {
                backend.add(&through_skip, n * width, &mut d_x)?;
            }
            backend.set_rows(gradient, width, rows, &d_x, n)?;
        }
        Ok(())
    }
}
