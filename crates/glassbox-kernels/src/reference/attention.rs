//! Attention and rotary embedding, pair by pair.

use crate::backend::{AttentionShape, SharedKeys};

/// Whether query `t` of batch row `b` sees slot `j`.
fn sees(shape: &AttentionShape, first_key: &[u32], b: usize, t: usize, j: usize) -> bool {
    let slot = shape.first_query + t;
    let in_window = shape.window.is_none_or(|window| j + window > slot);
    first_key[b] as usize <= j && j <= slot && in_window
}

/// Index into [batch, queries, heads, head_dim].
fn query(shape: &AttentionShape, b: usize, t: usize, h: usize, d: usize) -> usize {
    ((b * shape.queries + t) * shape.heads + h) * shape.head_dim + d
}

/// Index into [batch, capacity, kv_heads, head_dim], for the key/value head that query head `h` reads.
fn cache(shape: &AttentionShape, b: usize, j: usize, h: usize, d: usize) -> usize {
    let kv_head = h / (shape.heads / shape.kv_heads);
    ((b * shape.capacity + j) * shape.kv_heads + kv_head) * shape.head_dim + d
}

/// Index into [batch, heads, queries, keys].
fn pair(shape: &AttentionShape, b: usize, h: usize, t: usize, j: usize) -> usize {
    ((b * shape.heads + h) * shape.queries + t) * shape.keys + j
}

/// All (b, h, t, j) in turn.
fn for_each_pair(shape: &AttentionShape, mut each: impl FnMut(usize, usize, usize, usize)) {
    for b in 0..shape.batch {
        for h in 0..shape.heads {
            for t in 0..shape.queries {
                for j in 0..shape.keys {
                    each(b, h, t, j);
                }
            }
        }
    }
}

/// softmax(scale · q kᵀ + mask) v, each query over the slots that it sees.
pub(crate) fn attention(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    shape: &AttentionShape,
    first_key: &[u32],
) -> Vec<f64> {
    let mut pattern = attention_scores(q, k, shape, first_key);
    softmax(&mut pattern, shape.keys);
    let mut z = vec![0.0; shape.batch * shape.queries * shape.heads * shape.head_dim];
    for_each_pair(shape, |b, h, t, j| {
        if sees(shape, first_key, b, t, j) {
            for d in 0..shape.head_dim {
                z[query(shape, b, t, h, d)] += pattern[pair(shape, b, h, t, j)] * v[cache(shape, b, j, h, d)];
            }
        }
    });
    z
}

/// Attention over the prompt's slots and a row's own, laid out one after the other.
pub(crate) fn attention_after_shared(
    q: &[f64],
    (shared_k, shared_v): (&[f64], &[f64]),
    shared: &SharedKeys<'_, impl Sized>,
    (k, v): (&[f64], &[f64]),
    shape: &AttentionShape,
    first_key: &[u32],
) -> Vec<f64> {
    let slot = shape.kv_heads * shape.head_dim;
    let queries = shape.queries * shape.heads * shape.head_dim;
    let mut z = Vec::new();
    for b in 0..shape.batch {
        let prompt = shared.prompt[b] as usize;
        let before = (shared.first[prompt] as usize).min(shared.end)..shared.end;
        let own = (first_key[b] as usize).min(shape.keys)..shape.keys;
        let joined = |shared_values: &[f64], values: &[f64]| {
            let at = |row: usize, capacity: usize, slots: &std::ops::Range<usize>| {
                (row * capacity + slots.start) * slot..(row * capacity + slots.end) * slot
            };
            [
                &shared_values[at(prompt, shared.capacity, &before)],
                &values[at(b, shape.capacity, &own)],
            ]
            .concat()
        };
        let keys = before.len() + own.len();
        // Queries of padding see nothing; they lie before the row's first slot.
        let padding = own.start.saturating_sub(shape.first_query).min(shape.queries);
        let row = AttentionShape {
            batch: 1,
            queries: shape.queries - padding,
            keys,
            capacity: keys,
            first_query: (shape.first_query + padding + before.len()).saturating_sub(own.start),
            ..*shape
        };
        z.resize(b * queries + padding * shape.heads * shape.head_dim, 0.0);
        let q = &q[z.len()..(b + 1) * queries];
        z.extend(attention(
            q,
            &joined(shared_k, k),
            &joined(shared_v, v),
            &row,
            &[0],
        ));
    }
    z
}

/// scale · q·k, −∞ where masked.
pub(crate) fn attention_scores(q: &[f64], k: &[f64], shape: &AttentionShape, first_key: &[u32]) -> Vec<f64> {
    let mut scores = vec![f64::NEG_INFINITY; shape.batch * shape.heads * shape.queries * shape.keys];
    for_each_pair(shape, |b, h, t, j| {
        if sees(shape, first_key, b, t, j) {
            let product: f64 = (0..shape.head_dim)
                .map(|d| q[query(shape, b, t, h, d)] * k[cache(shape, b, j, h, d)])
                .sum();
            scores[pair(shape, b, h, t, j)] = f64::from(shape.scale) * product;
        }
    });
    scores
}

