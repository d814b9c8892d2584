//! Documents from every kind of file: what is found, what continues, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, types::Int32Type,
};
use glassbox_corpus::{CorpusError, Document, DocumentFormat, DocumentReader, DocumentSource, TextUnit};
use glassbox_model::locate::HubEnvironment;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

fn reader(source: DocumentSource) -> DocumentReader {
    DocumentReader::open(source, &HubEnvironment::default()).unwrap()
}

fn source(paths: &[&Path]) -> DocumentSource {
    DocumentSource::of_paths(paths.iter().map(|path| path.display().to_string()))
}

fn texts(source: DocumentSource) -> Vec<String> {
    reader(source).map(|document| document.unwrap().text).collect()
}

/// The error that reading ends with.
fn refused(source: DocumentSource) -> String {
    match DocumentReader::open(source, &HubEnvironment::default()) {
        Err(error) => error.to_string(),
        Ok(reader) => reader.last().unwrap().unwrap_err().to_string(),
    }
}

/// Writes a table with a number and a text per row, in row groups of `group` rows.
fn parquet(path: &Path, texts: ArrayRef, group: usize, compression: Compression) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", numbers, true), ("text", texts, true)]).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(compression)
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn numbered(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| format!("Document {i}: {}", "words ".repeat(i % 7)))
        .collect()
}

/// One file of each kind.
fn mixed(folder: &Path) -> PathBuf {
    fs::write(folder.join("a.txt"), "The first text.\n").unwrap();
    let lines = numbered(20)
        .iter()
        .map(|text| format!("{}\n\n", serde_json::json!({"id": 3, "text": text})))
        .collect::<String>();
    fs::write(folder.join("b.jsonl"), lines).unwrap();
    fs::create_dir(folder.join("c")).unwrap();
    parquet(
        &folder.join("c/d.parquet"),
        Arc::new(StringArray::from(numbered(300))),
        130,
        Compression::SNAPPY,
    );
    fs::write(folder.join("README.md"), "about the data").unwrap();
    fs::write(folder.join("dataset_infos.json"), "{}").unwrap();
    folder.to_path_buf()
}

#[test]
fn a_folder_gives_its_files_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = mixed(folder.path());
    let all = texts(source(&[&root]));
    assert_eq!(all.len(), 1 + 20 + 300);
    assert_eq!(all[0], "The first text.\n");
    assert_eq!((&all[1], &all[21]), (&numbered(1)[0], &numbered(1)[0]));
    let places: Vec<String> = reader(source(&[&root]))
        .map(|document| document.unwrap().place.to_string())
        .collect();
    assert!(places[0].ends_with("a.txt"), "{}", places[0]);
    assert!(places[2].ends_with("b.jsonl, line 3"), "{}", places[2]);
    assert!(
        places[21 + 131].ends_with("d.parquet, row group 1, row 131"),
        "{}",
        places[152]
    );
}

#[test]
fn patterns_formats_and_files_select() {
    let folder = tempfile::tempdir().unwrap();
    let root = mixed(folder.path());
    let pattern = |pattern: &str| DocumentSource::of_paths([format!("{}/{pattern}", root.display())]);
    assert_eq!(texts(pattern("**/*.parquet")).len(), 300);
    assert_eq!(texts(pattern("*.{txt,jsonl}")).len(), 21);
    // A file that is named twice is read once.
    assert_eq!(texts(source(&[&root, &root.join("a.txt")])).len(), 321);
    let json = DocumentSource {
        format: DocumentFormat::Text,
        ..pattern("*.jsonl")
    };
    assert!(texts(json)[0].starts_with("{\"id\":3"));
    for (path, expected) in [
        ("*.csv", "no file matches the pattern"),
        ("[", "not a valid pattern"),
        ("absent.txt", "neither a pattern nor a hub id"),
    ] {
        let message = refused(pattern(path));
        assert!(message.contains(expected), "{message}");
    }
    fs::write(root.join("x.csv"), "a,b").unwrap();
    assert!(refused(source(&[&root.join("x.csv")])).contains("give the format"));
    let only = tempfile::tempdir().unwrap();
    fs::write(only.path().join("x.csv"), "a,b").unwrap();
    assert!(refused(source(&[only.path()])).contains("it holds x.csv"));
    assert!(refused(DocumentSource::default()).contains("at least one path"));
}

