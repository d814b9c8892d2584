//! Cross-entropy and the backward pass to every weight.

use anyhow::Result;
use glassbox_kernels::matmul::{Layout, matmul};

use crate::train::attention;
use crate::train::batch::Batch;
use crate::train::forward::Workspace;
use crate::train::norm;
use crate::train::parameters::Parameters;

/// Gradients of activations, reused from block to block.
#[derive(Default)]
pub(super) struct GradientBuffers {
    residual: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    z: Vec<f32>,
    hidden: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Workspace {
    /// Runs forward and backward. Adds the gradient of the summed cross-entropy times `scale` to `gradient`,
    /// and returns the summed cross-entropy in nats.
    ///
    /// # Errors
    /// If a buffer does not fit its product, which would be a fault of this code.
    pub fn gradient(
        &mut self,
        parameters: &Parameters,
        batch: &Batch,
        scale: f32,
        gradient: &mut [f32],
    ) -> Result<f64> {
        self.all_logits(parameters, batch)?;
        let shape = &parameters.shape;
        let (n, d, i, vocabulary) = (batch.len(), shape.d_model, shape.intermediate, shape.vocabulary);
        let (qw, kvw) = (shape.query_width(), shape.key_value_width());
        let weights = &parameters.values;
        let places = &parameters.places;
        let mut loss = 0.0;
        for (logits, &target) in self.logits.chunks_exact_mut(vocabulary).zip(&batch.targets) {
            loss += negative_log_likelihood(logits, target as usize);
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = logits
                .iter_mut()
                .map(|logit| {
                    *logit = (*logit - highest).exp();
                    *logit
                })
                .sum();
            logits.iter_mut().for_each(|logit| *logit *= scale / sum);
            logits[target as usize] -= scale;
        }
        let buffers = &mut self.gradients;
        let dlogits = &self.logits;
        let embedding = places.embedding.clone();
        add_outer(
            &mut gradient[embedding.clone()],
            dlogits,
            &self.final_normed,
            n,
            vocabulary,
            d,
        )?;
        back(
            &mut buffers.normed,
            dlogits,
            &weights[embedding.clone()],
            n,
            vocabulary,
            d,
            0.0,
        )?;
        zero(&mut buffers.residual, n * d);
        norm::backward(
            &mut buffers.residual,
            &mut gradient[places.final_norm.clone()],
            &buffers.normed,
            &self.residual,
            &self.final_inverse_rms,
            &weights[places.final_norm.clone()],
        );
        for (block, place) in self.blocks.iter().zip(&places.blocks).rev() {
            let dresidual = &mut buffers.residual;
            // MLP: residual = residual_mid + W_down (silu(gate) * up).
            add_outer(
                &mut gradient[place.down.clone()],
                dresidual,
                &block.hidden,
                n,
                d,
                i,
            )?;
            back(
                &mut buffers.hidden,
                dresidual,
                &weights[place.down.clone()],
                n,
                d,
                i,
                0.0,
            )?;
            buffers.gate.clear();
            buffers.up.clear();
            for ((&dhidden, &gate), &up) in buffers.hidden.iter().zip(&block.gate).zip(&block.up) {
                let sigmoid = 1.0 / (1.0 + (-gate).exp());
                buffers.up.push(dhidden * gate * sigmoid);
                buffers
                    .gate
                    .push(dhidden * up * sigmoid * (1.0 + gate * (1.0 - sigmoid)));
            }
            add_outer(
                &mut gradient[place.gate.clone()],
                &buffers.gate,
                &block.mlp_normed,
                n,
                i,
                d,
            )?;
            add_outer(
                &mut gradient[place.up.clone()],
                &buffers.up,
                &block.mlp_normed,
                n,
                i,
                d,
            )?;
            back(
                &mut buffers.normed,
                &buffers.gate,
                &weights[place.gate.clone()],
                n,
                i,
                d,
                0.0,
            )?;
            back(
                &mut buffers.normed,
                &buffers.up,
                &weights[place.up.clone()],
                n,
                i,
                d,
                1.0,
            )?;
            norm::backward(
                dresidual,
                &mut gradient[place.mlp_norm.clone()],
                &buffers.normed,
                &block.residual_mid,
                &block.mlp_inverse_rms,
                &weights[place.mlp_norm.clone()],
            );
            // Attention: residual_mid = residual + W_o z.
            add_outer(&mut gradient[place.output.clone()], dresidual, &block.z, n, d, qw)?;
            back(
                &mut buffers.z,
                dresidual,
                &weights[place.output.clone()],
                n,
                d,
                qw,
                0.0,
            )?;
            zero(&mut buffers.query, n * qw);
            zero(&mut buffers.key, n * kvw);
            zero(&mut buffers.value, n * kvw);
            attention::backward(
                (&mut buffers.query, &mut buffers.key, &mut buffers.value),
                &mut self.scratch,
                &buffers.z,
                &block.pattern,
                (&block.query, &block.key, &block.value),
                &batch.documents,
                shape,
            );
            self.rotary.turn(&mut buffers.query, qw, &batch.documents, -1.0);
            self.rotary.turn(&mut buffers.key, kvw, &batch.documents, -1.0);
            let normed = &block.attention_normed;
            add_outer(
                &mut gradient[place.query.clone()],
                &buffers.query,
                normed,
                n,
                qw,
                d,
            )?;
            add_outer(&mut gradient[place.key.clone()], &buffers.key, normed, n, kvw, d)?;
            add_outer(
                &mut gradient[place.value.clone()],
                &buffers.value,
                normed,
                n,
                kvw,
                d,
            )?;
            back(
                &mut buffers.normed,
                &buffers.query,
                &weights[place.query.clone()],
                n,
                qw,
                d,
                0.0,
            )?;
            back(
                &mut buffers.normed,
                &buffers.key,
                &weights[place.key.clone()],
                n,
                kvw,
                d,
                1.0,
            )?;
            back(
                &mut buffers.normed,
                &buffers.value,
                &weights[place.value.clone()],
                n,
                kvw,
                d,
                1.0,
            )?;
            norm::backward(
                dresidual,
                &mut gradient[place.attention_norm.clone()],
                &buffers.normed,
                &block.residual,
                &block.attention_inverse_rms,
                &weights[place.attention_norm.clone()],
            );
        }
        let dembedding = &mut gradient[embedding];
        for (&token, dresidual) in batch.inputs.iter().zip(buffers.residual.chunks_exact(d)) {
            let row = &mut dembedding[token as usize * d..(token as usize + 1) * d];
            row.iter_mut()
                .zip(dresidual)
                .for_each(|(sum, &value)| *sum += value);
        }
        Ok(loss)
    }
}

/// `-log softmax(logits)[target]`, nats.
pub fn negative_log_likelihood(logits: &[f32], target: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from((logit - highest).exp()))
        .sum();
    sum.ln() - f64::from(logits[target] - highest)
}

