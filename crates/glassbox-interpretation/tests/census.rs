//! The census against a plain recount, and its independence of passes and threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashSet};

use glassbox_corpus::{Split, TokenRow};
use glassbox_dictionary::SparseFeatures;
use glassbox_interpretation::PassRows;
use glassbox_interpretation::census::{CensusFindings, CensusSettings, FeatureCensus};
use proptest::prelude::*;

const FEATURES: usize = 7;

/// Rows with the activations of every token [tokens][features], zero where inactive.
type Corpus = Vec<(TokenRow, Vec<[f32; FEATURES]>)>;

fn row_of(tokens: &[u32], documents: &[u64], keep: &[bool]) -> TokenRow {
    TokenRow {
        number: 0,
        split: Split::HeldOut,
        tokens: tokens.to_vec(),
        documents: documents.to_vec(),
        document_positions: Vec::new(),
        keep: keep.to_vec(),
    }
}

fn corpus() -> impl Strategy<Value = Corpus> {
    let token = (0_u32..6, prop::bool::weighted(0.15), prop::bool::weighted(0.9));
    let value = prop_oneof![3 => Just(0.0_f32), 1 => (1_u32..40).prop_map(|v| v as f32 * 0.25)];
    let values = prop::array::uniform7(value);
    let row = prop::collection::vec((token, values), 1..30);
    prop::collection::vec(row, 1..12).prop_map(|rows| {
        let mut document = 0;
        rows.into_iter()
            .map(|row| {
                document += 1;
                let mut tokens = row_of(&[], &[], &[]);
                let mut values = Vec::new();
                for ((token, new_document, keep), of_token) in row {
                    document += u64::from(new_document);
                    tokens.tokens.push(token);
                    tokens.documents.push(document);
                    tokens.keep.push(keep);
                    values.push(of_token);
                }
                (tokens, values)
            })
            .collect()
    })
}

fn settings() -> CensusSettings {
    CensusSettings {
        context_before: 3,
        context_after: 2,
        top_contexts: 4,
        token_counters: 10,
        ..CensusSettings::default()
    }
}

fn census(corpus: &Corpus, rows_per_pass: usize) -> CensusFindings {
    let mut census = FeatureCensus::new(FEATURES, &settings()).unwrap();
    for rows in corpus.chunks(rows_per_pass) {
        let tokens: Vec<TokenRow> = rows.iter().map(|(row, _)| row.clone()).collect();
        let pass = PassRows::new(&tokens).unwrap();
        let mut sparse = SparseFeatures {
            row_offsets: vec![0],
            ..SparseFeatures::default()
        };
        for (row, position) in &pass.kept {
            for (feature, value) in (0..).zip(&rows[*row as usize].1[*position as usize]) {
                if *value > 0.0 {
                    sparse.features.push(feature);
                    sparse.values.push(*value);
                }
            }
            sparse.row_offsets.push(sparse.features.len());
        }
        census.push(&pass, &sparse);
    }
    census.finish()
}

/// (tokens of the window, activation) of every piece's peak, best first, texts once.
fn plain_top(corpus: &Corpus, feature: usize) -> Vec<(Vec<u32>, f32)> {
    let mut candidates = Vec::new();
    for (row, values) in corpus {
        let mut begin = 0;
        for end in 1..=row.tokens.len() {
            if end < row.tokens.len() && row.documents[end] == row.documents[begin] {
                continue;
            }
            let value = |i: usize| if row.keep[i] { values[i][feature] } else { 0.0 };
            let peak = (begin..end)
                .rev()
                .max_by(|a, b| value(*a).total_cmp(&value(*b)))
                .unwrap();
            if value(peak) > 0.0 {
                let window = peak.saturating_sub(3).max(begin)..(peak + 3).min(end);
                candidates.push((row.tokens[window].to_vec(), value(peak)));
            }
            begin = end;
        }
    }
    candidates.sort_by(|one, other| other.1.total_cmp(&one.1));
    let mut seen = HashSet::new();
    candidates.retain(|(tokens, _)| seen.insert(tokens.clone()));
    candidates.truncate(4);
    candidates
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_census_equals_a_plain_recount(corpus in corpus(), rows_per_pass in 1_usize..5) {
        let found = census(&corpus, rows_per_pass);
        let kept: Vec<(u32, &[f32; FEATURES])> = corpus
            .iter()
            .flat_map(|(row, values)| {
                (0..row.tokens.len())
                    .filter(|i| row.keep[*i])
                    .map(|i| (row.tokens[i], &values[i]))
            })
            .collect();
        prop_assert_eq!(found.tokens, kept.len() as u64);
        for (feature, findings) in found.features.iter().enumerate() {
            let active: Vec<(u32, f32)> = kept
                .iter()
                .filter(|(_, values)| values[feature] > 0.0)
                .map(|(token, values)| (*token, values[feature]))
                .collect();
            prop_assert_eq!(findings.active, active.len() as u64);
            prop_assert_eq!(findings.largest, active.iter().map(|a| a.1).fold(0.0, f32::max));
            prop_assert_eq!(findings.histogram.iter().sum::<u64>(), findings.active);
            let mean = active.iter().map(|a| f64::from(a.1)).sum::<f64>() / active.len().max(1) as f64;
            prop_assert!((findings.mean - mean).abs() < 1e-9);
            let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
            active.iter().for_each(|(token, _)| *counts.entry(*token).or_default() += 1);
            for token in &findings.tokens {
                prop_assert_eq!(counts[&token.token], token.at_least);
            }
            let top: Vec<(Vec<u32>, f32)> = findings
                .top_contexts
                .iter()
                .map(|context| (context.tokens.clone(), context.activation))
                .collect();
            prop_assert_eq!(top, plain_top(&corpus, feature));
            for context in findings.intervals.iter().flat_map(|interval| &interval.contexts) {
                prop_assert_eq!(context.activations[context.peak as usize], context.activation);
            }
            for interval in &findings.intervals {
                for context in &interval.contexts {
                    let value = f64::from(context.activation);
                    prop_assert!(value >= interval.from - 1e-5 && value <= interval.to + 1e-5);
                }
            }
        }
    }

    #[test]
    fn passes_and_threads_change_nothing(corpus in corpus()) {
        let whole = census(&corpus, 100);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        prop_assert_eq!(&whole, &one.install(|| census(&corpus, 1)));
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        prop_assert_eq!(&whole, &three.install(|| census(&corpus, 2)));
    }
}

#[test]
fn activations_around_a_peak_are_those_of_the_feature() {
    let row = row_of(
        &[5, 6, 7, 8, 9],
        &[1, 1, 1, 1, 2],
        &[false, true, true, true, true],
    );
    let mut values = vec![[0.0; FEATURES]; 5];
    for (i, value) in [(1, 1.0), (2, 4.0), (4, 9.0)] {
        values[i][3] = value;
    }
    let found = census(&vec![(row, values)], 1);
    let top = &found.features[3].top_contexts;
    assert_eq!(
        (top[0].tokens.as_slice(), top[0].activations.as_slice()),
        (&[9][..], &[9.0][..])
    );
    assert_eq!((top[1].peak, top[1].tokens.as_slice()), (2, &[5, 6, 7, 8][..]));
    assert_eq!(top[1].activations, [0.0, 1.0, 4.0, 0.0]);
    assert_eq!((top[1].document, top[1].token_number), (1, 2));
}
