//! What training gives: weights in the units of raw activations.

use std::path::Path;

use bytemuck::cast_slice;
use glassbox_dictionary::formats::{write_glassbox, write_saelens};
use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryDescription, DictionaryError, DictionaryParts, InputNormalisation,
    ModelReference, Precision, Provenance, StoredMatrix, TRAINING_NOTE, TrainingRecord,
};
use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::{Backend, TrainingBackend};
use glassbox_model::site::Site;
use glassbox_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Result;
use crate::objective::Objective;
use crate::training_step::TrainingStep;
use crate::weights::Parameter;

/// A format that a finished dictionary is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrittenFormat {
    /// This program's own.
    #[default]
    Glassbox,
    /// SAELens 6.
    Saelens,
}

impl WrittenFormat {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glassbox => "glassbox",
            Self::Saelens => "saelens",
        }
    }
}

/// A dictionary on the host. Scale and centre of the training are folded in: it reads and writes raw activations, and a
/// feature's value is the length of what it adds to them.
#[derive(Clone, Debug)]
pub struct TrainedDictionary {
    /// Everything but the weights.
    pub description: DictionaryDescription,
    /// [features, width].
    pub encoder: Vec<f32>,
    /// [features, output width], rows of length one.
    pub decoder: Vec<f32>,
    /// [features].
    pub encoder_bias: Vec<f32>,
    /// [output width].
    pub decoder_bias: Vec<f32>,
    /// [output width, width], of a skip transcoder.
    pub skip: Option<Vec<f32>>,
}

impl TrainedDictionary {
    /// The dictionary on a device.
    ///
    /// # Errors
    /// [`crate::TrainingError::Dictionary`] if a weight is not finite.
    pub fn on<B: Backend>(&self, backend: &B) -> Result<Dictionary<B>> {
        let matrix = |values| StoredMatrix {
            values: StoredValues::F32(cast_slice(values)),
            transposed: false,
        };
        let parts = DictionaryParts {
            description: self.description.clone(),
            encoder: matrix(&self.encoder),
            decoder: matrix(&self.decoder),
            skip: self.skip.as_deref().map(matrix),
            encoder_bias: self.encoder_bias.clone(),
            decoder_bias: self.decoder_bias.clone(),
            encoder_scale: None,
            decoder_scale: None,
        };
        Ok(Dictionary::from_parts(backend, parts)?)
    }

    /// Writes the dictionary into a folder, with what was measured and the settings it was trained with.
    ///
    /// # Errors
    /// [`crate::TrainingError::Store`], [`crate::TrainingError::Dictionary`].
    pub fn write<B: Backend>(
        &self,
        backend: &B,
        folder: &Path,
        format: WrittenFormat,
        record: Option<&TrainingRecord>,
        settings: &serde_json::Value,
    ) -> Result<()> {
        let dictionary = self.on(backend)?;
        let notes = json!({ TRAINING_NOTE: record, "settings": settings });
        let written = match format {
            WrittenFormat::Glassbox => write_glassbox(&dictionary, folder, Precision::F32, Some(&notes)),
            WrittenFormat::Saelens => write_saelens(&dictionary, folder, Some(&notes)),
        };
        written.map_err(|error| match error {
            // A run that could not write goes on when it can.
            DictionaryError::Io { path, cause, .. } => StoreError::from_write(&path, cause).into(),
            other => other.into(),
        })
    }
}

