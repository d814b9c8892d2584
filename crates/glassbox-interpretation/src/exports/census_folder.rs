//! The folder that a census of one dictionary leaves.

use std::fs;
use std::path::Path;

use glassbox_corpus::RowOptions;
use glassbox_store::{Storage, StoreError, write_json};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::census::CensusSettings;
use crate::exports::{write_json_lines, write_page, write_tables};
use crate::reports::{CensusSummary, DictionaryReport, TokenTexts};

/// The file that is written last: where it is, the others are too.
pub const CENSUS_FILE: &str = "census.json";

/// The other files of the folder.
const FILES: [&str; 6] = [
    "features.parquet",
    "contexts.parquet",
    "logit_weights.parquet",
    "neighbours.parquet",
    "features.jsonl",
    "index.html",
];

/// What a census was taken of, beside what its report says.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CensusOrigin<'a> {
    /// The paths of the corpus.
    pub corpus: &'a [String],
    /// How documents became rows, with every default resolved.
    pub rows: &'a RowOptions,
    /// How the census was taken.
    pub settings: &'a CensusSettings,
}

/// What the labels of a dictionary are worth.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LabelSummary {
    /// Features with a label.
    pub labelled: usize,
    /// Mean balanced accuracy of telling active contexts from others by the label.
    pub mean_detection_accuracy: Option<f64>,
    /// The same for marked tokens.
    pub mean_fuzzing_accuracy: Option<f64>,
}

#[derive(Serialize)]
struct Census<'a> {
    name: &'a str,
    model: &'a str,
    site: &'a str,
    output_site: &'a str,
    #[serde(flatten)]
    origin: CensusOrigin<'a>,
    facts: &'a [(String, String)],
    #[serde(flatten)]
    summary: &'a CensusSummary,
    labels: Option<LabelSummary>,
    files: Vec<WrittenSize>,
}

/// A file of the folder, as it was written.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenSize {
    file: String,
    bytes: u64,
}

/// Writes everything that is known of a dictionary's features: tables, JSON lines, a page, and at last `census.json`, which
/// says what was read and lists the others. An earlier census is replaced.
///
/// # Errors
/// Those of writing.
pub fn write_census(
    folder: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
    origin: CensusOrigin<'_>,
    labels: Option<LabelSummary>,
) -> Result<()> {
    let storage = Storage::new();
    fs::create_dir_all(folder).map_err(|cause| StoreError::from_write(folder, cause))?;
    let last = folder.join(CENSUS_FILE);
    match fs::remove_file(&last) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::from_write(&last, cause).into());
        }
        _ => {}
    }
    write_tables(&storage, folder, report, texts)?;
    write_json_lines(&storage, &folder.join("features.jsonl"), report, texts)?;
    write_page(&storage, &folder.join("index.html"), report, texts)?;
    let files = FILES
        .iter()
        .map(|name| {
            let path = folder.join(name);
            let found = fs::metadata(&path).map_err(|cause| StoreError::from_write(&path, cause))?;
            Ok(WrittenSize {
                file: (*name).to_owned(),
                bytes: found.len(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let census = Census {
        name: &report.name,
        model: &report.model,
        site: &report.site,
        output_site: &report.output_site,
        origin,
        facts: &report.facts,
        summary: &report.summary,
        labels,
        files,
    };
    write_json(&storage, &last, &census)?;
    Ok(())
}

/// How many of the files of a census's folder there should be, and how many are there with the size that they were written with.
pub fn census_files(folder: &Path) -> (usize, usize) {
    #[derive(Deserialize)]
    struct Listed {
        files: Vec<WrittenSize>,
    }
    let listed: Option<Listed> =
        (fs::read(folder.join(CENSUS_FILE)).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let whole = listed.map_or(0, |listed| {
        let whole = |written: &&WrittenSize| {
            FILES.contains(&written.file.as_str())
                && fs::metadata(folder.join(&written.file)).is_ok_and(|found| found.len() == written.bytes)
        };
        1 + listed.files.iter().filter(whole).count()
    });
    (FILES.len() + 1, whole)
}
