//! Results of large operations, to be compared between runs.

use super::compare::{content, input, matrix, numbers};
use crate::backend::{ActivationKind, AttentionShape, Backend, FeatureDelta, FeatureRows, NormKind};
use crate::matmul::Layout;

/// Named results of operations that are large enough to be shared among threads or processors. Two runs of a
/// backend on equal hardware must give equal bits.
pub fn large_results<B: Backend>(backend: &B) -> Vec<(&'static str, Vec<f32>)> {
    let b = backend;
    let mut results = Vec::new();
    let weights = matrix(b, 1, 700, 300);
    for (name, backward_name, n) in [
        ("linear, 1 row", "linear_backward, 1 row", 1),
        ("linear, 9 rows", "linear_backward, 9 rows", 9),
        ("linear, 200 rows", "linear_backward, 200 rows", 200),
    ] {
        let (mut y, mut d_x) = (b.zeros(n * 700), b.zeros(n * 300));
        b.linear(
            &input(b, 2, n * 300),
            n,
            &weights,
            Some(&input(b, 3, 700)),
            &mut y,
        )
        .unwrap();
        results.push((name, content(b, &y)));
        b.linear_backward(&y, n, &weights, true, &mut d_x).unwrap();
        results.push((backward_name, content(b, &d_x)));
    }
    let mut product = b.zeros(150 * 170);
    let (lhs, rhs) = (input(b, 4, 150 * 1300), input(b, 5, 1300 * 170));
    b.matmul(
        &mut product,
        150,
        170,
        &lhs,
        Layout::Transposed,
        &rhs,
        Layout::Normal,
        1300,
        0.0,
        1.0,
    )
    .unwrap();
    results.push(("matmul", content(b, &product)));

    let (n, width) = (300, 500);
    let x = input(b, 6, n * width);
    let (mut scale, mut y, mut d_scale) = (b.zeros(n), b.zeros(n * width), b.zeros(n));
    b.norm_scale(NormKind::Layer, &x, n, width, 1e-5, &mut scale)
        .unwrap();
    b.norm_apply(NormKind::Layer, &x, &scale, n, width, None, None, &mut y)
        .unwrap();
    results.push(("norm", content(b, &y)));
    let mut d_x = b.zeros(n * width);
    b.norm_apply_backward(
        NormKind::Layer,
        &x,
        &scale,
        &y,
        n,
        width,
        None,
        false,
        &mut d_x,
        &mut d_scale,
    )
    .unwrap();
    b.norm_scale_backward(NormKind::Layer, &x, &scale, &d_scale, n, width, &mut d_x)
        .unwrap();
    results.push(("norm backward", content(b, &d_x)));
    let mut gated = b.zeros(n * width);
    b.gated_activation(ActivationKind::Silu, &x, &y, n * width, &mut gated)
        .unwrap();
    results.push(("gated_activation", content(b, &gated)));
    b.softmax(&mut y, n, width).unwrap();
    results.push(("softmax", content(b, &y)));
    let statistics = b.vocabulary_statistics(&x, n, width).unwrap();
    results.push((
        "vocabulary_statistics",
        statistics
            .iter()
            .flat_map(|s| [s.log_sum_exp, s.entropy])
            .collect(),
    ));
    b.keep_top_k(&mut y, n, width, 30).unwrap();
    results.push(("keep_top_k", content(b, &y)));

    let (encoder, decoder) = (input(b, 7, 4 * width), input(b, 8, 4 * width));
    let features = FeatureRows {
        encoder: &encoder,
        decoder: &decoder,
        bias: &[0.0; 4],
        threshold: &[0.0; 4],
    };
    let deltas: Vec<FeatureDelta> = (0..n as u32)
        .map(|row| FeatureDelta {
            row,
            feature: row % 4,
            value: 2.0,
        })
        .collect();
    b.feature_delta(&mut y, width, &features, &deltas).unwrap();
    results.push(("feature_delta", content(b, &y)));

    for (attention_name, backward_name, queries) in [
        ("attention, prompt", "attention backward, prompt", 130),
        ("attention, one query", "backward, one query", 1),
    ] {
        let shape = AttentionShape {
            batch: 3,
            queries,
            heads: 6,
            kv_heads: 3,
            head_dim: 40,
            keys: 130,
            capacity: 140,
            first_query: 130 - queries,
            window: None,
            scale: 0.2,
        };
        let first_key = [0, 5, 100];
        let (query_count, cached) = (3 * queries * 240, 3 * 140 * 120);
        let (q, k, v) = (
            input(b, 9, query_count),
            input(b, 10, cached),
            input(b, 11, cached),
        );
        let mut z = b.zeros(query_count);
        b.attention(&q, &k, &v, &shape, &first_key, &mut z).unwrap();
        results.push((attention_name, content(b, &z)));
        let pairs = 3 * 6 * queries * 130;
        let (mut pattern, mut d_pattern) = (b.zeros(pairs), b.zeros(pairs));
        let (mut d_q, mut d_k, mut d_v) = (b.zeros(query_count), b.zeros(cached), b.zeros(cached));
        b.attention_scores(&q, &k, &shape, &first_key, &mut pattern)
            .unwrap();
        b.softmax(&mut pattern, 18 * queries, 130).unwrap();
        b.attention_mix_backward(&z, &pattern, &v, &shape, &mut d_pattern, &mut d_v)
            .unwrap();
        b.softmax_backward(&pattern, 18 * queries, 130, &mut d_pattern)
            .unwrap();
        b.attention_scores_backward(&d_pattern, &q, &k, &shape, &first_key, &mut d_q, &mut d_k)
            .unwrap();
        results.push((
            backward_name,
            [content(b, &d_q), content(b, &d_k), content(b, &d_v)].concat(),
        ));
    }
    let turned = numbers(12, 400 * 300);
    let mut turned = b.upload(&turned);
    let positions: Vec<u32> = (0..400).collect();
    let (cos, sin) = (input(b, 13, 400 * 30), input(b, 14, 400 * 30));
    b.rotary(&mut turned, 400, 5, 60, &cos, &sin, 30, &positions, false)
        .unwrap();
    results.push(("rotary", content(b, &turned)));
    results
}
