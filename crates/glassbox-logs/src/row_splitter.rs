//! Cuts a text into rows: elements of an array, lines, or one object as a whole.
//!
//! The rows do not depend on how the text comes in: whether a row ends is decided from its own bytes alone, so chunks may end
//! anywhere.

use memchr::memchr;

use crate::json_scan::{Restart, Scan, find_restart, scan_value};
use crate::text_buffer::{TakenBytes, TextBuffer};
use crate::{Place, ProblemKind, RowProblem};

/// How a text is made of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextForm {
    /// One JSON array; its elements are rows.
    Array,
    /// JSON lines.
    Lines,
    /// One JSON object, read as a whole.
    Object,
}

/// A row, or what is wrong with it.
#[derive(Debug)]
pub(crate) enum RawRow {
    /// Bytes of the batch.
    Text { row: u64, start: usize, end: usize },
    /// A row that cannot be cut out.
    Problem(RowProblem),
}

/// Some rows and the bytes that they are in.
#[derive(Debug)]
pub(crate) struct RawBatch {
    /// Offset of the first byte in the text.
    pub(crate) offset: u64,
    pub(crate) bytes: TakenBytes,
    pub(crate) rows: Vec<RawRow>,
}

/// Bytes of an unknown file that its problem shows.
const SHOWN: usize = 20;

/// Cuts the text of one file.
pub(crate) struct RowSplitter {
    text: TextBuffer,
    file: u32,
    form: TextForm,
    longest: usize,
    batch: usize,
    row: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before an array, after one, or before a line or object.
    Outside,
    /// After the bracket of an array or a comma.
    Element,
    /// After an element.
    Separator,
    /// Within a damaged part of an array, or a line that is too long.
    Damage,
    /// All is read.
    Done,
}

/// Sizes that bound the memory of a reader.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes of rows that are handed out together, about.
    pub batch_bytes: usize,
    /// The longest row, in bytes; longer ones are reported and passed over.
    pub longest_row: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            batch_bytes: 1 << 20,
            longest_row: 64 << 20,
        }
    }
}

