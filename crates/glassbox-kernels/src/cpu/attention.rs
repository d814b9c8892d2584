//! Attention over a cache of keys and values: in one pass, and as separate steps with their gradients.

use std::ops::Range;

use super::parallel::{PRODUCTS, for_each_chunk, for_each_index};
use super::scratch::with_values;
use super::softmax::softmax_rows;
use super::tiles::{Destination, Strides, product_by_columns, product_by_rows};
use crate::backend::AttentionShape;

/// Queries worked on together.
const QUERIES: usize = 24;
/// Queries whose values are mixed together; rows of the product kernel's largest tile.
const MIXED: usize = 6;
/// Keys worked on together in the backward pass.
const KEYS: usize = 32;

/// Strides and ranges of one call.
#[derive(Clone, Copy)]
struct Geometry<'a> {
    shape: &'a AttentionShape,
    first_key: &'a [u32],
    /// Elements from one query to the next: heads · head_dim.
    query_row: usize,
    /// Elements from one slot to the next: kv_heads · head_dim.
    slot_row: usize,
}

impl<'a> Geometry<'a> {
    fn new(shape: &'a AttentionShape, first_key: &'a [u32]) -> Self {
        let query_row = shape.heads * shape.head_dim;
        Self {
            shape,
            first_key,
            query_row,
            slot_row: shape.kv_heads * shape.head_dim,
        }
    }

    /// Slots that query `t` of batch row `b` sees; both ends grow with t.
    fn visible(&self, b: usize, t: usize) -> Range<usize> {
        let slot = self.shape.first_query + t;
        let window_start = self
            .shape
            .window
            .map_or(0, |window| (slot + 1).saturating_sub(window));
        let start = (self.first_key[b] as usize).max(window_start);
        start.min(slot + 1)..slot + 1
    }

    /// First element of the query (or output) at (b, t, head).
    fn query(&self, b: usize, t: usize, head: usize) -> usize {
        (b * self.shape.queries + t) * self.query_row + head * self.shape.head_dim
    }

    /// First element of the key or value at (b, slot) that query head `head` reads.
    fn slot(&self, b: usize, slot: usize, head: usize) -> usize {
        let group = self.shape.heads / self.shape.kv_heads;
        (b * self.shape.capacity + slot) * self.slot_row + head / group * self.shape.head_dim
    }

    /// Multiply-adds of one product of all queries with all keys.
    fn work(&self) -> usize {
        let s = self.shape;
        s.batch * s.queries * s.keys * s.heads * s.head_dim
    }
}

/// z = softmax(scale · q kᵀ + mask) v.
pub(crate) fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: &AttentionShape,
    first_key: &[u32],
    z: &mut [f32],
) {
    let geometry = Geometry::new(shape, first_key);
    let several_threads = 2 * geometry.work() >= PRODUCTS;
    if shape.queries == 1 {
        let group = shape.heads / shape.kv_heads;
        for_each_chunk(z, group * shape.head_dim, several_threads, |i, z| {
            attend_one_query(
                &geometry,
                q,
                k,
                v,
                i / shape.kv_heads,
                i % shape.kv_heads * group,
                z,
            );
        });
        return;
    }
    for_each_chunk(z, shape.queries * geometry.query_row, several_threads, |b, z| {
        for_each_chunk(z, QUERIES * geometry.query_row, several_threads, |i, z| {
            let first = i * QUERIES;
            let queries = first..(first + QUERIES).min(shape.queries);
            for head in 0..shape.heads {
                attend_block(&geometry, q, k, v, b, head, queries.clone(), z);
            }
        });
    });
}

/// One query of all heads that share a key/value head, from `head` on; z [group, head_dim].
fn attend_one_query(
    geometry: &Geometry<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    b: usize,
    head: usize,
    z: &mut [f32],
) {
    let dim = geometry.shape.head_dim;
    let group = z.len() / dim;
    let seen = geometry.visible(b, 0);
    if seen.is_empty() {
        z.fill(0.0);
        return;
    }
    with_values(group * seen.len(), |scores| {
        let slots = geometry.slot(b, seen.start, head)..;
        // SAFETY: `scores` is this thread's own.
        unsafe {
            product_by_rows(
                (group, seen.len(), dim),
                &q[geometry.query(b, 0, head)..],
                dim,
                &k[slots.clone()],
                geometry.slot_row,
                geometry.shape.scale,
                Destination::new(scores),
                seen.len(),
            );
        }
        softmax_rows(scores, seen.len());
        // SAFETY: `z` is borrowed mutably by this call.
        unsafe {
            product_by_columns(
                (group, dim, seen.len()),
                scores,
                Strides::rows(seen.len()),
                &v[slots],
                geometry.slot_row,
                1.0,
                false,
                Destination::new(z),
                dim,
            );
        }
    });
}

