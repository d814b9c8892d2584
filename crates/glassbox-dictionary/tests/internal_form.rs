//! The parts of the internal form that only some formats use: outputs of another width, skip connections, scaled
//! selection, groups; each against plain arithmetic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryDescription, DictionaryParts, FeatureEdit, InputNormalisation,
    ModelReference, Precision, Provenance, RowStatistics, SparseSelection, StoredMatrix, formats,
};
use glassbox_kernels::backend::StoredValues;
use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::site::{Norm, Site};
use support::{Draws, backend, read, relative_difference, widen};

const WIDTH: usize = 5;
const FEATURES: usize = 12;
const ROWS: usize = 7;

/// Weights of a small transcoder, or of an SAE where both widths agree.
struct Weights {
    output_width: usize,
    encoder: Vec<f32>,
    decoder: Vec<f32>,
    skip: Option<Vec<f32>>,
    encoder_bias: Vec<f32>,
    decoder_bias: Vec<f32>,
    rule: ActivationRule,
    output_site: Site,
}

impl Weights {
    fn random(seed: u64, output_width: usize, skip: bool, rule: ActivationRule) -> Self {
        let mut draws = Draws(seed);
        Self {
            output_width,
            encoder: draws.normals(FEATURES * WIDTH, 0.6),
            decoder: draws.normals(FEATURES * output_width, 0.6),
            skip: skip.then(|| draws.normals(output_width * WIDTH, 0.6)),
            encoder_bias: draws.normals(FEATURES, 0.3),
            decoder_bias: draws.normals(output_width, 0.3),
            rule,
            output_site: Site::MlpOut(1),
        }
    }

    fn dictionary(&self) -> glassbox_dictionary::Result<Arc<Dictionary>> {
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let (encoder, decoder) = (bytes(&self.encoder), bytes(&self.decoder));
        let skip = self.skip.as_deref().map(bytes);
        let matrix = |bytes| StoredMatrix {
            values: StoredValues::F32(bytes),
            transposed: false,
        };
        let description = DictionaryDescription {
            site: Site::NormNormalized(Norm::Mlp(1)),
            output_site: self.output_site,
            width: WIDTH,
            output_width: self.output_width,
            features: FEATURES,
            rule: self.rule.clone(),
            subtract_decoder_bias: false,
            input_normalisation: InputNormalisation::None,
            model: ModelReference::default(),
            provenance: Provenance::in_memory(),
        };
        let parts = DictionaryParts {
            description,
            encoder: matrix(&encoder),
            decoder: matrix(&decoder),
            skip: skip.as_deref().map(matrix),
            encoder_bias: self.encoder_bias.clone(),
            decoder_bias: self.decoder_bias.clone(),
            encoder_scale: None,
            decoder_scale: None,
        };
        Dictionary::from_parts(&backend(), parts).map(Arc::new)
    }

    fn features(&self, x: &[f32]) -> Vec<f64> {
        let z: Vec<f64> = (0..FEATURES)
            .map(|i| dot(x, &self.encoder[i * WIDTH..][..WIDTH]) + f64::from(self.encoder_bias[i]))
            .collect();
        let kept = |i: usize| match &self.rule {
            ActivationRule::Relu => true,
            ActivationRule::JumpRelu { threshold } => z[i] > f64::from(threshold[i]),
            ActivationRule::TopK { k, selection_scale } => {
                let scaled =
                    |j: usize| z[j] * selection_scale.as_ref().map_or(1.0, |scale| f64::from(scale[j]));
                let scale = selection_scale.as_ref().map_or(1.0, |scale| scale[i]);
                scale > 0.0 && (0..FEATURES).filter(|j| scaled(*j) > scaled(i)).count() < *k
            }
            ActivationRule::GroupMax { groups } => {
                let size = FEATURES / groups;
                let group = i / size * size..(i / size + 1) * size;
                group.into_iter().all(|j| z[j] <= z[i])
            }
        };
        (0..FEATURES)
            .map(|i| if kept(i) { z[i].max(0.0) } else { 0.0 })
            .collect()
    }

