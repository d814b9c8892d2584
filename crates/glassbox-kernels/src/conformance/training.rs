//! Codes, their gradients and Adam against the reference.

use super::compare::{EXACT, POINTWISE, SUMS, agree, assert_close, content, holding, input, numbers};
use crate::backend::Backend;
use crate::error::KernelError;
use crate::reference::ReferenceBackend;
use crate::training::{AdamStep, SparseRows, Trained, TrainingBackend};

/// (rows, width, features).
const SHAPES: [(usize, usize, usize); 6] = [
    (0, 3, 4),
    (1, 1, 1),
    (3, 7, 5),
    (13, 16, 40),
    (30, 33, 70),
    (50, 64, 130),
];

/// Eighths between −1 and 1: sums of their products are exact, so ties are ties on every backend.
fn eighths(seed: usize, count: usize) -> Vec<f32> {
    numbers(seed, count)
        .iter()
        .map(|x| (8.0 * x).round() / 8.0)
        .collect()
}

/// A dictionary and rows for it.
struct Case<B: Backend> {
    n: usize,
    width: usize,
    features: usize,
    x: B::Buffer,
    encoder: B::Buffer,
    bias: B::Buffer,
    decoder: B::Buffer,
}

impl<B: TrainingBackend> Case<B> {
    fn new(backend: &B, (n, width, features): (usize, usize, usize)) -> Self {
        Self {
            n,
            width,
            features,
            x: holding(backend, &eighths(1, n * width)),
            encoder: holding(backend, &eighths(2, features * width)),
            bias: holding(backend, &eighths(3, features)),
            decoder: input(backend, 4, features * width),
        }
    }

    fn top_k(&self, backend: &B, k: usize) -> B::Codes {
        let mut codes = B::Codes::default();
        backend
            .encode_top_k(
                &self.x,
                self.n,
                self.width,
                &self.encoder,
                &self.bias,
                self.features,
                k,
                &mut codes,
            )
            .unwrap();
        codes
    }

    fn above(&self, backend: &B, bound: &[f32]) -> B::Codes {
        let mut codes = B::Codes::default();
        backend
            .encode_above(
                &self.x,
                self.n,
                self.width,
                &self.encoder,
                &self.bias,
                self.features,
                &holding(backend, bound),
                &mut codes,
            )
            .unwrap();
        codes
    }
}

/// Encoding, decoding, gradients, Adam and refusals.
pub fn check_training<B: TrainingBackend>(backend: &B) {
    for shape in SHAPES {
        check_selection_of_pairs(backend, shape);
        check_gradients(backend, shape);
        check_rows(backend, shape);
    }
    check_not_finite(backend);
    check_adam(backend);
    check_refused(backend);
}

fn assert_same(context: &str, found: &SparseRows, expected: &SparseRows) {
    assert_eq!(found.row_offsets, expected.row_offsets, "{context}");
    assert_eq!(found.features, expected.features, "{context}");
    assert_close(context, &found.values, &expected.values, EXACT);
}

fn check_selection_of_pairs<B: TrainingBackend>(backend: &B, shape: (usize, usize, usize)) {
    let reference = &ReferenceBackend;
    let (case, expected) = (Case::new(backend, shape), Case::new(reference, shape));
    for k in [1, 2, 7, 40, 500] {
        let context = format!("encode_top_k {shape:?} {k}");
        let (codes, wanted) = (case.top_k(backend, k), expected.top_k(reference, k));
        assert_same(
            &context,
            &backend.read_codes(&codes).unwrap(),
            &reference.read_codes(&wanted).unwrap(),
        );
        let (mut counts, mut wanted_counts) = (vec![1; shape.2], vec![1; shape.2]);
        let totals = backend.count_codes(&codes, &mut counts).unwrap();
        assert_eq!(
            totals,
            reference.count_codes(&wanted, &mut wanted_counts).unwrap(),
            "{context}"
        );
        assert_eq!(counts, wanted_counts, "{context}");
    }
    let bound = eighths(5, shape.2);
    for count in [0, 1, 5, 300, 100_000] {
        let context = format!("encode_above and keep_largest {shape:?} {count}");
        let (mut codes, mut wanted) = (case.above(backend, &bound), expected.above(reference, &bound));
        assert_eq!(
            backend.code_pairs(&codes),
            reference.code_pairs(&wanted),
            "{context}"
        );
        let least = backend.keep_largest(&mut codes, count).unwrap();
        assert_eq!(
            least,
            reference.keep_largest(&mut wanted, count).unwrap(),
            "{context}"
        );
        assert_same(
            &context,
            &backend.read_codes(&codes).unwrap(),
            &reference.read_codes(&wanted).unwrap(),
        );
    }
}

