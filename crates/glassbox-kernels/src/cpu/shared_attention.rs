//! Attention of many rows over keys and values that they share, followed by their own.

use std::ops::Range;

use super::parallel::{PRODUCTS, for_each_index};
use super::scratch::with_values;
use super::softmax::softmax_rows;
use super::tiles::{Destination, Strides, product_by_columns, product_by_rows};
use crate::backend::{AttentionShape, SharedKeys};

/// Queries whose scores with the shared keys are one product; times the heads that share a key.
const QUERIES: usize = 16;

/// One call, with its shared keys and values as slices.
struct Call<'a> {
    q: &'a [f32],
    shared_k: &'a [f32],
    shared_v: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    shape: &'a AttentionShape,
    first_key: &'a [u32],
    prompt: &'a [u32],
    first: &'a [u32],
    end: usize,
    shared_capacity: usize,
}

impl Call<'_> {
    fn slot_row(&self) -> usize {
        self.shape.kv_heads * self.shape.head_dim
    }

    /// Own slots that query (b, t) sees.
    fn own(&self, b: usize, t: usize) -> Range<usize> {
        let end = self.shape.first_query + t + 1;
        let window_start = self.shape.window.map_or(0, |window| end.saturating_sub(window));
        (self.first_key[b] as usize).max(window_start).min(end)..end
    }

    /// Shared slots that query (b, t) sees; none if it is padding.
    fn shared(&self, b: usize, t: usize) -> Range<usize> {
        if self.own(b, t).is_empty() {
            return self.end..self.end;
        }
        let first = (self.first[self.prompt[b] as usize] as usize).min(self.end);
        let Some(window) = self.shape.window else {
            return first..self.end;
        };
        // Own slots from first_key on that lie before the query, itself included, come first in the window.
        let own = (self.shape.first_query + t + 1).saturating_sub(self.first_key[b] as usize);
        let left = window.saturating_sub(own);
        first.max(self.end - left.min(self.end))..self.end
    }

    /// First element of (b, t, head) in the queries and the output.
    fn query(&self, row: usize, head: usize) -> usize {
        (row * self.shape.heads + head) * self.shape.head_dim
    }

    /// Attends with the queries `rows` (indices b · queries + t, all of one prompt) and the query heads of one
    /// key/value head.
    ///
    /// # Safety
    /// `z` must be borrowed by the caller's caller, and no other thread may touch the same rows and heads.
    unsafe fn attend(&self, rows: &[usize], kv_head: usize, z: Destination) {
        let shape = self.shape;
        let (dim, slot_row) = (shape.head_dim, self.slot_row());
        let group = shape.heads / shape.kv_heads;
        let head = kv_head * group;
        let place = |row: usize| (row / shape.queries, row % shape.queries);
        let shared: Vec<Range<usize>> = rows
            .iter()
            .map(|&row| {
                let (b, t) = place(row);
                self.shared(b, t)
            })
            .collect();
        let start = shared.iter().map(|range| range.start).min().unwrap_or(self.end);
        let shared_len = self.end - start;
        let own_len = rows
            .iter()
            .map(|&row| {
                let (b, t) = place(row);
                self.own(b, t).len()
            })
            .max()
            .unwrap_or(0);
        let (width, count) = (shared_len + own_len, rows.len() * group);
        let prompt = self.prompt[place(rows[0]).0] as usize;
        let shared_at = |slot: usize| (prompt * self.shared_capacity + slot) * slot_row + kv_head * dim;
        let own_at = |b: usize, slot: usize| (b * shape.capacity + slot) * slot_row + kv_head * dim;
        with_values(count * (dim + width + dim), |memory| {
            let (queries, rest) = memory.split_at_mut(count * dim);
            let (scores, mixed) = rest.split_at_mut(count * width);
            for (queries, &row) in queries.chunks_exact_mut(group * dim).zip(rows) {
                let at = self.query(row, head);
                queries.copy_from_slice(&self.q[at..at + group * dim]);
            }
            if shared_len > 0 {
                // SAFETY: `scores` is this thread's own.
                unsafe {
                    product_by_rows(
                        (count, shared_len, dim),
                        queries,
                        dim,
                        &self.shared_k[shared_at(start)..],
                        slot_row,
                        shape.scale,
                        Destination::new(scores),
                        width,
                    );
                }
            }
            for (i, &row) in rows.iter().enumerate() {
                let (b, t) = place(row);
                let own = self.own(b, t);
                let seen = shared[i].start - start..shared_len + own.len();
                let scores = &mut scores[i * group * width..(i + 1) * group * width];
                if !own.is_empty() {
                    // SAFETY: `scores` is this thread's own.
                    unsafe {
                        product_by_rows(
                            (group, own.len(), dim),
                            &queries[i * group * dim..],
                            dim,
                            &self.k[own_at(b, own.start)..],
                            slot_row,
                            shape.scale,
                            Destination::new(scores).from(shared_len),
                            width,
                        );
                    }
                }
                if !seen.is_empty() {
                    for scores in scores.chunks_exact_mut(width) {
                        softmax_rows(&mut scores[seen.clone()], seen.len());
                    }
                }
            }
            // Queries that see the same slots are mixed together: what is in a slot must not reach those that don't see it.
            let mut first = 0;
            for ranges in shared.chunk_by(|a, b| a == b) {
                let seen = ranges[0].clone();
                let values = match seen.is_empty() {
                    true => &[][..],
                    false => &self.shared_v[shared_at(seen.start)..],
                };
                // SAFETY: `mixed` is this thread's own.
                unsafe {
                    product_by_columns(
                        (ranges.len() * group, dim, seen.len()),
                        &scores[first * width + seen.start - start..],
                        Strides::rows(width),
                        values,
                        slot_row,
                        1.0,
                        false,
                        Destination::new(mixed).from(first * dim),
                        dim,
                    );
                }
                first += ranges.len() * group;
            }
            for (i, &row) in rows.iter().enumerate() {
                let (b, t) = place(row);
                let own = self.own(b, t);
                let mixed = &mut mixed[i * group * dim..(i + 1) * group * dim];
                if !own.is_empty() {
                    // SAFETY: `mixed` is this thread's own.
                    unsafe {
                        product_by_columns(
                            (group, dim, own.len()),
                            &scores[i * group * width + shared_len..],
                            Strides::rows(width),
                            &self.v[own_at(b, own.start)..],
                            slot_row,
                            1.0,
                            true,
                            Destination::new(mixed),
                            dim,
                        );
                    }
                }
                // SAFETY: the caller's promise.
                unsafe { z.from(self.query(row, head)).copy_from(mixed) };
            }
        });
    }
}

