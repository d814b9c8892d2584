//! One step of training: forward, backward, clip, Adam.

use glassbox_kernels::TrainingBackend;
use glassbox_kernels::training::AdamStep;

use crate::counters::Counters;
use crate::error::{Result, TrainingError};
use crate::objective::Objective;
use crate::passes::{Losses, Room};
use crate::preparation::Preparation;
use crate::schedule::rising;
use crate::settings::DictionarySettings;
use crate::step_report::StepReport;
use crate::weights::{Extras, Weights, read};

/// Sizes of a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Values per row read, d.
    pub width: usize,
    /// Values per row written.
    pub output_width: usize,
    /// Number of features, F.
    pub features: usize,
    /// Whether what is read is also what is written: the encoder then begins equal to the decoder, and reads
    /// x − decoder bias.
    pub tied: bool,
}

impl StepShape {
    /// An autoencoder of rows of `width`.
    pub fn autoencoder(width: usize, features: usize) -> Self {
        Self {
            width,
            output_width: width,
            features,
            tied: true,
        }
    }

    /// A transcoder from rows of `width` to rows of `output_width`.
    pub fn transcoder(width: usize, output_width: usize, features: usize) -> Self {
        Self {
            width,
            output_width,
            features,
            tied: false,
        }
    }
}

/// A dictionary in training: its weights, its optimizer, and what it remembers between batches.
#[derive(Debug)]
pub struct TrainingStep<B: TrainingBackend> {
    pub(crate) backend: B,
    pub(crate) settings: DictionarySettings,
    pub(crate) shape: StepShape,
    pub(crate) preparation: Preparation,
    pub(crate) weights: Weights<B>,
    pub(crate) counters: Counters,
    /// Tokens since each feature was last active.
    pub(crate) silent_for: Vec<u64>,
    pub(crate) room: Room<B>,
    /// What an encoder of another space subtracts, in unit scale: the input's mean.
    pub(crate) centre: B::Buffer,
    /// Where the nested prefixes end.
    pub(crate) ends: Vec<u32>,
    pub(crate) steps: u64,
    dead_after: u64,
}

/// Weights of one matrix: 64 GiB of them, with Adam's moments and gradient four times as much.
const MOST_WEIGHTS: usize = 1 << 34;
/// How often the threshold of a dead feature halves in as many tokens as made it count as dead.
const DEAD_HALVINGS: f64 = 8.0;
/// Of Adam and of clipping, as in PyTorch.
const EPSILON: f64 = 1e-8;
const CLIP_EPSILON: f64 = 1e-6;

impl<B: TrainingBackend> TrainingStep<B> {
    /// A dictionary before its first step, in a run of `steps` steps of `batch` tokens.
    ///
    /// # Errors
    /// [`TrainingError::Setting`].
    pub fn new(
        backend: &B,
        settings: &DictionarySettings,
        shape: StepShape,
        preparation: Preparation,
        steps: u64,
        batch: usize,
    ) -> Result<Self> {
        settings.check()?;
        let weights = shape.features.saturating_mul(shape.width.max(shape.output_width));
        if u32::try_from(shape.features).is_err() || weights > MOST_WEIGHTS {
            return Err(TrainingError::Setting {
                key: format!("dictionary `{}`: features", settings.name()),
                found: shape.features.to_string(),
                expected: format!(
                    "at most {MOST_WEIGHTS} weights per matrix, {} features here",
                    MOST_WEIGHTS / shape.width.max(shape.output_width).max(1)
                ),
            });
        }
        settings.objective.check(shape.features)?;
        if let Some(k) = settings.auxiliary.k.filter(|&k| k > shape.features) {
            return Err(TrainingError::Setting {
                key: "auxiliary.k".to_owned(),
                found: k.to_string(),
                expected: format!("1 to {}, the number of features", shape.features),
            });
        }
        let extras = Extras {
            threshold: matches!(settings.objective, Objective::JumpRelu { .. }),
            magnitude: matches!(settings.objective, Objective::Gated { .. }),
            skip: settings.skip,
        };
        let ends = settings.objective.prefix_ends(shape.features);
        let bias = scaled(&preparation.decoder_bias, preparation.output_scale);
        Ok(Self {
            weights: Weights::new(backend, &shape, extras, settings.seed, &bias),
            centre: centre(backend, &preparation),
            counters: Counters {
                density: 1.0,
                ..Counters::default()
            },
            silent_for: vec![0; shape.features],
            room: Room::new(backend, &shape, ends.len(), 0),
            ends,
            dead_after: settings.dead_after(steps.saturating_mul(batch as u64)),
            backend: backend.clone(),
            settings: settings.clone(),
            preparation,
            shape,
            steps,
        })
    }

