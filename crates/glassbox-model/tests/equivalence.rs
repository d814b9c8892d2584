//! Ways of computing the same thing that must agree: with a cache and without, in a batch and alone, from a layer on
//! and from the start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::fixture::{largest, largest_difference};
use common::random_model::{self, FAMILIES, Numbers};
use glassbox_kernels::{Backend, CpuBackend, ReferenceBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowIntervention, RowProgram};
use glassbox_model::edits::{Add, Scale};
use glassbox_model::forward::{ForwardOutput, ForwardRequest, LogitPositions, Residual, Start};
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use proptest::prelude::*;

/// Largest difference relative to the largest value. Sums in another order differ by rounding; over many thousand random
/// models the largest seen is 1.2e-5.
const RELATIVE: f32 = 2e-5;

fn close(what: &str, ours: &[f32], theirs: &[f32]) {
    let (difference, size) = (largest_difference(ours, theirs), largest(theirs));
    assert!(
        difference <= RELATIVE * size,
        "{what}: {difference} against values up to {size}"
    );
}

fn all_logits<B: Backend>(model: &Model<B>, rows: &[Vec<u32>]) -> ForwardOutput {
    let batch = TokenBatch::from_rows(rows).unwrap();
    model
        .forward(
            &mut model.workspace(),
            ForwardRequest::new(&batch).logits(LogitPositions::All),
        )
        .unwrap()
}

fn family() -> impl Strategy<Value = glassbox_model::config::Family> {
    prop::sample::select(FAMILIES.to_vec())
}