/// All of the forward and backward operations on codes, as one vector each.
fn gradients<B: TrainingBackend>(b: &B, shape: (usize, usize, usize)) -> Vec<f32> {
    let case = Case::new(b, shape);
    let (n, width, features) = shape;
    let ends: Vec<u32> = match features {
        0..4 => vec![features as u32],
        _ => vec![2, features as u32 / 2 + 1, features as u32],
    };
    let scales = &[0.5, 2.0, 0.25][..ends.len()];
    let below_zero = vec![-0.5; features];
    let mut codes = case.above(b, &below_zero);
    let mut results = Vec::new();
    let mut y = b.zeros(ends.len() * n * width);
    let (mut d_encoder, mut d_decoder) = (input(b, 6, features * width), input(b, 7, features * width));
    let mut vectors = [b.zeros(features), b.zeros(features), b.zeros(features)];
    let [d_bias, d_first, d_second] = &mut vectors;
    let [threshold, log_scale, gate_bias] = [8, 9, 10].map(|seed| input(b, seed, features));
    let target = input(b, 11, n * width);
    for rule in ["relu", "jump_relu", "magnitude"] {
        let mut copy = B::Codes::default();
        b.copy_codes(&codes, &mut copy).unwrap();
        match rule {
            "jump_relu" => b.jump_relu(&mut copy, &threshold).unwrap(),
            "magnitude" => b
                .magnitude(&mut copy, &gate_bias, &log_scale, &case.bias)
                .unwrap(),
            _ => {}
        }
        let bias = (rule != "magnitude").then_some(&target);
        let bias = bias.filter(|_| n > 0);
        b.decode_codes(&copy, &case.decoder, width, bias, &ends, &mut y)
            .unwrap();
        results.extend(content(b, &y));
        let squares = b.residual(&target, n * width, scales, &mut y).unwrap();
        results.extend(squares.into_iter().map(|square| square as f32));
        results.extend(content(b, &y));
        let accumulate = rule == "jump_relu";
        let gradient = (rule != "magnitude").then_some(&mut d_decoder);
        b.decoder_backward(&mut copy, &y, &case.decoder, width, &ends, accumulate, gradient)
            .unwrap();
        match rule {
            "jump_relu" => b
                .jump_relu_backward(&mut copy, &threshold, 0.75, 0.125, d_first)
                .unwrap(),
            "magnitude" => b
                .magnitude_backward(&mut copy, &gate_bias, &log_scale, d_first, d_second)
                .unwrap(),
            _ => b.relu_backward(&mut copy, 0.5).unwrap(),
        }
        b.encoder_backward(&copy, &case.x, width, accumulate, &mut d_encoder, d_bias)
            .unwrap();
        for buffer in [&d_encoder, &d_decoder] {
            let mut values = vec![0.0; features * width];
            b.read(buffer, 0, &mut values).unwrap();
            results.extend(values);
        }
        for buffer in [&*d_bias, &*d_first, &*d_second] {
            results.extend(content(b, buffer));
        }
    }
    b.keep_largest(&mut codes, n).unwrap();
    b.decode_codes(&codes, &case.decoder, width, None, &ends, &mut y)
        .unwrap();
    results.extend(content(b, &y));
    results
}

fn check_gradients<B: TrainingBackend>(backend: &B, shape: (usize, usize, usize)) {
    // Sums of sums: the tolerance is that of the largest terms.
    let tolerance = super::Tolerance {
        absolute: 1e-3,
        relative: 1e-5,
    };
    agree!(backend, tolerance, format!("gradients of codes {shape:?}"), |b| {
        gradients(b, shape)
    });
}