    fn output(&self, x: &[f32]) -> Vec<f64> {
        let features = self.features(x);
        (0..self.output_width)
            .map(|o| {
                let decoded: f64 = features
                    .iter()
                    .enumerate()
                    .map(|(i, f)| f * f64::from(self.decoder[i * self.output_width + o]))
                    .sum();
                let skipped = self
                    .skip
                    .as_ref()
                    .map_or(0.0, |skip| dot(x, &skip[o * WIDTH..][..WIDTH]));
                decoded + f64::from(self.decoder_bias[o]) + skipped
            })
            .collect()
    }
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    one.iter()
        .zip(other)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn rules() -> Vec<ActivationRule> {
    let mut draws = Draws(5);
    let mut scale: Vec<f32> = (0..FEATURES).map(|_| 0.2 + draws.uniform()).collect();
    scale[3] = 0.0;
    vec![
        ActivationRule::Relu,
        ActivationRule::JumpRelu {
            threshold: (0..FEATURES).map(|_| draws.uniform()).collect(),
        },
        ActivationRule::top_k(4),
        ActivationRule::TopK {
            k: 4,
            selection_scale: Some(scale),
        },
        ActivationRule::GroupMax { groups: 3 },
    ]
}

fn every_kind() -> impl Iterator<Item = Weights> {
    rules().into_iter().enumerate().flat_map(|(i, rule)| {
        [(WIDTH, false), (WIDTH, true), (3, false), (8, true)]
            .into_iter()
            .map(move |(width, skip)| Weights::random(10 + i as u64, width, skip, rule.clone()))
    })
}

#[test]
fn features_and_outputs_are_the_formulas() {
    for weights in every_kind() {
        let dictionary = weights.dictionary().unwrap();
        let x = Draws(99).normals(ROWS * WIDTH, 1.0);
        let expected: Vec<f64> = x.chunks(WIDTH).flat_map(|x| weights.features(x)).collect();
        let output: Vec<f64> = x.chunks(WIDTH).flat_map(|x| weights.output(x)).collect();
        let uploaded = backend().upload(&x);

        let encoded = dictionary.encode(&uploaded, ROWS).unwrap();
        let found = read(&encoded.features, ROWS * FEATURES);
        assert!(relative_difference(&found, &expected) < 1e-6, "{}", weights.rule);
        let active = found.iter().filter(|f| **f != 0.0).count();
        assert_eq!(active, expected.iter().filter(|f| **f != 0.0).count());
        assert!(active > 0);
        let found = dictionary.reconstruct(&uploaded, ROWS).unwrap();
        let found = read(&found, ROWS * weights.output_width);
        assert!(relative_difference(&found, &output) < 1e-6, "{}", weights.rule);

        let sparse = dictionary
            .encode_sparse(&uploaded, ROWS, &SparseSelection::default())
            .unwrap();
        let statistics = dictionary.statistics(&uploaded, ROWS).unwrap();
        let found = dictionary.decode_sparse(&sparse, &statistics).unwrap();
        let found = read(&found, ROWS * weights.output_width);
        assert!(relative_difference(&found, &output) < 1e-6, "{}", weights.rule);

        let subset = dictionary.subset(&[7, 0, 11]).unwrap();
        let found = read(&subset.encode(&uploaded, ROWS).unwrap(), ROWS * 3);
        let chosen: Vec<f64> = expected
            .chunks(FEATURES)
            .flat_map(|row| [row[7], row[0], row[11]])
            .collect();
        assert!(relative_difference(&found, &chosen) < 1e-6, "{}", weights.rule);
    }
}

#[test]
fn decoding_without_what_the_skip_connection_adds_is_refused() {
    let weights = Weights::random(3, WIDTH, true, ActivationRule::Relu);
    let dictionary = weights.dictionary().unwrap();
    let features = backend().zeros(FEATURES);
    let error = dictionary
        .decode(&features, 1, &RowStatistics::identity())
        .unwrap_err()
        .to_string();
    assert!(error.contains("skip") && error.contains("ln2"), "{error}");
}

/// The gradient through encode, by differences of the formula.
#[test]
fn gradients_are_those_of_the_formulas() {
    for weights in every_kind() {
        let dictionary = weights.dictionary().unwrap();
        let x = Draws(7).normals(WIDTH, 1.0);
        let d_features = Draws(8).normals(FEATURES, 1.0);
        let value = |x: &[f32]| -> f64 {
            let features = weights.features(x);
            features
                .iter()
                .zip(&d_features)
                .map(|(f, d)| f * f64::from(*d))
                .sum()
        };
        let found = dictionary
            .encode_backward(&backend().upload(&x), 1, &backend().upload(&d_features))
            .unwrap();
        check_gradient(&value, &x, &read(&found, WIDTH), &weights.rule.to_string());
    }
}

/// An SAE may have a skip connection too: then replacing a row by its reconstruction passes gradients through it.
#[test]
fn reconstruction_edits_pass_gradients_through_the_skip_connection() {
    for rule in rules() {
        let mut weights = Weights::random(21, WIDTH, true, rule);
        weights.output_site = Site::NormNormalized(Norm::Mlp(1));
        let dictionary = weights.dictionary().unwrap();
        let edit = FeatureEdit::ReconstructOnly
            .compile::<CpuBackend>(&dictionary)
            .unwrap();
        let x = Draws(7).normals(WIDTH, 1.0);
        let g = Draws(8).normals(WIDTH, 1.0);
        let mut row = backend().upload(&x);
        edit.apply(&backend(), &mut row, WIDTH, &[0]).unwrap();
        assert!(relative_difference(&read(&row, WIDTH), &weights.output(&x)) < 1e-6);
        let mut gradient = backend().upload(&g);
        edit.pull_back(&backend(), &backend().upload(&x), &mut gradient, WIDTH, &[0])
            .unwrap();
        let value = |x: &[f32]| -> f64 {
            weights
                .output(x)
                .iter()
                .zip(&g)
                .map(|(o, g)| o * f64::from(*g))
                .sum()
        };
        check_gradient(&value, &x, &read(&gradient, WIDTH), &weights.rule.to_string());
    }
}

fn check_gradient(value: &dyn Fn(&[f32]) -> f64, x: &[f32], found: &[f32], what: &str) {
    const STEP: f32 = 1.0 / 1024.0;
    let expected: Vec<f64> = (0..x.len())
        .map(|j| {
            let moved = |by: f32| {
                let mut x = x.to_vec();
                x[j] += by;
                value(&x)
            };
            (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP))
        })
        .collect();
    assert!(
        relative_difference(found, &expected) < 1e-4,
        "{what}: {found:?} {expected:?}"
    );
}

