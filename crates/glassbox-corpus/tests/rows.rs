//! Rows of tokens: nothing is lost, nothing is mixed, and all of it continues.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::{Corpus, model_config, tokenizer};
use glassbox_corpus::{
    BeginningPolicy, FirstPosition, Packing, RowBatches, RowOptions, Split, TokenRow, TokenRows,
};
use glassbox_model::tokenizer::Beginning;
use proptest::prelude::*;

fn rows<'a>(corpus: &Corpus, options: &RowOptions, only: Option<Split>) -> TokenRows<'a> {
    TokenRows::new(corpus.reader(), tokenizer(), model_config(), options, only).unwrap()
}

fn all(rows: &mut TokenRows<'_>) -> Vec<TokenRow> {
    std::iter::from_fn(|| rows.next_row().unwrap()).collect()
}

fn options() -> impl Strategy<Value = RowOptions> {
    (
        2_usize..40,
        prop_oneof![Just(Packing::Packed), Just(Packing::DocumentPerRow)],
        prop_oneof![
            Just(BeginningPolicy::EveryDocument),
            Just(BeginningPolicy::EveryRow),
            Just(BeginningPolicy::Never)
        ],
        prop_oneof![Just(FirstPosition::Keep), Just(FirstPosition::Drop)],
        0.0..0.6_f64,
        prop_oneof![Just(None), (1_usize..30).prop_map(Some)],
    )
        .prop_map(
            |(context, packing, bos, first_position, held_out_share, longest_document)| RowOptions {
                context,
                packing,
                bos,
                first_position,
                held_out_share,
                split_seed: 3,
                longest_document,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_token_is_in_one_row_of_its_split(options in options(), lengths in prop::collection::vec(0_usize..60, 1..25)) {
        let corpus = Corpus::of_lengths(&lengths);
        let bos = model_config().bos_token_id.unwrap();
        let mut rows = rows(&corpus, &options, None);
        let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let (mut kept, mut others, mut numbers) = (0, 0, Vec::new());
        while let Ok(Some(row)) = rows.next_row() {
            prop_assert!(row.tokens.len() <= options.context && row.kept() > 0);
            numbers.push(row.number);
            if options.bos == BeginningPolicy::EveryRow {
                prop_assert_eq!(row.tokens[0], bos);
            }
            for i in 0..row.tokens.len() {
                let (document, position) = (row.documents[i], row.document_positions[i]);
                let text = &corpus.texts[document as usize];
                prop_assert_eq!(Split::of_text(text, options.held_out_share, 3), row.split);
                let so_far = found.entry(document).or_default();
                let inserted = row.tokens[i] == bos;
                prop_assert_eq!(so_far.len() as u32, position);
                let first = i == 0 || inserted;
                prop_assert_eq!(row.keep[i], options.first_position == FirstPosition::Keep || !first);
                if !inserted {
                    so_far.push(row.tokens[i]);
                }
            }
            kept += row.kept() as u64;
            others += (row.tokens.len() - row.kept()) as u64;
        }
        prop_assert_eq!(&numbers, &(0..numbers.len() as u64).collect::<Vec<_>>());
        let counts = rows.state().counts;
        prop_assert_eq!(counts.kept_tokens, kept);
        // A row without data is not given; its tokens are counted as dropped.
        prop_assert!(counts.dropped_tokens >= others && counts.dropped_tokens - others <= lengths.len() as u64 + 2);
        let (mut total, mut cut) = (0, 0);
        for (document, text) in corpus.texts.iter().enumerate() {
            let expected = tokenizer().encode(text, Beginning::Omit).unwrap();
            let room = match options.packing {
                Packing::Packed => usize::MAX,
                Packing::DocumentPerRow => options.context - usize::from(options.bos != BeginningPolicy::Never),
            };
            let most = options.longest_document.unwrap_or(usize::MAX).min(room).min(expected.len());
            cut += (expected.len() - most) as u64;
            total += most as u64;
            if let Some(found) = found.get(&(document as u64)) {
                prop_assert!(expected[..most].starts_with(found), "document {}", document);
            }
        }
        prop_assert_eq!(counts.truncated_tokens, cut);
        let inserted = counts.kept_tokens + counts.dropped_tokens - total;
        prop_assert!(options.bos != BeginningPolicy::Never || inserted == 0, "{}", inserted);
    }

    #[test]
    fn rows_continue_after_any_row(options in options(), lengths in prop::collection::vec(1_usize..60, 3..15)) {
        let corpus = Corpus::of_lengths(&lengths);
        let mut first = rows(&corpus, &options, None);
        let whole = { let mut rows = rows(&corpus, &options, None); let mut found = Vec::new(); while let Ok(Some(row)) = rows.next_row() { found.push(row); } found };
        for taken in 0..=whole.len().min(12) {
            let state = serde_json::to_string(&first.state()).unwrap();
            let mut resumed = rows(&corpus, &options, None);
            resumed.restore(&serde_json::from_str(&state).unwrap()).unwrap();
            let mut rest = Vec::new();
            while let Ok(Some(row)) = resumed.next_row() { rest.push(row); }
            prop_assert_eq!(&rest[..], &whole[taken..]);
            prop_assert!(first.next_row().is_ok() || whole.is_empty());
        }
    }

    #[test]
    fn batches_hold_every_row_once_and_continue(packed in any::<bool>(), lengths in prop::collection::vec(1_usize..60, 3..40), batch_tokens in 20_usize..200) {
        let corpus = Corpus::of_lengths(&lengths);
        let packing = if packed { Packing::Packed } else { Packing::DocumentPerRow };
        let options = RowOptions { context: 24, packing, bos: BeginningPolicy::EveryDocument, held_out_share: 0.3, ..RowOptions::default() };
        let make = || RowBatches::new(rows(&corpus, &options, None), batch_tokens);
        let (mut batches, mut states, mut whole) = (make(), Vec::new(), Vec::new());
        loop {
            states.push(batches.state());
            let Some(batch) = batches.next_batch().unwrap() else { break };
            let size = batch.tokens.rows() * batch.tokens.width();
            prop_assert!(size <= batch_tokens || batch.rows.len() == 1, "{}", size);
            whole.push(batch);
        }
        let mut given: Vec<TokenRow> = whole.iter().flat_map(|batch| batch.rows.clone()).collect();
        given.sort_by_key(|row| row.number);
        prop_assert_eq!(given, all(&mut rows(&corpus, &options, None)));
        for (i, state) in states.iter().enumerate() {
            let mut resumed = make();
            resumed.restore(state).unwrap();
            let next = resumed.next_batch().unwrap();
            prop_assert_eq!(next.as_ref(), whole.get(i));
        }
    }
}

#[test]
fn one_split_alone_has_the_documents_of_that_split() {
    let corpus = Corpus::of_lengths(&[9; 60]);
    let options = RowOptions {
        held_out_share: 0.4,
        packing: Packing::DocumentPerRow,
        ..RowOptions::default()
    };
    let both = all(&mut rows(&corpus, &options, None));
    for split in [Split::Train, Split::HeldOut] {
        let mut only = rows(&corpus, &options, Some(split));
        let documents = |rows: &[TokenRow]| rows.iter().map(|row| row.documents[0]).collect::<Vec<_>>();
        let expected: Vec<TokenRow> = both.iter().filter(|row| row.split == split).cloned().collect();
        assert_eq!(documents(&all(&mut only)), documents(&expected));
        let counts = only.state().counts;
        assert_eq!(
            counts.passed_over + counts.training_documents + counts.held_out_documents,
            60
        );
    }
}

#[test]
fn one_token_documents_are_counted() {
    let corpus = Corpus::of_texts(vec!["a".into(), "a".into(), "Once upon a time there was".into()]);
    let one = tokenizer().encode("a", Beginning::Omit).unwrap().len();
    assert_eq!(one, 1, "the tokenizer changed: choose another text of one token");
    let count = |bos, first_position| {
        let options = RowOptions {
            packing: Packing::DocumentPerRow,
            bos,
            first_position,
            held_out_share: 0.0,
            ..RowOptions::default()
        };
        let mut rows = rows(&corpus, &options, None);
        (
            all(&mut rows).len(),
            rows.state().counts.one_token_documents,
            rows.state().counts.without_data,
        )
    };
    assert_eq!(
        count(BeginningPolicy::EveryDocument, FirstPosition::Drop),
        (3, 2, 0)
    );
    assert_eq!(count(BeginningPolicy::Never, FirstPosition::Keep), (3, 2, 0));
    assert_eq!(count(BeginningPolicy::Never, FirstPosition::Drop), (1, 2, 2));
}

#[test]
fn impossible_options_are_refused() {
    let corpus = Corpus::of_lengths(&[5]);
    let refused = |options: RowOptions| {
        TokenRows::new(corpus.reader(), tokenizer(), model_config(), &options, None)
            .unwrap_err()
            .to_string()
    };
    let limit = model_config().max_positions;
    for context in [0, 1, limit + 1] {
        let message = refused(RowOptions {
            context,
            ..RowOptions::default()
        });
        assert!(
            message.contains("`context`") && message.contains(&format!("2 to {limit}")),
            "{message}"
        );
    }
    assert!(
        refused(RowOptions {
            held_out_share: 1.5,
            ..RowOptions::default()
        })
        .contains("`held_out_share`: 1.5")
    );
    assert!(
        refused(RowOptions {
            longest_document: Some(0),
            ..RowOptions::default()
        })
        .contains("`longest_document`")
    );
    let mut none = rows(
        &corpus,
        &RowOptions {
            held_out_share: 0.0,
            ..RowOptions::default()
        },
        Some(Split::HeldOut),
    );
    assert!(
        none.next_row()
            .unwrap_err()
            .to_string()
            .contains("held-out split")
    );
}

#[test]
fn rows_are_given_until_enough_tokens_were_seen_or_kept() {
    let corpus = Corpus::of_lengths(&[9, 30, 4, 17, 25]);
    let options = RowOptions {
        context: 10,
        held_out_share: 0.0,
        ..RowOptions::default()
    };
    let all = all(&mut rows(&corpus, &options, None));
    let whole: usize = all.iter().map(|row| row.tokens.len()).sum();
    for wanted in [0, 1, 10, 11, 25, whole, whole + 1] {
        let mut source = rows(&corpus, &options, None);
        let given: Vec<TokenRow> = source.until_tokens(wanted as u64).map(Result::unwrap).collect();
        let expected = expected_rows(&all, wanted, |row| row.tokens.len());
        assert_eq!(given, all[..expected]);
        // What was not taken is still there.
        assert_eq!(source.next_row().unwrap().as_ref(), all.get(expected));

        let kept = rows(&corpus, &options, None)
            .read_until_kept(wanted as u64)
            .unwrap();
        assert_eq!(kept, all[..expected_rows(&all, wanted, TokenRow::kept)]);
    }
}

/// The fewest first rows that together reach `wanted`, or all.
fn expected_rows(all: &[TokenRow], wanted: usize, of: impl Fn(&TokenRow) -> usize) -> usize {
    (0..=all.len())
        .find(|&n| all[..n].iter().map(&of).sum::<usize>() >= wanted)
        .unwrap_or(all.len())
}