fn check_rows<B: TrainingBackend>(backend: &B, (n, width, features): (usize, usize, usize)) {
    let context = |op: &str| format!("{op} [{n}, {width}]");
    for shift in [false, true] {
        agree!(backend, POINTWISE, context("scale_and_shift"), |b| {
            let mut y = b.zeros(n * width);
            let values = input(b, 2, width);
            b.scale_and_shift(
                &input(b, 1, n * width),
                n,
                width,
                1.5,
                shift.then_some(&values),
                &mut y,
            )
            .unwrap();
            content(b, &y)
        });
        agree!(backend, SUMS, context("column_sums"), |b| {
            let mut sums = b.upload(&vec![2.0; width]);
            b.column_sums(&input(b, 3, n * width), n, width, shift, &mut sums)
                .unwrap();
            content(b, &sums)
        });
    }
    agree!(backend, SUMS, context("sum_of_squares"), |b| vec![
        b.sum_of_squares(&input(b, 4, n * width), n * width).unwrap() as f32
    ]);
    agree!(backend, SUMS, context("relu_rows"), |b| {
        let mut counts = vec![3; features];
        let mut z = holding(b, &eighths(5, n * features));
        let totals = b
            .relu_rows(
                &mut z,
                n,
                features,
                &holding(b, &eighths(6, features)),
                &mut counts,
            )
            .unwrap();
        let mut d = input(b, 7, n * features);
        b.relu_rows_backward(&z, n, features, 0.25, &mut d).unwrap();
        let mut results = vec![totals.active as f32, totals.sum as f32];
        results.extend(counts.iter().map(|&count| count as f32));
        results.extend([content(b, &z), content(b, &d)].concat());
        results
    });
    agree!(backend, SUMS, context("remove_parallel"), |b| {
        let mut weights = numbers(8, n * width);
        weights.iter_mut().take(width).for_each(|weight| *weight = 0.0);
        let mut gradient = input(b, 9, n * width);
        b.remove_parallel(&mut gradient, &holding(b, &weights), n, width)
            .unwrap();
        b.raise_to(&mut gradient, n * width, -0.5).unwrap();
        content(b, &gradient)
    });
}

/// NaN in an encoder row is kept, whatever else is there: it must show in the loss.
fn check_not_finite<B: TrainingBackend>(backend: &B) {
    let mut case = Case::new(backend, (13, 16, 40));
    backend.write(&mut case.encoder, 7 * 16, &[f32::NAN]).unwrap();
    for codes in [case.top_k(backend, 1), case.above(backend, &[3.0; 40])] {
        let rows = backend.read_codes(&codes).unwrap();
        let found = rows.features.iter().zip(&rows.values);
        let nan = found
            .filter(|(feature, value)| **feature == 7 && value.is_nan())
            .count();
        assert_eq!(nan, 13, "a feature that is NaN must be kept in every row");
    }
}

fn check_adam<B: TrainingBackend>(backend: &B) {
    for (rows, width) in [(1, 1), (3, 5), (40, 64), (300, 130)] {
        for unit_rows in [false, true] {
            agree!(
                backend,
                SUMS,
                format!("adam [{rows}, {width}] {unit_rows}"),
                |b| {
                    let count = rows * width;
                    let mut weights = input(b, 1, count);
                    let (mut first, mut second) = (b.zeros(count), b.zeros(count));
                    for step in 1..=3 {
                        let step = AdamStep {
                            learning_rate: 1e-2,
                            beta1: 0.9,
                            beta2: 0.999,
                            epsilon: 1e-8,
                            step,
                            gradient_scale: 0.5,
                        };
                        let trained = Trained {
                            weights: &mut weights,
                            first: &mut first,
                            second: &mut second,
                        };
                        let gradient = input(b, 1 + step.step as usize, count);
                        b.adam(trained, &gradient, rows, width, &step, unit_rows).unwrap();
                    }
                    [content(b, &weights), content(b, &first), content(b, &second)].concat()
                }
            );
        }
    }
}

