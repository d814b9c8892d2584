//! Forward and backward over sparse codes, for every objective.

use glassbox_kernels::TrainingBackend;
use glassbox_kernels::matmul::Layout;

use crate::error::{Result, TrainingError};
use crate::objective::Objective;
use crate::training_step::{StepShape, TrainingStep};
use crate::weights::read;

/// From this share of active pairs on, products of whole matrices are faster than sparse ones.
pub(crate) const DENSE: f64 = 1.0 / 8.0;
/// Of the least value kept in a batch, what the next batch looks at first.
const BOUND: f32 = 0.9;
/// Rows of a batch that first thresholds are estimated from.
const ESTIMATED_FROM: usize = 1024;

/// The terms of the loss, each a mean over tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    pub squared_error: f64,
    /// What is descended on of the reconstruction: the mean over prefixes.
    pub reconstruction: f64,
    pub penalty: f64,
    pub auxiliary: f64,
    pub l0: f64,
    pub l1: f64,
}

impl Losses {
    pub fn total(&self) -> f64 {
        self.reconstruction + self.penalty + self.auxiliary
    }
}

/// Buffers of a batch, made with the first one and kept.
#[derive(Debug)]
pub(crate) struct Room<B: TrainingBackend> {
    /// Rows that the buffers are made for.
    pub rows: usize,
    /// Raw rows, then what is read in unit scale, less its centre [n, width].
    pub raw: B::Buffer,
    pub x: B::Buffer,
    /// What is to be written, in unit scale [n, output width].
    pub target: B::Buffer,
    /// Reconstructions of all prefixes, then their errors [prefixes, n, output width].
    pub y: B::Buffer,
    pub codes: B::Codes,
    /// Of a gated dictionary, its magnitudes.
    pub magnitudes: B::Codes,
    /// Σ over tokens of the gradient with respect to W(x − b_dec) [features].
    pub d_pre_sums: B::Buffer,
    /// A second vector of features.
    pub spare: B::Buffer,
    /// Tokens of the batch in which each feature was active.
    pub counts: Vec<u32>,
}

impl<B: TrainingBackend> Room<B> {
    /// Buffers for `rows` rows of a dictionary with so many prefixes.
    pub fn new(backend: &B, shape: &StepShape, prefixes: usize, rows: usize) -> Self {
        let widest = shape.width.max(shape.output_width);
        Self {
            rows,
            raw: backend.zeros(rows * widest),
            x: backend.zeros(rows * shape.width),
            target: backend.zeros(rows * shape.output_width),
            y: backend.zeros(prefixes * rows * shape.output_width),
            codes: B::Codes::default(),
            magnitudes: B::Codes::default(),
            d_pre_sums: backend.zeros(shape.features),
            spare: backend.zeros(shape.features),
            counts: vec![0; shape.features],
        }
    }
}

impl<B: TrainingBackend> TrainingStep<B> {
    /// Forward and backward: all gradients but for what `finish_gradients` adds.
    pub(crate) fn gradients(&mut self, batch: &[f32], target: Option<&[f32]>, n: usize) -> Result<Losses> {
        self.room.counts.fill(0);
        let losses = match self.settings.objective {
            Objective::Relu { l1 } if self.counters.density >= DENSE => {
                self.dense_gradients(batch, target, n, l1)?
            }
            _ => {
                self.load(batch, target, n)?;
                self.sparse_gradients(n)?
            }
        };
        self.counters.density = losses.l0 / self.shape.features as f64;
        Ok(losses)
    }

    /// Brings rows to the device, in unit scale.
    pub(crate) fn load(&mut self, batch: &[f32], target: Option<&[f32]>, n: usize) -> Result<()> {
        let shape = self.shape;
        if self.room.rows < n {
            self.room = Room::new(&self.backend, &shape, self.ends.len(), n);
        }
        let (backend, room) = (&self.backend, &mut self.room);
        let scale = self.preparation.input_scale as f32;
        write_finite(backend, &self.settings.site, batch, shape.width, &mut room.raw)?;
        let centre = match target {
            None => {
                backend.scale_and_shift(&room.raw, n, shape.width, scale, None, &mut room.target)?;
                &self.weights.decoder_bias.values
            }
            Some(_) => &self.centre,
        };
        backend.scale_and_shift(&room.raw, n, shape.width, scale, Some(centre), &mut room.x)?;
        if let Some(target) = target {
            let site = self
                .settings
                .output_site
                .as_deref()
                .unwrap_or(&self.settings.site);
            write_finite(backend, site, target, shape.output_width, &mut room.raw)?;
            let scale = self.preparation.output_scale as f32;
            backend.scale_and_shift(&room.raw, n, shape.output_width, scale, None, &mut room.target)?;
        }
        Ok(())
    }

