//! The records do not depend on how the text comes in, nor on the number of threads; and no text makes the readers panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use glassbox_logs::{Collected, Logs, ReadLimits};
use proptest::prelude::*;
use support::read_limited;

fn row() -> impl Strategy<Value = String> {
    let response = prop_oneof![
        Just(String::new()),
        "[a-z0-9 $,{}\\[\\]:\n\"\\\\]{0,40}",
        ".{0,20}",
        Just(r#"}, {"feature": "L1-1", "#.to_owned()),
    ];
    (0_u32..4, 0_u32..3, response, any::<bool>()).prop_map(|(feature, trial, response, damage)| {
        let response = serde_json::to_string(&response).unwrap();
        let row = format!(r#"{{"feature": "L1-{feature}", "condition": "safe_baseline", "trial": {trial}, "response": {response}}}"#);
        if damage { row.replacen('"', "", 1) } else { row }
    })
}

fn assert_same(first: &Collected, second: &Collected) {
    assert_eq!(first.trials, second.trials);
    assert_eq!(first.problems, second.problems);
    let rows = |read: &Collected| read.report.files[0].rows;
    assert_eq!(rows(first), rows(second));
}

fn whole(text: &str) -> Collected {
    read_limited("log.json", text, ReadLimits::default())
}

fn in_chunks(text: &str, batch_bytes: usize) -> Collected {
    read_limited(
        "log.json",
        text,
        ReadLimits {
            batch_bytes,
            ..ReadLimits::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn chunks_may_end_anywhere(rows in prop::collection::vec(row(), 0..12), chunk in 1_usize..200, array in any::<bool>(), indent in any::<bool>()) {
        let text = match (array, indent) {
            (true, true) => format!("[\n  {}\n]\n", rows.join(",\n  ")),
            (true, false) => format!("[{}]", rows.join(", ")),
            (false, _) => rows.join("\n"),
        };
        assert_same(&whole(&text), &in_chunks(&text, chunk));
    }

    #[test]
    fn any_byte_may_be_wrong(rows in prop::collection::vec(row(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), chunk in 1_usize..64) {
        let mut text = format!("[{}]", rows.join(",")).into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        let limits = ReadLimits { batch_bytes: chunk, longest_row: 400 };
        let first = read_limited("log.json", &text, limits);
        let second = read_limited("log.json", &text, ReadLimits { batch_bytes: 1 << 20, longest_row: 400 });
        assert_same(&first, &second);
    }

    #[test]
    fn any_text_is_read(text in prop::collection::vec(any::<u8>(), 0..300), start in prop::sample::select(vec!["", "[", "{", "[{", "{\"a\":", "\u{feff}[", "PAR1"])) {
        let bytes = [start.as_bytes(), &text].concat();
        let limits = ReadLimits { batch_bytes: 16, longest_row: 64 };
        read_limited("log.json", bytes, limits);
    }
}

#[test]
fn one_damaged_row_costs_no_other() {
    let good = |trial: u32| {
        format!(
            r#"{{"feature": "L1-2", "condition": "safe_baseline", "trial": {trial}, "response": "1, {{2"}}"#
        )
    };
    for damaged in [
        r#"{"feature": "L1-2, "condition": "safe_baseline", "trial": 0, "response": "x"}"#,
        r#"{"feature": "L1-2", "condition": "safe_baseline", "trial": [1, "response": "x"}"#,
        r#"{"feature": "L1-2", "condition": "safe_baseline", "trial": 0, "response": "x}"#,
        r#"{"feature": "L1-2", "condition" "safe_baseline", "trial": 0, "response": "x"}"#,
        r#""feature": "L1-2", "condition": "safe_baseline", "trial": 0, "response": "x"}"#,
        "{\"feature\": \"L1-2\", \"condition\": \"safe_baseline\", \"trial\": 0, \"response\": \"x\ny\"}",
        "nothing",
        "{]",
    ] {
        let text = format!("[{}, {}, {damaged}, {}, {}]", good(0), good(1), good(2), good(3));
        let read = whole(&text);
        let trials: Vec<_> = read.trials.iter().filter_map(|trial| trial.trial).collect();
        assert_eq!(trials, [0, 1, 2, 3], "{damaged}: {:?}", read.problems);
        assert!(!read.problems.is_empty(), "{damaged}");
        let offset = read.problems[0].place.offset.unwrap() as usize;
        assert_eq!(
            &text[offset..offset + 2],
            &damaged[..2],
            "{damaged}: {}",
            read.problems[0]
        );
    }
}

#[test]
fn threads_do_not_matter() {
    let rows: Vec<String> = (0..3000)
        .map(|trial| format!(r#"{{"feature": "L1-2", "condition": "safe_baseline", "trial": {trial}, "response": "{trial}"}}"#))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("a.json"),
        format!("[{}]", rows[..2000].join(",")),
    )
    .unwrap();
    std::fs::write(folder.path().join("b.jsonl"), rows[2000..].join("\n")).unwrap();
    let read = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let limits = ReadLimits {
            batch_bytes: 4096,
            ..ReadLimits::default()
        };
        pool.install(|| {
            Logs::find(&[folder.path().to_path_buf()])
                .unwrap()
                .with_limits(limits)
                .collect()
                .unwrap()
        })
    };
    let (one, two) = (read(1), read(2));
    assert_eq!(one.trials, two.trials);
    assert_eq!(one.report, two.report);
    let order: Vec<u64> = one.trials.iter().filter_map(|trial| trial.trial).collect();
    assert_eq!(order, (0..3000).collect::<Vec<u64>>());
}
