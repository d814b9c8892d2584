//! Operations on each element by itself.

use super::compare::{EXACT, POINTWISE, agree, content, holding, input, numbers, output};
use crate::backend::{ActivationKind, Backend};

pub(super) const ACTIVATIONS: [ActivationKind; 4] = [
    ActivationKind::Silu,
    ActivationKind::Gelu,
    ActivationKind::GeluTanh,
    ActivationKind::Relu,
];

/// Sums, products and activation functions, forward and backward.
pub fn check_pointwise<B: Backend>(backend: &B) {
    for n in [0, 1, 15, 33, 1000] {
        agree!(backend, EXACT, format!("add {n}"), |b| {
            let mut y = output(b, n);
            b.add(&input(b, 1, n), n, &mut y).unwrap();
            content(b, &y)
        });
        for kind in ACTIVATIONS {
            activations(backend, kind, n);
        }
    }
    for (n, width) in [(0, 4), (1, 1), (3, 17), (5, 64)] {
        agree!(backend, POINTWISE, format!("multiply_rows [{n}, {width}]"), |b| {
            let mut y = input(b, 2, n * width);
            b.multiply_rows(&mut y, n, width, &input(b, 3, width)).unwrap();
            content(b, &y)
        });
    }
    not_finite(backend);
}

fn activations<B: Backend>(backend: &B, kind: ActivationKind, n: usize) {
    // From −12 to 12, where all of them have long reached their limits.
    let x: Vec<f32> = numbers(4, n).iter().map(|x| 12.0 * x * x * x).collect();
    agree!(backend, POINTWISE, format!("activation {kind:?} {n}"), |b| {
        let mut y = output(b, n);
        b.activation(kind, &holding(b, &x), n, &mut y).unwrap();
        content(b, &y)
    });
    agree!(
        backend,
        POINTWISE,
        format!("activation_backward {kind:?} {n}"),
        |b| {
            let mut d_x = output(b, n);
            b.activation_backward(kind, &holding(b, &x), &input(b, 5, n), n, &mut d_x)
                .unwrap();
            content(b, &d_x)
        }
    );
    agree!(
        backend,
        POINTWISE,
        format!("gated_activation {kind:?} {n}"),
        |b| {
            let mut y = output(b, n);
            b.gated_activation(kind, &holding(b, &x), &input(b, 6, n), n, &mut y)
                .unwrap();
            content(b, &y)
        }
    );
    agree!(
        backend,
        POINTWISE,
        format!("gated_activation_backward {kind:?} {n}"),
        |b| {
            let (mut d_gate, mut d_up) = (output(b, n), output(b, n));
            let (up, d_y) = (input(b, 6, n), input(b, 7, n));
            b.gated_activation_backward(kind, &holding(b, &x), &up, &d_y, n, &mut d_gate, &mut d_up)
                .unwrap();
            [content(b, &d_gate), content(b, &d_up)].concat()
        }
    );
}

/// NaN comes out where NaN goes in, a large argument gives the limit, not NaN.
fn not_finite<B: Backend>(backend: &B) {
    let x = [f32::NAN, 1e4, -1e4, 88.0, -88.0, 0.0, f32::INFINITY];
    for kind in ACTIVATIONS {
        let (mut y, mut d_x) = (output(backend, x.len()), output(backend, x.len()));
        let (buffer, ones) = (backend.upload(&x), backend.upload(&[1.0; 7]));
        backend.activation(kind, &buffer, x.len(), &mut y).unwrap();
        backend
            .activation_backward(kind, &buffer, &ones, x.len() - 1, &mut d_x)
            .unwrap();
        let (y, d_x) = (content(backend, &y), content(backend, &d_x));
        assert!(
            y[0].is_nan() && d_x[0].is_nan(),
            "{kind:?} of NaN: {} and slope {}",
            y[0],
            d_x[0]
        );
        assert_eq!(
            (y[1], y[2].abs(), y[3], y[5]),
            (1e4, 0.0, 88.0, 0.0),
            "{kind:?} of {x:?}"
        );
        assert!(y[4].abs() < 1e-30, "{kind:?} of −88 is {}", y[4]);
        assert_eq!(y[6], f32::INFINITY, "{kind:?} of ∞");
        assert_eq!(
            (d_x[1], d_x[2].abs(), d_x[3]),
            (1.0, 0.0, 1.0),
            "{kind:?}, slope at {x:?}"
        );
    }
}
