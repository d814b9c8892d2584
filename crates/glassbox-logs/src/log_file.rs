//! Which files are read, and how their bytes become text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use glassbox_store::MANIFEST_FILE;

use crate::import::{IMPORT_FILE, PROBLEMS_TABLE};
use crate::{ProblemKind, RowProblem};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// What a search for files found.
#[derive(Debug, Default)]
pub(crate) struct FoundFiles {
    pub(crate) files: Vec<LogFile>,
    /// Paths that are not there or cannot be read, with the reason.
    pub(crate) absent: Vec<(PathBuf, String)>,
    /// Files of folders that no log is kept in, by their name.
    pub(crate) passed_over: Vec<PathBuf>,
}

/// Finds the files of some paths. Folders are searched with all folders in them, in the order of their names; files given by name
/// are read whatever they are called. A file that is found twice is read once.
pub(crate) fn find_files(paths: &[PathBuf]) -> FoundFiles {
    let mut found = FoundFiles::default();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let before = found.files.len() + found.passed_over.len() + found.absent.len();
                search(path, &mut found);
                if found.files.len() + found.passed_over.len() + found.absent.len() == before {
                    found.absent.push((path.clone(), "an empty folder".to_owned()));
                }
            }
            Ok(metadata) => found.files.push(LogFile {
                path: path.clone(),
                bytes: metadata.len(),
            }),
            Err(error) => found.absent.push((path.clone(), error.to_string())),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.files.retain(|file| {
        let canonical = file.path.canonicalize().unwrap_or_else(|_| file.path.clone());
        seen.insert(canonical)
    });
    found
}

fn search(folder: &Path, found: &mut FoundFiles) {
    // Of a run, only the trials are a log; of an import, everything but its report.
    let is_run = folder.join(MANIFEST_FILE).is_file() && folder.join("trials").is_dir();
    let is_import = folder.join(IMPORT_FILE).is_file();
    let trials = folder.join("trials");
    let folder = if is_run { &trials } else { folder };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.absent.push((folder.to_path_buf(), error.to_string())),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => found.absent.push((folder.to_path_buf(), error.to_string())),
        }
    }
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => search(&path, found),
            Ok(metadata) if is_log_name(&path) && (!(is_run || is_import) || is_table(&path)) => {
                found.files.push(LogFile {
                    path,
                    bytes: metadata.len(),
                });
            }
            Ok(_) if is_run || is_import => {}
            Ok(_) => found.passed_over.push(path),
            Err(error) => found.absent.push((path, error.to_string())),
        }
    }
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
        && path.file_name().is_some_and(|name| name != PROBLEMS_TABLE)
}

fn is_log_name(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(&name);
    [".json", ".jsonl", ".ndjson", ".parquet"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The contents of a file, by its first bytes.
pub(crate) enum Contents {
    /// Text, its compression undone.
    Text(Box<dyn Read + Send>),
    /// A Parquet file.
    Parquet,
}

/// Opens a file; `read` counts its bytes on disk as they are read.
///
/// # Errors
/// A problem of the whole file.
pub(crate) fn open_contents(
    file: &LogFile,
    number: u32,
    read: Arc<AtomicU64>,
) -> Result<Contents, RowProblem> {
    let failed = |error: io::Error| RowProblem::of_file(number, ProblemKind::Unreadable, error.to_string());
    let mut opened = File::open(&file.path).map_err(failed)?;
    let mut magic = [0_u8; 4];
    let mut length = 0;
    while length < magic.len() {
        match opened.read(&mut magic[length..]).map_err(failed)? {
            0 => break,
            count => length += count,
        }
    }
    read.fetch_add(length as u64, Ordering::Relaxed);
    let magic = magic[..length].to_vec();
    let from_start = Counted { inner: opened, read };
    let plain = io::Cursor::new(magic.clone()).chain(from_start);
    if magic == b"PAR1" {
        return Ok(Contents::Parquet);
    }
    if magic.starts_with(&[0x1f, 0x8b]) {
        let plain = io::BufReader::with_capacity(1 << 16, plain);
        let decoder = flate2::read::MultiGzDecoder::new(plain);
        return Ok(Contents::Text(Box::new(InBlocks::new(decoder))));
    }
    if magic == [0x28, 0xb5, 0x2f, 0xfd] {
        let decoder = zstd::stream::read::Decoder::new(plain).map_err(failed)?;
        return Ok(Contents::Text(Box::new(InBlocks::new(decoder))));
    }
    Ok(Contents::Text(Box::new(plain)))
}

/// Counts bytes as they are read.
struct Counted {
    inner: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Reads blocks of one size whatever is asked for: how much of a damaged stream a decoder gives depends on what it is asked for.
struct InBlocks<R> {
    inner: R,
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> InBlocks<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            block: vec![0; 1 << 16],
            start: 0,
            end: 0,
        }
    }
}

impl<R: Read> Read for InBlocks<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            self.end = self.inner.read(&mut self.block)?;
            self.start = 0;
        }
        let count = bytes.len().min(self.end - self.start);
        bytes[..count].copy_from_slice(&self.block[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}
