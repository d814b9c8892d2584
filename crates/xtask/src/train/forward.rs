//! The forward pass, with everything kept that the backward pass reads.

use anyhow::Result;
use glassbox_kernels::matmul::{Layout, matmul};

use crate::train::attention::{self, Scratch};
use crate::train::batch::Batch;
use crate::train::norm;
use crate::train::parameters::Parameters;
use crate::train::rotary::Rotary;
use crate::train::shape::Shape;

/// Activations of one block.
#[derive(Default)]
pub(super) struct BlockActivations {
    /// Input of the block, [n, d_model].
    pub residual: Vec<f32>,
    pub attention_inverse_rms: Vec<f32>,
    pub attention_normed: Vec<f32>,
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub pattern: Vec<f32>,
    pub z: Vec<f32>,
    /// After attention, [n, d_model].
    pub residual_mid: Vec<f32>,
    pub mlp_inverse_rms: Vec<f32>,
    pub mlp_normed: Vec<f32>,
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    /// `silu(gate) * up`, [n, intermediate].
    pub hidden: Vec<f32>,
}

/// Buffers of one batch; reused from batch to batch.
pub struct Workspace {
    pub(super) rotary: Rotary,
    pub(super) blocks: Vec<BlockActivations>,
    /// Output of the last block, [n, d_model].
    pub(super) residual: Vec<f32>,
    pub(super) final_inverse_rms: Vec<f32>,
    pub(super) final_normed: Vec<f32>,
    /// [n, vocabulary], or one row per document after [`Workspace::last_logits`].
    pub logits: Vec<f32>,
    pub(super) scratch: Scratch,
    pub(super) gradients: super::backward::GradientBuffers,
}

impl Workspace {
    /// Empty buffers for a shape.
    pub fn new(shape: &Shape) -> Self {
        Self {
            rotary: Rotary::new(shape.head_dim, shape.rope_theta, shape.max_positions),
            blocks: (0..shape.layers).map(|_| BlockActivations::default()).collect(),
            residual: Vec::new(),
            final_inverse_rms: Vec::new(),
            final_normed: Vec::new(),
            logits: Vec::new(),
            scratch: Scratch::default(),
            gradients: super::backward::GradientBuffers::default(),
        }
    }

    /// Runs all blocks.
    ///
    /// # Errors
    /// If a buffer does not fit its product, which would be a fault of this code.
    pub fn residuals(&mut self, parameters: &Parameters, batch: &Batch) -> Result<()> {
        let shape = &parameters.shape;
        let (n, d, i) = (batch.len(), shape.d_model, shape.intermediate);
        let (qw, kvw) = (shape.query_width(), shape.key_value_width());
        let weights = &parameters.values;
        let embedding = &weights[parameters.places.embedding.clone()];
        self.residual.clear();
        for &token in &batch.inputs {
            self.residual
                .extend_from_slice(&embedding[token as usize * d..(token as usize + 1) * d]);
        }
        for (block, place) in self.blocks.iter_mut().zip(&parameters.places.blocks) {
            std::mem::swap(&mut block.residual, &mut self.residual);
            let x = &block.residual;
            block.attention_normed.resize(n * d, 0.0);
            block.attention_inverse_rms.resize(n, 0.0);
            let norm_weight = &weights[place.attention_norm.clone()];
            norm::forward(
                &mut block.attention_normed,
                &mut block.attention_inverse_rms,
                x,
                norm_weight,
                shape.rms_eps,
            );
            linear(
                &mut block.query,
                &block.attention_normed,
                &weights[place.query.clone()],
                n,
                qw,
                d,
            )?;
            linear(
                &mut block.key,
                &block.attention_normed,
                &weights[place.key.clone()],
                n,
                kvw,
                d,
            )?;
            linear(
                &mut block.value,
                &block.attention_normed,
                &weights[place.value.clone()],
                n,
                kvw,
                d,
            )?;
            self.rotary.turn(&mut block.query, qw, &batch.documents, 1.0);
            self.rotary.turn(&mut block.key, kvw, &batch.documents, 1.0);
            block
                .pattern
                .resize(attention::pattern_len(&batch.documents, shape.heads), 0.0);
            block.z.resize(n * qw, 0.0);
            attention::forward(
                &mut block.z,
                &mut block.pattern,
                &mut self.scratch,
                (&block.query, &block.key, &block.value),
                &batch.documents,
                shape,
            );
            block.residual_mid.clone_from(x);
            add_linear(
                &mut block.residual_mid,
                &block.z,
                &weights[place.output.clone()],
                n,
                d,
                qw,
            )?;
            block.mlp_normed.resize(n * d, 0.0);
            block.mlp_inverse_rms.resize(n, 0.0);
            let norm_weight = &weights[place.mlp_norm.clone()];
            norm::forward(
                &mut block.mlp_normed,
                &mut block.mlp_inverse_rms,
                &block.residual_mid,
                norm_weight,
                shape.rms_eps,
            );
            linear(
                &mut block.gate,
                &block.mlp_normed,
                &weights[place.gate.clone()],
                n,
                i,
                d,
            )?;
            linear(
                &mut block.up,
                &block.mlp_normed,
                &weights[place.up.clone()],
                n,
                i,
                d,
            )?;
            block.hidden.clear();
            block.hidden.extend(
                block
                    .gate
                    .iter()
                    .zip(&block.up)
                    .map(|(&gate, &up)| gate * up / (1.0 + (-gate).exp())),
            );
            self.residual.clone_from(&block.residual_mid);
            add_linear(
                &mut self.residual,
                &block.hidden,
                &weights[place.down.clone()],
                n,
                d,
                i,
            )?;
        }
        Ok(())
    }