#[test]
fn a_data_set_of_the_hub_is_found_by_its_id_and_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let set = home.path().join("hub/datasets--org--wiki");
    let snapshot = set.join("snapshots/abc/20231101.en");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(set.join("refs")).unwrap();
    fs::create_dir_all(set.join("blobs")).unwrap();
    fs::write(set.join("refs/main"), "abc").unwrap();
    let blob = set.join("blobs/0123");
    parquet(
        &blob,
        Arc::new(StringArray::from(numbered(5))),
        5,
        Compression::SNAPPY,
    );
    std::os::unix::fs::symlink(&blob, snapshot.join("train-00000-of-00001.parquet")).unwrap();
    let environment = HubEnvironment {
        hf_home: Some(home.path().to_path_buf()),
        ..HubEnvironment::default()
    };
    let count = |name: &str| {
        DocumentReader::open(DocumentSource::of_paths([name]), &environment)
            .unwrap()
            .count()
    };
    assert_eq!(count("org/wiki"), 5);
    assert_eq!(count("org/wiki@abc"), 5);
    assert_eq!(count(&set.display().to_string()), 5);
    let absent = DocumentReader::open(DocumentSource::of_paths(["org/absent"]), &environment)
        .unwrap_err()
        .to_string();
    assert!(
        absent.contains("hf download org/absent --repo-type dataset"),
        "{absent}"
    );
}

#[test]
fn every_type_of_strings_and_every_compression_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<String> = numbered(50);
    let path = folder.path().join("x.parquet");
    let strings: Vec<&str> = expected.iter().map(String::as_str).collect();
    let arrays: [ArrayRef; 5] = [
        Arc::new(StringArray::from(strings.clone())),
        Arc::new(LargeStringArray::from(strings.clone())),
        Arc::new(StringViewArray::from(strings.clone())),
        Arc::new(DictionaryArray::<Int32Type>::from_iter(strings.iter().copied())),
        Arc::new(BinaryArray::from_iter_values(
            strings.iter().map(|text| text.as_bytes()),
        )),
    ];
    for array in arrays {
        parquet(&path, Arc::clone(&array), 20, Compression::UNCOMPRESSED);
        assert_eq!(texts(source(&[&path])), expected, "{}", array.data_type());
    }
    let compressions = [
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ];
    for compression in compressions {
        parquet(
            &path,
            Arc::new(StringArray::from(strings.clone())),
            20,
            compression,
        );
        assert_eq!(texts(source(&[&path])), expected, "{compression}");
    }
}

#[test]
fn reading_continues_after_any_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(&[&mixed(folder.path())]);
    source.min_characters = 16;
    source.text_unit = TextUnit::Paragraph;
    let whole: Vec<Document> = reader(source.clone()).map(Result::unwrap).collect();
    let mut first = reader(source.clone());
    let end = {
        let mut reader = reader(source.clone());
        reader.by_ref().for_each(|document| drop(document.unwrap()));
        reader.state().clone()
    };
    for taken in 0..=whole.len() {
        let state = serde_json::to_string(first.state()).unwrap();
        assert!(state.len() < 600, "{state}");
        let mut resumed = reader(source.clone());
        resumed.restore(&serde_json::from_str(&state).unwrap()).unwrap();
        let rest: Vec<Document> = if taken % 10 == 0 || taken < 30 {
            resumed.by_ref().map(Result::unwrap).collect()
        } else {
            resumed.by_ref().take(2).map(Result::unwrap).collect()
        };
        assert_eq!(rest, whole[taken..(taken + rest.len())], "{taken}");
        if taken % 10 == 0 {
            assert_eq!(taken + rest.len(), whole.len());
            assert_eq!(*resumed.state(), end);
        }
        first.next();
    }
    assert_eq!(end.counts.given(), whole.len() as u64);
    assert!(end.counts.too_short > 0 && whole.last().unwrap().number > whole.len() as u64);
    fs::write(folder.path().join("a.txt"), "another length").unwrap();
    let error = reader(source).restore(&end).unwrap_err();
    assert!(matches!(error, CorpusError::StateMismatch { .. }), "{error}");
}