/// A block of queries of one head; z holds the block's queries of all heads.
fn attend_block(
    geometry: &Geometry<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    b: usize,
    head: usize,
    queries: Range<usize>,
    z: &mut [f32],
) {
    let seen = geometry.visible(b, queries.start).start..geometry.visible(b, queries.end - 1).end;
    let width = seen.len();
    with_values(queries.len() * width, |scores| {
        // SAFETY: `scores` is this thread's own.
        unsafe {
            score_block(
                geometry,
                q,
                k,
                b,
                head,
                queries.clone(),
                &seen,
                Destination::new(scores),
                width,
            )
        };
        for (i, t) in queries.clone().enumerate() {
            let visible = geometry.visible(b, t);
            if !visible.is_empty() {
                let row = &mut scores[i * width..][visible.start - seen.start..visible.end - seen.start];
                softmax_rows(row, visible.len());
            }
        }
        let out = Destination::new(z).from(head * geometry.shape.head_dim);
        // SAFETY: `z` is borrowed mutably by this call.
        unsafe { mix_visible(geometry, scores, width, seen.start, v, b, head, queries, 1.0, out) };
    });
}

/// scale · q·k of a block of queries with the slots `seen`, into rows that are `out_row` apart.
///
/// # Safety
/// As for [`product_by_rows`].
unsafe fn score_block(
    geometry: &Geometry<'_>,
    q: &[f32],
    k: &[f32],
    b: usize,
    head: usize,
    queries: Range<usize>,
    seen: &Range<usize>,
    out: Destination,
    out_row: usize,
) {
    if seen.is_empty() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        product_by_rows(
            (queries.len(), seen.len(), geometry.shape.head_dim),
            &q[geometry.query(b, queries.start, head)..],
            geometry.query_row,
            &k[geometry.slot(b, seen.start, head)..],
            geometry.slot_row,
            geometry.shape.scale,
            out,
            out_row,
        );
    }
}

/// out[t] = scale · Σ_j weights[t, j] · v[j] over the slots j that query t sees and over no others, so nothing
/// in a slot can reach a query that must not see it. Column 0 of `weights` is slot `first_slot`.
///
/// # Safety
/// As for [`product_by_columns`].
unsafe fn mix_visible(
    geometry: &Geometry<'_>,
    weights: &[f32],
    weights_row: usize,
    first_slot: usize,
    v: &[f32],
    b: usize,
    head: usize,
    queries: Range<usize>,
    scale: f32,
    out: Destination,
) {
    let dim = geometry.shape.head_dim;
    let product = |rows: Range<usize>, slots: Range<usize>, accumulate: bool| {
        let (weights, v) = if slots.is_empty() {
            (&[][..], &[][..])
        } else {
            let at = (rows.start - queries.start) * weights_row + slots.start - first_slot;
            (&weights[at..], &v[geometry.slot(b, slots.start, head)..])
        };
        // SAFETY: the caller's promise; the rows belong to this block.
        unsafe {
            product_by_columns(
                (rows.len(), dim, slots.len()),
                weights,
                Strides::rows(weights_row),
                v,
                geometry.slot_row,
                scale,
                accumulate,
                out.from((rows.start - queries.start) * geometry.query_row),
                geometry.query_row,
            );
        }
    };
    let mut start = queries.start;
    while start < queries.end {
        let rows = start..(start + MIXED).min(queries.end);
        // What all rows see is mixed together, what only some see row by row.
        let common = geometry.visible(b, rows.end - 1).start..geometry.visible(b, rows.start).end;
        let common = if common.is_empty() {
            common.end..common.end
        } else {
            common
        };
        product(rows.clone(), common.clone(), false);
        for t in rows.clone() {
            let visible = geometry.visible(b, t);
            let before = visible.start..visible.end.min(common.start);
            let after = visible.start.max(common.end)..visible.end;
            for part in [before, after] {
                if !part.is_empty() {
                    product(t..t + 1, part, true);
                }
            }
        }
        start = rows.end;
    }
}

