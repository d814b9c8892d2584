//! When a row ends.

use crate::forward_error::VisitError;
use crate::tokenizer::{TextStream, Tokenizer};

/// Turns the tokens of a row into text as they come. A [`Tokenizer`] does.
pub trait TokenText: Sync {
    /// The beginning of the text that follows a prompt.
    ///
    /// # Errors
    /// Any error, of an id that is not in the vocabulary for example.
    fn after(&self, prompt: &[u32]) -> Result<Box<dyn TokenTextStream + '_>, VisitError>;
}

/// The text of one row in its course.
pub trait TokenTextStream: Send {
    /// Takes the next token and returns the text that it completes, which may be empty.
    ///
    /// # Errors
    /// Any error, of an id that is not in the vocabulary for example.
    fn push(&mut self, token: u32) -> Result<String, VisitError>;
}

impl TokenText for Tokenizer {
    fn after(&self, prompt: &[u32]) -> Result<Box<dyn TokenTextStream + '_>, VisitError> {
        Ok(Box::new(self.stream_after(prompt)?))
    }
}

impl TokenTextStream for TextStream<'_> {
    fn push(&mut self, token: u32) -> Result<String, VisitError> {
        Ok(TextStream::push(self, token)?)
    }
}

/// Decides when a row has said enough, a parser that has its answer for example.
pub trait StopRule {
    /// Whether the row stops after its newest token. `tokens` are those generated so far; `text` is theirs, without
    /// the bytes of a character that is not complete yet, `None` if the generation has no [`TokenText`].
    fn stops(&mut self, row: usize, tokens: &[u32], text: Option<&str>) -> bool;
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It generated an end-of-sequence token, which is its last.
    EndOfSequence,
    /// Its text contains the stop string of this index.
    StopString(usize),
    /// The [`StopRule`] said so.
    Rule,
    /// It has as many new tokens as were allowed.
    MaxNewTokens,
    /// The model's context is full.
    ContextFull,
}

impl StopReason {
    /// The name that tables and JSON use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndOfSequence => "end_of_sequence",
            Self::StopString(_) => "stop_string",
            Self::Rule => "decided",
            Self::MaxNewTokens => "max_new_tokens",
            Self::ContextFull => "context_full",
        }
    }
}

/// The text that a row has so far.
pub(super) struct RowText<'a> {
    stream: Box<dyn TokenTextStream + 'a>,
    text: String,
}

impl<'a> RowText<'a> {
    pub(super) fn new(source: &'a dyn TokenText, prompt: &[u32]) -> Result<Self, VisitError> {
        Ok(Self {
            stream: source.after(prompt)?,
            text: String::new(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the next token. Returns the index of the first stop string that the text then contains.
    pub(super) fn push(&mut self, token: u32, stop_strings: &[String]) -> Result<Option<usize>, VisitError> {
        let old = self.text.len();
        self.text.push_str(&self.stream.push(token)?);
        Ok(stop_strings.iter().position(|stop| {
            // A stop string that was not there before ends in what was added.
            let mut begin = old.saturating_sub(stop.len().saturating_sub(1));
            while !self.text.is_char_boundary(begin) {
                begin -= 1;
            }
            self.text[begin..].contains(stop.as_str())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens are characters.
    struct Characters;

    impl TokenText for Characters {
        fn after(&self, _prompt: &[u32]) -> Result<Box<dyn TokenTextStream + '_>, VisitError> {
            Ok(Box::new(Self))
        }
    }

    impl TokenTextStream for Characters {
        fn push(&mut self, token: u32) -> Result<String, VisitError> {
            Ok(char::from_u32(token).ok_or("no character")?.to_string())
        }
    }

    #[test]
    fn stop_strings_are_found_where_they_end() {
        let stops = ["never".to_owned(), "er 🎰".to_owned()];
        let mut row = RowText::new(&Characters, &[]).unwrap();
        let mut found = None;
        for (i, character) in "größer 🎰 $10".chars().enumerate() {
            let stop = row.push(u32::from(character), &stops).unwrap();
            found = found.or(stop.map(|stop| (i, stop)));
        }
        assert_eq!(found, Some((7, 1)));
        assert_eq!(row.text(), "größer 🎰 $10");
    }
}
