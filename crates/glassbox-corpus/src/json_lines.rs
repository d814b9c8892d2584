//! Documents in JSON lines.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::CorpusError;
use crate::document::PlaceInFile;
use crate::document_reader::{FileDocuments, FilePosition, FoundDocument};
use crate::line_reader::LineReader;

/// A file with one JSON object per line.
pub(crate) struct JsonLines {
    lines: LineReader,
    key: String,
}

impl JsonLines {
    /// Opens a file at a position; `key` is where the text is.
    ///
    /// # Errors
    /// [`CorpusError::Read`].
    pub(crate) fn open(path: &Path, key: &str, position: FilePosition) -> Result<Self, CorpusError> {
        Ok(Self {
            lines: LineReader::open(path, position)?,
            key: key.to_owned(),
        })
    }
}

impl FileDocuments for JsonLines {
    fn next(&mut self) -> Result<Option<FoundDocument>, CorpusError> {
        let (mut bytes, mut before) = (Vec::new(), self.lines.position());
        // Blank lines are no records.
        while bytes.trim_ascii().is_empty() {
            bytes.clear();
            before = self.lines.position();
            if !self.lines.append_line(&mut bytes)? {
                return Ok(None);
            }
        }
        let line = self.lines.text(bytes, before.offset)?;
        let mut json = serde_json::Deserializer::from_str(&line);
        let text = TextUnder(&self.key)
            .deserialize(&mut json)
            .and_then(|text| json.end().map(|()| text))
            .map_err(|cause| CorpusError::BadRecord {
                path: self.lines.path().to_path_buf(),
                line: before.line + 1,
                offset: before.offset + cause.column().saturating_sub(1) as u64,
                problem: problem(&cause),
            })?;
        Ok(Some(FoundDocument {
            text,
            within: PlaceInFile::Line(before.line + 1),
            after: self.lines.position(),
        }))
    }
}

/// The message without the place, which counts lines from the start of the record.
fn problem(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    match text.rsplit_once(" at line ") {
        Some((problem, _)) => problem.to_owned(),
        None => text,
    }
}

/// Reads the text under one key of an object and passes over all other values.
struct TextUnder<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for TextUnder<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TextUnder<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a text under `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut others) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value::<Option<String>>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                others.push(key);
            }
        }
        found.ok_or_else(|| {
            A::Error::custom(format!(
                "there is no key `{}`; the keys are {}: name the one that holds the text",
                self.0,
                if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                }
            ))
        })
    }
}