#[test]
fn the_own_format_keeps_all_of_it() {
    for weights in every_kind() {
        let dictionary = weights.dictionary().unwrap();
        let folder = tempfile::tempdir().unwrap();
        formats::write_glassbox(&dictionary, folder.path(), Precision::F32, None).unwrap();
        let again = formats::load(folder.path(), &backend()).unwrap();
        assert_eq!(again.skip_values().unwrap(), weights.skip);
        assert_eq!(again.output_width(), weights.output_width);
        assert_eq!(again.description().rule, weights.rule);
        let x = Draws(99).normals(ROWS * WIDTH, 1.0);
        let x = backend().upload(&x);
        let outputs = [&*dictionary, &again].map(|dictionary| {
            let output = dictionary.reconstruct(&x, ROWS).unwrap();
            widen(&read(&output, ROWS * weights.output_width))
        });
        assert_eq!(outputs[0], outputs[1]);
        let summary = formats::inspect(folder.path()).unwrap();
        assert_eq!(summary.skip, weights.skip.is_some());
        assert_eq!(summary.to_string().contains("skip"), weights.skip.is_some());
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(&mut Weights), words: &str| {
        let mut weights = Weights::random(1, 8, true, ActivationRule::Relu);
        change(&mut weights);
        let error = weights.dictionary().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(
        &|weights| weights.output_site = Site::NormNormalized(Norm::Mlp(1)),
        "one site",
    );
    refused(
        &|weights| weights.rule = ActivationRule::GroupMax { groups: 5 },
        "5 groups",
    );
    refused(
        &|weights| weights.rule = ActivationRule::GroupMax { groups: 0 },
        "0 groups",
    );
    refused(
        &|weights| {
            weights.rule = ActivationRule::TopK {
                k: 2,
                selection_scale: Some(vec![1.0; 11]),
            };
        },
        "selection_scale has 11 values",
    );
    refused(
        &|weights| {
            weights.rule = ActivationRule::TopK {
                k: 2,
                selection_scale: Some(vec![-1.0; FEATURES]),
            };
        },
        "selection_scale[0] is -1",
    );
    refused(
        &|weights| weights.skip = Some(vec![0.0; 7]),
        "skip holds 28 bytes",
    );
    refused(
        &|weights| weights.skip.as_mut().unwrap()[6] = f32::NAN,
        "skip holds NaN in row 1, column 1",
    );
    refused(
        &|weights| weights.decoder_bias = vec![0.0; WIDTH],
        "decoder_bias has 5 values, expected 8",
    );
}
