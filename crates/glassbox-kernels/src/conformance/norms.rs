//! Normalisation.

use super::compare::{SUMS, agree, content, holding, input, numbers, output};
use crate::backend::{Backend, NormKind};

pub(super) const KINDS: [NormKind; 2] = [NormKind::Rms, NormKind::Layer];

/// Scales and normalised rows, forward and backward.
pub fn check_norms<B: Backend>(backend: &B) {
    for kind in KINDS {
        for (n, width) in [(0, 8), (1, 1), (1, 128), (3, 17), (7, 96), (2, 1000)] {
            forward(backend, kind, n, width);
            backward(backend, kind, n, width);
        }
    }
    nan_stays_in_its_row(backend);
}

/// Rows far from zero mean and unit variance.
fn rows(n: usize, width: usize) -> Vec<f32> {
    numbers(1, n * width).iter().map(|x| 3.0 * x + 0.5).collect()
}

fn forward<B: Backend>(backend: &B, kind: NormKind, n: usize, width: usize) {
    agree!(
        backend,
        SUMS,
        format!("norm_scale {kind:?} [{n}, {width}]"),
        |b| {
            let mut scale = output(b, n);
            b.norm_scale(kind, &holding(b, &rows(n, width)), n, width, 1e-3, &mut scale)
                .unwrap();
            content(b, &scale)
        }
    );
    for (with_weight, with_bias) in [(false, false), (true, false), (false, true), (true, true)] {
        let context = format!("norm_apply {kind:?} [{n}, {width}], weight {with_weight}, bias {with_bias}");
        agree!(backend, SUMS, context, |b| {
            let mut y = output(b, n * width);
            let (weight, bias) = (
                with_weight.then(|| input(b, 3, width)),
                with_bias.then(|| input(b, 4, width)),
            );
            let (x, scale) = (holding(b, &rows(n, width)), holding(b, &scales(n)));
            b.norm_apply(kind, &x, &scale, n, width, weight.as_ref(), bias.as_ref(), &mut y)
                .unwrap();
            content(b, &y)
        });
    }
}

/// Scales of a size that rows have.
fn scales(n: usize) -> Vec<f32> {
    numbers(2, n).iter().map(|x| 1.5 + x).collect()
}

fn backward<B: Backend>(backend: &B, kind: NormKind, n: usize, width: usize) {
    for (with_weight, accumulate) in [(false, false), (true, false), (true, true)] {
        let context = format!(
            "norm_apply_backward {kind:?} [{n}, {width}], weight {with_weight}, accumulate {accumulate}"
        );
        agree!(backend, WIDE_SUMS, context, |b| {
            let (mut d_x, mut d_scale) = (output(b, n * width), output(b, n));
            let weight = with_weight.then(|| input(b, 3, width));
            let (x, scale, d_y) = (
                holding(b, &rows(n, width)),
                holding(b, &scales(n)),
                input(b, 5, n * width),
            );
            b.norm_apply_backward(
                kind,
                &x,
                &scale,
                &d_y,
                n,
                width,
                weight.as_ref(),
                accumulate,
                &mut d_x,
                &mut d_scale,
            )
            .unwrap();
            [content(b, &d_x), content(b, &d_scale)].concat()
        });
    }
    agree!(
        backend,
        SUMS,
        format!("norm_scale_backward {kind:?} [{n}, {width}]"),
        |b| {
            let mut d_x = output(b, n * width);
            let (x, scale, d_scale) = (
                holding(b, &rows(n, width)),
                holding(b, &scales(n)),
                input(b, 6, n),
            );
            b.norm_scale_backward(kind, &x, &scale, &d_scale, n, width, &mut d_x)
                .unwrap();
            content(b, &d_x)
        }
    );
}

/// d_scale sums terms of up to 4 over a thousand columns and divides by a square of down to 0.25.
const WIDE_SUMS: super::Tolerance = super::Tolerance {
    absolute: 2e-4,
    relative: 1e-5,
};

fn nan_stays_in_its_row<B: Backend>(backend: &B) {
    for kind in KINDS {
        let (n, width) = (3, 20);
        let mut x = rows(n, width);
        x[width + 4] = f32::NAN;
        let x = holding(backend, &x);
        let (mut scale, mut y) = (backend.zeros(n), backend.zeros(n * width));
        backend.norm_scale(kind, &x, n, width, 1e-5, &mut scale).unwrap();
        backend
            .norm_apply(kind, &x, &scale, n, width, None, None, &mut y)
            .unwrap();
        for (i, y) in content(backend, &y).iter().enumerate() {
            assert_eq!(
                y.is_nan(),
                i / width == 1,
                "{kind:?} with NaN in row 1: element {i} is {y}"
            );
        }
    }
}
