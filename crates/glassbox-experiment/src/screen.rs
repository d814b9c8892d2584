//! Screening: the first-order effect of every feature of every layer on one scalar, from one pass forward and one back per
//! prompt, so that trials go where they matter.
//!
//! Attribution patching (Nanda 2023; Syed et al. 2023, "Attribution patching outperforms automated circuit discovery"; Kramár
//! et al. 2024, "AtP*"), with dictionary features as nodes as in Marks et al. 2024, "Sparse feature circuits". With
//! g = ∂ scalar / ∂ resid_post(L, p), d_i the decoder row of feature i and P the positions at which the sweep edits:
//!
//! ```text
//! values:  effect_i = Σ_{p ∈ P} (B_i − A_i) · (d_i · g_p)       set to value B, minus set to value A
//! zero:    effect_i = Σ_{p ∈ P} (0 − f_i(x_p)) · (d_i · g_p)    ablated, minus untouched
//! ```
//!
//! Signs are second minus first, as everywhere. Both are the first-order effects of the delta edit x + (v − f_i(x))·d_i; the
//! decoder row is added whether or not the feature is active, since a delta edit adds it too. With steps n > 1 the
//! gradient is the mean over n points of a straight path on which all features of one layer move together (integrated
//! gradients, Sundararajan et al. 2017, midpoint rule): from all at A to all at B, or from their own values to zero. That
//! costs n passes per layer and prompt instead of one per prompt.
//!
//! What a gradient cannot see: effects beyond first order, such as a softmax that saturates or a threshold that is
//! crossed on the way. [`crate::screen_check`] measures how much that is.

use std::sync::Arc;

use glassbox_dictionary::{Dictionary, InputNormalisation};
use glassbox_kernels::Backend;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::Add;
use glassbox_model::forward::{ForwardRequest, Residual, Start, Workspace};
use glassbox_model::record::Recording;
use glassbox_model::site::Site;

use crate::error::ExperimentError;
use crate::readout::{Readout, ScreenTarget};
use crate::scenario::InterventionPositions;
use crate::session::Session;

/// Name of the stage in events and errors.
pub const STAGE: &str = "screen";

/// Which edit's effect is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenMode {
    /// Set to value B minus set to value A.
    Values,
    /// Set to zero minus left alone.
    Zero,
}

impl ScreenMode {
    /// The name in tables and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Zero => "zero",
        }
    }
}

/// Passes that were made; one over all rows of a prompt counts as one, wherever it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Forward.
    pub forward: u64,
    /// Backward.
    pub backward: u64,
}

/// One layer of a screen.
#[derive(Debug)]
pub struct ScreenLayer {
    /// Block index.
    pub layer: u32,
    pub(crate) dictionary: Arc<Dictionary<CpuBackend>>,
    /// Value A of every feature.
    pub(crate) values_a: Vec<f32>,
    /// Value B of every feature.
    pub(crate) values_b: Vec<f32>,
}

/// A screen of chosen layers.
#[derive(Debug)]
pub struct Screen<'a> {
    session: &'a Session,
    mode: ScreenMode,
    positions: InterventionPositions,
    steps: u32,
    layers: Vec<ScreenLayer>,
}

/// Residuals of the edited positions, and what the path needs.
struct Edited<'a> {
    rows: usize,
    positions: &'a [u32],
    width: usize,
}

/// That a dictionary does not normalise each row by itself, so that a feature's direction is one vector.
pub(crate) fn check_fixed_directions(dictionary: &Dictionary<CpuBackend>) -> Result<(), ExperimentError> {
    let description = dictionary.description();
    let normalisation = description.input_normalisation;
    if normalisation == InputNormalisation::None {
        return Ok(());
    }
    Err(ExperimentError::Data {
        stage: STAGE,
        what: format!(
            "the dictionary of {} normalises each row by itself ({normalisation}), so that its features have no fixed \
             direction; screen with dictionaries that do not",
            description.site
        ),
    })
}

impl<'a> Screen<'a> {
    /// A screen of every layer that acts on the target. `means` gives (mean A, mean B) of a layer's features.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] if no layer with a dictionary lies before the target, or a dictionary normalises each row by
    /// itself, so that a feature's direction is not one vector.
    pub fn new(
        session: &'a Session,
        target: &ScreenTarget,
        mode: ScreenMode,
        positions: InterventionPositions,
        steps: u32,
        means: impl Fn(u32, usize) -> (Vec<f32>, Vec<f32>),
    ) -> Result<Self, ExperimentError> {
        let refuse = |what: String| Err(ExperimentError::Data { stage: STAGE, what });
        let mut layers = Vec::new();
        for layer in session
            .layers()
            .into_iter()
            .filter(|&layer| target.reaches(layer))
        {
            let dictionary = session.dictionary(layer)?;
            check_fixed_directions(&dictionary)?;
            let (values_a, values_b) = means(layer, dictionary.features());
            layers.push(ScreenLayer {
                layer,
                dictionary,
                values_a,
                values_b,
            });
        }
        if layers.is_empty() {
            return refuse(format!(
                "no dictionary reads a block before {}; the layers with dictionaries are: {:?}",
                target.name(),
                session.layers()
            ));
        }
        Ok(Self {
            session,
            mode,
            positions,
            steps: steps.max(1),
            layers,
        })
    }