/// Softmax of each row in place: all zeros for −∞ only, all NaN where there is a NaN.
pub(crate) fn softmax(x: &mut [f64], width: usize) {
    if width == 0 {
        return;
    }
    for row in x.chunks_mut(width) {
        if row.iter().any(|x| x.is_nan()) {
            row.fill(f64::NAN);
            continue;
        }
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if max == f64::NEG_INFINITY {
            row.fill(0.0);
            continue;
        }
        let total: f64 = row.iter().map(|x| (x - max).exp()).sum();
        for x in row {
            *x = (*x - max).exp() / total;
        }
    }
}

/// y · (d_y − Σ d_y·y) of each row.
pub(crate) fn softmax_backward(y: &[f64], d_y: &[f64], width: usize) -> Vec<f64> {
    let mut d_x = Vec::with_capacity(y.len());
    for (y, d_y) in y.chunks(width).zip(d_y.chunks(width)) {
        let mean: f64 = y.iter().zip(d_y).map(|(y, d)| y * d).sum();
        d_x.extend(y.iter().zip(d_y).map(|(y, d)| y * (d - mean)));
    }
    d_x
}

/// pattern · v over all filled slots.
pub(crate) fn attention_mix(pattern: &[f64], v: &[f64], shape: &AttentionShape) -> Vec<f64> {
    let mut z = vec![0.0; shape.batch * shape.queries * shape.heads * shape.head_dim];
    for_each_pair(shape, |b, h, t, j| {
        for d in 0..shape.head_dim {
            z[query(shape, b, t, h, d)] += pattern[pair(shape, b, h, t, j)] * v[cache(shape, b, j, h, d)];
        }
    });
    z
}

/// Gradients with respect to the pattern and to v.
pub(crate) fn attention_mix_backward(
    d_z: &[f64],
    pattern: &[f64],
    v: &[f64],
    shape: &AttentionShape,
) -> (Vec<f64>, Vec<f64>) {
    let mut d_pattern = vec![0.0; shape.batch * shape.heads * shape.queries * shape.keys];
    let mut d_v = vec![0.0; shape.batch * shape.capacity * shape.kv_heads * shape.head_dim];
    for_each_pair(shape, |b, h, t, j| {
        for d in 0..shape.head_dim {
            let d_z = d_z[query(shape, b, t, h, d)];
            d_pattern[pair(shape, b, h, t, j)] += d_z * v[cache(shape, b, j, h, d)];
            d_v[cache(shape, b, j, h, d)] += d_z * pattern[pair(shape, b, h, t, j)];
        }
    });
    (d_pattern, d_v)
}

/// Gradients with respect to q and k; masked pairs count as zero.
pub(crate) fn attention_scores_backward(
    d_scores: &[f64],
    q: &[f64],
    k: &[f64],
    shape: &AttentionShape,
    first_key: &[u32],
) -> (Vec<f64>, Vec<f64>) {
    let mut d_q = vec![0.0; shape.batch * shape.queries * shape.heads * shape.head_dim];
    let mut d_k = vec![0.0; shape.batch * shape.capacity * shape.kv_heads * shape.head_dim];
    for_each_pair(shape, |b, h, t, j| {
        if sees(shape, first_key, b, t, j) {
            let d_product = f64::from(shape.scale) * d_scores[pair(shape, b, h, t, j)];
            for d in 0..shape.head_dim {
                d_q[query(shape, b, t, h, d)] += d_product * k[cache(shape, b, j, h, d)];
                d_k[cache(shape, b, j, h, d)] += d_product * q[query(shape, b, t, h, d)];
            }
        }
    });
    (d_q, d_k)
}

/// Turns each pair (x[j], x[j + half]) of each head by the angle of the row's position.
pub(crate) fn rotary(
    x: &mut [f64],
    (heads, head_dim): (usize, usize),
    (cos, sin, half): (&[f64], &[f64], usize),
    positions: &[u32],
    inverse: bool,
) {
    for (i, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            for j in 0..half {
                let (first, second) = (
                    (i * heads + head) * head_dim + j,
                    (i * heads + head) * head_dim + j + half,
                );
                let cos = cos[position as usize * half + j];
                let sin = sin[position as usize * half + j] * if inverse { -1.0 } else { 1.0 };
                let (a, b) = (x[first], x[second]);
                x[first] = a * cos - b * sin;
                x[second] = b * cos + a * sin;
            }
        }
    }
}