impl RowSplitter {
    /// Looks at the beginning of the text, or says why it is no JSON.
    ///
    /// # Errors
    /// A problem of the whole file.
    pub(crate) fn new(mut text: TextBuffer, file: u32, limits: ReadLimits) -> Result<Self, RowProblem> {
        text.fill_to(3);
        if text.bytes().starts_with(b"\xEF\xBB\xBF") {
            text.skip(3);
        }
        let problem = |kind, what: String| Err(RowProblem::of_file(file, kind, what));
        if text.bytes().starts_with(b"\xFF\xFE") || text.bytes().starts_with(b"\xFE\xFF") {
            let what = "UTF-16; write it again as UTF-8";
            return problem(ProblemKind::Encoding, what.to_owned());
        }
        let first = loop {
            match text.bytes().iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(found) => break text.bytes()[found],
                None if text.ended() => {
                    return match text.take_failure() {
                        Some(error) => problem(ProblemKind::Unreadable, error.to_string()),
                        None => problem(ProblemKind::NoRows, "the file is empty".to_owned()),
                    };
                }
                None => {
                    let white = text.bytes().len();
                    text.skip(white);
                    text.fill();
                }
            }
        };
        let form = match first {
            b'[' => TextForm::Array,
            b'{' => object_or_lines(&mut text, limits.longest_row),
            _ => {
                let is_white = |byte: &&u8| byte.is_ascii_whitespace();
                let white = text.bytes().iter().take_while(is_white).count();
                text.fill_to(white + SHOWN);
                let start = &text.bytes()[white..text.bytes().len().min(white + SHOWN)];
                let start = String::from_utf8_lossy(start);
                let what =
                    format!("the file begins with {start:?}; JSON, JSON lines or Parquet was expected");
                return problem(ProblemKind::UnknownLayout, what);
            }
        };
        Ok(Self {
            text,
            file,
            form,
            longest: limits.longest_row,
            batch: limits.batch_bytes,
            row: 0,
            state: State::Outside,
        })
    }

    pub(crate) fn form(&self) -> TextForm {
        self.form
    }

    /// More memory that may be used for the text.
    pub(crate) fn spare(&mut self, room: Vec<u8>) {
        self.text.spare(room);
    }

    /// The memory of the text, to be used again.
    pub(crate) fn into_spares(self) -> Vec<Vec<u8>> {
        self.text.into_spares()
    }

    /// The next rows; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Option<RawBatch> {
        if self.state == State::Done {
            return None;
        }
        let offset = self.text.offset();
        let mut cut = Cut {
            at: 0,
            rows: Vec::new(),
            full: false,
        };
        while cut.at < self.batch && !cut.full && self.state != State::Done {
            match self.form {
                TextForm::Array => self.array_step(&mut cut),
                TextForm::Lines => self.line_step(&mut cut),
                TextForm::Object => self.object_step(&mut cut),
            }
        }
        if self.state == State::Done
            && let Some(error) = self.text.take_failure()
        {
            let what = format!("the file cannot be read to its end: {error}");
            self.problem(&mut cut, ProblemKind::Unreadable, what);
        }
        if self.state == State::Done && self.row == 0 && cut.rows.is_empty() {
            let problem = RowProblem::of_file(self.file, ProblemKind::NoRows, "the array is empty");
            cut.rows.push(RawRow::Problem(problem));
        }
        let Cut { at, rows, .. } = cut;
        Some(RawBatch {
            offset,
            bytes: self.text.take(at),
            rows,
        })
    }

    /// Passes over white space; the next byte, or `None` at the end of the text.
    fn next_byte(&mut self, cut: &mut Cut) -> Option<u8> {
        loop {
            match self.text.bytes()[cut.at..]
                .iter()
                .position(|byte| !byte.is_ascii_whitespace())
            {
                Some(white) => {
                    cut.at += white;
                    return self.text.bytes().get(cut.at).copied();
                }
                None => {
                    cut.at = self.text.bytes().len();
                    if self.text.ended() || cut.at >= self.batch {
                        return None;
                    }
                    self.text.fill();
                }
            }
        }
    }

    /// Whether nothing follows, rather than that the batch is full of white space.
    fn is_over(&self, cut: &Cut) -> bool {
        self.text.ended() && cut.at == self.text.bytes().len()
    }

    /// Finds the end of the value at the cut, as far as the longest row goes. `None`: a problem was told, or the batch is full.
    fn value_end(&mut self, cut: &mut Cut) -> Option<usize> {
        loop {
            let available = &self.text.bytes()[cut.at..];
            let window = &available[..available.len().min(self.longest)];
            let ends_here = self.text.ended() && window.len() == available.len();
            let (kind, what) = match scan_value(window, ends_here) {
                Scan::Complete(length) => return Some(cut.at + length),
                Scan::Broken { at, what } => {
                    let place = self.text.offset() + (cut.at + at) as u64;
                    (ProblemKind::Syntax, format!("{what} (byte {place})"))
                }
                Scan::More if window.len() == self.longest => {
                    let what = format!("longer than {} bytes; is it a row of a log?", self.longest);
                    (ProblemKind::TooLong, what)
                }
                Scan::More if self.text.ended() => {
                    (ProblemKind::Truncated, "the file ends within this row".to_owned())
                }
                // A row that goes on is for the next batch: the bytes before it need not be moved.
                Scan::More if !cut.rows.is_empty() => {
                    cut.full = true;
                    return None;
                }
                Scan::More => {
                    // Twice as much each time: a long row is not scanned once per chunk.
                    self.text.fill_to(cut.at + 2 * available.len().max(1));
                    continue;
                }
            };
            self.row += 1;
            self.problem(cut, kind, what);
            return None;
        }
    }

    fn problem(&self, cut: &mut Cut, kind: ProblemKind, what: impl Into<String>) {
        cut.rows.push(RawRow::Problem(RowProblem {
            place: Place {
                file: self.file,
                row: self.row,
                offset: Some(self.text.offset() + cut.at as u64),
            },
            kind,
            what: what.into(),
        }));
    }

    fn row(&mut self, cut: &mut Cut, end: usize) {
        self.row += 1;
        cut.rows.push(RawRow::Text {
            row: self.row,
            start: cut.at,
            end,
        });
        cut.at = end;
    }

    fn array_step(&mut self, cut: &mut Cut) {
        if self.state == State::Damage {
            return self.pass_over_damage(cut);
        }
        let Some(byte) = self.next_byte(cut) else {
            if self.is_over(cut) {
                if self.state != State::Outside {
                    let what = "the file ends before the closing bracket of its array; rows after this one are missing";
                    self.problem(cut, ProblemKind::Truncated, what);
                }
                self.state = State::Done;
            }
            return;
        };
        match (self.state, byte) {
            (State::Outside, b'[') => {
                self.state = State::Element;
                cut.at += 1;
            }
            (State::Element | State::Separator, b']') => {
                self.state = State::Outside;
                cut.at += 1;
            }
            (State::Separator, b',') => {
                self.state = State::Element;
                cut.at += 1;
            }
            (State::Element, b',') => {
                self.row += 1;
                self.problem(cut, ProblemKind::Syntax, "a comma where a row was expected");
                cut.at += 1;
            }
            (State::Element, _) => match self.value_end(cut) {
                Some(end) => {
                    self.row(cut, end);
                    self.state = State::Separator;
                }
                None if cut.full => {}
                None => {
                    self.state = State::Damage;
                    cut.at += 1;
                }
            },
            _ => {
                self.row += 1;
                let what = match self.state {
                    State::Outside => "text after the end of the array",
                    _ => "a comma or the end of the array was expected after the row before",
                };
                self.problem(cut, ProblemKind::Syntax, what);
                // An object that follows without a comma is a row all the same.
                self.state = if byte == b'{' {
                    State::Element
                } else {
                    State::Damage
                };
            }
        }
    }

    fn pass_over_damage(&mut self, cut: &mut Cut) {
        match find_restart(&self.text.bytes()[cut.at..]) {
            Restart::At(brace) => {
                cut.at += brace;
                self.state = State::Element;
            }
            Restart::Skip(count) => {
                cut.at += count;
                if self.text.ended() {
                    cut.at = self.text.bytes().len();
                    self.state = State::Done;
                } else if cut.at < self.batch {
                    self.text.fill();
                }
            }
        }
    }

    fn line_step(&mut self, cut: &mut Cut) {
        if self.state == State::Damage {
            return self.pass_over_line(cut);
        }
        let (line, next) = loop {
            let available = &self.text.bytes()[cut.at..];
            let window = &available[..available.len().min(self.longest)];
            match memchr(b'\n', window) {
                Some(end) => break (end, end + 1),
                None if window.len() == self.longest => {
                    self.row += 1;
                    let what = format!("longer than {} bytes; is it a row of a log?", self.longest);
                    self.problem(cut, ProblemKind::TooLong, what);
                    self.state = State::Damage;
                    return;
                }
                None if self.text.ended() => break (window.len(), window.len()),
                None if !cut.rows.is_empty() => {
                    cut.full = true;
                    return;
                }
                None => self.text.fill(),
            }
        };
        if next == 0 {
            self.state = State::Done;
            return;
        }
        // Lines are counted as editors count them, blank ones included.
        self.row += 1;
        if !self.text.bytes()[cut.at..cut.at + line].trim_ascii().is_empty() {
            cut.rows.push(RawRow::Text {
                row: self.row,
                start: cut.at,
                end: cut.at + line,
            });
        }
        cut.at += next;
    }

    fn pass_over_line(&mut self, cut: &mut Cut) {
        let available = &self.text.bytes()[cut.at..];
        match memchr(b'\n', available) {
            Some(end) => {
                cut.at += end + 1;
                self.state = State::Outside;
            }
            None => {
                cut.at += available.len();
                if self.text.ended() {
                    self.state = State::Done;
                } else if cut.at < self.batch {
                    self.text.fill();
                }
            }
        }
    }

    fn object_step(&mut self, cut: &mut Cut) {
        match self.next_byte(cut) {
            None => {
                if self.is_over(cut) {
                    self.state = State::Done;
                }
            }
            Some(_) => match self.value_end(cut) {
                Some(end) => self.row(cut, end),
                None if cut.full => {}
                None => {
                    // What follows a damaged object has no beginning that could be trusted.
                    cut.at = self.text.bytes().len();
                    self.state = State::Done;
                }
            },
        }
    }
}

