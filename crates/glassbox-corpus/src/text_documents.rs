//! Documents in files of plain text.

use std::path::Path;

use crate::document::PlaceInFile;
use crate::document_reader::{FileDocuments, FilePosition, FoundDocument};
use crate::line_reader::LineReader;
use crate::{CorpusError, TextUnit};

/// A text file: one document, or its paragraphs.
pub(crate) struct TextDocuments {
    lines: LineReader,
    unit: TextUnit,
    begun: bool,
}

impl TextDocuments {
    /// Opens a file at a position.
    ///
    /// # Errors
    /// [`CorpusError::Read`].
    pub(crate) fn open(path: &Path, unit: TextUnit, position: FilePosition) -> Result<Self, CorpusError> {
        Ok(Self {
            lines: LineReader::open(path, position)?,
            unit,
            begun: position != FilePosition::default(),
        })
    }
}

impl FileDocuments for TextDocuments {
    fn next(&mut self) -> Result<Option<FoundDocument>, CorpusError> {
        let mut bytes = Vec::new();
        let mut first = self.lines.position();
        loop {
            let (before, length) = (self.lines.position(), bytes.len());
            if !self.lines.append_line(&mut bytes)? {
                break;
            }
            if self.unit == TextUnit::File || !bytes[length..].trim_ascii().is_empty() {
                if length == 0 {
                    first = before;
                }
                continue;
            }
            bytes.truncate(length);
            if !bytes.is_empty() {
                break;
            }
        }
        // An empty file is an empty document; a file that ends with a blank line has no paragraph after it.
        if bytes.is_empty() && (self.unit == TextUnit::Paragraph || self.begun) {
            return Ok(None);
        }
        self.begun = true;
        let mut text = self.lines.text(bytes, first.offset)?;
        if self.unit == TextUnit::Paragraph {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let within = match self.unit {
            TextUnit::File => PlaceInFile::Whole,
            TextUnit::Paragraph => PlaceInFile::Line(first.line + 1),
        };
        // The end of a file must differ from its start, even if the file is empty.
        let mut after = self.lines.position();
        after.line = after.line.max(1);
        Ok(Some(FoundDocument {
            text: Some(text),
            within,
            after,
        }))
    }
}
