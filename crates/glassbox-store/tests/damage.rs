//! Damaged tables: alone in its file, since it silences the messages of panics that the reader turns into errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use glassbox_store::{Storage, preview_table, read_table, table, write_table};

table! {
    /// Columns of every shape.
    pub struct Mixed: "mixed", version 1 {
        /// A number.
        pub count: u32,
        /// A text.
        pub text: String,
        /// A number that may be missing.
        pub bet_dollars: Option<f64>,
        /// Whether it stopped.
        pub stopped: bool,
        /// Token ids.
        pub tokens: Vec<u32>,
        /// Words.
        pub words: Vec<String>,
    }
}

/// One byte has another value, at every third place of a small file. Most changes are noticed; the reader must neither panic nor hang.
#[test]
fn a_changed_byte_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let row = |count| Mixed {
        count,
        text: format!("Bet ${}", count % 3),
        bet_dollars: (count % 2 == 0).then_some(10.0),
        stopped: count % 5 == 0,
        tokens: (0..count % 4).collect(),
        words: vec!["bet".into()],
    };
    write_table(&Storage::new(), &path, &(0..20).map(row).collect::<Vec<_>>()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut refused, mut failures) = (0, Vec::new());
    for place in (0..whole.len()).step_by(3) {
        let mut edited = whole.clone();
        edited[place] ^= [0x01, 0x80, 0xff][place / 3 % 3];
        std::fs::write(&path, &edited).unwrap();
        let outcome = std::panic::catch_unwind(|| {
            (
                read_table::<Mixed>(&path).is_err(),
                preview_table(&path, 5).is_err(),
            )
        });
        match outcome {
            Ok((read, preview)) => refused += usize::from(read || preview),
            Err(_) => failures.push(place),
        }
    }
    drop(std::panic::take_hook());
    assert!(failures.is_empty(), "panics at bytes {failures:?}");
    let changes = whole.len().div_ceil(3);
    assert!(
        refused > changes / 5,
        "{refused} of {changes} changes were noticed"
    );
}