/// A batch in the making.
struct Cut {
    /// Bytes of the window that belong to it.
    at: usize,
    rows: Vec<RawRow>,
    /// Whether it ends here, though it is small.
    full: bool,
}

/// Whether a text that begins with a brace is JSON lines or one object over several lines.
fn object_or_lines(text: &mut TextBuffer, longest: usize) -> TextForm {
    let start = text
        .bytes()
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(0);
    let end = loop {
        match memchr(b'\n', &text.bytes()[start..]) {
            Some(end) => break start + end,
            None if text.ended() || text.bytes().len() > longest => return TextForm::Lines,
            None => text.fill(),
        }
    };
    let line = text.bytes()[start..end].trim_ascii();
    match scan_value(line, true) {
        Scan::Complete(length) if length == line.len() => return TextForm::Lines,
        // A line of an object ends so; a damaged line of JSON lines hardly ever does.
        Scan::More if line.ends_with(b"{") || line.ends_with(b"[") || line.ends_with(b",") => {
            return TextForm::Object;
        }
        _ => {}
    }
    // The first line is damaged, or the object goes on: what the next line begins with says which.
    let mut at = end;
    loop {
        match text.bytes()[at..].iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => return TextForm::Lines,
            Some(_) => return TextForm::Object,
            None if text.ended() => return TextForm::Object,
            None => {
                at = text.bytes().len();
                text.fill();
            }
        }
    }
}
