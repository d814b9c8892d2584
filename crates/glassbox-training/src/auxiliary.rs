//! The auxiliary loss: dead features reconstruct the error that the others leave (AuxK of Gao et al. 2024).
//!
//! With e = y − ŷ held fixed, ê = Σ f · decoder row over the k largest pre-activations of the dead features (no bias: the
//! error has had it), the loss is coefficient · Σ‖e − ê‖² / Σ‖e‖². Its gradient reaches decoder, encoder and encoder bias
//! of the dead features, and through x − b_dec the decoder's bias.

use glassbox_kernels::TrainingBackend;

use crate::error::Result;
use crate::training_step::TrainingStep;

impl<B: TrainingBackend> TrainingStep<B> {
    /// Adds the gradients, and gives the loss. Called when `room.y` holds the gradient with respect to the output.
    pub(crate) fn auxiliary_gradients(&mut self, n: usize) -> Result<f64> {
        let coefficient = self.settings.auxiliary.coefficient;
        if coefficient == 0.0 || !self.settings.objective.takes_auxiliary() {
            return Ok(0.0);
        }
        let dead = self.dead_features();
        if dead.is_empty() {
            return Ok(0.0);
        }
        let Self {
            backend,
            weights,
            room,
            shape,
            ends,
            settings,
            ..
        } = self;
        let (width, output_width) = (shape.width, shape.output_width);
        let k = settings.auxiliary.k.unwrap_or(width.div_ceil(2)).min(dead.len());

        // The last prefix sees every feature: its part of `room.y` is 2 / (n · prefixes) · (ŷ − y).
        let size = n * output_width;
        let (mut last, mut error) = (backend.zeros(size), backend.zeros(size));
        backend.gather_rows(&room.y, size, &[ends.len() as u32 - 1], &mut last)?;
        let scale = -0.5 * (n * ends.len()) as f32;
        backend.scale_and_shift(&last, n, output_width, scale, None, &mut error)?;
        let energy = backend.sum_of_squares(&error, size)?;
        if energy <= 0.0 {
            return Ok(0.0);
        }

        let rows = |values: &B::Buffer, width: usize| -> Result<B::Buffer> {
            let mut gathered = backend.zeros(dead.len() * width);
            backend.gather_rows(values, width, &dead, &mut gathered)?;
            Ok(gathered)
        };
        let encoder = rows(&weights.encoder.values, width)?;
        let bias = rows(&weights.encoder_bias.values, 1)?;
        let decoder = rows(&weights.decoder.values, output_width)?;
        // The main codes have served; their room is used again.
        let codes = &mut room.codes;
        backend.encode_top_k(&room.x, n, width, &encoder, &bias, dead.len(), k, codes)?;
        let end = [dead.len() as u32];
        let output = &mut last;
        backend.decode_codes(codes, &decoder, output_width, None, &end, output)?;
        let squares = backend.residual(&error, size, &[(2.0 * coefficient / energy) as f32], output)?;

        let mut d_decoder = backend.zeros(dead.len() * output_width);
        let mut d_encoder = backend.zeros(dead.len() * width);
        let mut d_bias = backend.zeros(dead.len());
        let to = Some(&mut d_decoder);
        backend.decoder_backward(codes, output, &decoder, output_width, &end, false, to)?;
        backend.relu_backward(codes, 0.0)?;
        backend.encoder_backward(codes, &room.x, width, false, &mut d_encoder, &mut d_bias)?;
        for (gradient, width, added) in [
            (&mut weights.decoder.gradient, output_width, &d_decoder),
            (&mut weights.encoder.gradient, width, &d_encoder),
            (&mut weights.encoder_bias.gradient, 1, &d_bias),
        ] {
            backend.add_rows(gradient, width, &dead, added, dead.len())?;
        }
        Ok(coefficient * squares.iter().sum::<f64>() / energy)
    }
}
