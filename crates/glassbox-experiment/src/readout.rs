//! The scalar that a screen explains, for one prompt: a decision's log-odds, or a feature's pre-activation.

use std::sync::Arc;

use glassbox_kernels::Backend;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::batch::TokenBatch;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::forward::{ForwardOutput, ForwardRequest, LogitPositions, Workspace};
use glassbox_model::gradient::Seeds;
use glassbox_model::record::Recording;
use glassbox_model::site::Site;

use crate::decision::{ArmEdit, DecisionSettings, DecisionTokens};
use crate::error::ExperimentError;
use crate::prompts::Prompt;
use crate::session::Session;

/// What a screen explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScreenTarget {
    /// The log-odds of the scenario's decision.
    Decision {
        /// The scenario's section.
        settings: DecisionSettings,
        /// The target outcome.
        outcome: String,
    },
    /// The pre-activation of a feature at the last prompt position: its encoder row times the residual plus its bias, before
    /// any threshold, so that it has a gradient where the feature is inactive too.
    Feature {
        /// Block index.
        layer: u32,
        /// Feature index.
        feature: u32,
    },
}

impl ScreenTarget {
    /// The name in tables: `decision`, or the feature as `L5-123`.
    pub fn name(&self) -> String {
        match self {
            Self::Decision { .. } => "decision".to_owned(),
            Self::Feature { layer, feature } => format!("L{layer}-{feature}"),
        }
    }

    /// The blocks whose output can act on it.
    pub fn reaches(&self, layer: u32) -> bool {
        match self {
            Self::Decision { .. } => true,
            Self::Feature { layer: target, .. } => layer < *target,
        }
    }

    /// The scalar of one prompt.
    ///
    /// # Errors
    /// Those of [`DecisionTokens::resolve`] and of the dictionary.
    pub fn readout(&self, session: &Session, prompt: &Prompt) -> Result<Readout, ExperimentError> {
        match self {
            Self::Decision { settings, outcome } => Ok(Readout::Decision(DecisionTokens::resolve(
                session,
                settings,
                outcome,
                &prompt.text,
            )?)),
            Self::Feature { layer, feature } => {
                let dictionary = session.dictionary(*layer)?;
                crate::screen::check_fixed_directions(&dictionary)?;
                let row = dictionary.encoder_rows(&[*feature])?;
                let mut encoder = vec![0.0; dictionary.width()];
                dictionary.backend().read(&row, 0, &mut encoder)?;
                Ok(Readout::Activation {
                    prompt: session.encode(&prompt.text)?,
                    layer: *layer,
                    encoder,
                    bias: f64::from(dictionary.folded_bias()[*feature as usize]),
                })
            }
        }
    }
}

/// The scalar of one prompt.
#[derive(Clone, Debug)]
pub enum Readout {
    /// log p(target) − log p(other).
    Decision(DecisionTokens),
    /// A feature's pre-activation at the last prompt position.
    Activation {
        /// Token ids.
        prompt: Vec<u32>,
        /// Block index.
        layer: u32,
        /// Encoder row, [d_model].
        encoder: Vec<f32>,
        /// Bias, folded.
        bias: f64,
    },
}

impl Readout {
    /// Rows of tokens that the scalar is read from.
    pub fn rows(&self) -> Vec<Vec<u32>> {
        match self {
            Self::Decision(tokens) => tokens.whole_rows(),
            Self::Activation { prompt, .. } => vec![prompt.clone()],
        }
    }

    /// Tokens of the prompt.
    pub fn prompt_length(&self) -> usize {
        match self {
            Self::Decision(tokens) => tokens.prompt_length(),
            Self::Activation { prompt, .. } => prompt.len(),
        }
    }

    /// Asks a pass for what the scalar is read from.
    pub fn ask<'a>(&self, request: ForwardRequest<'a, CpuBackend>) -> ForwardRequest<'a, CpuBackend> {
        match self {
            Self::Decision(tokens) => request.logits(LogitPositions::Chosen(tokens.places(0))),
            Self::Activation { layer, .. } => request.stop_after_layer(*layer),
        }
    }

    /// The site that must be recorded besides.
    pub fn site(&self) -> Option<Site> {
        match self {
            Self::Decision(_) => None,
            Self::Activation { layer, .. } => Some(Site::ResidPost(*layer)),
        }
    }

    /// The scalar and its derivatives where they are known.
    pub fn value_and_seeds(&self, output: &ForwardOutput) -> (f64, Seeds) {
        match self {
            Self::Decision(tokens) => (
                tokens.read(&output.logits, 0).log_odds(),
                tokens.seeds(&output.logits, 0),
            ),
            Self::Activation { layer, encoder, .. } => {
                let position = self.prompt_length() as u32 - 1;
                let seeds = Seeds::new().position(Site::ResidPost(*layer), 0, position, encoder);
                (self.activation(&output.recording, 0), seeds)
            }
        }
    }

    fn activation(&self, recording: &Recording, row: usize) -> f64 {
        let Self::Activation {
            layer, encoder, bias, ..
        } = self
        else {
            return 0.0;
        };
        let position = self.prompt_length() as u32 - 1;
        let resid = recording
            .at(Site::ResidPost(*layer), row, position)
            .unwrap_or_default();
        let product: f64 = resid
            .iter()
            .zip(encoder)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum();
        product + bias
    }

    /// The scalar under each edit, exactly, `at_most` rows at a time.
    ///
    /// # Errors
    /// Those of the model; an edit that never fired.
    pub fn values(
        &self,
        session: &Session,
        workspace: &mut Workspace<CpuBackend>,
        edits: &[ArmEdit],
        positions: &Positions,
        at_most: usize,
    ) -> Result<Vec<f64>, ExperimentError> {
        let model = session.model();
        let Self::Activation { prompt, layer, .. } = self else {
            let Self::Decision(tokens) = self else {
                return Ok(Vec::new());
            };
            let readings = tokens.readings(model, workspace, edits, positions, at_most)?;
            return Ok(readings.iter().map(crate::decision::Reading::log_odds).collect());
        };
        let mut values = Vec::with_capacity(edits.len());
        for chunk in edits.chunks(at_most.max(1)) {
            let batch = TokenBatch::from_rows(&vec![prompt.as_slice(); chunk.len()])?;
            let mut program = RowProgram::default();
            for (row, edit) in (0..).zip(chunk) {
                let Some((edited, edit)) = edit else { continue };
                program.interventions.push(RowIntervention {
                    rows: BatchRows::One(row),
                    site: Site::ResidPost(*edited),
                    positions: positions.clone(),
                    heads: None,
                    edit: Arc::clone(edit),
                });
            }
            let site = [Site::ResidPost(*layer)];
            let request = ForwardRequest::new(&batch)
                .stop_after_layer(*layer)
                .record(&site)
                .program(&program);
            let recording = model.forward(workspace, request)?.recording;
            values.extend((0..chunk.len()).map(|row| self.activation(&recording, row)));
        }
        Ok(values)
    }
}