impl<B: TrainingBackend> TrainingStep<B> {
    /// The dictionary as it stands, for activations of these sites.
    ///
    /// # Errors
    /// [`crate::TrainingError::Kernel`].
    pub fn trained(
        &self,
        (site, output_site): (Site, Site),
        model: &ModelReference,
    ) -> Result<TrainedDictionary> {
        let backend = &self.backend;
        let shape = self.shape;
        let read = |parameter: &Parameter<B>| parameter.read(backend);
        let (scale_in, scale_out) = (self.preparation.input_scale, self.preparation.output_scale);
        let mut encoder = read(&self.weights.encoder)?;
        let bias = read(&self.weights.encoder_bias)?;
        let decoder_bias = read(&self.weights.decoder_bias)?;
        let mut skip = self.weights.skip.as_ref().map(read).transpose()?;
        // Features in raw units are those of unit scale over the output's factor.
        let raw = |value: f64| (value / scale_out) as f32;
        let mut bias: Vec<f64> = bias.into_iter().map(f64::from).collect();
        let gate_bias = bias.clone();
        let mut decoder_bias: Vec<f64> = decoder_bias.into_iter().map(f64::from).collect();
        if !shape.tied {
            // z = W(s·x − c) + b: what an encoder of another space subtracts goes into the biases.
            let centre = crate::weights::read(backend, &self.centre, shape.width)?;
            for (bias, row) in bias.iter_mut().zip(encoder.chunks_exact(shape.width)) {
                *bias -= product(row, &centre);
            }
            for row in &mut encoder {
                *row = (f64::from(*row) * scale_in / scale_out) as f32;
            }
            if let Some(skip) = &mut skip {
                for (bias, row) in decoder_bias.iter_mut().zip(skip.chunks_exact_mut(shape.width)) {
                    *bias -= product(row, &centre);
                    row.iter_mut()
                        .for_each(|value| *value = (f64::from(*value) * scale_in / scale_out) as f32);
                }
            }
        }
        let rule = match &self.settings.objective {
            Objective::Relu { .. } => ActivationRule::Relu,
            Objective::TopK { k } => ActivationRule::top_k(*k),
            Objective::BatchTopK { .. } | Objective::Matryoshka { .. } => ActivationRule::JumpRelu {
                threshold: vec![raw(self.counters.threshold.unwrap_or(0.0)); shape.features],
            },
            Objective::JumpRelu { .. } => {
                let threshold = self.weights.threshold.as_ref().map(read).transpose()?;
                ActivationRule::JumpRelu {
                    threshold: (threshold.unwrap_or_default().into_iter())
                        .map(|threshold| raw(f64::from(threshold)))
                        .collect(),
                }
            }
            Objective::Gated { .. } => self.gated_rule(&mut encoder, &mut bias, &gate_bias, raw)?,
        };
        Ok(TrainedDictionary {
            description: DictionaryDescription {
                site,
                output_site,
                width: shape.width,
                output_width: shape.output_width,
                features: shape.features,
                rule,
                subtract_decoder_bias: shape.tied,
                input_normalisation: InputNormalisation::None,
                model: model.clone(),
                provenance: Provenance::in_memory(),
            },
            encoder,
            decoder: read(&self.weights.decoder)?,
            encoder_bias: bias.into_iter().map(raw).collect(),
            decoder_bias: decoder_bias.into_iter().map(raw).collect(),
            skip,
        })
    }

    /// A gated dictionary is a JumpReLU: with a = W(x − c), z = e^r·a + b_mag; its gate a + b_gate > 0 is open exactly
    /// where z > b_mag − e^r·b_gate, and what is not above zero is zero. `bias` comes as b_gate less what of W·c it has taken up.
    fn gated_rule(
        &self,
        encoder: &mut [f32],
        bias: &mut [f64],
        gate_bias: &[f64],
        raw: impl Fn(f64) -> f32,
    ) -> Result<ActivationRule> {
        let Some([log_scale, magnitude_bias]) = &self.weights.magnitude else {
            return Ok(ActivationRule::Relu);
        };
        let scales = log_scale.read(&self.backend)?;
        let magnitudes = magnitude_bias.read(&self.backend)?;
        let mut threshold = Vec::with_capacity(scales.len());
        let rows = encoder
            .chunks_exact_mut(self.shape.width)
            .zip(bias.iter_mut().zip(gate_bias));
        for ((row, (bias, gate_bias)), (log_scale, magnitude)) in rows.zip(scales.into_iter().zip(magnitudes))
        {
            let (scale, magnitude) = (f64::from(log_scale).exp(), f64::from(magnitude));
            threshold.push(raw((magnitude - scale * gate_bias).max(0.0)));
            *bias = magnitude - scale * (gate_bias - *bias);
            row.iter_mut()
                .for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
        Ok(ActivationRule::JumpRelu { threshold })
    }
}

fn product(row: &[f32], vector: &[f32]) -> f64 {
    row.iter()
        .zip(vector)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}
