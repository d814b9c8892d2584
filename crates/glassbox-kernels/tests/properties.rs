//! What must hold for any operands, not only for the shapes of the conformance suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_kernels::CpuBackend;
use glassbox_kernels::backend::{AttentionShape, Backend, StoredValues};
use proptest::collection::vec;
use proptest::prelude::*;

const CPU: CpuBackend = CpuBackend;

fn content(buffer: &<CpuBackend as Backend>::Buffer) -> Vec<f32> {
    let mut values = vec![0.0; CPU.len(buffer)];
    CPU.read(buffer, 0, &mut values).unwrap();
    values
}

/// |a − b| ≤ 1e-5 · (1 + largest magnitude of b).
fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = b.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + largest))
}

/// A batch of rows and a matrix of any shape.
fn rows_and_matrix() -> impl Strategy<Value = (usize, usize, usize, Vec<f32>, Vec<f32>)> {
    (1usize..70, 1usize..40, 1usize..80).prop_flat_map(|(n, rows, columns)| {
        (
            Just(n),
            Just(rows),
            Just(columns),
            vec(-2.0f32..2.0, n * columns),
            vec(-2.0f32..2.0, rows * columns),
        )
    })
}

/// A call of attention with left padding and perhaps a window; the seed makes its numbers.
fn attention_call() -> impl Strategy<Value = (AttentionShape, Vec<u32>, u32)> {
    let counts = (
        1usize..4,
        0usize..30,
        1usize..4,
        1usize..3,
        1usize..40,
        0usize..20,
        0usize..5,
    );
    (counts, proptest::option::of(1usize..30), any::<u32>()).prop_flat_map(|(counts, window, seed)| {
        let (batch, queries, kv_heads, group, head_dim, past, spare) = counts;
        let keys = past + queries + 1;
        let shape = AttentionShape {
            batch,
            queries: queries + 1,
            heads: kv_heads * group,
            kv_heads,
            head_dim,
            keys,
            capacity: keys + spare,
            first_query: past,
            window,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        (Just(shape), vec(0u32..40, batch), Just(seed))
    })
}

/// Numbers in [−1, 1) from a seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn linear_of_a_batch_is_linear_of_its_rows((n, rows, columns, x, weights) in rows_and_matrix()) {
        let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
        let matrix = CPU.matrix(StoredValues::F32(&bytes), rows, columns).unwrap();
        let mut batch = CPU.zeros(n * rows);
        CPU.linear(&CPU.upload(&x), n, &matrix, None, &mut batch).unwrap();
        let mut singles = Vec::new();
        for row in x.chunks(columns) {
            let mut single = CPU.zeros(rows);
            CPU.linear(&CPU.upload(row), 1, &matrix, None, &mut single).unwrap();
            singles.extend(content(&single));
        }
        prop_assert!(close(&content(&batch), &singles));
    }

    #[test]
    fn rotary_turns_back((n, heads, half, spare) in (1usize..20, 1usize..4, 1usize..40, 0usize..5), seed: u32) {
        let head_dim = 2 * half + spare;
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            numbers(seed, 8 * half).iter().map(|x| ((3.0 * x).cos(), (3.0 * x).sin())).unzip();
        let (cos, sin) = (CPU.upload(&cos), CPU.upload(&sin));
        let before = numbers(seed ^ 1, n * heads * head_dim);
        let positions: Vec<u32> = (0..n as u32).map(|i| (i * 3 + seed % 8) % 8).collect();
        let mut x = CPU.upload(&before);
        for inverse in [false, true] {
            CPU.rotary(&mut x, n, heads, head_dim, &cos, &sin, half, &positions, inverse).unwrap();
        }
        prop_assert!(close(&content(&x), &before));
    }

    #[test]
    fn softmax_rows_sum_to_one_or_are_zero(
        width in 1usize..200,
        x in vec(prop_oneof![4 => -90.0f32..90.0, 1 => Just(f32::NEG_INFINITY)], 200 * 4),
        masked in 0usize..4,
    ) {
        let mut x = x[..4 * width].to_vec();
        x[masked * width..(masked + 1) * width].fill(f32::NEG_INFINITY);
        let mut buffer = CPU.upload(&x);
        CPU.softmax(&mut buffer, 4, width).unwrap();
        for (row, x) in content(&buffer).chunks(width).zip(x.chunks(width)) {
            let total: f32 = row.iter().sum();
            let expected = if x.iter().all(|&x| x == f32::NEG_INFINITY) { 0.0 } else { 1.0 };
            prop_assert!((total - expected).abs() < 1e-5, "{total}");
            prop_assert!(row.iter().all(|&p| (0.0..=1.000_001).contains(&p)));
        }
    }

    #[test]
    fn attention_is_scores_softmax_and_mixing((shape, first_key, seed) in attention_call()) {
        let queries = shape.batch * shape.queries * shape.heads * shape.head_dim;
        let cached = shape.batch * shape.capacity * shape.kv_heads * shape.head_dim;
        let pairs = shape.batch * shape.heads * shape.queries;
        let q = CPU.upload(&numbers(seed, queries));
        let (k, v) = (CPU.upload(&numbers(seed ^ 1, cached)), CPU.upload(&numbers(seed ^ 2, cached)));
        let (mut at_once, mut in_steps) = (CPU.zeros(queries), CPU.zeros(queries));
        CPU.attention(&q, &k, &v, &shape, &first_key, &mut at_once).unwrap();
        let mut pattern = CPU.zeros(pairs * shape.keys);
        CPU.attention_scores(&q, &k, &shape, &first_key, &mut pattern).unwrap();
        CPU.softmax(&mut pattern, pairs, shape.keys).unwrap();
        CPU.attention_mix(&pattern, &v, &shape, &mut in_steps).unwrap();
        prop_assert!(close(&content(&at_once), &content(&in_steps)));
    }

    #[test]
    fn decoding_is_the_last_query_of_a_prompt((shape, first_key, seed) in attention_call()) {
        let row = shape.heads * shape.head_dim;
        let cached = shape.batch * shape.capacity * shape.kv_heads * shape.head_dim;
        let q = numbers(seed, shape.batch * shape.queries * row);
        let (k, v) = (CPU.upload(&numbers(seed ^ 1, cached)), CPU.upload(&numbers(seed ^ 2, cached)));
        let mut prompt = CPU.zeros(q.len());
        CPU.attention(&CPU.upload(&q), &k, &v, &shape, &first_key, &mut prompt).unwrap();
        let last = |x: &[f32]| -> Vec<f32> {
            x.chunks(shape.queries * row).flat_map(|x| x[(shape.queries - 1) * row..].to_vec()).collect()
        };
        let one = AttentionShape { queries: 1, first_query: shape.first_query + shape.queries - 1, ..shape };
        let mut decoded = CPU.zeros(shape.batch * row);
        CPU.attention(&CPU.upload(&last(&q)), &k, &v, &one, &first_key, &mut decoded).unwrap();
        prop_assert!(close(&content(&decoded), &last(&content(&prompt))));
    }

    #[test]
    fn attention_over_selected_rows_is_the_attention_of_those_rows(
        (shape, first_key, seed) in attention_call(),
        chosen in vec(0usize..3, 1..5),
        spare in 0usize..4,
    ) {
        let chosen: Vec<u32> = chosen.iter().map(|&b| (b % shape.batch) as u32).collect();
        let width = shape.kv_heads * shape.head_dim;
        let row = shape.queries * shape.heads * shape.head_dim;
        let cached = shape.batch * shape.capacity * width;
        let q = numbers(seed, shape.batch * row);
        let (k, v) = (CPU.upload(&numbers(seed ^ 1, cached)), CPU.upload(&numbers(seed ^ 2, cached)));
        let pick = |x: &[f32]| -> Vec<f32> {
            chosen.iter().flat_map(|&b| x[b as usize * row..(b as usize + 1) * row].to_vec()).collect()
        };
        let mut all = CPU.zeros(q.len());
        CPU.attention(&CPU.upload(&q), &k, &v, &shape, &first_key, &mut all).unwrap();

        let selected = AttentionShape { batch: chosen.len(), capacity: shape.keys + spare, ..shape };
        let select = |cache| {
            let mut dst = CPU.zeros(selected.batch * selected.capacity * width);
            CPU.cache_select(cache, shape.capacity, width, shape.keys, &chosen, selected.capacity, &mut dst).unwrap();
            dst
        };
        let first: Vec<u32> = chosen.iter().map(|&b| first_key[b as usize]).collect();
        let mut z = CPU.zeros(chosen.len() * row);
        CPU.attention(&CPU.upload(&pick(&q)), &select(&k), &select(&v), &selected, &first, &mut z).unwrap();
        prop_assert_eq!(content(&z), pick(&content(&all)));
    }

    #[test]
    fn top_k_keeps_what_sorting_puts_first(
        x in vec(prop_oneof![3 => -3.0f32..3.0, 1 => (-2i32..3).prop_map(|x| x as f32)], 1..400),
        k in 0usize..60,
    ) {
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.sort_by(|&a, &b| x[b].total_cmp(&x[a]).then(a.cmp(&b)));
        order.truncate(k);
        let found = CPU.top_entries(&CPU.upload(&x), 1, x.len(), k).unwrap();
        prop_assert_eq!(&found[0].indices, &order.iter().map(|&i| i as u32).collect::<Vec<_>>());
        let mut kept = vec![0.0; x.len()];
        for &i in &order {
            kept[i] = x[i].max(0.0);
        }
        let mut buffer = CPU.upload(&x);
        CPU.keep_top_k(&mut buffer, 1, x.len(), k).unwrap();
        prop_assert_eq!(content(&buffer), kept);
    }
}
