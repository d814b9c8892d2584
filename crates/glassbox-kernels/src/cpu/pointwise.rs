//! Operations on each element by itself.

use super::elementary::{multiply_add, normal_density, normal_distribution, sigmoid};
use super::instructions::multiversion;
use super::parallel::{POINTWISE, for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use crate::backend::ActivationKind;

/// Elements per piece of work.
const CHUNK: usize = 1 << 14;

/// y += x.
pub(crate) fn add(x: &[f32], y: &mut [f32]) {
    let several_threads = y.len() >= 4 * POINTWISE;
    for_each_chunk(y, CHUNK, several_threads, |i, y| {
        for (y, x) in y.iter_mut().zip(&x[i * CHUNK..]) {
            *y += x;
        }
    });
}

/// Each row of y times w.
pub(crate) fn multiply_rows(y: &mut [f32], width: usize, w: &[f32]) {
    let several_threads = y.len() >= 4 * POINTWISE;
    for_each_chunk(
        y,
        rows_per_chunk(width, CHUNK) * width,
        several_threads,
        |_, y| {
            for row in y.chunks_exact_mut(width) {
                for (y, w) in row.iter_mut().zip(w) {
                    *y *= w;
                }
            }
        },
    );
}

/// y = act(x).
pub(crate) fn activation(kind: ActivationKind, x: &[f32], y: &mut [f32]) {
    let several_threads = y.len() >= POINTWISE;
    for_each_chunk(y, CHUNK, several_threads, |i, y| {
        activation_chunk(kind, &x[i * CHUNK..], y)
    });
}

/// d_x = act'(x) · d_y.
pub(crate) fn activation_backward(kind: ActivationKind, x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    let several_threads = d_x.len() >= POINTWISE;
    for_each_chunk(d_x, CHUNK, several_threads, |i, d_x| {
        activation_backward_chunk(kind, &x[i * CHUNK..], &d_y[i * CHUNK..], d_x);
    });
}

/// y = act(gate) · up.
pub(crate) fn gated_activation(kind: ActivationKind, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let several_threads = y.len() >= POINTWISE;
    for_each_chunk(y, CHUNK, several_threads, |i, y| {
        gated_chunk(kind, &gate[i * CHUNK..], &up[i * CHUNK..], y);
    });
}

/// d_gate = act'(gate) · up · d_y and d_up = act(gate) · d_y.
pub(crate) fn gated_activation_backward(
    kind: ActivationKind,
    gate: &[f32],
    up: &[f32],
    d_y: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let several_threads = d_gate.len() >= POINTWISE;
    for_each_chunk_pair(
        (d_gate, CHUNK),
        (d_up, CHUNK),
        several_threads,
        |i, d_gate, d_up| {
            let from = i * CHUNK;
            gated_backward_chunk(kind, &gate[from..], &up[from..], &d_y[from..], d_gate, d_up);
        },
    );
}

/// One activation function: its value, and its value with its derivative.
trait Function {
    fn value<const FUSED: bool>(x: f32) -> f32;
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32);
}

struct Silu;
struct Gelu;
struct GeluTanh;
struct Relu;

impl Function for Silu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        x * sigmoid::<FUSED>(x)
    }

    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        let s = sigmoid::<FUSED>(x);
        (x * s, s * multiply_add::<FUSED>(x, 1.0 - s, 1.0))
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        x * normal_distribution::<FUSED>(x)
    }

    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        let below = normal_distribution::<FUSED>(x);
        (
            x * below,
            multiply_add::<FUSED>(x, normal_density::<FUSED>(x), below),
        )
    }
}

/// sqrt(2/π) and the cubic coefficient of the tanh approximation (Hendrycks & Gimpel 2016).
const TANH_FACTOR: f32 = 0.797_884_6;
const TANH_CUBIC: f32 = 0.044_715;

impl Function for GeluTanh {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        Self::value_and_slope::<FUSED>(x).0
    }

    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        // (1 + tanh(u)) / 2 = sigmoid(2u)
        let square = x * x;
        let u = TANH_FACTOR * x * multiply_add::<FUSED>(square, TANH_CUBIC, 1.0);
        let s = sigmoid::<FUSED>(2.0 * u);
        let u_slope = TANH_FACTOR * multiply_add::<FUSED>(square, 3.0 * TANH_CUBIC, 1.0);
        (x * s, multiply_add::<FUSED>(2.0 * x * u_slope, s * (1.0 - s), s))
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        // Not `max`: NaN must stay NaN.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        let slope = if x > 0.0 { 1.0 } else { 0.0 };
        (Self::value::<FUSED>(x), if x.is_nan() { x } else { slope })
    }
}

/// Runs `$body` with `$function` standing for the activation function of `$kind`.
macro_rules! with_function {
    ($kind:expr, $function:ident => $body:expr) => {
        match $kind {
            ActivationKind::Silu => {
                type $function = Silu;
                $body
            }
            ActivationKind::Gelu => {
                type $function = Gelu;
                $body
            }
            ActivationKind::GeluTanh => {
                type $function = GeluTanh;
                $body
            }
            ActivationKind::Relu => {
                type $function = Relu;
                $body
            }
        }
    };
}

multiversion! {
    fn activation_chunk<FUSED>(kind: ActivationKind, x: &[f32], y: &mut [f32]) {
        with_function!(kind, F => for (y, &x) in y.iter_mut().zip(x) {
            *y = F::value::<FUSED>(x);
        });
    }
}

multiversion! {
    fn activation_backward_chunk<FUSED>(kind: ActivationKind, x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
        with_function!(kind, F => for ((d_x, &x), &d_y) in d_x.iter_mut().zip(x).zip(d_y) {
            *d_x = F::value_and_slope::<FUSED>(x).1 * d_y;
        });
    }
}

multiversion! {
    fn gated_chunk<FUSED>(kind: ActivationKind, gate: &[f32], up: &[f32], y: &mut [f32]) {
        with_function!(kind, F => for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            *y = F::value::<FUSED>(gate) * up;
        });
    }
}

multiversion! {
    fn gated_backward_chunk<FUSED>(
        kind: ActivationKind,
        gate: &[f32],
        up: &[f32],
        d_y: &[f32],
        d_gate: &mut [f32],
        d_up: &mut [f32],
    ) {
        with_function!(kind, F => {
            let inputs = gate.iter().zip(up).zip(d_y);
            for ((d_gate, d_up), ((&gate, &up), &d_y)) in d_gate.iter_mut().zip(d_up).zip(inputs) {
                let (value, slope) = F::value_and_slope::<FUSED>(gate);
                *d_gate = slope * up * d_y;
                *d_up = value * d_y;
            }
        });
    }
}
