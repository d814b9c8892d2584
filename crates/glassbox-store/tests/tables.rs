//! Round trips of tables, byte identity, and what is refused on the way in and out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use glassbox_store::{
    Row, Storage, StoreError, TableReader, TableWriter, display_cell, preview_table, read_table, table,
    write_table,
};
use proptest::prelude::*;
use serde_json::json;

table! {
    /// One row with every kind of column,
    /// described over two lines.
    #[derive(Default)]
    pub struct Wide: "wide", version 3 {
        /// A small count.
        pub count: u32,
        /// A seed.
        pub seed: u64,
        /// A signed difference.
        pub difference: i64,
        /// A single-precision activation.
        pub activation: f32,
        /// A probability,
        /// two-sided.
        pub p: f64,
        /// Whether the game was stopped.
        pub stopped: bool,
        /// The answer.
        pub text: String,
        /// The answer's kind.
        pub r#type: Option<String>,
        /// Count, if any.
        pub maybe_count: Option<u32>,
        /// Seed, if any.
        pub maybe_seed: Option<u64>,
        /// Difference, if any.
        pub maybe_difference: Option<i64>,
        /// Activation, if any.
        pub maybe_activation: Option<f32>,
        /// Bet in dollars, if any.
        pub bet_dollars: Option<f64>,
        /// Whether it was bankrupt, if known.
        pub bankrupt: Option<bool>,
        /// Token ids.
        pub tokens: Vec<u32>,
        /// Logits.
        pub logits: Vec<f32>,
        /// Words.
        pub words: Vec<String>,
    }
}

table! {
    /// The same table with another column type.
    pub struct Mistyped: "wide", version 3 {
        /// A count that is a text here.
        count: String,
    }
}

table! {
    /// The same table with a column more.
    pub struct Longer: "wide", version 3 {
        /// A small count.
        count: u32,
        /// A column that no file has.
        surplus: u32,
    }
}

table! {
    /// A part of the columns, in another order.
    pub struct Part: "wide", version 3 {
        /// The answer.
        text: String,
        /// A small count.
        count: u32,
    }
}

table! {
    /// A later version.
    pub struct Later: "wide", version 4 {
        /// A small count.
        count: u32,
    }
}

table! {
    /// Another table.
    pub struct Other: "other", version 1 {
        /// A number that may be missing here, but not in [`Strict`].
        value: Option<f64>,
    }
}

table! {
    /// The other table with a required number.
    pub struct Strict: "other", version 1 {
        /// A number.
        value: f64,
    }
}

fn finite32() -> impl Strategy<Value = f32> {
    any::<f32>().prop_map(|value| if value.is_finite() { value } else { 0.5 })
}

fn finite64() -> impl Strategy<Value = f64> {
    any::<f64>().prop_map(|value| if value.is_finite() { value } else { 0.5 })
}

