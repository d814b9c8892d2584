//! A window of a text that is read from front to back, its compression undone.

use std::io::{self, Read};

/// A window of a text: bytes are appended at its end and taken from its front.
pub(crate) struct TextBuffer {
    reader: Box<dyn Read + Send>,
    chunk: usize,
    bytes: Vec<u8>,
    /// Offset of the window's first byte in the text.
    offset: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl TextBuffer {
    pub(crate) fn new(reader: Box<dyn Read + Send>, chunk: usize) -> Self {
        Self {
            reader,
            chunk: chunk.max(1),
            bytes: Vec::new(),
            offset: 0,
            ended: false,
            failure: None,
        }
    }

    /// The window.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offset of the window's first byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the window reaches to the end of the text.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Why the text ended early, if it did; told once.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Appends about one chunk. An error of the file ends the text.
    pub(crate) fn fill(&mut self) {
        if self.ended {
            return;
        }
        let chunk = self.chunk as u64;
        match (&mut self.reader).take(chunk).read_to_end(&mut self.bytes) {
            Ok(read) => self.ended = (read as u64) < chunk,
            Err(error) => {
                self.ended = true;
                self.failure = Some(error);
            }
        }
    }

    /// Fills until the window holds so many bytes, or the text ends.
    pub(crate) fn fill_to(&mut self, length: usize) {
        while self.bytes.len() < length && !self.ended {
            self.fill();
        }
    }

    /// Takes the first bytes of the window away, with room for what follows kept.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let mut rest = Vec::with_capacity((self.bytes.len() - count) + self.chunk);
        rest.extend_from_slice(&self.bytes[count..]);
        let mut taken = std::mem::replace(&mut self.bytes, rest);
        taken.truncate(count);
        self.offset += count as u64;
        taken
    }

    /// Drops the first bytes of the window.
    pub(crate) fn skip(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.offset += count as u64;
    }
}
