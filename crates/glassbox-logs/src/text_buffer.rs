//! A window of a text that is read from front to back, its compression undone.

use std::io::{self, Read};
use std::ops::Deref;

/// A window of a text: bytes are appended at its end and taken from its front.
pub(crate) struct TextBuffer {
    reader: Box<dyn Read + Send>,
    chunk: usize,
    /// The window, and room behind it that was written before: memory is not cleared for every chunk.
    bytes: Vec<u8>,
    /// Bytes of the window.
    length: usize,
    /// Offset of the window's first byte in the text.
    offset: u64,
    ended: bool,
    failure: Option<io::Error>,
    spares: Vec<Vec<u8>>,
}

/// Bytes that were taken from a buffer, with what room there is behind them.
#[derive(Debug)]
pub(crate) struct TakenBytes {
    bytes: Vec<u8>,
    length: usize,
}

impl TakenBytes {
    /// The memory, to be used again.
    pub(crate) fn into_room(self) -> Vec<u8> {
        self.bytes
    }
}

impl Deref for TakenBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl TextBuffer {
    /// A buffer; `spares` is memory that it may use.
    pub(crate) fn new(reader: Box<dyn Read + Send>, chunk: usize, spares: Vec<Vec<u8>>) -> Self {
        Self {
            reader,
            chunk: chunk.max(1),
            bytes: Vec::new(),
            length: 0,
            offset: 0,
            ended: false,
            failure: None,
            spares,
        }
    }

    /// More memory that it may use.
    pub(crate) fn spare(&mut self, room: Vec<u8>) {
        self.spares.push(room);
    }

    /// The memory that it may use, taken away from it.
    pub(crate) fn into_spares(mut self) -> Vec<Vec<u8>> {
        self.spares.push(self.bytes);
        self.spares
    }

    /// The window.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
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
        let end = self.length + self.chunk;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        while self.length < end && !self.ended {
            match self.reader.read(&mut self.bytes[self.length..end]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
    }

    /// Fills until the window holds so many bytes, or the text ends.
    pub(crate) fn fill_to(&mut self, length: usize) {
        while self.length < length && !self.ended {
            self.fill();
        }
    }

    /// Takes the first bytes of the window away.
    pub(crate) fn take(&mut self, count: usize) -> TakenBytes {
        let left = self.length - count;
        let mut rest = self.spares.pop().unwrap_or_default();
        if rest.len() < left {
            rest.resize(left, 0);
        }
        rest[..left].copy_from_slice(&self.bytes[count..self.length]);
        self.length = left;
        self.offset += count as u64;
        TakenBytes {
            bytes: std::mem::replace(&mut self.bytes, rest),
            length: count,
        }
    }

    /// Drops the first bytes of the window.
    pub(crate) fn skip(&mut self, count: usize) {
        self.bytes.copy_within(count..self.length, 0);
        self.length -= count;
        self.offset += count as u64;
    }
}
