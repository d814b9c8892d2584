//! Causal attention with grouped queries (Ainslie et al. 2023), forward and backward, document by document.
//!
//! Keys and values of a head are transposed first, so that every inner loop runs along contiguous positions.

use std::ops::Range;

use crate::train::shape::Shape;

/// Scratch for one head of one document.
#[derive(Default)]
pub struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
}

/// Length of the buffer that keeps the attention pattern of a batch.
pub fn pattern_len(documents: &[Range<usize>], heads: usize) -> usize {
    documents
        .iter()
        .map(|document| heads * document.len() * document.len())
        .sum()
}

/// `z` [n, heads * head_dim] from turned queries, turned keys and values; the pattern is kept for the backward
/// pass as [document][head][query position, key position].
pub fn forward(
    z: &mut [f32],
    pattern: &mut [f32],
    scratch: &mut Scratch,
    (q, k, v): (&[f32], &[f32], &[f32]),
    documents: &[Range<usize>],
    shape: &Shape,
) {
    let (hd, qw, kvw) = (shape.head_dim, shape.query_width(), shape.key_value_width());
    let group = shape.heads / shape.key_value_heads;
    let scale = 1.0 / (hd as f32).sqrt();
    let mut pattern_start = 0;
    for document in documents {
        let t = document.len();
        for head in 0..shape.heads {
            let kv = head / group * hd;
            transpose(&mut scratch.keys, k, document, kvw, kv, hd);
            let rows = &mut pattern[pattern_start..pattern_start + t * t];
            pattern_start += t * t;
            for (i, row) in rows.chunks_exact_mut(t).enumerate() {
                let at = (document.start + i) * qw + head * hd;
                let (seen, hidden) = row.split_at_mut(i + 1);
                hidden.fill(0.0);
                seen.fill(0.0);
                for (&q, keys) in q[at..at + hd].iter().zip(scratch.keys.chunks_exact(t)) {
                    add_scaled(seen, &keys[..=i], q * scale);
                }
                softmax(seen);
                let z = &mut z[at..at + hd];
                z.fill(0.0);
                for (&weight, j) in seen.iter().zip(document.clone()) {
                    add_scaled(z, &v[j * kvw + kv..j * kvw + kv + hd], weight);
                }
            }
        }
    }
}

/// Writes the gradients of [`forward`] for queries, keys and values, which must be zero before.
pub fn backward(
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    scratch: &mut Scratch,
    dz: &[f32],
    pattern: &[f32],
    (q, k, v): (&[f32], &[f32], &[f32]),
    documents: &[Range<usize>],
    shape: &Shape,
) {
    let (hd, qw, kvw) = (shape.head_dim, shape.query_width(), shape.key_value_width());
    let group = shape.heads / shape.key_value_heads;
    let scale = 1.0 / (hd as f32).sqrt();
    let mut pattern_start = 0;
    for document in documents {
        let t = document.len();
        for head in 0..shape.heads {
            let kv = head / group * hd;
            transpose(&mut scratch.values, v, document, kvw, kv, hd);
            let rows = &pattern[pattern_start..pattern_start + t * t];
            pattern_start += t * t;
            for (i, row) in rows.chunks_exact(t).enumerate() {
                let at = (document.start + i) * qw + head * hd;
                let (dz, q) = (&dz[at..at + hd], &q[at..at + hd]);
                scratch.weights.clear();
                scratch.weights.resize(i + 1, 0.0);
                let dweights = &mut scratch.weights[..];
                for (&dz, values) in dz.iter().zip(scratch.values.chunks_exact(t)) {
                    add_scaled(dweights, &values[..=i], dz);
                }
                let along: f32 = dweights.iter().zip(row).map(|(&dw, &w)| dw * w).sum();
                for (dw, &w) in dweights.iter_mut().zip(row) {
                    *dw = w * (*dw - along) * scale;
                }
                let dq = &mut dq[at..at + hd];
                for ((&dscore, &w), j) in dweights.iter().zip(row).zip(document.clone()) {
                    let place = j * kvw + kv..j * kvw + kv + hd;
                    add_scaled(dq, &k[place.clone()], dscore);
                    add_scaled(&mut dk[place.clone()], q, dscore);
                    add_scaled(&mut dv[place], dz, w);
                }
            }
        }
    }
}

/// `y += scale * x`.
fn add_scaled(y: &mut [f32], x: &[f32], scale: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

/// One head of a document, [head_dim, t], from rows of `x` [n, width].
fn transpose(out: &mut Vec<f32>, x: &[f32], document: &Range<usize>, width: usize, column: usize, hd: usize) {
    out.clear();
    for c in column..column + hd {
        out.extend(document.clone().map(|row| x[row * width + c]));
    }
}

fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}