fn check_refused<B: TrainingBackend>(backend: &B) {
    let case = Case::new(backend, (3, 7, 5));
    let mut codes = case.top_k(backend, 2);
    let short = backend.zeros(4);
    let mut y = backend.zeros(2);
    let shape = |result: crate::backend::Result<()>| {
        assert!(matches!(result, Err(KernelError::Shape { .. })), "{result:?}");
    };
    let parameter = |result: crate::backend::Result<()>| {
        assert!(matches!(result, Err(KernelError::Parameter { .. })), "{result:?}");
    };
    shape(backend.decode_codes(&codes, &case.decoder, 7, None, &[5], &mut y));
    shape(backend.decode_codes(&codes, &short, 7, None, &[5], &mut y));
    parameter(backend.decode_codes(&codes, &case.decoder, 7, None, &[3, 2, 5], &mut y));
    parameter(backend.decode_codes(&codes, &case.decoder, 7, None, &[4], &mut y));
    shape(backend.jump_relu(&mut codes, &short));
    let mut five = backend.zeros(5);
    let threshold = backend.zeros(5);
    parameter(backend.jump_relu_backward(&mut codes, &threshold, 0.0, 0.0, &mut five));
    let mut room = B::Codes::default();
    for (k, bias) in [(0, &case.bias), (1, &short)] {
        let result = backend.encode_top_k(&case.x, 3, 7, &case.encoder, bias, 5, k, &mut room);
        assert!(result.is_err(), "k = {k}");
    }
    shape(backend.count_codes(&codes, &mut [0; 4]).map(|_| ()));
    shape(backend.residual(&case.x, 21, &[1.0], &mut y).map(|_| ()));
}

/// Named results of training's operations that are large enough to be shared among threads.
pub fn large_training_results<B: TrainingBackend>(backend: &B) -> Vec<(&'static str, Vec<f32>)> {
    let b = backend;
    let (n, width, features) = (700, 130, 900);
    let (x, encoder) = (input(b, 1, n * width), input(b, 2, features * width));
    let (bias, decoder) = (input(b, 3, features), input(b, 4, features * width));
    let mut results = Vec::new();
    let mut codes = B::Codes::default();
    b.encode_top_k(&x, n, width, &encoder, &bias, features, 40, &mut codes)
        .unwrap();
    results.push(("encode_top_k", b.read_codes(&codes).unwrap().values));
    let bound = b.upload(&vec![2.0; features]);
    b.encode_above(&x, n, width, &encoder, &bias, features, &bound, &mut codes)
        .unwrap();
    b.keep_largest(&mut codes, 30 * n).unwrap();
    results.push(("encode_above", b.read_codes(&codes).unwrap().values));
    let ends = [300, 900];
    let mut y = b.zeros(2 * n * width);
    b.decode_codes(&codes, &decoder, width, None, &ends, &mut y)
        .unwrap();
    results.push(("decode_codes", content(b, &y)));
    let squares = b.residual(&x, n * width, &[0.01, 0.02], &mut y).unwrap();
    results.push(("residual", squares.into_iter().map(|s| s as f32).collect()));
    let (mut d_decoder, mut d_encoder) = (b.zeros(features * width), b.zeros(features * width));
    let mut d_bias = b.zeros(features);
    b.decoder_backward(
        &mut codes,
        &y,
        &decoder,
        width,
        &ends,
        false,
        Some(&mut d_decoder),
    )
    .unwrap();
    b.relu_backward(&mut codes, 0.0).unwrap();
    b.encoder_backward(&codes, &x, width, false, &mut d_encoder, &mut d_bias)
        .unwrap();
    b.remove_parallel(&mut d_decoder, &decoder, features, width)
        .unwrap();
    results.push(("d_encoder", content(b, &d_encoder)));
    results.push(("d_decoder", content(b, &d_decoder)));
    results.push(("d_bias", content(b, &d_bias)));
    let norm = b.sum_of_squares(&d_encoder, features * width).unwrap();
    results.push(("sum_of_squares", vec![norm as f32]));
    let mut weights = input(b, 4, features * width);
    let (mut first, mut second) = (b.zeros(features * width), b.zeros(features * width));
    let trained = Trained {
        weights: &mut weights,
        first: &mut first,
        second: &mut second,
    };
    let step = AdamStep {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        step: 1,
        gradient_scale: 1.0,
    };
    b.adam(trained, &d_decoder, features, width, &step, true).unwrap();
    results.push(("adam", content(b, &weights)));
    let mut sums = b.zeros(width);
    b.column_sums(&x, n, width, false, &mut sums).unwrap();
    results.push(("column_sums", content(b, &sums)));
    let mut counts = vec![0; width];
    let mut z = input(b, 1, n * width);
    let totals = b.relu_rows(&mut z, n, width, &sums, &mut counts).unwrap();
    results.push(("relu_rows", vec![totals.active as f32, totals.sum as f32]));
    results
}
