//! Activation functions and their derivatives.

use std::f64::consts::PI;

use crate::backend::ActivationKind;

/// act(x).
pub(crate) fn value(kind: ActivationKind, x: f64) -> f64 {
    match kind {
        ActivationKind::Silu => x * sigmoid(x),
        ActivationKind::Gelu => x * normal_distribution(x),
        ActivationKind::GeluTanh => 0.5 * x * (1.0 + tanh_argument(x).tanh()),
        ActivationKind::Relu if x.is_nan() => x,
        ActivationKind::Relu => x.max(0.0),
    }
}

/// act'(x).
pub(crate) fn slope(kind: ActivationKind, x: f64) -> f64 {
    match kind {
        ActivationKind::Silu => sigmoid(x) + x * sigmoid(x) * (1.0 - sigmoid(x)),
        ActivationKind::Gelu => normal_distribution(x) + x * normal_density(x),
        ActivationKind::GeluTanh => {
            let tanh = tanh_argument(x).tanh();
            let argument_slope = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * argument_slope
        }
        ActivationKind::Relu if x.is_nan() => x,
        ActivationKind::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn tanh_argument(x: f64) -> f64 {
    (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))
}

fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Φ(x): near zero by the series φ(x) · Σ x^(2i+1) / (1·3·…·(2i+1)), in the tails by the continued fraction
/// φ(x) / (x + 1/(x + 2/(x + 3/…))).
fn normal_distribution(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let magnitude = x.abs();
    let upper_tail = if magnitude < 4.0 {
        let (mut sum, mut term) = (0.0, magnitude);
        for i in 1..200 {
            sum += term;
            term *= magnitude * magnitude / f64::from(2 * i + 1);
        }
        0.5 - normal_density(magnitude) * sum
    } else {
        let fraction = (1..200)
            .rev()
            .fold(magnitude, |fraction, i| magnitude + f64::from(i) / fraction);
        normal_density(magnitude) / fraction
    };
    if x > 0.0 { 1.0 - upper_tail } else { upper_tail }
}