/// z = softmax(scale · q [shared keys, own keys]ᵀ + mask) [shared values, own values].
pub(crate) fn attention_after_shared(
    q: &[f32],
    (shared_k, shared_v): (&[f32], &[f32]),
    shared: &SharedKeys<'_, impl Sized>,
    (k, v): (&[f32], &[f32]),
    shape: &AttentionShape,
    first_key: &[u32],
    z: &mut [f32],
) {
    let call = Call {
        q,
        shared_k,
        shared_v,
        k,
        v,
        shape,
        first_key,
        prompt: shared.prompt,
        first: shared.first,
        end: shared.end,
        shared_capacity: shared.capacity,
    };
    let mut order: Vec<usize> = (0..shape.batch).collect();
    order.sort_by_key(|&b| shared.prompt[b]);
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    for of_one_prompt in order.chunk_by(|&a, &b| shared.prompt[a] == shared.prompt[b]) {
        let rows: Vec<usize> = of_one_prompt
            .iter()
            .flat_map(|&b| b * shape.queries..(b + 1) * shape.queries)
            .collect();
        blocks.extend(rows.chunks(QUERIES).map(<[usize]>::to_vec));
    }
    let keys = shared.end + shape.keys;
    let work = 2 * shape.batch * shape.queries * keys * shape.heads * shape.head_dim;
    let destination = Destination::new(z);
    for_each_index(blocks.len() * shape.kv_heads, work >= PRODUCTS, |i| {
        // SAFETY: `z` is borrowed for the whole call; every block of rows and every key/value head writes its own part.
        unsafe { call.attend(&blocks[i / shape.kv_heads], i % shape.kv_heads, destination) };
    });
}
