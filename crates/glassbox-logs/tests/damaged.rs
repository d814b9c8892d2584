//! Damaged files: each is read as far as it goes, with every fault told and its place, and none makes the readers panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use glassbox_logs::{Collected, Logs, ProblemKind as Kind, ReadLimits};
use proptest::prelude::*;
use rstest::rstest;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/damaged")
}

fn read(path: &Path) -> Collected {
    let limits = ReadLimits {
        batch_bytes: 50,
        longest_row: 1 << 16,
    };
    Logs::find(&[path.to_path_buf()])
        .unwrap()
        .with_limits(limits)
        .collect()
        .unwrap()
}

#[rstest]
#[case::truncated_array("truncated-array.json", 3, &[Kind::Truncated])]
#[case::no_closing_bracket("no-closing-bracket.json", 4, &[Kind::Truncated])]
#[case::truncated_line("truncated-line.jsonl", 3, &[Kind::Truncated])]
#[case::missing_quote("missing-quote.json", 3, &[Kind::Syntax])]
#[case::missing_comma("missing-comma.json", 3, &[Kind::Syntax])]
#[case::missing_brace("missing-brace.json", 3, &[Kind::Syntax])]
#[case::line_break_in_string("line-break-in-string.json", 2, &[Kind::Syntax])]
#[case::two_arrays("two-arrays.json", 5, &[])]
#[case::text_after_array("text-after-array.json", 4, &[Kind::Syntax])]
#[case::stray_comma("stray-comma.json", 2, &[Kind::Syntax])]
#[case::latin_1("latin-1.jsonl", 2, &[Kind::Encoding])]
#[case::utf_16("utf-16.json", 0, &[Kind::Encoding])]
#[case::byte_order_mark("byte-order-mark.json", 4, &[])]
#[case::carriage_returns("carriage-returns.jsonl", 4, &[])]
#[case::lone_surrogate("lone-surrogate.json", 2, &[Kind::Syntax])]
#[case::raw_control("raw-control.json", 2, &[Kind::Syntax])]
#[case::nul_bytes("nul-bytes.jsonl", 2, &[Kind::Syntax])]
#[case::not_a_number("not-a-number.jsonl", 3, &[])]
#[case::huge_numbers("huge-numbers.jsonl", 1, &[Kind::WrongType, Kind::Syntax, Kind::WrongType, Kind::BadValue])]
#[case::wrong_types("wrong-types.jsonl", 1, &[Kind::WrongType; 7])]
#[case::missing_keys("missing-keys.jsonl", 1, &[Kind::UnknownLayout, Kind::MissingKey, Kind::MissingKey, Kind::MissingKey])]
#[case::repeated_keys("repeated-keys.jsonl", 1, &[])]
#[case::deep("deep.json", 2, &[Kind::Syntax])]
#[case::deep_object("deep-object.json", 0, &[Kind::Syntax])]
#[case::empty("empty.json", 0, &[Kind::NoRows])]
#[case::blank("blank.json", 0, &[Kind::NoRows])]
#[case::only_bracket("only-bracket.json", 0, &[Kind::Truncated])]
#[case::only_brace("only-brace.json", 0, &[Kind::Truncated])]
#[case::empty_array("empty-array.json", 0, &[Kind::NoRows])]
#[case::null("null.json", 0, &[Kind::UnknownLayout])]
#[case::table("table.csv.json", 0, &[Kind::UnknownLayout])]
#[case::bad_results("bad-results.json", 0, &[Kind::WrongType, Kind::WrongType, Kind::BadValue])]
#[case::bad_means("bad-means.json", 0, &[Kind::BadValue, Kind::WrongType])]
#[case::bad_metrics("bad-metrics.json", 0, &[Kind::BadValue])]
#[case::bad_layers("bad-layers.json", 0, &[Kind::MissingKey, Kind::BadValue, Kind::MissingKey])]
#[case::appended_objects("appended-objects.json", 0, &[Kind::NoRows])]
#[case::truncated_gzip("truncated.json.gz", 3, &[Kind::Truncated, Kind::Unreadable])]
#[case::not_gzip("not-gzip.json.gz", 0, &[Kind::Unreadable])]
#[case::not_zstandard("not-zstandard.json.zst", 0, &[Kind::Unreadable])]
#[case::not_parquet("not-parquet.parquet", 0, &[Kind::Unreadable])]
#[case::short_parquet("short.parquet", 0, &[Kind::Unreadable])]
fn each_fault_is_told(#[case] name: &str, #[case] trials: usize, #[case] kinds: &[Kind]) {
    let read = read(&folder().join(name));
    let found: Vec<Kind> = read.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(found, kinds, "{:?}", read.problems);
    assert_eq!(read.trials.len(), trials, "{:?}", read.trials);
    let report = &read.report.files[0];
    assert_eq!(report.unusable, kinds.len() as u64);
    assert!(report.rows >= (trials + report.features as usize) as u64);
}

#[test]
fn the_whole_folder_is_read_in_one_go() {
    let read = read(&folder());
    assert!(read.report.files.len() >= 40, "{}", read.report.files.len());
    assert!(read.trials.len() > 50);
}

#[test]
fn long_rows_are_told_and_passed_over() {
    let row = |response: &str| {
        format!(
            r#"{{"feature": "L1-2", "condition": "safe_baseline", "trial": 0, "response": "{response}"}}"#
        )
    };
    let rows = [row("a"), row(&"b".repeat(500)), row("c")];
    let limits = ReadLimits {
        batch_bytes: 64,
        longest_row: 200,
    };
    for (name, text) in [
        ("l.jsonl", rows.join("\n")),
        ("l.json", format!("[{}]", rows.join(","))),
    ] {
        let read = support::read_limited(name, text, limits);
        assert_eq!(read.trials.len(), 2, "{name}");
        let kinds: Vec<Kind> = read.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [Kind::TooLong], "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn bytes_of_the_corpus_may_change(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        chunk in 1_usize..100,
    ) {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let path = &paths[file.index(paths.len())];
        let mut bytes = std::fs::read(path).unwrap();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let read = |batch_bytes| support::read_limited(name, &bytes, ReadLimits { batch_bytes, longest_row: 1 << 12 });
        let (first, second) = (read(chunk), read(1 << 20));
        prop_assert_eq!(first.trials, second.trials);
        // Some say the file's path, which differs.
        let faults = |problems: &[glassbox_logs::RowProblem]| -> Vec<_> {
            problems.iter().map(|problem| (problem.place, problem.kind)).collect()
        };
        prop_assert_eq!(faults(&first.problems), faults(&second.problems));
    }
}