/// `dw += dyᵀ x` with `dy` [n, outputs], `x` [n, inputs].
fn add_outer(dw: &mut [f32], dy: &[f32], x: &[f32], n: usize, outputs: usize, inputs: usize) -> Result<()> {
    Ok(matmul(
        dw,
        outputs,
        inputs,
        dy,
        Layout::Transposed,
        x,
        Layout::Normal,
        n,
        1.0,
        1.0,
    )?)
}

/// `dx = keep * dx + dy W` with `dy` [n, outputs], `W` [outputs, inputs].
fn back(
    dx: &mut Vec<f32>,
    dy: &[f32],
    w: &[f32],
    n: usize,
    outputs: usize,
    inputs: usize,
    keep: f32,
) -> Result<()> {
    dx.resize(n * inputs, 0.0);
    Ok(matmul(
        dx,
        n,
        inputs,
        dy,
        Layout::Normal,
        w,
        Layout::Normal,
        outputs,
        keep,
        1.0,
    )?)
}

fn zero(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::shape::Shape;

    fn tiny() -> (Parameters, Batch) {
        let shape = Shape {
            vocabulary: 11,
            d_model: 8,
            layers: 2,
            heads: 4,
            key_value_heads: 2,
            head_dim: 4,
            intermediate: 12,
            rope_theta: 100.0,
            rms_eps: 1e-5,
            max_positions: 16,
        };
        let mut parameters = Parameters::initialize(shape, 5);
        // Larger weights and uneven norms: little curvature over the difference step, no gradient lost in rounding.
        for (index, value) in parameters.values.iter_mut().enumerate() {
            *value += 0.4 * ((index * 7 % 13) as f32 - 6.0) / 6.0;
        }
        let batch = Batch::of_tokens([&[0u32, 3, 5, 2, 9, 5, 1][..], &[0, 4, 4, 10, 1]]);
        (parameters, batch)
    }

    #[test]
    fn weight_gradients_match_finite_differences() {
        let (mut parameters, batch) = tiny();
        let mut workspace = Workspace::new(&parameters.shape);
        let mut gradient = vec![0.0; parameters.values.len()];
        workspace
            .gradient(&parameters, &batch, 1.0, &mut gradient)
            .unwrap();
        let mut loss = |parameters: &Parameters| {
            workspace
                .gradient(parameters, &batch, 1.0, &mut vec![0.0; parameters.values.len()])
                .unwrap()
        };
        for tensor in parameters.places.tensors.clone() {
            for step in 0..6 {
                let index = tensor.range.start + (step * 31 + 3) % tensor.range.len();
                let original = parameters.values[index];
                let h = 2e-3;
                parameters.values[index] = original + h;
                let above = loss(&parameters);
                parameters.values[index] = original - h;
                let below = loss(&parameters);
                parameters.values[index] = original;
                let expected = (above - below) / (2.0 * f64::from(h));
                let found = f64::from(gradient[index]);
                assert!(
                    (expected - found).abs() < 5e-3 + 1e-2 * expected.abs(),
                    "{} [{index}]: finite difference {expected}, backward {found}",
                    tensor.name
                );
            }
        }
    }

    #[test]
    fn documents_of_a_batch_do_not_see_one_another_nor_the_future() {
        let (parameters, batch) = tiny();
        let mut workspace = Workspace::new(&parameters.shape);
        workspace.all_logits(&parameters, &batch).unwrap();
        let together = workspace.logits.clone();
        let alone = Batch::of_tokens([&[0u32, 4, 4, 10, 1][..]]);
        workspace.all_logits(&parameters, &alone).unwrap();
        let vocabulary = parameters.shape.vocabulary;
        for (a, b) in workspace.logits.iter().zip(&together[6 * vocabulary..]) {
            assert!((a - b).abs() < 1e-5);
        }
        let shorter = Batch::of_tokens([&[0u32, 3, 5, 1][..]]);
        workspace.all_logits(&parameters, &shorter).unwrap();
        for (a, b) in workspace.logits.iter().zip(&together) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}