/// scores [batch, heads, queries, keys] = scale · q·k, −∞ where masked.
pub(crate) fn attention_scores(
    q: &[f32],
    k: &[f32],
    shape: &AttentionShape,
    first_key: &[u32],
    scores: &mut [f32],
) {
    let geometry = Geometry::new(shape, first_key);
    let several_threads = geometry.work() >= PRODUCTS;
    for_each_chunk(
        scores,
        shape.queries * shape.keys,
        several_threads,
        |i, scores| {
            let (b, head) = (i / shape.heads, i % shape.heads);
            for first in (0..shape.queries).step_by(QUERIES) {
                let queries = first..(first + QUERIES).min(shape.queries);
                let seen = geometry.visible(b, first).start..geometry.visible(b, queries.end - 1).end;
                let out = Destination::new(scores).from(first * shape.keys + seen.start);
                // SAFETY: `scores` is borrowed mutably by this call.
                unsafe { score_block(&geometry, q, k, b, head, queries.clone(), &seen, out, shape.keys) };
                for t in queries {
                    let visible = geometry.visible(b, t);
                    let row = &mut scores[t * shape.keys..(t + 1) * shape.keys];
                    row[..visible.start].fill(f32::NEG_INFINITY);
                    row[visible.end..].fill(f32::NEG_INFINITY);
                }
            }
        },
    );
}

/// z = pattern · v over all filled slots.
pub(crate) fn attention_mix(pattern: &[f32], v: &[f32], shape: &AttentionShape, z: &mut [f32]) {
    let geometry = Geometry::new(shape, &[]);
    let several_threads = geometry.work() >= PRODUCTS;
    for_each_chunk(z, shape.queries * geometry.query_row, several_threads, |b, z| {
        for_each_chunk(z, QUERIES * geometry.query_row, several_threads, |i, z| {
            let first = i * QUERIES;
            for head in 0..shape.heads {
                let out = Destination::new(z).from(head * shape.head_dim);
                // SAFETY: `z` is borrowed mutably by this call.
                unsafe {
                    product_by_columns(
                        (QUERIES.min(shape.queries - first), shape.head_dim, shape.keys),
                        &pattern[((b * shape.heads + head) * shape.queries + first) * shape.keys..],
                        Strides::rows(shape.keys),
                        &v[geometry.slot(b, 0, head)..],
                        geometry.slot_row,
                        1.0,
                        false,
                        out,
                        geometry.query_row,
                    );
                }
            }
        });
    });
}

/// d_pattern = d_z · vᵀ and d_v = patternᵀ · d_z, summed over the heads that share a value head.
pub(crate) fn attention_mix_backward(
    d_z: &[f32],
    pattern: &[f32],
    v: &[f32],
    shape: &AttentionShape,
    d_pattern: &mut [f32],
    d_v: &mut [f32],
) {
    let geometry = Geometry::new(shape, &[]);
    let several_threads = geometry.work() >= PRODUCTS;
    for_each_chunk(
        d_pattern,
        shape.queries * shape.keys,
        several_threads,
        |i, d_pattern| {
            let (b, head) = (i / shape.heads, i % shape.heads);
            // SAFETY: `d_pattern` is borrowed mutably by this call.
            unsafe {
                product_by_rows(
                    (shape.queries, shape.keys, shape.head_dim),
                    &d_z[geometry.query(b, 0, head)..],
                    geometry.query_row,
                    &v[geometry.slot(b, 0, head)..],
                    geometry.slot_row,
                    1.0,
                    Destination::new(d_pattern),
                    shape.keys,
                );
            }
        },
    );
    for_each_key_block(
        &geometry,
        several_threads,
        d_v,
        |b, head, keys, accumulate, out| {
            // SAFETY: each block of keys of a key/value head is written by one call at a time.
            unsafe {
                product_by_columns(
                    (keys.len(), shape.head_dim, shape.queries),
                    &pattern[(b * shape.heads + head) * shape.queries * shape.keys + keys.start..],
                    Strides {
                        row: 1,
                        column: shape.keys,
                    },
                    &d_z[geometry.query(b, 0, head)..],
                    geometry.query_row,
                    1.0,
                    accumulate,
                    out,
                    geometry.slot_row,
                );
            }
        },
    );
}

