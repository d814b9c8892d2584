//! Reads the documents of a corpus one after the other.

use std::path::PathBuf;
use std::sync::Arc;

use glassbox_model::locate::HubEnvironment;
use glassbox_store::{Checksum, hash_bytes};
use serde::{Deserialize, Serialize};

use crate::corpus_files::{CorpusFile, corpus_files, fingerprint};
use crate::document::PlaceInFile;
use crate::json_lines::JsonLines;
use crate::parquet_documents::ParquetDocuments;
use crate::text_documents::TextDocuments;
use crate::{CorpusError, Document, DocumentFormat, DocumentPlace, DocumentSource};

/// Where a reader stands in a file: before the next document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilePosition {
    /// Bytes before it; rows before it in Parquet.
    pub(crate) offset: u64,
    /// Lines before it, where there are lines.
    pub(crate) line: u64,
}

/// What a file's reader found.
#[derive(Debug)]
pub(crate) struct FoundDocument {
    /// `None` where a record has no text (null).
    pub(crate) text: Option<String>,
    pub(crate) within: PlaceInFile,
    /// Where the next one begins.
    pub(crate) after: FilePosition,
}

/// The documents of one file.
pub(crate) trait FileDocuments: Send {
    /// The next one; `None` at the end.
    fn next(&mut self) -> Result<Option<FoundDocument>, CorpusError>;
}

/// How many documents were read, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentCounts {
    /// Documents that were read.
    pub seen: u64,
    /// Left out, since they have fewer characters than asked for.
    pub too_short: u64,
    /// Left out, since their record holds null instead of a text.
    pub without_text: u64,
}

impl DocumentCounts {
    /// Documents that were given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.seen - self.too_short - self.without_text
    }
}

/// Where a reader stands. Small, whatever the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderState {
    /// Checksum of the files' names and sizes.
    files: Checksum,
    /// The file that is being read, by its place in the list.
    file: usize,
    position: FilePosition,
    /// What was read so far.
    pub counts: DocumentCounts,
    /// A checksum over the documents that were given, in order.
    pub content: Checksum,
}

/// The documents of a corpus in order. One document is in memory at a time.
pub struct DocumentReader {
    source: DocumentSource,
    files: Vec<CorpusFile>,
    state: ReaderState,
    open: Option<(Arc<PathBuf>, Box<dyn FileDocuments>)>,
    /// Whether the end was reached, or an error was given.
    ended: bool,
}

impl std::fmt::Debug for DocumentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentReader")
            .field("source", &self.source)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl DocumentReader {
    /// Finds the files of a source; `environment` says where the hub's cache is. Nothing is read yet.
    ///
    /// # Errors
    /// As [`corpus_files`].
    pub fn open(source: DocumentSource, environment: &HubEnvironment) -> Result<Self, CorpusError> {
        let files = corpus_files(&source, environment)?;
        let names: Vec<String> = files
            .iter()
            .map(|file| format!("{}\0{}\0", file.path.display(), file.bytes))
            .collect();
        let state = ReaderState {
            files: hash_bytes(names.concat().as_bytes()),
            file: 0,
            position: FilePosition::default(),
            counts: DocumentCounts::default(),
            content: hash_bytes(b""),
        };
        Ok(Self {
            source,
            files,
            state,
            open: None,
            ended: false,
        })
    }

    /// What is read.
    #[must_use]
    pub fn source(&self) -> &DocumentSource {
        &self.source
    }

    /// The files, in the order in which they are read.
    #[must_use]
    pub fn files(&self) -> &[CorpusFile] {
        &self.files
    }

    /// A checksum over the content of the files, by which a corpus that changed is noticed: all of it up to 4 GiB, beyond that the
    /// first and last parts of every file.
    ///
    /// # Errors
    /// [`CorpusError::Store`] if a file cannot be read.
    pub fn fingerprint(&self) -> Result<Checksum, CorpusError> {
        fingerprint(&self.files)
    }

    /// Where the reader stands: after the document that it gave last.
    #[must_use]
    pub fn state(&self) -> &ReaderState {
        &self.state
    }

    /// Continues where a reader of the same source stood.
    ///
    /// # Errors
    /// [`CorpusError::StateMismatch`] if the files are others than they were: names or sizes differ.
    pub fn restore(&mut self, state: &ReaderState) -> Result<(), CorpusError> {
        if state.files != self.state.files || state.file > self.files.len() {
            return Err(CorpusError::StateMismatch {
                found: "of a corpus with other files, or files of other sizes".to_owned(),
                expected: format!("a corpus of {} files", self.files.len()),
            });
        }
        self.state = state.clone();
        (self.open, self.ended) = (None, false);
        Ok(())
    }

    /// Begins again with the first document.
    pub fn rewind(&mut self) {
        self.state = ReaderState {
            files: self.state.files,
            file: 0,
            position: FilePosition::default(),
            counts: DocumentCounts::default(),
            content: hash_bytes(b""),
        };
        (self.open, self.ended) = (None, false);
    }

    fn read(&mut self) -> Result<Option<Document>, CorpusError> {
        let most = self.source.max_documents.unwrap_or(u64::MAX);
        while self.state.counts.given() < most {
            let Some(found) = self.find()? else { break };
            let number = self.state.counts.seen;
            self.state.counts.seen += 1;
            let Some(text) = found.1.text else {
                self.state.counts.without_text += 1;
                continue;
            };
            if !has_characters(&text, self.source.min_characters) {
                self.state.counts.too_short += 1;
                continue;
            }
            let content = format!("{}{}", self.state.content, hash_bytes(text.as_bytes()));
            self.state.content = hash_bytes(content.as_bytes());
            let place = DocumentPlace {
                file: found.0,
                within: found.1.within,
            };
            return Ok(Some(Document { number, text, place }));
        }
        let counts = self.state.counts;
        if counts.given() == 0 {
            return Err(CorpusError::Empty {
                files: self.files.len(),
                counts,
                min_characters: self.source.min_characters,
            });
        }
        Ok(None)
    }

    /// The next document of the files, before any filter.
    fn find(&mut self) -> Result<Option<(Arc<PathBuf>, FoundDocument)>, CorpusError> {
        while let Some(file) = self.files.get(self.state.file) {
            let (path, reader) = match &mut self.open {
                Some(open) => open,
                closed => closed.insert((
                    Arc::new(file.path.clone()),
                    open_file(file, &self.source, self.state.position)?,
                )),
            };
            if let Some(found) = reader.next()? {
                self.state.position = found.after;
                return Ok(Some((Arc::clone(path), found)));
            }
            self.open = None;
            self.state.file += 1;
            self.state.position = FilePosition::default();
        }
        Ok(None)
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Document, CorpusError>;

    /// The next document that passes the filters. A corpus without a single one ends with [`CorpusError::Empty`]; after an error nothing
    /// more comes until the reader is restored or begins again.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn open_file(
    file: &CorpusFile,
    source: &DocumentSource,
    position: FilePosition,
) -> Result<Box<dyn FileDocuments>, CorpusError> {
    Ok(match file.format {
        DocumentFormat::Parquet => Box::new(ParquetDocuments::open(
            &file.path,
            &source.text_column,
            position.offset,
        )?),
        DocumentFormat::Jsonl => Box::new(JsonLines::open(&file.path, &source.text_column, position)?),
        DocumentFormat::Text | DocumentFormat::Auto => {
            Box::new(TextDocuments::open(&file.path, source.text_unit, position)?)
        }
    })
}

fn has_characters(text: &str, least: usize) -> bool {
    text.len() >= least && (least == 0 || text.chars().nth(least - 1).is_some())
}
