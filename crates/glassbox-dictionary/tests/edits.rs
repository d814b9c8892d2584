//! What an edit does to rows, and the gradient that it pulls back, against plain arithmetic in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use glassbox_dictionary::{
    ActivationRule, Dictionary, DictionaryError, FeatureEdit, InputNormalisation, RowStatistics,
    SparseSelection,
};
use glassbox_kernels::{Backend, CpuBackend, KernelError};
use proptest::prelude::*;
use support::{Draws, Plain, backend, read, relative_difference, widen};

const RULES: [&str; 3] = ["relu", "jump_relu", "top_k"];
const NORMALISATIONS: [InputNormalisation; 3] = [
    InputNormalisation::None,
    InputNormalisation::LayerNorm,
    InputNormalisation::ConstantNormRescale,
];

/// A random dictionary and rows of which no pre-activation lies near its switch.
#[derive(Debug)]
struct Case {
    plain: Plain,
    dictionary: Arc<Dictionary<CpuBackend>>,
    rows: Vec<Vec<f32>>,
    draws: Draws,
}

const MOST_DRAWS: usize = 1000;

fn cases() -> impl Strategy<Value = Case> {
    (
        any::<u64>(),
        1_usize..40,
        2_usize..24,
        0_usize..3,
        0_usize..3,
        1_usize..5,
    )
        .prop_filter_map(
            "no row keeps a distance from every switch",
            |(seed, features, width, rule, normalisation, n)| {
                let plain = Plain::random(seed, features, width, RULES[rule], NORMALISATIONS[normalisation]);
                let mut draws = Draws(seed ^ 1);
                let mut rows = Vec::new();
                // With two columns and a norm there are hardly any different rows: a dictionary may allow none.
                for _ in 0..MOST_DRAWS {
                    if rows.len() == n {
                        break;
                    }
                    let row: Vec<f32> = (0..width).map(|_| draws.normal() + 0.3).collect();
                    // A nearly constant row makes layer norm ill-conditioned, in any arithmetic.
                    let spread = row.iter().fold(f32::MIN, |a, b| a.max(*b))
                        - row.iter().fold(f32::MAX, |a, b| a.min(*b));
                    if spread > 0.5 && plain.margin(&widen(&row)) > 1e-3 {
                        rows.push(row);
                    }
                }
                let dictionary = plain.dictionary();
                (rows.len() == n).then_some(Case {
                    plain,
                    dictionary,
                    rows,
                    draws,
                })
            },
        )
}

impl Case {
    fn n(&self) -> usize {
        self.rows.len()
    }

    fn width(&self) -> usize {
        self.plain.width
    }

    fn flat(&self) -> Vec<f32> {
        self.rows.concat()
    }

    fn feature(&mut self) -> usize {
        (self.draws.uniform() * self.plain.features as f32) as usize
    }

    /// A feature that is active somewhere, if there is one.
    fn active_feature(&self) -> Option<usize> {
        self.rows.iter().find_map(|row| {
            self.plain
                .encode(&widen(row))
                .iter()
                .position(|value| *value > 0.0)
        })
    }

    /// Applies an edit to every row.
    fn apply(&self, edit: &FeatureEdit) -> Vec<f32> {
        let compiled = edit.compile(&self.dictionary).unwrap();
        assert_eq!(compiled.width(), Some(self.width()));
        let mut x = backend().upload(&self.flat());
        let rows: Vec<u32> = (0..self.n() as u32).collect();
        compiled.apply(&backend(), &mut x, self.width(), &rows).unwrap();
        read(&x, self.n() * self.width())
    }

    /// What the edit should give, by its definition in f64.
    fn expected(&self, edit: &FeatureEdit) -> Vec<f64> {
        self.rows
            .iter()
            .flat_map(|row| edited(&self.plain, &widen(row), edit))
            .collect()
    }
}

