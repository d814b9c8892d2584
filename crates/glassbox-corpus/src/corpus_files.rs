//! From the paths of a corpus to its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use glassbox_model::locate::{HubEnvironment, HubKind, snapshot, snapshot_of};
use glassbox_store::{Checksum, hash_bytes, hash_ends, hash_file};
use globset::GlobBuilder;
use serde::{Deserialize, Serialize};

use crate::{CorpusError, DocumentFormat, DocumentSource};

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusFile {
    /// Its path.
    pub path: PathBuf,
    /// How it is read; never [`DocumentFormat::Auto`].
    pub format: DocumentFormat,
    /// Its size.
    pub bytes: u64,
}

/// The files that a source names, in the order in which they are read.
///
/// # Errors
/// [`CorpusError::Path`] and [`CorpusError::Locate`] for what can't be found, [`CorpusError::FileKind`] for a file of unknown kind,
/// [`CorpusError::Read`].
pub fn corpus_files(
    source: &DocumentSource,
    environment: &HubEnvironment,
) -> Result<Vec<CorpusFile>, CorpusError> {
    if source.paths.is_empty() {
        return Err(CorpusError::Path {
            name: "(none)".to_owned(),
            problem: "a corpus needs at least one path".to_owned(),
        });
    }
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    for name in &source.paths {
        for (path, format) in files_of(name, source.format, environment)? {
            let metadata = fs::metadata(&path).map_err(|cause| CorpusError::read(&path, cause))?;
            if !metadata.is_file() {
                return Err(CorpusError::Path {
                    name: name.clone(),
                    problem: "it is no regular file; a corpus is read more than once, so that a pipe or device cannot be one"
                        .to_owned(),
                });
            }
            if seen.insert(path.clone()) {
                files.push(CorpusFile {
                    path,
                    format,
                    bytes: metadata.len(),
                });
            }
        }
    }
    Ok(files)
}

/// A corpus up to this size is read whole for its checksum.
const READ_WHOLE: u64 = 4 << 30;
/// Of a larger one, so much of every file's beginning and of its end.
const READ_ENDS: u64 = 16 << 20;

/// See [`crate::DocumentReader::fingerprint`].
pub(crate) fn fingerprint(files: &[CorpusFile]) -> Result<Checksum, CorpusError> {
    let whole = files.iter().map(|file| file.bytes).sum::<u64>() <= READ_WHOLE;
    let parts = files
        .iter()
        .map(|file| {
            let ends = (!whole && file.bytes > 2 * READ_ENDS).then_some(READ_ENDS);
            let content = match ends {
                None => hash_file(&file.path)?,
                Some(length) => hash_ends(&file.path, length)?,
            };
            Ok(format!("{} {content};", file.bytes))
        })
        .collect::<Result<Vec<String>, CorpusError>>()?;
    Ok(hash_bytes(parts.concat().as_bytes()))
}

fn files_of(
    name: &str,
    asked: DocumentFormat,
    environment: &HubEnvironment,
) -> Result<Vec<(PathBuf, DocumentFormat)>, CorpusError> {
    let path = Path::new(name);
    if path.is_dir() {
        return files_in(name, &data_folder(name, path)?, asked);
    }
    if path.exists() {
        let format = match asked {
            DocumentFormat::Auto => format_of(path).ok_or_else(|| CorpusError::FileKind {
                path: path.to_path_buf(),
            })?,
            asked => asked,
        };
        return Ok(vec![(path.to_path_buf(), format)]);
    }
    if name.contains(['*', '?', '[', '{']) {
        return files_matching(name, asked);
    }
    match snapshot(HubKind::Dataset, name, environment) {
        Some(folder) if !path.is_absolute() => files_in(name, &folder?, asked),
        _ => Err(CorpusError::Path {
            name: name.to_owned(),
            problem: "there is no such file or folder, and it is neither a pattern nor a hub id (`org/name`)"
                .to_owned(),
        }),
    }
}