/// Zeroes `d` [batch, capacity, kv_heads, head_dim], then calls `each` for all query heads of every block of
/// keys of every key/value head: the heads of one block one after the other, different blocks at once.
fn for_each_key_block(
    geometry: &Geometry<'_>,
    several_threads: bool,
    d: &mut [f32],
    each: impl Fn(usize, usize, Range<usize>, bool, Destination) + Sync + Send,
) {
    let shape = geometry.shape;
    d.fill(0.0);
    if shape.queries == 0 {
        return;
    }
    let group = shape.heads / shape.kv_heads;
    let blocks = shape.keys.div_ceil(KEYS);
    let destination = Destination::new(d);
    for_each_index(shape.batch * shape.kv_heads * blocks, several_threads, |i| {
        let (b, kv_head, block) = (
            i / blocks / shape.kv_heads,
            i / blocks % shape.kv_heads,
            i % blocks,
        );
        let keys = block * KEYS..((block + 1) * KEYS).min(shape.keys);
        for head in kv_head * group..(kv_head + 1) * group {
            let out = destination.from(geometry.slot(b, keys.start, head));
            each(b, head, keys.clone(), head > kv_head * group, out);
        }
    });
}

/// d_q = scale · d_scores · k and d_k = scale · d_scoresᵀ · q over visible pairs only.
pub(crate) fn attention_scores_backward(
    d_scores: &[f32],
    q: &[f32],
    k: &[f32],
    shape: &AttentionShape,
    first_key: &[u32],
    d_q: &mut [f32],
    d_k: &mut [f32],
) {
    let geometry = Geometry::new(shape, first_key);
    let several_threads = geometry.work() >= PRODUCTS;
    for_each_chunk(
        d_q,
        shape.queries * geometry.query_row,
        several_threads,
        |b, d_q| {
            for_each_chunk(d_q, QUERIES * geometry.query_row, several_threads, |i, d_q| {
                let first = i * QUERIES;
                let queries = first..(first + QUERIES).min(shape.queries);
                for head in 0..shape.heads {
                    let rows = &d_scores[((b * shape.heads + head) * shape.queries + first) * shape.keys..];
                    let out = Destination::new(d_q).from(head * shape.head_dim);
                    // SAFETY: `d_q` is borrowed mutably by this call.
                    unsafe {
                        mix_visible(
                            &geometry,
                            rows,
                            shape.keys,
                            0,
                            k,
                            b,
                            head,
                            queries.clone(),
                            shape.scale,
                            out,
                        );
                    }
                }
            });
        },
    );
    for_each_key_block(
        &geometry,
        several_threads,
        d_k,
        |b, head, keys, accumulate, out| {
            let all = &d_scores[(b * shape.heads + head) * shape.queries * shape.keys..];
            with_values(shape.queries * keys.len(), |seen| {
                // Masked entries may hold anything, so they are replaced by zeros.
                for (t, seen) in seen.chunks_exact_mut(keys.len()).enumerate() {
                    let visible = geometry.visible(b, t);
                    let start = visible.start.clamp(keys.start, keys.end);
                    let end = visible.end.clamp(start, keys.end);
                    seen.fill(0.0);
                    seen[start - keys.start..end - keys.start]
                        .copy_from_slice(&all[t * shape.keys + start..t * shape.keys + end]);
                }
                // SAFETY: each block of keys of a key/value head is written by one call at a time.
                unsafe {
                    product_by_columns(
                        (keys.len(), shape.head_dim, shape.queries),
                        seen,
                        Strides {
                            row: 1,
                            column: keys.len(),
                        },
                        &q[geometry.query(b, 0, head)..],
                        geometry.query_row,
                        shape.scale,
                        accumulate,
                        out,
                        geometry.slot_row,
                    );
                }
            });
        },
    );
}
