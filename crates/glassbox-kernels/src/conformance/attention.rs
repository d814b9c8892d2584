//! Attention and rotary embedding.

use super::compare::{EXACT, SUMS, agree, assert_close, content, holding, input, numbers, output};
use crate::backend::{AttentionShape, Backend, SharedKeys};

/// Attention in one pass and in steps, their gradients, and the rotary embedding.
pub fn check_attention<B: Backend>(backend: &B) {
    for (shape, first_key) in shapes() {
        forward(backend, &shape, &first_key);
        backward(backend, &shape, &first_key);
        in_steps(backend, &shape, &first_key);
        after_shared(backend, &shape, &first_key);
    }
    softmax(backend);
    unseen_slots_do_not_matter(backend);
    selected_cache_gives_the_same(backend);
    rotary(backend);
}

/// One token, a prompt, decoding, grouped heads, windows, left padding up to whole rows, empty calls, widths
/// that fill no vector, queries followed by slots that they must not see.
pub(super) fn shapes() -> Vec<(AttentionShape, Vec<u32>)> {
    let shape =
        |batch, queries, (heads, kv_heads, head_dim), keys, capacity, first_query, window| AttentionShape {
            batch,
            queries,
            heads,
            kv_heads,
            head_dim,
            keys,
            capacity,
            first_query,
            window,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
    vec![
        (shape(1, 1, (1, 1, 4), 1, 1, 0, None), vec![0]),
        (shape(2, 5, (4, 2, 8), 5, 7, 0, None), vec![0, 2]),
        (shape(2, 1, (4, 2, 16), 9, 12, 8, None), vec![3, 9]),
        (shape(1, 3, (6, 1, 17), 8, 8, 5, Some(2)), vec![0]),
        (shape(3, 40, (2, 2, 33), 40, 41, 0, Some(7)), vec![0, 13, 40]),
        (shape(1, 70, (4, 4, 64), 100, 128, 30, None), vec![1]),
        (shape(2, 2, (8, 2, 20), 30, 31, 28, Some(29)), vec![0, 1000]),
        (shape(1, 4, (2, 1, 8), 10, 10, 3, None), vec![0]),
        (shape(2, 30, (3, 3, 5), 31, 40, 1, Some(1)), vec![0, 29]),
        (
            shape(5, 1, (8, 4, 64), 45, 64, 44, Some(40)),
            vec![0, 1, 30, 44, 45],
        ),
        (shape(2, 0, (2, 1, 8), 3, 4, 3, None), vec![0, 0]),
        (shape(0, 2, (2, 1, 8), 3, 4, 1, None), vec![]),
    ]
}

fn query_count(shape: &AttentionShape) -> usize {
    shape.batch * shape.queries * shape.heads * shape.head_dim
}

fn pattern_count(shape: &AttentionShape) -> usize {
    shape.batch * shape.heads * shape.queries * shape.keys
}

/// Keys or values with NaN in all slots that were never filled.
fn cache(seed: usize, shape: &AttentionShape) -> Vec<f32> {
    let slot = shape.kv_heads * shape.head_dim;
    let mut values = numbers(seed, shape.batch * shape.capacity * slot);
    for row in values.chunks_mut(shape.capacity * slot) {
        row[shape.keys * slot..].fill(f32::NAN);
    }
    values
}

fn forward<B: Backend>(backend: &B, shape: &AttentionShape, first_key: &[u32]) {
    let (k, v) = (cache(2, shape), cache(3, shape));
    agree!(backend, SUMS, format!("attention {shape:?} {first_key:?}"), |b| {
        let mut z = output(b, query_count(shape));
        let q = input(b, 1, query_count(shape));
        b.attention(&q, &holding(b, &k), &holding(b, &v), shape, first_key, &mut z)
            .unwrap();
        content(b, &z)
    });
    agree!(
        backend,
        SUMS,
        format!("attention_scores {shape:?} {first_key:?}"),
        |b| {
            let mut scores = output(b, pattern_count(shape));
            let q = input(b, 1, query_count(shape));
            b.attention_scores(&q, &holding(b, &k), shape, first_key, &mut scores)
                .unwrap();
            content(b, &scores)
        }
    );
    agree!(backend, SUMS, format!("attention_mix {shape:?}"), |b| {
        let mut z = output(b, query_count(shape));
        b.attention_mix(&input(b, 4, pattern_count(shape)), &holding(b, &v), shape, &mut z)
            .unwrap();
        content(b, &z)
    });
}

/// Rows of three prompts, of which one has padding and one nothing that is seen.
fn after_shared<B: Backend>(backend: &B, shape: &AttentionShape, first_key: &[u32]) {
    let (k, v) = (cache(2, shape), cache(3, shape));
    let slot = shape.kv_heads * shape.head_dim;
    for (capacity, first, end) in [(7, [0, 2, 6], 6), (40, [0, 30, 1], 33), (1, [0, 0, 0], 0)] {
        let mut shared = [numbers(7, 3 * capacity * slot), numbers(8, 3 * capacity * slot)];
        for values in &mut shared {
            for (prompt, values) in values.chunks_mut(capacity * slot).enumerate() {
                values[..first[prompt] as usize * slot].fill(f32::NAN);
                values[end * slot..].fill(f32::NAN);
            }
        }
        let prompt: Vec<u32> = (0..shape.batch as u32).map(|b| (b + 1) % 3).collect();
        let what = format!("attention_after_shared {shape:?} {first_key:?} {first:?} to {end} of {capacity}");
        agree!(backend, SUMS, what, |b| {
            let mut z = output(b, query_count(shape));
            let (key, value) = (holding(b, &shared[0]), holding(b, &shared[1]));
            let shared = SharedKeys {
                key: &key,
                value: &value,
                capacity,
                prompt: &prompt,
                first: &first,
                end,
            };
            let q = input(b, 1, query_count(shape));
            let (k, v) = (holding(b, &k), holding(b, &v));
            b.attention_after_shared(&q, &shared, &k, &v, shape, first_key, &mut z)
                .unwrap();
            content(b, &z)
        });
    }
}

fn backward<B: Backend>(backend: &B, shape: &AttentionShape, first_key: &[u32]) {
    let (k, v) = (cache(2, shape), cache(3, shape));
    let cached = v.len();
    agree!(backend, SUMS, format!("attention_mix_backward {shape:?}"), |b| {
        let (mut d_pattern, mut d_v) = (output(b, pattern_count(shape)), output(b, cached));
        let (d_z, pattern) = (input(b, 5, query_count(shape)), input(b, 4, pattern_count(shape)));
        b.attention_mix_backward(&d_z, &pattern, &holding(b, &v), shape, &mut d_pattern, &mut d_v)
            .unwrap();
        [content(b, &d_pattern), content(b, &d_v)].concat()
    });
    // NaN in the gradient of masked scores must not come through.
    let mut masked = backend.zeros(pattern_count(shape));
    let q = input(backend, 1, query_count(shape));
    backend
        .attention_scores(&q, &holding(backend, &k), shape, first_key, &mut masked)
        .unwrap();
    let mut d_scores = numbers(6, pattern_count(shape));
    for (d, score) in d_scores.iter_mut().zip(content(backend, &masked)) {
        if score == f32::NEG_INFINITY {
            *d = f32::NAN;
        }
    }
    agree!(
        backend,
        SUMS,
        format!("attention_scores_backward {shape:?} {first_key:?}"),
        |b| {
            let (mut d_q, mut d_k) = (output(b, query_count(shape)), output(b, cached));
            let (d_scores, q) = (holding(b, &d_scores), input(b, 1, query_count(shape)));
            b.attention_scores_backward(
                &d_scores,
                &q,
                &holding(b, &k),
                shape,
                first_key,
                &mut d_q,
                &mut d_k,
            )
            .unwrap();
            [content(b, &d_q), content(b, &d_k)].concat()
        }
    );
}

/// One pass gives what scores, softmax and mixing give.
fn in_steps<B: Backend>(backend: &B, shape: &AttentionShape, first_key: &[u32]) {
    let q = input(backend, 1, query_count(shape));
    let (k, v) = (
        holding(backend, &cache(2, shape)),
        holding(backend, &cache(3, shape)),
    );
    let (mut at_once, mut in_steps) = (
        output(backend, query_count(shape)),
        output(backend, query_count(shape)),
    );
    let mut pattern = output(backend, pattern_count(shape));
    backend
        .attention(&q, &k, &v, shape, first_key, &mut at_once)
        .unwrap();
    backend
        .attention_scores(&q, &k, shape, first_key, &mut pattern)
        .unwrap();
    backend
        .softmax(
            &mut pattern,
            shape.batch * shape.heads * shape.queries,
            shape.keys,
        )
        .unwrap();
    backend.attention_mix(&pattern, &v, shape, &mut in_steps).unwrap();
    let context = format!("attention in steps {shape:?} {first_key:?}");
    assert_close(
        &context,
        &content(backend, &at_once),
        &content(backend, &in_steps),
        SUMS,
    );
}

fn softmax<B: Backend>(backend: &B) {
    for (n, width) in [(0, 5), (1, 1), (3, 17), (2, 64), (5, 333)] {
        let x: Vec<f32> = numbers(7, n * width).iter().map(|x| 20.0 * x).collect();
        agree!(backend, SUMS, format!("softmax [{n}, {width}]"), |b| {
            let mut x = holding(b, &x);
            b.softmax(&mut x, n, width).unwrap();
            content(b, &x)
        });
        agree!(backend, SUMS, format!("softmax_backward [{n}, {width}]"), |b| {
            let (mut y, mut d_y) = (holding(b, &x), input(b, 8, n * width));
            b.softmax(&mut y, n, width).unwrap();
            b.softmax_backward(&y, n, width, &mut d_y).unwrap();
            content(b, &d_y)
        });
    }
    const MASKED: f32 = f32::NEG_INFINITY;
    for (row, expected) in [
        ([MASKED; 3], [0.0; 3]),
        ([MASKED, 5.0, MASKED], [0.0, 1.0, 0.0]),
        ([MASKED, f32::NAN, MASKED], [f32::NAN; 3]),
        ([1.0, f32::NAN, 2.0], [f32::NAN; 3]),
        ([-3e38, 3e38, -3e38], [0.0, 1.0, 0.0]),
    ] {
        let mut x = backend.upload(&row);
        backend.softmax(&mut x, 1, 3).unwrap();
        assert_close(
            &format!("softmax of {row:?}"),
            &content(backend, &x),
            &expected,
            EXACT,
        );
    }
}

/// Keys and values that are NaN where no query may look change nothing.
fn unseen_slots_do_not_matter<B: Backend>(backend: &B) {
    for (shape, first_key) in shapes() {
        let (k, v) = (cache(2, &shape), cache(3, &shape));
        let slot = shape.kv_heads * shape.head_dim;
        // The last half of the queries' own slots, which the first half must not see.
        let future = shape.first_query + shape.queries.div_ceil(2);
        let spoil = |values: &[f32]| -> Vec<f32> {
            let mut values = values.to_vec();
            for (b, row) in values.chunks_mut((shape.capacity * slot).max(1)).enumerate() {
                row[..(first_key[b] as usize).min(shape.capacity) * slot].fill(f32::NAN);
                row[future * slot..].fill(f32::NAN);
            }
            values
        };
        let run = |k: &[f32], v: &[f32]| {
            let mut z = output(backend, query_count(&shape));
            let q = input(backend, 1, query_count(&shape));
            let (k, v) = (holding(backend, k), holding(backend, v));
            backend.attention(&q, &k, &v, &shape, &first_key, &mut z).unwrap();
            content(backend, &z)
        };
        let (clean, spoiled) = (run(&k, &v), run(&spoil(&k), &spoil(&v)));
        let row = shape.heads * shape.head_dim;
        for b in 0..shape.batch {
            let queries = b * shape.queries..b * shape.queries + shape.queries.div_ceil(2);
            let seeing = queries.start * row..queries.end * row;
            let seeing = if future > shape.first_query { seeing } else { 0..0 };
            assert_close(
                &format!("attention with NaN in unseen slots {shape:?} {first_key:?}, batch row {b}"),
                &spoiled[seeing.clone()],
                &clean[seeing],
                EXACT,
            );
        }
    }
}

/// Attention over selected rows of a cache is the attention of those rows.
fn selected_cache_gives_the_same<B: Backend>(backend: &B) {
    let (shape, first_key) = shapes().swap_remove(9);
    let chosen = [3u32, 0, 0, 2];
    let (k, v) = (
        holding(backend, &cache(2, &shape)),
        holding(backend, &cache(3, &shape)),
    );
    let q = numbers(1, query_count(&shape));
    let row = shape.queries * shape.heads * shape.head_dim;
    let mut z = output(backend, query_count(&shape));
    backend
        .attention(&holding(backend, &q), &k, &v, &shape, &first_key, &mut z)
        .unwrap();
    let expected: Vec<f32> = {
        let z = content(backend, &z);
        chosen
            .iter()
            .flat_map(|&b| z[b as usize * row..(b as usize + 1) * row].to_vec())
            .collect()
    };

    let selected = AttentionShape {
        batch: chosen.len(),
        capacity: shape.keys + 2,
        ..shape
    };
    let width = shape.kv_heads * shape.head_dim;
    let select = |cache: &B::Buffer| {
        let mut dst = output(backend, selected.batch * selected.capacity * width);
        backend
            .cache_select(
                cache,
                shape.capacity,
                width,
                shape.keys,
                &chosen,
                selected.capacity,
                &mut dst,
            )
            .unwrap();
        dst
    };
    let selected_q: Vec<f32> = chosen
        .iter()
        .flat_map(|&b| q[b as usize * row..(b as usize + 1) * row].to_vec())
        .collect();
    let selected_first: Vec<u32> = chosen.iter().map(|&b| first_key[b as usize]).collect();
    let mut z = backend.zeros(chosen.len() * row);
    let q = holding(backend, &selected_q);
    backend
        .attention(&q, &select(&k), &select(&v), &selected, &selected_first, &mut z)
        .unwrap();
    assert_close(
        "attention over a selected cache",
        &content(backend, &z),
        &expected,
        SUMS,
    );
}

fn rotary<B: Backend>(backend: &B) {
    for (n, heads, head_dim, half) in [
        (0, 1, 2, 1),
        (1, 1, 2, 1),
        (3, 2, 10, 5),
        (5, 4, 64, 32),
        (4, 3, 21, 4),
    ] {
        let positions: Vec<u32> = (0..n as u32).map(|i| (i * 5 + 2) % 9).collect();
        let angles: Vec<f32> = numbers(1, 9 * half).iter().map(|x| 3.0 * x).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|x| (x.cos(), x.sin())).unzip();
        for inverse in [false, true] {
            agree!(
                backend,
                SUMS,
                format!("rotary [{n}, {heads}, {head_dim}] {half} {inverse}"),
                |b| {
                    let mut x = input(b, 2, n * heads * head_dim);
                    let (cos, sin) = (b.upload(&cos), b.upload(&sin));
                    b.rotary(&mut x, n, heads, head_dim, &cos, &sin, half, &positions, inverse)
                        .unwrap();
                    content(b, &x)
                }
            );
        }
        let (cos, sin) = (backend.upload(&cos), backend.upload(&sin));
        let mut x = input(backend, 2, n * heads * head_dim);
        let before = content(backend, &x);
        for inverse in [false, true] {
            backend
                .rotary(&mut x, n, heads, head_dim, &cos, &sin, half, &positions, inverse)
                .unwrap();
        }
        assert_close("rotary and back", &content(backend, &x), &before, SUMS);
    }
}