/// Where the files of a folder lie: in its snapshot, if it is a data set's folder in the hub's cache.
fn data_folder(name: &str, folder: &Path) -> Result<PathBuf, CorpusError> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() || !folder.join("blobs").is_dir() {
        return Ok(folder.to_path_buf());
    }
    snapshot_of(folder, "main").ok_or_else(|| CorpusError::Path {
        name: name.to_owned(),
        problem: "this data set of the hub's cache has no main snapshot; name one of the folders in its \
                  `snapshots`, or download it again"
            .to_owned(),
    })
}

/// The files below a folder that can be read as asked, by name.
fn files_in(
    name: &str,
    folder: &Path,
    asked: DocumentFormat,
) -> Result<Vec<(PathBuf, DocumentFormat)>, CorpusError> {
    let mut all = Vec::new();
    walk(folder, &mut all)?;
    let files = usable(&all, asked);
    if files.is_empty() {
        let problem = format!(
            "the folder holds no {} (it holds {}); name the files, or the format",
            kinds(asked),
            some(&all)
        );
        return Err(CorpusError::Path {
            name: name.to_owned(),
            problem,
        });
    }
    Ok(files)
}

fn files_matching(
    pattern: &str,
    asked: DocumentFormat,
) -> Result<Vec<(PathBuf, DocumentFormat)>, CorpusError> {
    let refuse = |problem: String| CorpusError::Path {
        name: pattern.to_owned(),
        problem,
    };
    let matcher = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| refuse(format!("it is not a valid pattern: {}", error.kind())))?
        .compile_matcher();
    let is_plain =
        |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let base: PathBuf = Path::new(pattern).components().take_while(is_plain).collect();
    let walked = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &base
    };
    let mut all = Vec::new();
    if walked.is_dir() {
        walk(walked, &mut all)?;
    }
    // Paths below `.` are matched as the pattern writes them, without it.
    let all: Vec<PathBuf> = all
        .into_iter()
        .map(|path| {
            if base.as_os_str().is_empty() {
                path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path)
            } else {
                path
            }
        })
        .filter(|path| matcher.is_match(path))
        .collect();
    let files: Vec<_> = match asked {
        DocumentFormat::Auto => usable(&all, asked),
        // What a pattern names is read as asked, whatever it is called.
        asked => all.iter().map(|path| (path.clone(), asked)).collect(),
    };
    if files.is_empty() {
        return Err(refuse(if all.is_empty() {
            "no file matches the pattern".to_owned()
        } else {
            format!(
                "the files that match ({}) are no {}; name the format",
                some(&all),
                kinds(asked)
            )
        }));
    }
    Ok(files)
}

/// All files below a folder, by name. Links to files are followed, links to folders are not.
fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), CorpusError> {
    let failed = |cause| CorpusError::read(folder, cause);
    let mut entries = fs::read_dir(folder)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, into)?;
        } else if path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

/// Those files whose names end as asked. Lists of a folder are strict: a data set has a README.md and JSON files about itself.
fn usable(all: &[PathBuf], asked: DocumentFormat) -> Vec<(PathBuf, DocumentFormat)> {
    all.iter()
        .filter_map(|path| {
            let format = format_of(path)?;
            let about_the_data = path.extension().is_some_and(|ending| {
                ending.eq_ignore_ascii_case("md") || ending.eq_ignore_ascii_case("json")
            });
            let wanted = match asked {
                DocumentFormat::Auto => !about_the_data,
                asked => format == asked,
            };
            wanted.then(|| (path.clone(), format))
        })
        .collect()
}

fn format_of(path: &Path) -> Option<DocumentFormat> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "text" | "md" => Some(DocumentFormat::Text),
        "jsonl" | "ndjson" | "json" => Some(DocumentFormat::Jsonl),
        "parquet" => Some(DocumentFormat::Parquet),
        _ => None,
    }
}

fn kinds(asked: DocumentFormat) -> &'static str {
    match asked {
        DocumentFormat::Auto => ".txt, .jsonl, .ndjson or .parquet file",
        DocumentFormat::Text => ".txt, .text or .md file",
        DocumentFormat::Jsonl => ".jsonl, .ndjson or .json file",
        DocumentFormat::Parquet => ".parquet file",
    }
}

fn some(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .take(4)
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    match names.len() {
        0 => "nothing".to_owned(),
        shown if shown < paths.len() => format!("{}, …", names.join(", ")),
        _ => names.join(", "),
    }
}