#[test]
fn plain_text_is_a_document_or_its_paragraphs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let of = |text: &str, unit| {
        fs::write(&path, text).unwrap();
        texts(DocumentSource {
            text_unit: unit,
            min_characters: 0,
            ..source(&[&path])
        })
    };
    let text = "\u{feff}One\ntwo.\r\n \r\n\n\nThree.\n\nFour";
    assert_eq!(of(text, TextUnit::File), ["One\ntwo.\r\n \r\n\n\nThree.\n\nFour"]);
    assert_eq!(of(text, TextUnit::Paragraph), ["One\ntwo.", "Three.", "Four"]);
    assert_eq!(of("", TextUnit::File), [""]);
    fs::write(folder.path().join("b.txt"), "last").unwrap();
    fs::write(&path, "\n\n").unwrap();
    assert_eq!(
        texts(DocumentSource {
            text_unit: TextUnit::Paragraph,
            ..source(&[folder.path()])
        }),
        ["last"]
    );
}

#[test]
fn filters_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let rows = [
        Some("a"),
        None,
        Some("äöü"),
        Some("four"),
        Some(""),
        Some("five5"),
    ];
    parquet(
        &path,
        Arc::new(StringArray::from(rows.to_vec())),
        4,
        Compression::SNAPPY,
    );
    let filtered = DocumentSource {
        min_characters: 3,
        ..source(&[&path])
    };
    let mut documents = reader(filtered.clone());
    let given: Vec<(u64, String)> = documents
        .by_ref()
        .map(|document| document.unwrap())
        .map(|document| (document.number, document.text))
        .collect();
    assert_eq!(
        given,
        [
            (2, "äöü".to_owned()),
            (3, "four".to_owned()),
            (5, "five5".to_owned())
        ]
    );
    let counts = documents.state().counts;
    assert_eq!(
        (counts.seen, counts.too_short, counts.without_text, counts.given()),
        (6, 2, 1, 3)
    );
    assert_eq!(
        texts(DocumentSource {
            max_documents: Some(2),
            ..filtered.clone()
        }),
        ["äöü", "four"]
    );
    let message = refused(DocumentSource {
        min_characters: 100,
        ..filtered
    });
    assert!(
        message.contains(
            "of 6 documents seen in 1 files, 5 were left out as shorter than 100 characters and 1 had no text"
        ),
        "{message}"
    );
}

#[test]
fn bad_files_are_named_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let latin = write("a.txt", b"Caf\xe9 au lait");
    let message = refused(source(&[&latin]));
    assert!(
        message.contains("a.txt: the text is not UTF-8 at byte 3"),
        "{message}"
    );
    let lines = write("b.jsonl", b"{\"text\": \"fine\"}\n{\"text\": \"caf\xe9\"}\n");
    let message = refused(source(&[&lines]));
    assert!(
        message.contains("b.jsonl: the text is not UTF-8 at byte 30"),
        "{message}"
    );
    for (line, expected) in [
        (
            "{\"body\": \"x\", \"id\": 1}",
            "line 2 (byte 36): there is no key `text`; the keys are body, id",
        ),
        ("{\"text\": 3}", "invalid type: integer `3`, expected a string"),
        ("{\"text\": \"x\"", "EOF while parsing an object"),
        ("[1]", "expected an object with a text under `text`"),
        ("{\"text\": \"x\"} y", "trailing characters"),
    ] {
        let path = write("c.jsonl", format!("{{\"text\": \"ok\"}}\n{line}\n").as_bytes());
        let message = refused(source(&[&path]));
        assert!(
            message.contains("c.jsonl: line 2 (byte") && message.contains(expected),
            "{message}"
        );
    }
    let path = folder.path().join("d.parquet");
    parquet(
        &path,
        Arc::new(Int64Array::from(vec![1, 2])),
        2,
        Compression::SNAPPY,
    );
    assert!(refused(source(&[&path])).contains("column `text` holds Int64, not strings"));
    let other = DocumentSource {
        text_column: "body".to_owned(),
        ..source(&[&path])
    };
    assert!(refused(other).contains("column `body` does not exist; the columns are id, text"));
}

#[test]
fn a_damaged_parquet_file_is_named_with_its_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    parquet(
        &path,
        Arc::new(StringArray::from(numbered(400))),
        100,
        Compression::SNAPPY,
    );
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 20]).unwrap();
    let message = refused(source(&[&path]));
    assert!(
        message.contains("x.parquet: ") && message.contains("fetch it again"),
        "{message}"
    );
    // The third row group lies somewhere in the third quarter.
    let mut bad = good.clone();
    let middle = good.len() / 2;
    bad[middle + 50..middle + 400].fill(0xAA);
    fs::write(&path, &bad).unwrap();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let message = refused(source(&[&path]));
    std::panic::set_hook(hook);
    assert!(message.contains("x.parquet, row group "), "{message}");
}