    fn sparse_gradients(&mut self, n: usize) -> Result<Losses> {
        self.encode(n)?;
        if let Objective::Gated { l1 } = self.settings.objective {
            return self.gated_gradients(n, l1);
        }
        let mut losses = self.reconstruct(n)?;
        let factor = self.penalty_factor();
        let tokens = n as f64;
        let Self {
            backend,
            weights,
            room,
            shape,
            ends,
            ..
        } = self;
        backend.decoder_backward(
            &mut room.codes,
            &room.y,
            &weights.decoder.values,
            shape.output_width,
            ends,
            false,
            Some(&mut weights.decoder.gradient),
        )?;
        match (&self.settings.objective, &mut weights.threshold) {
            (Objective::Relu { l1 }, _) => {
                let l1 = l1 * factor;
                losses.penalty = l1 * losses.l1;
                backend.relu_backward(&mut room.codes, (l1 / tokens) as f32)?;
            }
            (
                &Objective::JumpRelu {
                    l0: wanted,
                    coefficient,
                    ..
                },
                Some(threshold),
            ) => {
                let distance = losses.l0 / wanted - 1.0;
                losses.penalty = coefficient * factor * distance * distance;
                let d_l0 = 2.0 * coefficient * factor * distance / (wanted * tokens);
                backend.jump_relu_backward(
                    &mut room.codes,
                    &threshold.values,
                    self.counters.bandwidth.unwrap_or(f32::MIN_POSITIVE),
                    d_l0 as f32,
                    &mut threshold.gradient,
                )?;
            }
            _ => backend.relu_backward(&mut room.codes, 0.0)?,
        }
        backend.encoder_backward(
            &room.codes,
            &room.x,
            shape.width,
            false,
            &mut weights.encoder.gradient,
            &mut weights.encoder_bias.gradient,
        )?;
        self.output_gradients(n)?;
        losses.auxiliary = self.auxiliary_gradients(n)?;
        let features = self.shape.features;
        self.backend.copy(
            &self.weights.encoder_bias.gradient,
            features,
            &mut self.room.d_pre_sums,
        )?;
        Ok(losses)
    }

    /// The output of the codes, and its error: `room.y` becomes the gradient with respect to it.
    fn reconstruct(&mut self, n: usize) -> Result<Losses> {
        let Self {
            backend,
            weights,
            room,
            shape,
            ends,
            settings,
            ..
        } = self;
        let width = shape.output_width;
        let codes = match settings.objective {
            Objective::Gated { .. } => &room.magnitudes,
            _ => &room.codes,
        };
        let totals = backend.count_codes(codes, &mut room.counts)?;
        let bias = Some(&weights.decoder_bias.values);
        backend.decode_codes(codes, &weights.decoder.values, width, bias, ends, &mut room.y)?;
        if let Some(skip) = &weights.skip {
            let mut added = backend.zeros(n * width);
            backend.matmul(
                &mut added,
                n,
                width,
                &room.x,
                Layout::Normal,
                &skip.values,
                Layout::Transposed,
                shape.width,
                0.0,
                1.0,
            )?;
            let prefixes: Vec<u32> = (0..ends.len() as u32).collect();
            backend.add_rows(&mut room.y, n * width, &prefixes, &added, 1)?;
        }
        let weight = 1.0 / ends.len() as f64;
        let scales = vec![(2.0 * weight / n as f64) as f32; ends.len()];
        let squares = backend.residual(&room.target, n * width, &scales, &mut room.y)?;
        let tokens = n as f64;
        Ok(Losses {
            squared_error: squares.last().copied().unwrap_or(0.0) / tokens,
            reconstruction: squares.iter().sum::<f64>() * weight / tokens,
            l0: totals.active as f64 / tokens,
            l1: totals.sum / tokens,
            ..Losses::default()
        })
    }

