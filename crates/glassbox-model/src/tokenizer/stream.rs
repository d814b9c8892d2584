//! Text from tokens that come one after the other, in whole characters only.

use super::{Tokenizer, TokenizerError};

/// Decodes tokens one by one and gives text out as soon as its characters are complete.
///
/// The parts put together are what [`Tokenizer::decode`] gives for all tokens at once.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Bytes of a character that is not complete yet.
    incomplete: Vec<u8>,
    /// Whether no token with text has come yet.
    at_start: bool,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            incomplete: Vec::new(),
            at_start: true,
        }
    }

    /// Takes the next token and returns the text that it completes, which may be empty.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] if the library refuses the id.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        let within = self.tokenizer.token_bytes(id)?;
        let bytes = if self.at_start {
            self.tokenizer.first_token_bytes(id)?
        } else {
            within.clone()
        };
        // A first token that is nothing but the space that is dropped there still was the first.
        self.at_start &= within.is_empty();
        self.incomplete.extend_from_slice(&bytes);
        Ok(take_complete(&mut self.incomplete))
    }

    /// Bytes of a character that further tokens could complete.
    #[must_use]
    pub fn incomplete(&self) -> &[u8] {
        &self.incomplete
    }

    /// Ends the text: bytes of a character that never became complete are U+FFFD.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.incomplete).into_owned()
    }
}

/// Takes all but a trailing part of a character from `bytes`; invalid bytes become U+FFFD.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        let ends = taken + invalid.len() == bytes.len();
        if invalid.is_empty() || (ends && may_continue(invalid)) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        taken += invalid.len();
    }
    bytes.drain(..taken);
    text
}

/// Whether these bytes are the beginning of a character, so that further bytes could complete it.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The bytes that a token's spelling stands for: `<0xE5>`, or GPT-2's letters for bytes. `None` if it is neither.
pub(super) fn bytes_of_piece(piece: &str) -> Option<Vec<u8>> {
    let hexadecimal = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    if let Some(byte) = hexadecimal
        .filter(|digits| digits.len() == 2)
        .and_then(|d| u8::from_str_radix(d, 16).ok())
    {
        return Some(vec![byte]);
    }
    piece.chars().map(byte_of_letter).collect()
}

/// GPT-2's spelling of bytes: printable Latin-1 characters stand for themselves, the 68 other bytes in their order for
/// the characters from U+0100 on.
fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(letter);
    if let Some(byte) = u8::try_from(code).ok().filter(printable) {
        return Some(byte);
    }
    let place = code.checked_sub(0x100)? as usize;
    (0..=u8::MAX).filter(|byte| !printable(byte)).nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_for_all_bytes_once() {
        let mut bytes: Vec<u8> = (0..0x144)
            .filter_map(char::from_u32)
            .filter_map(byte_of_letter)
            .collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<u8>>());
        assert_eq!(
            (byte_of_letter('Ġ'), byte_of_letter('Ċ'), byte_of_letter('a')),
            (Some(b' '), Some(b'\n'), Some(b'a'))
        );
        assert_eq!(byte_of_letter('▁'), None);
    }

    #[test]
    fn only_a_trailing_part_of_a_character_is_held() {
        for (bytes, text, held) in [
            (&b"abc"[..], "abc", &b""[..]),
            (b"a\xE5\x8F", "a", b"\xE5\x8F"),
            (b"\xE5\x8F\xAB", "叫", b""),
            (b"\xFFa", "\u{FFFD}a", b""),
            (b"\xE5\x8Fa", "\u{FFFD}a", b""),
            (b"\xFF\xFF\xF0\x9F", "\u{FFFD}\u{FFFD}", b"\xF0\x9F"),
            (b"\xE5\xE5\xE5", "\u{FFFD}\u{FFFD}", b"\xE5"),
        ] {
            let mut buffer = bytes.to_vec();
            assert_eq!(take_complete(&mut buffer), text);
            assert_eq!(buffer, held);
        }
    }
}