    /// Takes over the scales of an earlier run.
    pub(crate) fn set_preparation(&mut self, preparation: Preparation) {
        self.centre = centre(&self.backend, &preparation);
        self.preparation = preparation;
    }

    /// Sizes.
    pub fn shape(&self) -> StepShape {
        self.shape
    }

    /// Steps made.
    pub fn steps_made(&self) -> u64 {
        self.counters.step
    }

    /// Features that have not been active for so long that they count as dead.
    pub fn dead_features(&self) -> Vec<u32> {
        (0..)
            .zip(&self.silent_for)
            .filter(|&(_, &silent)| silent >= self.dead_after)
            .map(|(feature, _)| feature)
            .collect()
    }

    /// One step on rows [n, width] of raw activations: forward, backward, clipping, Adam.
    ///
    /// # Errors
    /// [`TrainingError::Batch`], [`TrainingError::NotFinite`]; [`TrainingError::Diverged`], after which the weights are
    /// those from before the step.
    pub fn step(&mut self, batch: &[f32], n: usize) -> Result<StepReport> {
        self.step_on(batch, None, n)
    }

    /// One step of a transcoder: rows [n, width] and what they should become [n, output width].
    ///
    /// # Errors
    /// As [`TrainingStep::step`].
    pub fn step_pair(&mut self, batch: &[f32], target: &[f32], n: usize) -> Result<StepReport> {
        self.step_on(batch, Some(target), n)
    }

    fn step_on(&mut self, batch: &[f32], target: Option<&[f32]>, n: usize) -> Result<StepReport> {
        let shape = self.shape;
        if (batch.len(), target.is_some()) != (n * shape.width, !shape.tied) || n == 0 {
            return Err(TrainingError::Batch {
                rows: n,
                what: "the input",
                expected: n * shape.width,
                found: batch.len(),
            });
        }
        if let Some(target) = target.filter(|target| target.len() != n * shape.output_width) {
            return Err(TrainingError::Batch {
                rows: n,
                what: "the target",
                expected: n * shape.output_width,
                found: target.len(),
            });
        }
        let losses = self.gradients(batch, target, n)?;
        self.finish_gradients(n)?;
        self.descend(losses, n)
    }

    /// Factor on penalties in this step.
    pub(crate) fn penalty_factor(&self) -> f64 {
        rising(
            self.counters.step,
            share_of(self.settings.sparsity_warm_up, self.steps),
        )
    }

    /// The parts of the gradient that come last: the decoder's bias through x − b_dec, and the decoder's rows without what
    /// would change their length.
    fn finish_gradients(&mut self, n: usize) -> Result<()> {
        let StepShape {
            width,
            features,
            tied,
            ..
        } = self.shape;
        let backend = &self.backend;
        if tied {
            // d b_dec −= Σ_tokens d z · encoder = (Σ_tokens d z) · encoder.
            backend.matmul(
                &mut self.weights.decoder_bias.gradient,
                1,
                width,
                &self.room.d_pre_sums,
                glassbox_kernels::matmul::Layout::Normal,
                &self.weights.encoder.values,
                glassbox_kernels::matmul::Layout::Normal,
                features,
                1.0,
                -1.0,
            )?;
        }
        let decoder = &mut self.weights.decoder;
        backend.remove_parallel(
            &mut decoder.gradient,
            &decoder.values,
            decoder.rows,
            decoder.width,
        )?;
        self.note_activity(n);
        Ok(())
    }