    /// Gradients of what is added to the output as it is: the decoder's bias, the skip connection.
    fn output_gradients(&mut self, n: usize) -> Result<()> {
        let Self {
            backend,
            weights,
            room,
            shape,
            ..
        } = self;
        let width = shape.output_width;
        backend.column_sums(&room.y, n, width, false, &mut weights.decoder_bias.gradient)?;
        if let Some(skip) = &mut weights.skip {
            backend.matmul(
                &mut skip.gradient,
                width,
                shape.width,
                &room.y,
                Layout::Transposed,
                &room.x,
                Layout::Normal,
                n,
                0.0,
                1.0,
            )?;
        }
        Ok(())
    }

    /// As `sparse_gradients`, for gates and magnitudes.
    fn gated_gradients(&mut self, n: usize, l1: f64) -> Result<Losses> {
        let mut losses = self.reconstruct(n)?;
        self.output_gradients(n)?;
        let l1 = l1 * self.penalty_factor();
        let Self {
            backend,
            weights,
            room,
            shape,
            ends,
            ..
        } = self;
        let width = shape.output_width;
        backend.decoder_backward(
            &mut room.magnitudes,
            &room.y,
            &weights.decoder.values,
            width,
            ends,
            false,
            Some(&mut weights.decoder.gradient),
        )?;
        // What the gates alone reconstruct; decoder and bias are held fixed. A skip connection is not part of it.
        let bias = Some(&weights.decoder_bias.values);
        backend.decode_codes(
            &room.codes,
            &weights.decoder.values,
            width,
            bias,
            ends,
            &mut room.y,
        )?;
        let scale = (2.0 / n as f64) as f32;
        let squares = backend.residual(&room.target, n * width, &[scale], &mut room.y)?;
        backend.decoder_backward(
            &mut room.codes,
            &room.y,
            &weights.decoder.values,
            width,
            ends,
            false,
            None,
        )?;
        let mut ignored = vec![0; shape.features];
        let gates = backend.count_codes(&room.codes, &mut ignored)?;
        losses.penalty = l1 * gates.sum / n as f64;
        losses.auxiliary = squares.iter().sum::<f64>() / n as f64;
        backend.relu_backward(&mut room.codes, (l1 / n as f64) as f32)?;
        if let Some([log_scale, magnitude_bias]) = &mut weights.magnitude {
            backend.magnitude_backward(
                &mut room.magnitudes,
                &weights.encoder_bias.values,
                &log_scale.values,
                &mut log_scale.gradient,
                &mut magnitude_bias.gradient,
            )?;
        }
        let encoder = &mut weights.encoder.gradient;
        backend.encoder_backward(
            &room.codes,
            &room.x,
            shape.width,
            false,
            encoder,
            &mut weights.encoder_bias.gradient,
        )?;
        backend.encoder_backward(
            &room.magnitudes,
            &room.x,
            shape.width,
            true,
            encoder,
            &mut room.d_pre_sums,
        )?;
        backend.add(
            &weights.encoder_bias.gradient,
            shape.features,
            &mut room.d_pre_sums,
        )?;
        Ok(losses)
    }

