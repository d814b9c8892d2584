//! Thresholds, largest entries, vocabulary statistics, checks for NaN.

use super::compare::{EXACT, SUMS, agree, assert_close, content, holding, input, numbers};
use crate::backend::{Backend, TopEntries};
use crate::reference::ReferenceBackend;

const SHAPES: [(usize, usize); 6] = [(0, 3), (1, 1), (2, 17), (3, 64), (2, 500), (1, 3000)];

/// Thresholds, top-k with ties, statistics and the search for numbers that are not finite.
pub fn check_selection<B: Backend>(backend: &B) {
    for (n, width) in SHAPES {
        agree!(backend, EXACT, format!("threshold [{n}, {width}]"), |b| {
            let mut x = input(b, 1, n * width);
            b.threshold(&mut x, n, width, &input(b, 2, width)).unwrap();
            content(b, &x)
        });
        for k in [0, 1, 2, 7, 64, 500, 5000] {
            top_k(backend, n, width, k);
        }
        statistics(backend, n, width);
    }
    not_finite(backend);
}

/// Numbers of which many are equal, some NaN, with zeros of both signs.
fn with_ties(count: usize) -> Vec<f32> {
    let mut values: Vec<f32> = numbers(3, count)
        .iter()
        .map(|x| (x * 20.0).round() / 4.0)
        .collect();
    for (i, value) in values.iter_mut().enumerate() {
        if i % 601 == 600 {
            *value = f32::NAN;
        } else if i % 97 == 5 {
            *value = -0.0;
        } else if i % 331 == 2 {
            *value = f32::NEG_INFINITY;
        }
    }
    values
}

fn top_k<B: Backend>(backend: &B, n: usize, width: usize, k: usize) {
    for values in [numbers(4, n * width), with_ties(n * width)] {
        let context = format!("keep_top_k [{n}, {width}] {k}");
        agree!(backend, EXACT, context, |b| {
            let mut x = holding(b, &values);
            b.keep_top_k(&mut x, n, width, k).unwrap();
            content(b, &x)
        });
        let expected = ReferenceBackend
            .top_entries(&holding(&ReferenceBackend, &values), n, width, k)
            .unwrap();
        let found = backend
            .top_entries(&holding(backend, &values), n, width, k)
            .unwrap();
        assert_eq!(
            found.len(),
            expected.len(),
            "top_entries [{n}, {width}] {k}: rows"
        );
        for (found, expected) in found.iter().zip(&expected) {
            assert_same_entries(&format!("top_entries [{n}, {width}] {k}"), found, expected);
        }
    }
}

fn assert_same_entries(context: &str, found: &TopEntries, expected: &TopEntries) {
    assert_eq!(found.indices, expected.indices, "{context}");
    assert_close(context, &found.values, &expected.values, EXACT);
}

fn statistics<B: Backend>(backend: &B, n: usize, width: usize) {
    for (name, factor) in [("flat", 0.01), ("usual", 10.0), ("steep", 300.0)] {
        let logits: Vec<f32> = numbers(5, n * width)
            .iter()
            .map(|x| (factor * x * 64.0).round() / 64.0)
            .collect();
        let expected = ReferenceBackend
            .vocabulary_statistics(&holding(&ReferenceBackend, &logits), n, width)
            .unwrap();
        let found = backend
            .vocabulary_statistics(&holding(backend, &logits), n, width)
            .unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let context = format!("vocabulary_statistics [{n}, {width}] {name}");
            assert_eq!(
                (found.argmax, found.max),
                (expected.argmax, expected.max),
                "{context}"
            );
            assert_close(
                &context,
                &[found.log_sum_exp, found.entropy],
                &[expected.log_sum_exp, expected.entropy],
                SUMS,
            );
        }
    }
}

fn not_finite<B: Backend>(backend: &B) {
    const OUT: f32 = f32::NEG_INFINITY;
    for (logits, argmax, log_sum_exp, entropy) in [
        ([OUT, 1.0, OUT, 1.0], 1, 1.0 + 2f32.ln(), 2f32.ln()),
        ([OUT; 4], 0, OUT, f32::NAN),
        ([0.0, f32::NAN, 9.0, f32::NAN], 1, f32::NAN, f32::NAN),
        ([0.0, 1.0, f32::INFINITY, 2.0], 2, f32::INFINITY, f32::NAN),
    ] {
        let found = backend
            .vocabulary_statistics(&backend.upload(&logits), 1, 4)
            .unwrap()[0];
        let context = format!("vocabulary_statistics of {logits:?}");
        assert_eq!(found.argmax, argmax, "{context}");
        assert_close(
            &context,
            &[found.log_sum_exp, found.entropy],
            &[log_sum_exp, entropy],
            SUMS,
        );
    }

    let mut x = holding(backend, &[f32::NAN, 0.5, -1.0, 2.0]);
    backend
        .threshold(&mut x, 1, 4, &backend.upload(&[0.0, 1.0, -2.0, 2.0]))
        .unwrap();
    assert_close(
        "threshold",
        &content(backend, &x)[..4],
        &[f32::NAN, 0.0, -1.0, 0.0],
        EXACT,
    );

    for (n, width) in [(0, 3), (3, 7), (40, 300)] {
        let values = numbers(6, n * width);
        let none = backend
            .first_non_finite(&holding(backend, &values), n, width)
            .unwrap();
        assert_eq!(none, None, "first_non_finite of numbers [{n}, {width}]");
        for at in (0..n * width).step_by(n * width / 7 + 1) {
            for bad in [f32::NAN, f32::INFINITY, OUT] {
                let mut values = values.clone();
                values[at] = bad;
                values[n * width - 1] = f32::NAN;
                let found = backend
                    .first_non_finite(&holding(backend, &values), n, width)
                    .unwrap();
                assert_eq!(
                    found,
                    Some((at / width, at % width)),
                    "first_non_finite of {bad} at {at}"
                );
            }
        }
    }
}
