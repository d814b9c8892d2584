//! ReLU while most features are active: products of whole matrices, some rows at a time.

use glassbox_kernels::TrainingBackend;
use glassbox_kernels::matmul::Layout;
use glassbox_kernels::training::CodeTotals;

use crate::error::Result;
use crate::passes::Losses;
use crate::training_step::TrainingStep;

/// Rows whose feature values exist at one time.
const ROWS: usize = 512;

impl<B: TrainingBackend> TrainingStep<B> {
    /// As the sparse pass: all gradients but for what `finish_gradients` adds.
    pub(crate) fn dense_gradients(
        &mut self,
        batch: &[f32],
        target: Option<&[f32]>,
        n: usize,
        l1: f64,
    ) -> Result<Losses> {
        let shape = self.shape;
        let (width, output_width, features) = (shape.width, shape.output_width, shape.features);
        let l1 = l1 * self.penalty_factor();
        let most = ROWS.min(n);
        let (mut f, mut d_f) = (
            self.backend.zeros(most * features),
            self.backend.zeros(most * features),
        );
        let mut totals = CodeTotals::default();
        let mut squares = 0.0;
        self.room.counts.fill(0);
        for first in (0..n).step_by(ROWS) {
            let rows = ROWS.min(n - first);
            let target = target.map(|target| &target[first * output_width..(first + rows) * output_width]);
            self.load(&batch[first * width..(first + rows) * width], target, rows)
                .map_err(|error| error.rows_from(first))?;
            let (backend, weights, room) = (&self.backend, &mut self.weights, &mut self.room);
            let added = if first == 0 { 0.0 } else { 1.0 };
            let product = |to: &mut B::Buffer,
                           (m, n, k): (usize, usize, usize),
                           (left, left_layout): (&B::Buffer, Layout),
                           (right, right_layout): (&B::Buffer, Layout),
                           kept: f32| {
                backend.matmul(to, m, n, left, left_layout, right, right_layout, k, kept, 1.0)
            };
            use Layout::{Normal, Transposed};

            // f = max(x · encoderᵀ + b, 0).
            let encoder = (&weights.encoder.values, Transposed);
            product(&mut f, (rows, features, width), (&room.x, Normal), encoder, 0.0)?;
            let bias = &weights.encoder_bias.values;
            let part = backend.relu_rows(&mut f, rows, features, bias, &mut room.counts)?;
            totals.active += part.active;
            totals.sum += part.sum;

            // y = b_dec + f · decoder (+ x · skipᵀ), then its gradient.
            let numbers: Vec<u32> = (0..rows as u32).collect();
            backend.set_rows(
                &mut room.y,
                output_width,
                &numbers,
                &weights.decoder_bias.values,
                1,
            )?;
            let decoder = (&weights.decoder.values, Normal);
            let (size, y) = ((rows, output_width, features), &mut room.y);
            product(y, size, (&f, Normal), decoder, 1.0)?;
            if let Some(skip) = &weights.skip {
                let size = (rows, output_width, width);
                product(y, size, (&room.x, Normal), (&skip.values, Transposed), 1.0)?;
            }
            let scale = (2.0 / n as f64) as f32;
            let part = backend.residual(&room.target, rows * output_width, &[scale], y)?;
            squares += part.iter().sum::<f64>();

            // Back through decoder, ReLU and encoder.
            let (y, d_decoder) = (&room.y, &mut weights.decoder.gradient);
            product(
                d_decoder,
                (features, output_width, rows),
                (&f, Transposed),
                (y, Normal),
                added,
            )?;
            let decoder = (&weights.decoder.values, Transposed);
            product(
                &mut d_f,
                (rows, features, output_width),
                (y, Normal),
                decoder,
                0.0,
            )?;
            backend.relu_rows_backward(&f, rows, features, (l1 / n as f64) as f32, &mut d_f)?;
            let d_encoder = &mut weights.encoder.gradient;
            product(
                d_encoder,
                (features, width, rows),
                (&d_f, Transposed),
                (&room.x, Normal),
                added,
            )?;
            let accumulate = first > 0;
            let d_bias = &mut weights.encoder_bias.gradient;
            backend.column_sums(&d_f, rows, features, accumulate, d_bias)?;
            let d_bias = &mut weights.decoder_bias.gradient;
            backend.column_sums(y, rows, output_width, accumulate, d_bias)?;
            if let Some(skip) = &mut weights.skip {
                let size = (output_width, width, rows);
                product(
                    &mut skip.gradient,
                    size,
                    (y, Transposed),
                    (&room.x, Normal),
                    added,
                )?;
            }
        }
        let d_pre = &self.weights.encoder_bias.gradient;
        self.backend.copy(d_pre, features, &mut self.room.d_pre_sums)?;
        let tokens = n as f64;
        Ok(Losses {
            squared_error: squares / tokens,
            reconstruction: squares / tokens,
            penalty: l1 * totals.sum / tokens,
            auxiliary: 0.0,
            l0: totals.active as f64 / tokens,
            l1: totals.sum / tokens,
        })
    }
}
