//! The definitions' gradients against finite differences of the definitions, in f64.

use super::attention::shapes;
use super::compare::wide_numbers;
use super::norms::KINDS;
use super::pointwise::ACTIVATIONS;
use crate::backend::FeatureDelta;
use crate::reference::definitions as of;

/// Step of the central difference.
const STEP: f64 = 1e-5;
/// Largest difference allowed, relative to one or to the gradient.
const CLOSE: f64 = 1e-6;

/// Panics unless `gradient` is the gradient of Σ weights · f at `x`, by central differences of every element.
fn assert_gradient(
    context: &str,
    x: &[f64],
    weights: &[f64],
    gradient: &[f64],
    f: impl Fn(&[f64]) -> Vec<f64>,
) {
    assert_eq!(x.len(), gradient.len(), "{context}: elements of the gradient");
    let total = |x: &[f64]| -> f64 {
        let y = f(x);
        assert_eq!(y.len(), weights.len(), "{context}: elements of the result");
        y.iter().zip(weights).map(|(y, w)| y * w).sum()
    };
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        moved[i] = x[i] + STEP;
        let above = total(&moved);
        moved[i] = x[i] - STEP;
        let below = total(&moved);
        moved[i] = x[i];
        let difference = (above - below) / (2.0 * STEP);
        let error = (difference - gradient[i]).abs();
        assert!(
            error <= CLOSE * (1.0 + difference.abs()),
            "{context}: element {i} of the gradient is {}, finite differences give {difference}",
            gradient[i]
        );
    }
}

/// All backward definitions of the reference backend.
pub fn check_gradients_of_definitions() {
    activations();
    products();
    norms();
    attention();
    features();
}

fn activations() {
    for kind in ACTIVATIONS {
        // Away from 0, where the derivative of the rectifier jumps.
        for x in [-6.0, -2.5, -1.0, -0.1, 0.2, 0.9, 3.0, 6.0] {
            assert_gradient(&format!("{kind:?}"), &[x], &[1.0], &[of::slope(kind, x)], |x| {
                vec![of::value(kind, x[0])]
            });
        }
    }
}

fn products() {
    let (n, rows, columns) = (3, 4, 5);
    let (x, matrix) = (wide_numbers(1, n * columns), wide_numbers(2, rows * columns));
    let d_y = wide_numbers(3, n * rows);
    let gradient = of::linear_backward(&d_y, n, &matrix, rows, columns);
    assert_gradient("linear", &x, &d_y, &gradient, |x| {
        of::linear(x, n, &matrix, rows, columns, None)
    });
}

fn norms() {
    let (n, width) = (3, 7);
    let (x, d_y, weight) = (
        wide_numbers(1, n * width),
        wide_numbers(2, n * width),
        wide_numbers(3, width),
    );
    let scale: Vec<f64> = wide_numbers(4, n).iter().map(|x| 1.5 + x).collect();
    for kind in KINDS {
        let weight = Some(&weight[..]);
        let apply = |x: &[f64], scale: &[f64]| of::norm_apply(kind, x, scale, width, weight, None);
        let (d_x, d_scale) = of::norm_apply_backward(kind, &x, &scale, &d_y, width, weight);
        assert_gradient(&format!("norm_apply {kind:?}, x"), &x, &d_y, &d_x, |x| {
            apply(x, &scale)
        });
        assert_gradient(
            &format!("norm_apply {kind:?}, scale"),
            &scale,
            &d_y,
            &d_scale,
            |scale| apply(&x, scale),
        );

        // Both steps together: the whole normalisation.
        let eps = 1e-2;
        let scale = of::norm_scale(kind, &x, width, eps);
        let (mut d_x, d_scale) = of::norm_apply_backward(kind, &x, &scale, &d_y, width, weight);
        for (d_x, through_scale) in d_x
            .iter_mut()
            .zip(of::norm_scale_backward(kind, &x, &scale, &d_scale, width))
        {
            *d_x += through_scale;
        }
        assert_gradient(&format!("normalisation {kind:?}"), &x, &d_y, &d_x, |x| {
            apply(x, &of::norm_scale(kind, x, width, eps))
        });
    }
}

fn attention() {
    // The smaller shapes; every element costs two passes.
    let small = shapes()
        .into_iter()
        .filter(|(shape, _)| shape.batch * shape.queries * shape.keys <= 60);
    for (shape, first_key) in small {
        let queries = shape.batch * shape.queries * shape.heads * shape.head_dim;
        let cached = shape.batch * shape.capacity * shape.kv_heads * shape.head_dim;
        let (q, k, v) = (
            wide_numbers(1, queries),
            wide_numbers(2, cached),
            wide_numbers(3, cached),
        );
        let d_z = wide_numbers(4, queries);
        let mut pattern = of::attention_scores(&q, &k, &shape, &first_key);
        of::softmax(&mut pattern, shape.keys);
        let (d_pattern, d_v) = of::attention_mix_backward(&d_z, &pattern, &v, &shape);
        let d_scores = of::softmax_backward(&pattern, &d_pattern, shape.keys);
        let (d_q, d_k) = of::attention_scores_backward(&d_scores, &q, &k, &shape, &first_key);

        let whole = |q: &[f64], k: &[f64], v: &[f64]| of::attention(q, k, v, &shape, &first_key);
        assert_gradient(&format!("attention {shape:?}, q"), &q, &d_z, &d_q, |q| {
            whole(q, &k, &v)
        });
        assert_gradient(&format!("attention {shape:?}, k"), &k, &d_z, &d_k, |k| {
            whole(&q, k, &v)
        });
        assert_gradient(&format!("attention {shape:?}, v"), &v, &d_z, &d_v, |v| {
            whole(&q, &k, v)
        });
        assert_gradient(
            &format!("attention_mix {shape:?}"),
            &pattern,
            &d_z,
            &d_pattern,
            |pattern| of::attention_mix(pattern, &v, &shape),
        );
    }

    let (heads, head_dim, half) = (2, 7, 3);
    let (cos, sin): (Vec<f64>, Vec<f64>) = wide_numbers(5, 4 * half)
        .iter()
        .map(|x| (x.cos(), x.sin()))
        .unzip();
    let (x, d_y) = (
        wide_numbers(6, 2 * heads * head_dim),
        wide_numbers(7, 2 * heads * head_dim),
    );
    let turn = |x: &[f64], inverse: bool| {
        let mut x = x.to_vec();
        of::rotary(&mut x, (heads, head_dim), (&cos, &sin, half), &[3, 1], inverse);
        x
    };
    assert_gradient("rotary", &x, &d_y, &turn(&d_y, true), |x| turn(x, false));
}

fn features() {
    let (width, n) = (6, 3);
    let (encoder, decoder) = (wide_numbers(1, 3 * width), wide_numbers(2, 3 * width));
    let features = of::Features {
        encoder: &encoder,
        decoder: &decoder,
        bias: &[2.0, -0.1, -9.0],
        threshold: &[0.5, -9.0, 0.0],
    };
    let delta = |row, feature, value| FeatureDelta { row, feature, value };
    let deltas = [
        delta(0, 0, 1.0),
        delta(2, 1, 0.5),
        delta(2, 0, 0.0),
        delta(1, 2, 3.0),
    ];
    let (x, d) = (wide_numbers(3, n * width), wide_numbers(4, n * width));
    let gradient = of::feature_delta_backward(&x, &d, width, features, &deltas);
    assert_gradient("feature_delta", &x, &d, &gradient, |x| {
        of::feature_delta(x, width, features, &deltas)
    });
}