    /// The layers, rising.
    pub fn layers(&self) -> &[ScreenLayer] {
        &self.layers
    }

    /// The scalar of a prompt and the first-order effect of every feature on it, [layers] of [features].
    ///
    /// # Errors
    /// Those of the model and the dictionaries.
    pub fn effects(
        &self,
        workspace: &mut Workspace<CpuBackend>,
        readout: &Readout,
        passes: &mut Passes,
    ) -> Result<(f64, Vec<Vec<f32>>), ExperimentError> {
        let model = self.session.model();
        let rows = readout.rows();
        let batch = TokenBatch::from_rows(&rows)?;
        let positions = self.edited_positions(readout.prompt_length(), batch.width());
        let edited = Edited {
            rows: rows.len(),
            positions: &positions,
            width: model.config().d_model,
        };
        let wanted: Vec<Site> = self
            .layers
            .iter()
            .map(|layer| Site::ResidPost(layer.layer))
            .collect();
        let mut recorded: Vec<Site> = wanted.clone();
        recorded.extend(readout.site());
        if self.steps > 1 {
            recorded.extend(self.layers.iter().map(|layer| Site::ResidPre(layer.layer)));
        }
        let request = readout.ask(ForwardRequest::new(&batch)).record(&recorded);
        let (output, mut tape) = model.forward_with_tape(workspace, request)?;
        passes.forward += 1;
        let (value, seeds) = readout.value_and_seeds(&output);
        let gradients = match self.steps {
            1 => {
                passes.backward += 1;
                tape.backward(&seeds, &wanted)?
            }
            _ => Recording::default(),
        };
        drop(tape);
        let mut effects = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let site = Site::ResidPost(layer.layer);
            let x = edited.rows_of(&output.recording, site);
            let gradient = match self.steps {
                1 => edited.rows_of(&gradients, site),
                _ => self.path_gradient(
                    workspace,
                    readout,
                    &batch,
                    layer,
                    &edited,
                    &output.recording,
                    &x,
                    passes,
                )?,
            };
            effects.push(self.layer_effects(layer, &x, &gradient, edited.count())?);
        }
        Ok((value, effects))
    }

    /// Positions at which the sweep would edit, of rows of `length` tokens.
    fn edited_positions(&self, prompt: usize, length: usize) -> Vec<u32> {
        let last = prompt.saturating_sub(1) as u32;
        match self.positions {
            InterventionPositions::LastAndGenerated => (last..length as u32).collect(),
            InterventionPositions::LastOfPrompt => vec![last],
            InterventionPositions::All => (0..length as u32).collect(),
        }
    }

    /// Effects of a layer's features from residuals and gradients [n, width] of the edited positions.
    fn layer_effects(
        &self,
        layer: &ScreenLayer,
        x: &[f32],
        gradient: &[f32],
        n: usize,
    ) -> Result<Vec<f32>, ExperimentError> {
        let dictionary = &layer.dictionary;
        let (backend, features, width) = (dictionary.backend(), dictionary.features(), dictionary.width());
        let products = |rows: &[f32], n: usize| -> Result<Vec<f32>, ExperimentError> {
            let products = dictionary.decode_normalised_backward(&backend.upload(rows), n)?;
            let mut values = vec![0.0; n * features];
            backend.read(&products, 0, &mut values)?;
            Ok(values)
        };
        match self.mode {
            ScreenMode::Values => {
                let mut sum = vec![0.0_f32; width];
                for row in gradient.chunks_exact(width) {
                    sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
                }
                let mut effects = products(&sum, 1)?;
                for (effect, (a, b)) in effects.iter_mut().zip(layer.values_a.iter().zip(&layer.values_b)) {
                    *effect *= b - a;
                }
                Ok(effects)
            }
            ScreenMode::Zero => {
                let mut effects = vec![0.0_f32; features];
                let piece = dictionary.rows_at_a_time();
                for first in (0..n).step_by(piece) {
                    let rows = piece.min(n - first);
                    let range = first * width..(first + rows) * width;
                    let encoded = dictionary.encode(&backend.upload(&x[range.clone()]), rows)?;
                    let mut active = vec![0.0; rows * features];
                    backend.read(&encoded.features, 0, &mut active)?;
                    let products = products(&gradient[range], rows)?;
                    for (active, products) in
                        active.chunks_exact(features).zip(products.chunks_exact(features))
                    {
                        for (effect, (f, product)) in effects.iter_mut().zip(active.iter().zip(products)) {
                            *effect -= f * product;
                        }
                    }
                }
                Ok(effects)
            }
        }
    }

    /// The mean gradient [n, width] over the path of a layer.
    fn path_gradient(
        &self,
        workspace: &mut Workspace<CpuBackend>,
        readout: &Readout,
        batch: &TokenBatch,
        layer: &ScreenLayer,
        edited: &Edited<'_>,
        recording: &Recording,
        x: &[f32],
        passes: &mut Passes,
    ) -> Result<Vec<f32>, ExperimentError> {
        let model = self.session.model();
        let backend = model.backend();
        let (start, step) = self.path(layer, x, edited.count())?;
        let begin = recording
            .get(Site::ResidPre(layer.layer))
            .map(|recorded| recorded.values.as_slice())
            .unwrap_or_default();
        let site = Site::ResidPost(layer.layer);
        let recorded: Vec<Site> = readout.site().into_iter().collect();
        let mut mean = vec![0.0_f32; x.len()];
        for k in 0..self.steps {
            let along = (f64::from(k) + 0.5) / f64::from(self.steps);
            let moved: Vec<f32> = start
                .iter()
                .zip(&step)
                .map(|(start, step)| start + along as f32 * step)
                .collect();
            let program = RowProgram {
                interventions: vec![RowIntervention {
                    rows: BatchRows::All,
                    site,
                    positions: Positions::Absolute(edited.positions.to_vec()),
                    heads: None,
                    edit: Arc::new(Add::rows(backend, &moved, edited.width)?),
                }],
            };
            let request = readout
                .ask(ForwardRequest::new(batch).start(Start::Layer {
                    layer: layer.layer,
                    residual: Residual::Host(begin),
                }))
                .record(&recorded)
                .program(&program);
            let (output, mut tape) = model.forward_with_tape(workspace, request)?;
            let (_, seeds) = readout.value_and_seeds(&output);
            let gradient = edited.rows_of(&tape.backward(&seeds, &[site])?, site);
            passes.forward += 1;
            passes.backward += 1;
            let share = 1.0 / self.steps as f32;
            mean.iter_mut()
                .zip(gradient)
                .for_each(|(mean, g)| *mean += share * g);
        }
        Ok(mean)
    }

    /// Where the path of a layer begins and how far it goes, as additions to the residuals [n, width].
    fn path(
        &self,
        layer: &ScreenLayer,
        x: &[f32],
        n: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), ExperimentError> {
        let dictionary = &layer.dictionary;
        let backend = dictionary.backend();
        let encoded = dictionary.encode(&backend.upload(x), n)?;
        let contribution = |features: &<CpuBackend as Backend>::Buffer| -> Result<Vec<f32>, ExperimentError> {
            let decoded = dictionary.decode(features, n, &encoded.statistics)?;
            let mut values = vec![0.0; n * dictionary.width()];
            backend.read(&decoded, 0, &mut values)?;
            for row in values.chunks_exact_mut(dictionary.width()) {
                row.iter_mut()
                    .zip(dictionary.decoder_bias())
                    .for_each(|(x, bias)| *x -= bias);
            }
            Ok(values)
        };
        let own = contribution(&encoded.features)?;
        Ok(match self.mode {
            ScreenMode::Zero => (vec![0.0; own.len()], own.iter().map(|own| -own).collect()),
            ScreenMode::Values => {
                let a = contribution(&backend.upload(&layer.values_a.repeat(n)))?;
                let b = contribution(&backend.upload(&layer.values_b.repeat(n)))?;
                (
                    a.iter().zip(&own).map(|(a, own)| a - own).collect(),
                    b.iter().zip(&a).map(|(b, a)| b - a).collect(),
                )
            }
        })
    }
}

impl Edited<'_> {
    fn count(&self) -> usize {
        self.rows * self.positions.len()
    }

    /// A site's values at the edited positions, [rows · positions, width].
    fn rows_of(&self, recording: &Recording, site: Site) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.count() * self.width);
        for row in 0..self.rows {
            for &position in self.positions {
                values.extend_from_slice(recording.at(site, row, position).unwrap_or_default());
            }
        }
        values
    }
}
