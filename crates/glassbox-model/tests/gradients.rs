//! Gradients: equal to transformers' on the fixtures, and to finite differences through every kind of edit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::fixture::{self, Fixture, largest, largest_difference};
use common::random_model::{self, FAMILIES, Numbers};
use glassbox_kernels::backend::{FeatureDelta, FeatureRows};
use glassbox_kernels::{Backend, CpuBackend, KernelError, ReferenceBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::edits::{Add, Scale, Set, Zero};
use glassbox_model::forward::{ForwardRequest, LogitPositions, Residual, Start};
use glassbox_model::gradient::Seeds;
use glassbox_model::model::Model;
use glassbox_model::site::{Norm, Site};

/// Largest difference from transformers relative to the tensor's largest value.
const RELATIVE: f32 = 1e-3;

fn sites_with(fixture: &Fixture, prefix: &str) -> Vec<Site> {
    fixture
        .tensors
        .keys()
        .filter_map(|name| name.strip_prefix(prefix)?.parse().ok())
        .collect()
}

#[test]
fn gradients_equal_transformers() {
    for fixture in fixture::all() {
        let Some(logit_weights) = fixture.tensors.get("gradient.logit_weights") else {
            continue;
        };
        let model = fixture.model();
        let rows = fixture.integers["tokens"].rows();
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let request = ForwardRequest::new(&batch).logits(LogitPositions::All);
        let (output, mut tape) = model.forward_with_tape(&mut model.workspace(), request).unwrap();
        let difference = largest_difference(&output.logits.values, &fixture.tensors["logits"].values);
        assert!(
            difference <= 1e-4,
            "{}: logits differ by {difference}",
            fixture.name
        );

        let mut logits = Seeds::new();
        for (i, values) in logit_weights.values.chunks(model.config().vocab_size).enumerate() {
            logits = logits.logits((i / rows[0].len()) as u32, (i % rows[0].len()) as u32, values);
        }
        let inner = Seeds::new().site(
            Site::ResidPost(1),
            &fixture.tensors["gradient_inner.weights"].values,
        );
        let mut compared = 0;
        for (prefix, seeds) in [("gradient.", logits), ("gradient_inner.", inner)] {
            let wanted = sites_with(&fixture, prefix);
            let gradients = tape.backward(&seeds, &wanted).unwrap();
            for site in wanted {
                let reference = &fixture.tensors[&format!("{prefix}{site}")];
                let ours = gradients.get(site).unwrap();
                assert_eq!(ours.shape, reference.shape);
                let relative =
                    largest_difference(&ours.values, &reference.values) / largest(&reference.values);
                assert!(
                    relative <= RELATIVE,
                    "{} {prefix}{site} differs by {relative}",
                    fixture.name
                );
                compared += 1;
            }
        }
        assert_eq!(compared, 3 * model.config().n_layers + 2, "{}", fixture.name);
    }
}

/// A feature that is set by delta, in every row, as a dictionary would compile it.
#[derive(Debug)]
struct SetFeature<B: Backend> {
    encoder: B::Buffer,
    decoder: B::Buffer,
    width: usize,
}

impl<B: Backend> SetFeature<B> {
    fn deltas(&self, rows: &[u32]) -> (FeatureRows<'_, B::Buffer>, Vec<FeatureDelta>) {
        let features = FeatureRows {
            encoder: &self.encoder,
            decoder: &self.decoder,
            bias: &[0.1],
            threshold: &[-1000.0],
        };
        (
            features,
            rows.iter()
                .map(|&row| FeatureDelta {
                    row,
                    feature: 0,
                    value: 0.8,
                })
                .collect(),
        )
    }
}

impl<B: Backend> RowEdit<B> for SetFeature<B> {
    fn width(&self) -> Option<usize> {
        Some(self.width)
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        let (features, deltas) = self.deltas(rows);
        backend.feature_delta(x, width, &features, &deltas)
    }

    fn pull_back(
        &self,
        backend: &B,
        x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        let (features, deltas) = self.deltas(rows);
        backend.feature_delta_backward(x_before, gradient, width, &features, &deltas)
    }
}

/// The scalar Σ weights · logits from a residual at block 0.
fn scalar<B: Backend>(
    model: &Model<B>,
    batch: &TokenBatch,
    residual: &[f32],
    program: &RowProgram<B>,
    weights: &[f32],
) -> f64 {
    let start = Start::Layer {
        layer: 0,
        residual: Residual::Host(residual),
    };
    let request = ForwardRequest::new(batch)
        .logits(LogitPositions::All)
        .start(start)
        .program(program);
    let output = model.forward(&mut model.workspace(), request).unwrap();
    output
        .logits
        .values
        .iter()
        .zip(weights)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

#[test]
fn gradients_through_edits_equal_finite_differences() {
    let backend = ReferenceBackend;
    for (index, family) in FAMILIES.into_iter().enumerate() {
        let model = random_model::model(&backend, family, 31 + index as u64);
        let config = model.config();
        let mut numbers = Numbers::new(17);
        let rows: Vec<Vec<u32>> = [5, 3].iter().map(|&n| numbers.tokens(n, config)).collect();
        let batch = TokenBatch::from_rows(&rows).unwrap();
        let count = batch.rows() * batch.width() * config.d_model;
        let (residual, direction) = (numbers.list(count, 0.0, 1.0), numbers.list(count, 0.0, 1.0));
        let weights = numbers.list(8 * config.vocab_size, 0.0, 1.0);

        for site in Site::all(config) {
            if matches!(site, Site::Embed | Site::PosEmbed) {
                continue;
            }
            let mut edits: Vec<Arc<dyn RowEdit<ReferenceBackend>>> =
                vec![Arc::new(Scale(0.7)), Arc::new(Scale(1.2))];
            if let Some(width) = site.axes(config).edit_width(false) {
                edits.push(Arc::new(
                    Add::new(&backend, &numbers.list(width, 0.5, 0.3)).unwrap(),
                ));
                let (encoder, decoder) = (numbers.list(width, 0.0, 0.4), numbers.list(width, 0.0, 0.4));
                if !matches!(site, Site::NormScale(_)) {
                    edits.push(Arc::new(SetFeature::<ReferenceBackend> {
                        encoder: backend.upload(&encoder),
                        decoder: backend.upload(&decoder),
                        width,
                    }));
                }
            }
            // One after the other on the same rows, then one on a single position.
            let mut interventions: Vec<RowIntervention<ReferenceBackend>> = edits
                .into_iter()
                .map(|edit| RowIntervention {
                    rows: BatchRows::All,
                    site,
                    positions: Positions::All,
                    heads: None,
                    edit,
                })
                .collect();
            interventions.push(RowIntervention {
                rows: BatchRows::One(0),
                site,
                positions: Positions::Absolute(vec![1]),
                heads: site.axes(config).heads().map(|_| vec![1]),
                edit: match site {
                    Site::NormScale(_) => Arc::new(Set::new(&backend, &[1.5]).unwrap()),
                    _ => Arc::new(Zero),
                },
            });
            let program = RowProgram { interventions };

            let mut seeds = Seeds::new();
            let positions =
                (0..2_u32).flat_map(|row| (0..rows[row as usize].len() as u32).map(move |p| (row, p)));
            for ((row, position), values) in positions.zip(weights.chunks(config.vocab_size)) {
                seeds = seeds.logits(row, position, values);
            }
            let start = Start::Layer {
                layer: 0,
                residual: Residual::Host(&residual),
            };
            let request = ForwardRequest::new(&batch)
                .logits(LogitPositions::All)
                .start(start)
                .program(&program);
            let (_, mut tape) = model.forward_with_tape(&mut model.workspace(), request).unwrap();
            let gradients = tape.backward(&seeds, &[Site::ResidPre(0)]).unwrap();
            let mut gradient = gradients.get(Site::ResidPre(0)).unwrap().values.clone();
            if site == Site::ResidPre(0) {
                // With respect to the edited value; the difference below moves the one before the edits.
                let width = config.d_model;
                let mut before = backend.upload(&residual);
                let mut chain = Vec::new();
                for (at, intervention) in program.interventions.iter().enumerate() {
                    let rows: Vec<u32> = match intervention.rows {
                        BatchRows::All => vec![0, 1, 2, 3, 4, 7, 8, 9],
                        BatchRows::One(_) => vec![1],
                    };
                    let mut values = vec![0.0; count];
                    backend.read(&before, 0, &mut values).unwrap();
                    chain.push((at, backend.upload(&values), rows.clone()));
                    intervention
                        .edit
                        .apply(&backend, &mut before, width, &rows)
                        .unwrap();
                }
                let mut pulled = backend.upload(&gradient);
                for (at, before, rows) in chain.iter().rev() {
                    let edit = &program.interventions[*at].edit;
                    edit.pull_back(&backend, before, &mut pulled, width, rows)
                        .unwrap();
                }
                backend.read(&pulled, 0, &mut gradient).unwrap();
            }
            // Padding (positions 0 and 1 of the second row) moves nothing.
            let padding = batch.width() * config.d_model..(batch.width() + 2) * config.d_model;
            let slope: f64 = gradient
                .iter()
                .zip(&direction)
                .enumerate()
                .filter(|(i, _)| !padding.contains(i))
                .map(|(_, (g, v))| f64::from(*g) * f64::from(*v))
                .sum();
            let step = 7e-4;
            let moved = |sign: f32| -> Vec<f32> {
                residual
                    .iter()
                    .zip(&direction)
                    .map(|(x, v)| x + sign * step * v)
                    .collect()
            };
            let (above, below) = (moved(1.0), moved(-1.0));
            let difference = (scalar(&model, &batch, &above, &program, &weights)
                - scalar(&model, &batch, &below, &program, &weights))
                / (2.0 * f64::from(step));
            let error = (slope - difference).abs() / slope.abs().max(difference.abs()).max(1.0);
            assert!(
                error < 1e-2,
                "{family:?} {site}: {slope} by gradient, {difference} by difference"
            );
        }
    }
}

#[test]
fn inner_sites_have_the_gradients_that_moving_them_shows() {
    let backend = ReferenceBackend;
    for family in FAMILIES {
        let model = random_model::model(&backend, family, 3);
        let config = model.config();
        let mut numbers = Numbers::new(5);
        let batch = TokenBatch::from_row(&numbers.tokens(4, config)).unwrap();
        let weights = numbers.list(config.vocab_size, 0.0, 1.0);
        let sites = Site::all(config);
        let (_, mut tape) = model
            .forward_with_tape(&mut model.workspace(), ForwardRequest::new(&batch))
            .unwrap();
        let gradients = tape
            .backward(&Seeds::new().logits(0, 3, &weights), &sites)
            .unwrap();
        for site in sites {
            let Some(width) = site.axes(config).edit_width(false) else {
                continue;
            };
            let direction = numbers.list(width, 0.0, 1.0);
            // Moves position 1, which the last position sees, or the last where only that matters.
            let position = if site.layer() == Some(2) || site.layer().is_none() {
                3
            } else {
                1
            };
            let slope: f64 = gradients
                .at(site, 0, position)
                .unwrap()
                .iter()
                .zip(&direction)
                .map(|(g, v)| f64::from(*g) * f64::from(*v))
                .sum();
            let step = 4e-3;
            let value = |sign: f32| -> f64 {
                let moved: Vec<f32> = direction.iter().map(|v| v * sign * step).collect();
                let program = RowProgram {
                    interventions: vec![RowIntervention {
                        rows: BatchRows::All,
                        site,
                        positions: Positions::Absolute(vec![position]),
                        heads: None,
                        edit: Arc::new(Add::new(&backend, &moved).unwrap()),
                    }],
                };
                let request = ForwardRequest::new(&batch).program(&program);
                let output = model.forward(&mut model.workspace(), request).unwrap();
                output
                    .logits
                    .row(0)
                    .iter()
                    .zip(&weights)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum()
            };
            let difference = (value(1.0) - value(-1.0)) / (2.0 * f64::from(step));
            let error = (slope - difference).abs() / slope.abs().max(difference.abs()).max(0.3);
            assert!(
                error < 1e-2,
                "{family:?} {site}: {slope} by gradient, {difference} by difference"
            );
        }
    }
}

#[test]
fn a_tape_serves_many_scalars_and_refuses_what_it_lacks() {
    let backend = CpuBackend;
    let model = random_model::model(&backend, FAMILIES[0], 3);
    let config = model.config();
    let batch = TokenBatch::from_rows(&[vec![3, 4, 5, 6], vec![7, 8]]).unwrap();
    let mut workspace = model.workspace();
    let (_, mut tape) = model
        .forward_with_tape(&mut workspace, ForwardRequest::new(&batch))
        .unwrap();
    let mut numbers = Numbers::new(2);
    let (a, b) = (
        numbers.list(config.d_model, 0.0, 1.0),
        numbers.list(config.d_model, 0.0, 1.0),
    );
    let wanted = [
        Site::Embed,
        Site::ResidPre(0),
        Site::ResidPost(0),
        Site::ResidPost(2),
    ];
    let seed = |values: &[f32]| Seeds::new().position(Site::ResidPost(1), 1, 1, values);
    let (of_a, of_b) = (
        tape.backward(&seed(&a), &wanted).unwrap(),
        tape.backward(&seed(&b), &wanted).unwrap(),
    );
    let both = tape
        .backward(&seed(&a).position(Site::ResidPost(1), 1, 1, &b), &wanted)
        .unwrap();
    for site in wanted {
        let sum: Vec<f32> = of_a
            .get(site)
            .unwrap()
            .values
            .iter()
            .zip(&of_b.get(site).unwrap().values)
            .map(|(a, b)| a + b)
            .collect();
        let difference = largest_difference(&both.get(site).unwrap().values, &sum);
        assert!(difference <= 1e-5 * largest(&sum), "{site}: {difference}");
    }
    assert_eq!(
        of_a.get(Site::Embed).unwrap().values,
        of_a.get(Site::ResidPre(0)).unwrap().values
    );
    assert_eq!(
        largest(&of_a.get(Site::ResidPost(2)).unwrap().values),
        0.0,
        "later sites have no influence"
    );
    assert_eq!(
        largest(of_a.at(Site::ResidPost(0), 0, 3).unwrap()),
        0.0,
        "other rows have none"
    );
    assert!(
        largest(of_a.at(Site::ResidPost(0), 1, 0).unwrap()) > 0.0,
        "earlier positions have"
    );

    for (seeds, says) in [
        (Seeds::new(), "there is none"),
        (Seeds::new().logits(0, 0, &a), "the vocabulary has 29"),
        (Seeds::new().logits(1, 2, &[0.0; 29]), "no such position"),
        (
            Seeds::new().position(Site::ResidPre(0), 0, 0, &[1.0]),
            "a position has 12",
        ),
        (
            Seeds::new().site(Site::NormScale(Norm::Final), &[1.0]),
            "the site has 8",
        ),
        (
            Seeds::new().position(Site::ResidPre(7), 0, 0, &a),
            "its blocks are 0 to 2",
        ),
    ] {
        let error = tape
            .backward(&seeds, &[Site::ResidPre(0)])
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
    let request = ForwardRequest::new(&batch).stop_after_layer(1);
    let (_, mut short) = model.forward_with_tape(&mut workspace, request).unwrap();
    assert!(short.backward(&seed(&a), &[Site::ResidPre(0)]).is_ok());
    assert!(
        short
            .backward(&Seeds::new().logits(0, 0, &[0.0; 29]), &[Site::ResidPre(0)])
            .is_err()
    );
    assert!(short.backward(&seed(&a), &[Site::ResidPre(2)]).is_err());
    let mut cache = KvCache::new(&backend, config, 2, 8);
    let request = ForwardRequest::new(&batch).cache(&mut cache);
    assert!(model.forward_with_tape(&mut workspace, request).is_err());
}