fn rows(numbers: &mut Numbers, lengths: &[usize], model: &Model<impl Backend>) -> Vec<Vec<u32>> {
    lengths
        .iter()
        .map(|&length| numbers.tokens(length, model.config()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn cached_equals_full(
        family in family(), seed in 1_u64..1000,
        lengths in prop::collection::vec(1_usize..9, 1..4),
        pieces in prop::collection::vec(1_usize..5, 1..5),
    ) {
        let model = random_model::model(&CpuBackend, family, seed);
        let mut numbers = Numbers::new(seed + 1);
        let starts = rows(&mut numbers, &lengths, &model);
        let more: usize = pieces.iter().sum();
        let ends = rows(&mut numbers, &vec![more; lengths.len()], &model);
        let whole: Vec<Vec<u32>> = starts.iter().zip(&ends).map(|(a, b)| [a.as_slice(), b].concat()).collect();
        let full = all_logits(&model, &whole);

        let mut workspace = model.workspace();
        // One slot of capacity, so that the cache must grow.
        let mut cache = KvCache::new(model.backend(), model.config(), lengths.len(), 1);
        let mut done = 0;
        let mut compare = |batch: &TokenBatch, cache: &mut KvCache<CpuBackend>| {
            let request = ForwardRequest::new(batch).logits(LogitPositions::All).cache(cache);
            let part = model.forward(&mut workspace, request).unwrap();
            for (i, at) in part.logits.positions.iter().enumerate() {
                close("cached logits", part.logits.row(i), full.logits.at(at.row, at.position).unwrap());
            }
        };
        compare(&TokenBatch::from_rows(&starts).unwrap(), &mut cache);
        for piece in pieces {
            let part: Vec<&[u32]> = ends.iter().map(|end| &end[done..done + piece]).collect();
            compare(&TokenBatch::from_rows(&part).unwrap(), &mut cache);
            done += piece;
        }
        prop_assert_eq!(cache.filled(), lengths.iter().max().unwrap() + more);
    }

    #[test]
    fn batched_equals_single(
        family in family(), seed in 1_u64..1000, lengths in prop::collection::vec(1_usize..12, 2..5),
    ) {
        let model = random_model::model(&CpuBackend, family, seed);
        let rows = rows(&mut Numbers::new(seed), &lengths, &model);
        let sites: Vec<Site> = Site::all(model.config());
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let request = ForwardRequest::new(&batch).logits(LogitPositions::All).record(&sites);
        let together = model.forward(&mut model.workspace(), request).unwrap();
        for (row, tokens) in rows.iter().enumerate() {
            let batch = TokenBatch::from_row(tokens).unwrap();
            let request = ForwardRequest::new(&batch).logits(LogitPositions::All).record(&sites);
            let alone = model.forward(&mut model.workspace(), request).unwrap();
            for position in 0..tokens.len() as u32 {
                let ours = together.logits.at(row as u32, position).unwrap();
                close("batched logits", ours, alone.logits.at(0, position).unwrap());
                for &site in &sites {
                    if let Some(theirs) = alone.recording.at(site, 0, position) {
                        close(&site.to_string(), together.recording.at(site, row, position).unwrap(), theirs);
                    }
                }
            }
        }
    }

    #[test]
    fn row_interventions_equal_one_at_a_time(
        family in family(), seed in 1_u64..1000, lengths in prop::collection::vec(2_usize..9, 2..5),
    ) {
        let model = random_model::model(&CpuBackend, family, seed);
        let config = model.config();
        let mut numbers = Numbers::new(seed);
        let rows = rows(&mut numbers, &lengths, &model);
        let sites: Vec<Site> = Site::all(config)
            .into_iter()
            .filter(|site| site.axes(config).edit_width(false).is_some())
            .collect();
        // Every row has an edit of its own and one more, at sites of its own.
        let mut interventions = Vec::new();
        for row in 0..rows.len() as u32 {
            for positions in [Positions::All, Positions::LastOfPrompt] {
                let site = sites[numbers.below(sites.len() as u32) as usize];
                let width = site.axes(config).edit_width(false).unwrap();
                let edit = Add::new(model.backend(), &numbers.list(width, 0.3, 0.2)).unwrap();
                interventions.push(RowIntervention {
                    rows: BatchRows::One(row), site, positions, heads: None, edit: Arc::new(edit),
                });
            }
        }
        let program = RowProgram { interventions };
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let together = model
            .forward(
                &mut model.workspace(),
                ForwardRequest::new(&batch).logits(LogitPositions::All).program(&program),
            )
            .unwrap();
        for (row, tokens) in rows.iter().enumerate() {
            let own = program.interventions.iter().filter(|i| i.rows == BatchRows::One(row as u32));
            let alone = RowProgram {
                interventions: own.map(|i| RowIntervention { rows: BatchRows::One(0), ..i.clone() }).collect(),
            };
            let batch = TokenBatch::from_row(tokens).unwrap();
            let output = model
                .forward(
                    &mut model.workspace(),
                    ForwardRequest::new(&batch).logits(LogitPositions::All).program(&alone),
                )
                .unwrap();
            for position in 0..tokens.len() as u32 {
                let ours = together.logits.at(row as u32, position).unwrap();
                close("edited logits", ours, output.logits.at(0, position).unwrap());
            }
        }
    }

    #[test]
    fn a_forked_and_a_reordered_cache_continue_as_if_computed(
        family in family(), seed in 1_u64..1000, lengths in prop::collection::vec(1_usize..9, 3..5),
    ) {
        let model = random_model::model(&CpuBackend, family, seed);
        let mut numbers = Numbers::new(seed);
        let starts = rows(&mut numbers, &lengths, &model);
        let mut workspace = model.workspace();
        let mut cache = KvCache::new(model.backend(), model.config(), starts.len(), 0);
        let batch = TokenBatch::from_rows(&starts).unwrap();
        model.forward(&mut workspace, ForwardRequest::new(&batch).cache(&mut cache)).unwrap();

        for order in [vec![2, 0], vec![1], vec![2, 1, 0], vec![0, 1, 2], vec![1, 1, 2]] {
            let (mut forked, mut kept) = (cache.fork(&order, 30).unwrap(), cache.fork(&[0, 1, 2], 0).unwrap());
            kept.retain(&order).unwrap();
            let ends = rows(&mut numbers, &vec![3; order.len()], &model);
            let whole: Vec<Vec<u32>> =
                order.iter().zip(&ends).map(|(&row, end)| [starts[row as usize].as_slice(), end].concat()).collect();
            let full = all_logits(&model, &whole);
            for cache in [&mut forked, &mut kept] {
                // Twice, so that the second pass sees what the first has written.
                for part in [0..2, 2..3] {
                    let tokens: Vec<&[u32]> = ends.iter().map(|end| &end[part.clone()]).collect();
                    let batch = TokenBatch::from_rows(&tokens).unwrap();
                    let request = ForwardRequest::new(&batch).logits(LogitPositions::All).cache(cache);
                    let output = model.forward(&mut workspace, request).unwrap();
                    for (i, at) in output.logits.positions.iter().enumerate() {
                        close("continued", output.logits.row(i), full.logits.at(at.row, at.position).unwrap());
                    }
                }
            }
        }
    }

    #[test]
    fn starting_at_a_layer_equals_the_whole(
        family in family(), seed in 1_u64..1000, lengths in prop::collection::vec(1_usize..9, 1..4), layer in 0_u32..4,
    ) {
        let model = random_model::model(&CpuBackend, family, seed);
        let batch = TokenBatch::from_rows(&rows(&mut Numbers::new(seed), &lengths, &model)).unwrap();
        let mut workspace = model.workspace();
        let sites = [if layer < 3 { Site::ResidPre(layer) } else { Site::ResidPost(2) }, Site::ResidPost(2)];
        let request = ForwardRequest::new(&batch).logits(LogitPositions::All).record(&sites);
        let full = model.forward(&mut workspace, request).unwrap();

        let residual = &full.recording.get(sites[0]).unwrap().values;
        let start = Start::Layer { layer, residual: Residual::Host(residual) };
        let request = ForwardRequest::new(&batch).logits(LogitPositions::All).start(start);
        let late = model.forward(&mut workspace, request).unwrap();
        close("from the host", &late.logits.values, &full.logits.values);

        if layer > 0 {
            let mut early = model.workspace();
            let request = ForwardRequest::new(&batch).stop_after_layer(layer - 1);
            model.forward(&mut early, request).unwrap();
            let start = Start::Layer { layer, residual: Residual::Device(early.resid()) };
            let request = ForwardRequest::new(&batch).logits(LogitPositions::All).start(start);
            let late = model.forward(&mut workspace, request).unwrap();
            close("from the device", &late.logits.values, &full.logits.values);
        }
    }
}

#[test]
fn backends_agree() {
    for family in FAMILIES {
        let fast = random_model::model(&CpuBackend, family, 5);
        let slow = random_model::model(&ReferenceBackend, family, 5);
        let tokens = rows(&mut Numbers::new(9), &[7, 3, 5], &fast);
        let sites = Site::all(fast.config());
        let batch = TokenBatch::from_rows(&tokens).unwrap();
        let ours = fast
            .forward(
                &mut fast.workspace(),
                ForwardRequest::new(&batch)
                    .logits(LogitPositions::All)
                    .record(&sites),
            )
            .unwrap();
        let theirs = slow
            .forward(
                &mut slow.workspace(),
                ForwardRequest::new(&batch)
                    .logits(LogitPositions::All)
                    .record(&sites),
            )
            .unwrap();
        close("logits", &ours.logits.values, &theirs.logits.values);
        for (site, recorded) in theirs.recording.sites() {
            for (row, tokens) in tokens.iter().enumerate() {
                for position in 0..tokens.len() as u32 {
                    if let Some(values) = theirs.recording.at(site, row, position) {
                        close(
                            &site.to_string(),
                            ours.recording.at(site, row, position).unwrap(),
                            values,
                        );
                    }
                }
            }
            assert_eq!(recorded.shape, ours.recording.get(site).unwrap().shape);
        }
    }
}

#[test]
fn repeated_runs_and_other_thread_counts_give_the_same_bits() {
    for family in FAMILIES {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let config = random_model::wide_config(family);
                let model = random_model::model_of(&CpuBackend, config, 3);
                let mut numbers = Numbers::new(4);
                let rows = rows(&mut numbers, &[30, 17, 45, 2, 9], &model);
                let batch = TokenBatch::from_rows(&rows).unwrap();
                let sites = [Site::ResidPost(0), Site::AttentionPattern(1)];
                let program = RowProgram {
                    interventions: vec![RowIntervention {
                        rows: BatchRows::All,
                        site: Site::MlpPost(1),
                        positions: Positions::All,
                        heads: None,
                        edit: Arc::new(Scale(0.5)),
                    }],
                };
                let request = ForwardRequest::new(&batch)
                    .logits(LogitPositions::All)
                    .record(&sites)
                    .program(&program);
                let output = model.forward(&mut model.workspace(), request).unwrap();
                let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let mut all = bits(&output.logits.values);
                for site in sites {
                    all.extend(bits(&output.recording.get(site).unwrap().values));
                }
                all
            })
        };
        let one = run(1);
        assert_eq!(one, run(1), "{family:?} repeated");
        assert_eq!(one, run(2), "{family:?} on two threads");
        assert_eq!(one, run(4), "{family:?} on four threads");
    }
}
