//! What formats make of an encoder's products: rule, bias and scale in this program's form.
//!
//! A gated dictionary (Rajamanoharan et al. 2024) is exactly a JumpReLU one: with h = W_enc x, z = h · e^r_mag + b_mag and
//! the gate h + b_gate > 0 is open if and only if z > b_mag − b_gate · e^r_mag.

use crate::description::ActivationRule;

/// What an architecture makes of the encoder's products.
pub(super) struct Encoder {
    pub(super) rule: ActivationRule,
    /// [features].
    pub(super) bias: Vec<f32>,
    /// [features]; `None` is one everywhere.
    pub(super) scale: Option<Vec<f32>>,
}

impl Encoder {
    /// The gate and the magnitude of a gated dictionary as one thresholded value; all [features].
    pub(super) fn gated(gate_bias: &[f32], r_mag: &[f32], magnitude_bias: Vec<f32>) -> Self {
        let gain: Vec<f64> = r_mag.iter().map(|r| f64::from(*r).exp()).collect();
        let threshold = magnitude_bias
            .iter()
            .zip(gate_bias)
            .zip(&gain)
            .map(|((magnitude, gate), gain)| (f64::from(*magnitude) - f64::from(*gate) * gain) as f32)
            .collect();
        Self {
            rule: ActivationRule::JumpRelu {
                threshold: at_least_zero(threshold),
            },
            bias: magnitude_bias,
            scale: Some(gain.iter().map(|gain| *gain as f32).collect()),
        }
    }

    /// Features `factor` times as large, of an input that is: the biases and thresholds grow with it.
    pub(super) fn scale(&mut self, factor: f64) {
        let grow = |values: &mut Vec<f32>| {
            for value in values {
                *value = (f64::from(*value) * factor) as f32;
            }
        };
        grow(&mut self.bias);
        if let ActivationRule::JumpRelu { threshold } = &mut self.rule {
            grow(threshold);
        }
    }
}

/// Thresholds of max(z, 0) where z > threshold: below zero they act as zero.
pub(crate) fn at_least_zero(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|value| value.max(0.0)).collect()
}