prop_compose! {
    fn wide()(
        numbers in (any::<u32>(), any::<u64>(), any::<i64>(), finite32(), finite64(), any::<bool>(), ".{0,12}"),
        options in (
            proptest::option::of(".{0,6}"), any::<Option<u32>>(), any::<Option<u64>>(), any::<Option<i64>>(),
            proptest::option::of(finite32()), proptest::option::of(finite64()), any::<Option<bool>>(),
        ),
        lists in (
            proptest::collection::vec(any::<u32>(), 0..5),
            proptest::collection::vec(finite32(), 0..5),
            proptest::collection::vec(".{0,4}", 0..4),
        ),
    ) -> Wide {
        let (count, seed, difference, activation, p, stopped, text) = numbers;
        let (r#type, maybe_count, maybe_seed, maybe_difference, maybe_activation, bet_dollars, bankrupt) = options;
        let (tokens, logits, words) = lists;
        Wide {
            count, seed, difference, activation, p, stopped, text, r#type, maybe_count, maybe_seed, maybe_difference, maybe_activation,
            bet_dollars, bankrupt, tokens, logits, words,
        }
    }
}

fn write<R: Row>(path: &Path, rows: &[R]) -> Result<glassbox_store::WrittenTable, StoreError> {
    write_table(&Storage::new(), path, rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_back_and_bytes_do_not_depend_on_how_they_were_pushed(rows in proptest::collection::vec(wide(), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let (at_once, streamed) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
        let written = write(&at_once, &rows).unwrap();
        let mut writer = TableWriter::create(&Storage::new(), &streamed).unwrap();
        for row in rows.clone() {
            writer.push(row).unwrap();
        }
        prop_assert_eq!(writer.finish().unwrap().file.checksum, written.file.checksum);
        prop_assert_eq!(std::fs::read(&at_once).unwrap(), std::fs::read(&streamed).unwrap());
        prop_assert_eq!(written.rows, rows.len() as u64);
        prop_assert_eq!(read_table::<Wide>(&at_once).unwrap(), rows);
    }
}

/// Rows enough for several batches and two row groups.
fn many() -> Vec<Part> {
    (0..70_000_u32)
        .map(|i| Part {
            text: format!("answer {}", i % 97),
            count: i,
        })
        .collect()
}

#[test]
fn long_tables_stream_in_order_and_are_identical_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let rows = many();
    let first = write(&folder.path().join("a.parquet"), &rows).unwrap();
    let second = write(&folder.path().join("b.parquet"), &rows).unwrap();
    assert_eq!(first.file.checksum, second.file.checksum);
    assert_eq!(
        first.file.checksum,
        glassbox_store::hash_file(&first.file.path).unwrap()
    );
    assert_eq!(
        first.file.bytes,
        std::fs::metadata(&first.file.path).unwrap().len()
    );

    let reader = TableReader::<Part>::open(&first.file.path).unwrap();
    assert_eq!(reader.total_rows(), 70_000);
    let mut next = 0;
    for batch in reader {
        let batch = batch.unwrap();
        assert!(batch.len() <= 1024);
        assert_eq!(batch, rows[next..next + batch.len()]);
        next += batch.len();
    }
    assert_eq!(next, rows.len());
}

#[test]
fn part_of_the_columns_can_be_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(
        &path,
        &[Wide {
            count: 4,
            text: "stop".into(),
            ..Wide::default()
        }],
    )
    .unwrap();
    assert_eq!(
        read_table::<Part>(&path).unwrap(),
        vec![Part {
            text: "stop".into(),
            count: 4
        }]
    );
}

#[test]
fn non_finite_numbers_are_refused_with_table_column_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let good = Wide::default;
    let cases = [
        (
            "activation",
            Wide {
                activation: f32::NAN,
                ..good()
            },
        ),
        (
            "p",
            Wide {
                p: f64::INFINITY,
                ..good()
            },
        ),
        (
            "maybe_activation",
            Wide {
                maybe_activation: Some(f32::NEG_INFINITY),
                ..good()
            },
        ),
        (
            "bet_dollars",
            Wide {
                bet_dollars: Some(f64::NAN),
                ..good()
            },
        ),
        (
            "logits",
            Wide {
                logits: vec![0.0, f32::NAN],
                ..good()
            },
        ),
    ];
    for (name, bad) in cases {
        let mut rows = vec![good(); 2000];
        rows[1500] = bad;
        match write(&path, &rows) {
            Err(StoreError::NonFinite {
                table: "wide",
                column,
                row: 1500,
                ..
            }) => assert_eq!(column, name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "a refused table leaves nothing"
    );
}

#[test]
fn a_table_cannot_be_finished_after_a_failed_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TableWriter::create(&Storage::new(), &folder.path().join("a.parquet")).unwrap();
    for row in 0..1023 {
        writer
            .push(Strict {
                value: f64::from(row),
            })
            .unwrap();
    }
    assert!(matches!(
        writer.push(Strict { value: f64::NAN }),
        Err(StoreError::NonFinite { row: 1023, .. })
    ));
    assert!(writer.finish().is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_cell_too_large_for_an_array_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [Wide {
        text: "x".repeat((1 << 20) + 1),
        ..Wide::default()
    }];
    let error = write(&folder.path().join("a.parquet"), &rows).unwrap_err();
    assert!(
        matches!(&error, StoreError::CellTooLarge { row: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("column `text`"), "{error}");
}

#[test]
fn a_file_of_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &[Wide::default()]).unwrap();

    let error = read_table::<Mistyped>(&path).unwrap_err().to_string();
    assert!(
        error.contains("a.parquet: table `wide`, column `count`: expected Utf8, found UInt32"),
        "{error}"
    );
    let error = read_table::<Longer>(&path).unwrap_err().to_string();
    assert!(
        error.contains("column `surplus`: expected UInt32, found no such column (the file has count, seed,"),
        "{error}"
    );
    assert!(matches!(
        read_table::<Later>(&path),
        Err(StoreError::WrongVersion { expected: 4, .. })
    ));
    let error = read_table::<Other>(&path).unwrap_err().to_string();
    assert!(
        error.contains("should hold the table `other`, but it holds the table `wide`"),
        "{error}"
    );

    write(&path, &[Other { value: Some(1.0) }]).unwrap();
    assert_eq!(read_table::<Strict>(&path).unwrap(), vec![Strict { value: 1.0 }]);
    write(&path, &[Other { value: Some(1.0) }, Other { value: None }]).unwrap();
    let error = read_table::<Strict>(&path).unwrap_err().to_string();
    assert!(
        error.contains("column `value`, row 1: the value is missing"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &many()[..3000]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 3, 4, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read_table::<Part>(&path).unwrap_err();
        assert!(
            matches!(&error, StoreError::NotParquet { .. }),
            "{length}: {error}"
        );
    }
    assert!(matches!(
        read_table::<Part>(&folder.path().join("absent")),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn columns_carry_their_documentation() {
    let columns = Wide::columns();
    assert_eq!(columns.len(), 17);
    assert_eq!(
        (columns[4].name.as_str(), columns[4].description.as_str()),
        ("p", "A probability, two-sided.")
    );
    assert_eq!((columns[7].name.as_str(), columns[7].nullable), ("type", true));
}

#[test]
fn a_preview_shows_any_table_without_its_row_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let row = Wide {
        count: 4,
        seed: u64::MAX,
        difference: -5,
        activation: 0.1,
        p: 0.25,
        text: "stop".into(),
        maybe_count: Some(7),
        tokens: vec![5, 8],
        logits: vec![0.1, -2.0],
        words: vec!["$10".into()],
        ..Wide::default()
    };
    write(&path, &vec![row; 5]).unwrap();
    let preview = preview_table(&path, 2).unwrap();
    assert_eq!((preview.total_rows, preview.rows.len()), (5, 2));
    assert_eq!(preview.table.as_deref(), Some("wide"));
    assert_eq!(preview.schema_version.as_deref(), Some("3"));
    assert_eq!(
        preview.description.as_deref(),
        Some("One row with every kind of column, described over two lines.")
    );
    let column = &preview.columns[15];
    assert_eq!(
        (column.name.as_str(), column.r#type.as_str(), column.nullable),
        ("logits", "list of f32", false)
    );
    assert_eq!(column.description, "Logits.");
    assert_eq!(
        serde_json::Value::from(preview.rows[1].clone()),
        json!([
            4,
            u64::MAX,
            -5,
            0.1,
            0.25,
            false,
            "stop",
            null,
            7,
            null,
            null,
            null,
            null,
            null,
            [5, 8],
            [0.1, -2.0],
            ["$10"]
        ])
    );
    let shown: Vec<_> = preview.rows[0].iter().map(display_cell).collect();
    assert_eq!(shown[6..9], ["stop", "–", "7"]);
    assert_eq!(shown[16], "[\"$10\"]");
    assert_eq!(preview_table(&path, 0).unwrap().rows.len(), 0);
    std::fs::write(&path, "PAR1").unwrap();
    assert!(matches!(
        preview_table(&path, 1),
        Err(StoreError::NotParquet { .. })
    ));
}
