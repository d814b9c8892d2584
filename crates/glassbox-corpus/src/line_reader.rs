//! Lines of a file as bytes, with their places.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::CorpusError;
use crate::document_reader::FilePosition;

/// No document may have more bytes than this: it is in memory as a whole.
pub(crate) const LONGEST_TEXT: u64 = 64 << 20;

/// Reads lines from a position on.
pub(crate) struct LineReader {
    file: BufReader<File>,
    path: PathBuf,
    position: FilePosition,
}

impl LineReader {
    /// Opens a file at a position.
    ///
    /// # Errors
    /// [`CorpusError::Read`].
    pub(crate) fn open(path: &Path, position: FilePosition) -> Result<Self, CorpusError> {
        let failed = |cause| CorpusError::read(path, cause);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(position.offset)).map_err(failed)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut position = position;
        if position.offset == 0 && file.fill_buf().map_err(failed)?.starts_with(b"\xEF\xBB\xBF") {
            // The mark of UTF-8 that some editors write is no part of the text.
            file.consume(3);
            position.offset = 3;
        }
        Ok(Self {
            file,
            path: path.to_path_buf(),
            position,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next line begins.
    pub(crate) fn position(&self) -> FilePosition {
        self.position
    }

    /// Appends the next line, its end included, to `bytes`; `false` at the end of the file.
    ///
    /// # Errors
    /// [`CorpusError::Read`], and [`CorpusError::TextTooLong`] if `bytes` would grow beyond what a document may have.
    pub(crate) fn append_line(&mut self, bytes: &mut Vec<u8>) -> Result<bool, CorpusError> {
        let room = (LONGEST_TEXT + 1).saturating_sub(bytes.len() as u64);
        let read = (&mut self.file)
            .take(room)
            .read_until(b'\n', bytes)
            .map_err(|cause| CorpusError::read(&self.path, cause))?;
        if bytes.len() as u64 > LONGEST_TEXT {
            return Err(CorpusError::TextTooLong {
                path: self.path.clone(),
                line: self.position.line + 1,
                limit: LONGEST_TEXT,
            });
        }
        self.position.offset += read as u64;
        self.position.line += u64::from(read > 0);
        Ok(read > 0)
    }

    /// The bytes, which begin at `offset` of the file, as text.
    ///
    /// # Errors
    /// [`CorpusError::NotUtf8`] with the offset of the first wrong byte.
    pub(crate) fn text(&self, bytes: Vec<u8>, offset: u64) -> Result<String, CorpusError> {
        String::from_utf8(bytes).map_err(|error| CorpusError::NotUtf8 {
            path: self.path.clone(),
            offset: offset + error.utf8_error().valid_up_to() as u64,
        })
    }
}