    fn note_activity(&mut self, n: usize) {
        for (silent, count) in self.silent_for.iter_mut().zip(&self.room.counts) {
            *silent = if *count > 0 { 0 } else { *silent + n as u64 };
        }
    }

    /// Clips and descends.
    fn descend(&mut self, losses: Losses, n: usize) -> Result<StepReport> {
        let step = self.counters.step;
        let rate = self.settings.rate(self.shape.features);
        let warm_up = share_of(self.settings.warm_up, self.steps);
        let learning_rate = rate * self.settings.schedule.factor(step, self.steps, warm_up);
        let mut square = 0.0;
        for parameter in self.weights.all() {
            square += self
                .backend
                .sum_of_squares(&parameter.gradient, parameter.len())?;
        }
        let norm = square.sqrt();
        for (what, value) in [("the loss", losses.total()), ("the gradient's norm", norm)] {
            if !value.is_finite() {
                return Err(TrainingError::Diverged {
                    dictionary: self.settings.name(),
                    step,
                    what,
                    value,
                    learning_rate,
                });
            }
        }
        let clip = self.settings.gradient_clip;
        let adam = AdamStep {
            learning_rate,
            beta1: self.settings.beta1,
            beta2: self.settings.beta2,
            epsilon: EPSILON,
            step: step + 1,
            gradient_scale: if clip > 0.0 {
                (clip / (norm + CLIP_EPSILON)).min(1.0) as f32
            } else {
                1.0
            },
        };
        for parameter in self.weights.all_mut() {
            let unit_rows = parameter.name == "decoder";
            parameter.descend(&self.backend, &adam, unit_rows)?;
        }
        if let Some(threshold) = &mut self.weights.threshold {
            let len = threshold.len();
            self.backend.raise_to(&mut threshold.values, len, 0.0)?;
        }
        self.lower_dead_thresholds(n)?;
        self.counters.step += 1;
        self.counters.tokens += n as u64;
        Ok(StepReport {
            step,
            loss: losses.total(),
            squared_error: losses.squared_error,
            l0: losses.l0,
            l1: losses.l1,
            auxiliary_loss: losses.auxiliary,
            gradient_norm: norm,
            learning_rate,
            dead: self.dead_features().len(),
        })
    }
}

impl<B: TrainingBackend> TrainingStep<B> {
    /// Lets the thresholds of dead features fall until they fire. No gradient reaches such a threshold, because no value comes near it:
    /// the auxiliary loss teaches the feature what the others leave over, which is small, and a threshold from the beginning of
    /// the run is above all of it.
    fn lower_dead_thresholds(&mut self, n: usize) -> Result<()> {
        let dead = self.dead_features();
        let Some(threshold) = self.weights.threshold.as_mut().filter(|_| !dead.is_empty()) else {
            return Ok(());
        };
        let factor = (-DEAD_HALVINGS * n as f64 / self.dead_after as f64).exp2() as f32;
        let mut values = read(&self.backend, &threshold.values, self.shape.features)?;
        for feature in dead {
            values[feature as usize] *= factor;
        }
        self.backend.write(&mut threshold.values, 0, &values)?;
        Ok(())
    }
}

/// The input's mean in unit scale.
fn centre<B: TrainingBackend>(backend: &B, preparation: &Preparation) -> B::Buffer {
    backend.upload(&scaled(&preparation.input_mean, preparation.input_scale))
}

fn scaled(values: &[f32], scale: f64) -> Vec<f32> {
    values
        .iter()
        .map(|&value| (f64::from(value) * scale) as f32)
        .collect()
}

/// Steps in a share of the run.
fn share_of(share: f64, steps: u64) -> u64 {
    (share * steps as f64).round() as u64
}