    /// Runs everything; `logits` then holds [n, vocabulary].
    ///
    /// # Errors
    /// As [`Workspace::residuals`].
    pub fn all_logits(&mut self, parameters: &Parameters, batch: &Batch) -> Result<()> {
        self.residuals(parameters, batch)?;
        self.head(parameters, batch.len())
    }

    /// Runs everything, but the head only at the last position of each document; `logits` then holds
    /// [documents, vocabulary].
    ///
    /// # Errors
    /// As [`Workspace::residuals`].
    pub fn last_logits(&mut self, parameters: &Parameters, batch: &Batch) -> Result<()> {
        self.residuals(parameters, batch)?;
        let d = parameters.shape.d_model;
        let last: Vec<f32> = batch
            .documents
            .iter()
            .flat_map(|document| {
                self.residual[(document.end - 1) * d..document.end * d]
                    .iter()
                    .copied()
            })
            .collect();
        self.residual = last;
        self.head(parameters, batch.documents.len())
    }

    fn head(&mut self, parameters: &Parameters, n: usize) -> Result<()> {
        let (d, vocabulary) = (parameters.shape.d_model, parameters.shape.vocabulary);
        self.final_normed.resize(n * d, 0.0);
        self.final_inverse_rms.resize(n, 0.0);
        norm::forward(
            &mut self.final_normed,
            &mut self.final_inverse_rms,
            &self.residual,
            &parameters.values[parameters.places.final_norm.clone()],
            parameters.shape.rms_eps,
        );
        let embedding = &parameters.values[parameters.places.embedding.clone()];
        linear(&mut self.logits, &self.final_normed, embedding, n, vocabulary, d)
    }
}

/// `y = x Wᵀ` with `x` [n, inputs] and `W` [outputs, inputs].
fn linear(y: &mut Vec<f32>, x: &[f32], w: &[f32], n: usize, outputs: usize, inputs: usize) -> Result<()> {
    y.resize(n * outputs, 0.0);
    Ok(matmul(
        y,
        n,
        outputs,
        x,
        Layout::Normal,
        w,
        Layout::Transposed,
        inputs,
        0.0,
        1.0,
    )?)
}

/// `y += x Wᵀ`.
fn add_linear(y: &mut [f32], x: &[f32], w: &[f32], n: usize, outputs: usize, inputs: usize) -> Result<()> {
    Ok(matmul(
        y,
        n,
        outputs,
        x,
        Layout::Normal,
        w,
        Layout::Transposed,
        inputs,
        1.0,
        1.0,
    )?)
}