    /// Fills the codes of the loaded rows by the objective's rule.
    fn encode(&mut self, n: usize) -> Result<()> {
        match self.settings.objective {
            Objective::TopK { k } => {
                let Self {
                    backend,
                    weights,
                    room,
                    shape,
                    ..
                } = self;
                let (encoder, bias) = (&weights.encoder.values, &weights.encoder_bias.values);
                let (width, features) = (shape.width, shape.features);
                backend.encode_top_k(&room.x, n, width, encoder, bias, features, k, &mut room.codes)?;
            }
            Objective::BatchTopK { k } | Objective::Matryoshka { k, .. } => {
                let least = self.encode_largest(n, k * n)?;
                self.counters.bound = least.map(|least| BOUND * least);
                if let Some(least) = least {
                    self.counters.follow_threshold(f64::from(least));
                }
            }
            Objective::Relu { .. } => self.encode_above(n, 0.0)?,
            Objective::Gated { .. } => {
                self.encode_above(n, 0.0)?;
                let Self {
                    backend,
                    weights,
                    room,
                    ..
                } = self;
                backend.copy_codes(&room.codes, &mut room.magnitudes)?;
                if let Some([log_scale, magnitude_bias]) = &weights.magnitude {
                    backend.magnitude(
                        &mut room.magnitudes,
                        &weights.encoder_bias.values,
                        &log_scale.values,
                        &magnitude_bias.values,
                    )?;
                }
            }
            Objective::JumpRelu { l0, bandwidth, .. } => self.encode_jump_relu(n, l0, bandwidth)?,
        }
        Ok(())
    }

    /// The pre-activations above one bound.
    fn encode_above(&mut self, n: usize, bound: f32) -> Result<()> {
        let features = self.shape.features;
        self.backend.fill(&mut self.room.spare, features, bound)?;
        self.encode_above_spare(n)
    }

    /// The pre-activations above the bounds that stand in `room.spare`, one per feature.
    fn encode_above_spare(&mut self, n: usize) -> Result<()> {
        let Self {
            backend,
            weights,
            room,
            shape,
            ..
        } = self;
        backend.encode_above(
            &room.x,
            n,
            shape.width,
            &weights.encoder.values,
            &weights.encoder_bias.values,
            shape.features,
            &room.spare,
            &mut room.codes,
        )?;
        Ok(())
    }

    /// The `count` largest pre-activations above zero of the first `n` rows together. What the last batch kept bounds what
    /// is looked at; when that is too little, all are.
    fn encode_largest(&mut self, n: usize, count: usize) -> Result<Option<f32>> {
        let bound = self.counters.bound.unwrap_or(0.0).max(0.0);
        self.encode_above(n, bound)?;
        if bound > 0.0 && self.backend.code_pairs(&self.room.codes) < count {
            self.encode_above(n, 0.0)?;
        }
        Ok(self.backend.keep_largest(&mut self.room.codes, count)?)
    }

    fn encode_jump_relu(&mut self, n: usize, l0: f64, bandwidth: f64) -> Result<()> {
        let features = self.shape.features;
        if self.counters.bandwidth.is_none() {
            // One threshold for all features, with which the first rows have the number of active features asked for.
            let rows = n.min(ESTIMATED_FROM);
            let least = self.encode_largest(rows, (l0 * rows as f64).round().max(1.0) as usize)?;
            let least = least
                .filter(|least| least.is_finite() && *least > 0.0)
                .unwrap_or(1e-3);
            if let Some(threshold) = &mut self.weights.threshold {
                self.backend.fill(&mut threshold.values, features, least)?;
            }
            self.counters.bandwidth = Some((bandwidth * f64::from(least)) as f32);
        }
        let half = 0.5 * self.counters.bandwidth.unwrap_or(0.0);
        let Some(threshold) = &self.weights.threshold else {
            return Ok(());
        };
        // Pairs somewhat below the threshold tell it where to go.
        let mut bound = read(&self.backend, &threshold.values, features)?;
        bound.iter_mut().for_each(|bound| *bound -= half);
        self.backend.write(&mut self.room.spare, 0, &bound)?;
        self.encode_above_spare(n)?;
        if let Some(threshold) = &self.weights.threshold {
            self.backend.jump_relu(&mut self.room.codes, &threshold.values)?;
        }
        Ok(())
    }
}

/// Writes rows into a buffer and checks them.
pub(crate) fn write_finite<B: TrainingBackend>(
    backend: &B,
    site: &str,
    rows: &[f32],
    width: usize,
    to: &mut B::Buffer,
) -> Result<()> {
    backend.write(to, 0, rows)?;
    match backend.first_non_finite(to, rows.len() / width, width)? {
        None => Ok(()),
        Some((row, column)) => Err(TrainingError::NotFinite {
            site: site.to_owned(),
            row,
            column,
            value: rows[row * width + column],
        }),
    }
}
