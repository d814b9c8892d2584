//! Edits of rows.

use super::compare::{EXACT, POINTWISE, SUMS, agree, content, holding, input, numbers, output};
use crate::backend::{Backend, FeatureDelta, FeatureRows};

/// Setting, adding to and scaling rows, and features set by delta.
pub fn check_edits<B: Backend>(backend: &B) {
    for width in [1, 16, 37, 200] {
        rows(backend, width);
        features(backend, width);
    }
    zero_clears_what_is_not_finite(backend);
}

fn rows<B: Backend>(backend: &B, width: usize) {
    for (edited, k) in [
        (&[][..], 1),
        (&[2u32][..], 1),
        (&[4, 0, 2, 1, 3][..], 2),
        (&[1, 1, 0][..], 3),
    ] {
        let count = 5 * width;
        agree!(backend, EXACT, format!("set_rows {width} {edited:?} {k}"), |b| {
            let mut x = input(b, 1, count);
            b.set_rows(&mut x, width, edited, &input(b, 2, k * width), k)
                .unwrap();
            content(b, &x)
        });
        agree!(backend, EXACT, format!("add_rows {width} {edited:?} {k}"), |b| {
            let mut x = input(b, 1, count);
            b.add_rows(&mut x, width, edited, &input(b, 2, k * width), k)
                .unwrap();
            content(b, &x)
        });
        agree!(
            backend,
            POINTWISE,
            format!("scale_rows {width} {edited:?}"),
            |b| {
                let mut x = input(b, 1, count);
                b.scale_rows(&mut x, width, edited, -1.5).unwrap();
                content(b, &x)
            }
        );
    }
}

fn features<B: Backend>(backend: &B, width: usize) {
    let k = 4;
    // Two deltas share a row; one feature is never active; thresholds are above and below zero.
    let delta = |row, feature, value| FeatureDelta { row, feature, value };
    let deltas = [
        delta(3, 0, 2.0),
        delta(0, 1, 0.0),
        delta(1, 2, -1.0),
        delta(3, 3, 0.5),
        delta(4, 0, 0.0),
    ];
    let bias = [0.3, -0.2, 0.1, 4.0];
    let threshold = [0.0, -100.0, 1e6, 0.5];
    let count = 5 * width;
    let at_rest = &deltas[..0];
    for deltas in [&deltas[..], at_rest] {
        agree!(backend, SUMS, format!("feature_delta {width}"), |b| {
            let mut x = input(b, 1, count);
            let (encoder, decoder) = (input(b, 2, k * width), input(b, 3, k * width));
            let rows = FeatureRows {
                encoder: &encoder,
                decoder: &decoder,
                bias: &bias,
                threshold: &threshold,
            };
            b.feature_delta(&mut x, width, &rows, deltas).unwrap();
            content(b, &x)
        });
        agree!(backend, SUMS, format!("feature_delta_backward {width}"), |b| {
            let (x, mut d) = (input(b, 1, count), input(b, 4, count));
            let (encoder, decoder) = (input(b, 2, k * width), input(b, 3, k * width));
            let rows = FeatureRows {
                encoder: &encoder,
                decoder: &decoder,
                bias: &bias,
                threshold: &threshold,
            };
            b.feature_delta_backward(&x, &mut d, width, &rows, deltas)
                .unwrap();
            content(b, &d)
        });
    }
}

/// A factor of zero gives zeros whatever was there; others keep NaN.
fn zero_clears_what_is_not_finite<B: Backend>(backend: &B) {
    let mut values = numbers(1, 6);
    values[2] = f32::NAN;
    values[3] = f32::INFINITY;
    for (factor, finite) in [(0.0, true), (-0.0, true), (1.0, false)] {
        let mut x = holding(backend, &values);
        backend.scale_rows(&mut x, 3, &[0, 1], factor).unwrap();
        let found = content(backend, &x);
        assert_eq!(
            found[..6].iter().all(|x| x.is_finite()),
            finite,
            "scale_rows by {factor}: {found:?}"
        );
        assert!(
            !finite || found[..6].iter().all(|&x| x == 0.0),
            "scale_rows by {factor}: {found:?}"
        );
    }
    let mut untouched = output(backend, 0);
    backend.scale_rows(&mut untouched, 1, &[], 0.0).unwrap();
    assert!(content(backend, &untouched).iter().all(|&x| x != 0.0));
}