fn edited(plain: &Plain, x: &[f64], edit: &FeatureEdit) -> Vec<f64> {
    let f = plain.encode(x);
    let with = |feature: u32, value: f32| {
        let mut f = f.clone();
        f[feature as usize] = f64::from(value);
        f
    };
    match *edit {
        FeatureEdit::SetByDelta { feature, value } => {
            let (before, after) = (plain.decode(&f, x), plain.decode(&with(feature, value), x));
            (0..x.len()).map(|j| x[j] + after[j] - before[j]).collect()
        }
        FeatureEdit::SetByReconstruction { feature, value } => plain.decode(&with(feature, value), x),
        FeatureEdit::ReconstructOnly => plain.decode(&f, x),
        FeatureEdit::AddDecoderDirection { feature, strength } => {
            let (_, factor, _) = plain.normalise(x);
            let d = plain.decoder_row(feature as usize);
            (0..x.len())
                .map(|j| x[j] + f64::from(strength) * factor * d[j])
                .collect()
        }
    }
}

fn edits(feature: usize, value: f32) -> [FeatureEdit; 4] {
    let feature = feature as u32;
    [
        FeatureEdit::SetByDelta { feature, value },
        FeatureEdit::SetByReconstruction { feature, value },
        FeatureEdit::ReconstructOnly,
        FeatureEdit::AddDecoderDirection {
            feature,
            strength: value,
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn encode_and_decode_equal_their_definition(case in cases()) {
        let (n, x) = (case.n(), backend().upload(&case.flat()));
        let encoded = case.dictionary.encode(&x, n).unwrap();
        let expected: Vec<f64> = case.rows.iter().flat_map(|row| case.plain.encode(&widen(row))).collect();
        let found = read(&encoded.features, expected.len());
        prop_assert!(relative_difference(&found, &expected) < 2e-5);
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!(*found != 0.0, *expected != 0.0);
        }
        let expected = case.expected(&FeatureEdit::ReconstructOnly);
        let output = read(&case.dictionary.reconstruct(&x, n).unwrap(), expected.len());
        prop_assert!(relative_difference(&output, &expected) < 2e-5);
    }

    #[test]
    fn every_edit_equals_its_definition(mut case in cases()) {
        for feature in [Some(case.feature()), case.active_feature()].into_iter().flatten() {
            let value = case.draws.normal() * 2.0;
            for edit in edits(feature, value) {
                let difference = relative_difference(&case.apply(&edit), &case.expected(&edit));
                prop_assert!(difference < 2e-5, "{:?}: {}", edit, difference);
            }
        }
    }

    #[test]
    fn setting_a_feature_to_its_own_value_changes_nothing(case in cases()) {
        let feature = case.active_feature().unwrap_or(0);
        for row in &case.rows {
            let single = Case {
                plain: case.plain.clone(),
                dictionary: Arc::clone(&case.dictionary),
                rows: vec![row.clone()],
                draws: Draws(0),
            };
            let x = backend().upload(row);
            let f = read(&case.dictionary.encode(&x, 1).unwrap().features, case.plain.features);
            let edit = FeatureEdit::SetByDelta { feature: feature as u32, value: f[feature] };
            prop_assert!(relative_difference(&single.apply(&edit), &widen(row)) < 1e-5);
        }
    }

    /// After the delta the rest of the row, all that the old reconstruction left out, is still there.
    #[test]
    fn a_delta_keeps_the_reconstruction_error(mut case in cases()) {
        let feature = case.active_feature().unwrap_or(0);
        let value = case.draws.normal();
        let after = case.apply(&FeatureEdit::SetByDelta { feature: feature as u32, value });
        let clean = case.apply(&FeatureEdit::ReconstructOnly);
        let set = case.apply(&FeatureEdit::SetByReconstruction { feature: feature as u32, value });
        let flat = case.flat();
        let expected: Vec<f64> =
            (0..flat.len()).map(|i| f64::from(set[i]) + f64::from(flat[i]) - f64::from(clean[i])).collect();
        prop_assert!(relative_difference(&after, &expected) < 2e-5);
    }

    /// On raw rows another feature's pre-activation moves by (value − f_i) · (encoder row j · decoder row i) only.
    #[test]
    fn a_delta_moves_other_features_by_their_interference(mut case in cases()) {
        prop_assume!(case.plain.normalisation == InputNormalisation::None);
        let feature = case.feature();
        let value = case.draws.normal();
        let after = case.apply(&FeatureEdit::SetByDelta { feature: feature as u32, value });
        let decoder = case.plain.decoder_row(feature);
        for (i, row) in case.rows.iter().enumerate() {
            let before = case.plain.pre_activations(&widen(row)).0;
            let moved = case.plain.pre_activations(&widen(&after[i * case.width()..][..case.width()])).0;
            let amount = f64::from(value) - case.plain.encode(&widen(row))[feature];
            for j in 0..case.plain.features {
                let encoder = case.plain.encoder_row(j);
                let overlap: f64 = encoder.iter().zip(&decoder).map(|(w, d)| w * d).sum();
                prop_assert!((moved[j] - before[j] - amount * overlap).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_subset_equals_the_columns_of_the_full_encode(mut case in cases()) {
        let ids: Vec<u32> = (0..3).map(|_| case.feature() as u32).collect();
        let (n, x) = (case.n(), backend().upload(&case.flat()));
        let all = read(&case.dictionary.encode(&x, n).unwrap().features, n * case.plain.features);
        let subset = case.dictionary.subset(&ids).unwrap();
        let some = read(&subset.encode(&x, n).unwrap(), n * ids.len());
        let expected: Vec<f64> = (0..n)
            .flat_map(|row| ids.iter().map(move |id| (row, *id as usize)))
            .map(|(row, id)| f64::from(all[row * case.plain.features + id]))
            .collect();
        prop_assert!(relative_difference(&some, &expected) < 1e-5);
    }

    #[test]
    fn sparse_equals_dense(case in cases()) {
        let (n, x) = (case.n(), backend().upload(&case.flat()));
        let encoded = case.dictionary.encode(&x, n).unwrap();
        let dense = read(&encoded.features, n * case.plain.features);
        let sparse = case.dictionary.encode_sparse(&x, n, &SparseSelection::default()).unwrap();
        let mut again = vec![0.0; dense.len()];
        for (row, feature, value) in sparse.iter() {
            prop_assert!(value > 0.0);
            again[row * case.plain.features + feature as usize] = value;
        }
        prop_assert_eq!(&again, &dense);
        let from_dense = read(&case.dictionary.decode(&encoded.features, n, &encoded.statistics).unwrap(), n * case.width());
        let from_sparse = read(&case.dictionary.decode_sparse(&sparse, &encoded.statistics).unwrap(), n * case.width());
        prop_assert!(relative_difference(&from_sparse, &widen(&from_dense)) < 1e-5);

        let two = case.dictionary.encode_sparse(&x, n, &SparseSelection { above: 0.1, at_most: Some(2) }).unwrap();
        for row in 0..n {
            let mut values: Vec<f32> =
                sparse.row(row).1.iter().copied().filter(|value| *value > 0.1).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            values.truncate(2);
            let mut kept = two.row(row).1.to_vec();
            kept.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(kept, values);
        }
    }

    /// Gradients of w · edited(x) by central differences of the f64 definition, away from every switch.
    #[test]
    fn pull_back_equals_finite_differences(mut case in cases()) {
        let features: Vec<usize> = [Some(case.feature()), case.active_feature()].into_iter().flatten().collect();
        let value = case.draws.normal();
        let (n, width) = (case.n(), case.width());
        let weights = case.draws.normals(n * width, 1.0);
        let rows: Vec<u32> = (0..n as u32).collect();
        let x = backend().upload(&case.flat());
        for feature in features {
            for edit in edits(feature, value) {
                let compiled = edit.compile(&case.dictionary).unwrap();
                let mut gradient = backend().upload(&weights);
                compiled.pull_back(&backend(), &x, &mut gradient, width, &rows).unwrap();
                let found = read(&gradient, n * width);
                let mut expected = Vec::new();
                for (i, row) in case.rows.iter().enumerate() {
                    let row = widen(row);
                    let scalar = |x: &[f64]| -> f64 {
                        let edited = edited(&case.plain, x, &edit);
                        edited.iter().zip(&weights[i * width..]).map(|(e, w)| e * f64::from(*w)).sum()
                    };
                    let step = 1e-6;
                    for j in 0..width {
                        let (mut above, mut below) = (row.clone(), row.clone());
                        above[j] += step;
                        below[j] -= step;
                        expected.push((scalar(&above) - scalar(&below)) / (2.0 * step));
                    }
                }
                let difference = relative_difference(&found, &expected);
                prop_assert!(difference < 1e-4, "{:?} {:?}: {}", edit, case.plain.normalisation, difference);
            }
        }
    }

    /// The gradient of w · f(x) for a weight on every feature.
    #[test]
    fn encode_backward_equals_finite_differences(mut case in cases()) {
        let (n, width, features) = (case.n(), case.width(), case.plain.features);
        let weights = case.draws.normals(n * features, 1.0);
        let x = backend().upload(&case.flat());
        let d_x = case.dictionary.encode_backward(&x, n, &backend().upload(&weights)).unwrap();
        let mut expected = Vec::new();
        for (i, row) in case.rows.iter().enumerate() {
            let row = widen(row);
            let scalar = |x: &[f64]| -> f64 {
                case.plain.encode(x).iter().zip(&weights[i * features..]).map(|(f, w)| f * f64::from(*w)).sum()
            };
            for j in 0..width {
                let (mut above, mut below) = (row.clone(), row.clone());
                above[j] += 1e-6;
                below[j] -= 1e-6;
                expected.push((scalar(&above) - scalar(&below)) / 2e-6);
            }
        }
        prop_assert!(relative_difference(&read(&d_x, n * width), &expected) < 1e-4);
    }

    /// Rows that an edit doesn't name, and the order of those it does, don't matter.
    #[test]
    fn only_the_named_rows_change(mut case in cases()) {
        prop_assume!(case.n() >= 3);
        let feature = case.feature();
        let width = case.width();
        for edit in edits(feature, 1.5) {
            let all = case.apply(&edit);
            let compiled = edit.compile(&case.dictionary).unwrap();
            let mut x = backend().upload(&case.flat());
            compiled.apply(&backend(), &mut x, width, &[2, 0]).unwrap();
            let some = read(&x, case.n() * width);
            for row in 0..case.n() {
                let source = if row == 0 || row == 2 { &all } else { &case.flat() };
                let place = row * width..(row + 1) * width;
                prop_assert!(relative_difference(&some[place.clone()], &widen(&source[place])) < 1e-6);
            }
        }
    }
}

#[test]
fn edits_out_of_range_are_refused_with_the_valid_range() {
    let dictionary = Plain::random(4, 8, 4, "relu", InputNormalisation::None).dictionary();
    for edit in [
        FeatureEdit::SetByDelta {
            feature: 8,
            value: 1.0,
        },
        FeatureEdit::SetByReconstruction {
            feature: 8,
            value: 1.0,
        },
        FeatureEdit::AddDecoderDirection {
            feature: 8,
            strength: 1.0,
        },
    ] {
        let error = edit.compile(&dictionary).unwrap_err();
        assert!(
            matches!(
                error,
                DictionaryError::FeatureOutOfRange {
                    feature: 8,
                    last: 7,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("0 to 7"));
    }
    assert!(matches!(
        dictionary.subset(&[0, 9]),
        Err(DictionaryError::FeatureOutOfRange { feature: 9, .. })
    ));
    for value in [f32::NAN, f32::INFINITY] {
        let error = FeatureEdit::SetByDelta { feature: 0, value }
            .compile(&dictionary)
            .unwrap_err();
        assert!(matches!(error, DictionaryError::ValueNotFinite { .. }), "{error}");
    }
}

#[test]
fn rows_of_another_width_are_refused() {
    let dictionary = Plain::random(4, 8, 4, "relu", InputNormalisation::None).dictionary();
    for edit in edits(0, 1.0) {
        let compiled = edit.compile(&dictionary).unwrap();
        let mut x = backend().zeros(12);
        let error = compiled.apply(&backend(), &mut x, 6, &[0]).unwrap_err();
        assert!(matches!(error, KernelError::Parameter { .. }), "{error}");
    }
}

#[test]
fn rows_that_are_not_finite_are_never_turned_into_features() {
    for rule in RULES {
        let dictionary = Plain::random(4, 8, 4, rule, InputNormalisation::None).dictionary();
        let x = backend().upload(&[0.0, 1.0, 2.0, 3.0, 0.0, f32::NAN, 0.0, 0.0]);
        let error = dictionary.encode(&x, 2).unwrap_err().to_string();
        assert!(
            error.contains("row 1, column 1") && error.contains("blocks.1.hook_resid_post"),
            "{error}"
        );
        let error = dictionary
            .encode_sparse(&x, 2, &SparseSelection::default())
            .unwrap_err();
        assert!(error.to_string().contains("not finite"), "{error}");
        let mut x = backend().upload(&[f32::INFINITY, 1.0, 2.0, 3.0]);
        let compiled = FeatureEdit::ReconstructOnly.compile(&dictionary).unwrap();
        assert!(compiled.apply(&backend(), &mut x, 4, &[0]).is_err());
    }
}

#[test]
fn normalisations_refuse_rows_where_they_are_not_defined() {
    let constant = [2.0_f32; 4];
    let dictionary = Plain::random(4, 8, 4, "relu", InputNormalisation::LayerNorm).dictionary();
    let x = backend().upload(&constant);
    assert!(dictionary.encode(&x, 1).is_ok());
    let mut gradient = backend().upload(&[1.0; 4]);
    let compiled = FeatureEdit::ReconstructOnly.compile(&dictionary).unwrap();
    let error = compiled
        .pull_back(&backend(), &x, &mut gradient, 4, &[0])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no gradient"), "{error}");

    let dictionary = Plain::random(4, 8, 4, "relu", InputNormalisation::ConstantNormRescale).dictionary();
    let error = dictionary.encode(&backend().zeros(4), 1).unwrap_err().to_string();
    assert!(error.contains("all zeros"), "{error}");
}

#[test]
fn no_rows_are_no_work() {
    for normalisation in NORMALISATIONS {
        for rule in RULES {
            let dictionary = Plain::random(5, 8, 4, rule, normalisation).dictionary();
            let x = backend().zeros(0);
            dictionary.reconstruct(&x, 0).unwrap();
            assert_eq!(
                dictionary
                    .encode_sparse(&x, 0, &SparseSelection::default())
                    .unwrap()
                    .rows(),
                0
            );
            let sparse = dictionary
                .encode_sparse(&x, 0, &SparseSelection::default())
                .unwrap();
            dictionary
                .decode_sparse(&sparse, &RowStatistics::identity())
                .unwrap();
            for edit in edits(1, 1.0) {
                let compiled = edit.compile(&dictionary).unwrap();
                compiled
                    .apply(&backend(), &mut backend().zeros(4), 4, &[])
                    .unwrap();
                compiled
                    .pull_back(&backend(), &backend().zeros(4), &mut backend().zeros(4), 4, &[])
                    .unwrap();
            }
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = Plain::random(4, 8, 4, "jump_relu", InputNormalisation::None);
    let refused = |change: &dyn Fn(&mut Plain), words: &str| {
        let mut plain = good.clone();
        change(&mut plain);
        let error = plain.try_dictionary().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(
        &|plain| plain.encoder[5] = f32::NAN,
        "encoder holds NaN in row 1, column 1",
    );
    refused(
        &|plain| plain.decoder[0] = f32::INFINITY,
        "decoder holds inf in row 0, column 0",
    );
    refused(
        &|plain| plain.encoder_bias.push(0.0),
        "encoder_bias has 9 values, expected 8",
    );
    refused(&|plain| plain.decoder_bias[1] = f32::NAN, "decoder_bias[1]");
    refused(&|plain| plain.width = 5, "not [8, 5]");
    refused(
        &|plain| plain.rule = ActivationRule::top_k(9),
        "k is 9, expected 1 to 8",
    );
    refused(&|plain| plain.rule = ActivationRule::top_k(0), "k is 0");
    refused(
        &|plain| {
            plain.rule = ActivationRule::JumpRelu {
                threshold: vec![-1.0; 8],
            }
        },
        "at least 0",
    );
    refused(
        &|plain| plain.encoder_scale = Some(vec![1.0; 7]),
        "encoder_scale has 7",
    );
}
