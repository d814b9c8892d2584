//! Trial rows in the plain form in which programs write them, read in one pass over their bytes.
//!
//! A plain row is an object of texts, numbers, truth values and nulls, with one more such object under `parsed`, and no `\u` in
//! it. Nearly all rows are plain, and this is several times as fast as the JSON parser. Everything else is left to that parser,
//! which also words what is wrong: on rows that both read, both read the same.

use std::borrow::Cow;

use memchr::memchr;

use crate::eight_bytes::{EIGHT, any_of, below, first_of, load};
use crate::loose::Loose;
use crate::trial_row::{OutcomeFields, TrialFields};

/// The fields of a plain row; `None` for any other, good or bad.
pub(crate) fn scan_trial(text: &str) -> Option<TrialFields<'_>> {
    let mut scan = Scan {
        text,
        at: 0,
        last: "",
    };
    let mut fields = TrialFields::default();
    scan.object(|scan, key| {
        if key == "parsed" {
            fields.parsed = scan.outcome()?;
        } else if let Some(slot) = fields.slot(key) {
            *slot = scan.value()?;
        } else {
            scan.pass_over()?;
        }
        Some(())
    })?;
    (scan.at == text.len()).then_some(fields)
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// The string that was read last where one had escapes, with its quotation marks: logs have responses twice.
    last: &'a str,
}

impl<'a> Scan<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space and takes the byte after it.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Passes over white space; the byte after it stays.
    fn peek(&mut self) -> Option<u8> {
        while let byte @ (b' ' | b'\n' | b'\r' | b'\t') = self.byte()? {
            debug_assert!(byte.is_ascii_whitespace());
            self.at += 1;
        }
        self.byte()
    }

    /// Reads an object; `each` reads the value of a key.
    fn object(&mut self, mut each: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        if self.next()? != b'{' {
            return None;
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let Cow::Borrowed(key) = self.string()? else {
                return None;
            };
            if self.next()? != b':' {
                return None;
            }
            each(self, key)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// What is under `parsed`; nothing if that is no object.
    fn outcome(&mut self) -> Option<Option<OutcomeFields<'a>>> {
        if self.peek()? != b'{' {
            self.pass_over()?;
            return Some(None);
        }
        let mut fields = OutcomeFields::default();
        self.object(|scan, key| match fields.slot(key) {
            Some(slot) => {
                *slot = scan.value()?;
                Some(())
            }
            None => scan.pass_over(),
        })?;
        Some(Some(fields))
    }

    /// A text, number, truth value or null.
    fn value(&mut self) -> Option<Loose<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Loose::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn pass_over(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' if !self.last.is_empty()
                && self.text.as_bytes()[self.at..].starts_with(self.last.as_bytes()) =>
            {
                self.at += self.last.len();
                Some(())
            }
            b'"' => self.string_end().map(|(end, _)| self.at = end + 1),
            _ => self.value().map(|_| ()),
        }
    }

    fn word(&mut self) -> Option<Loose<'a>> {
        let rest = self.text.get(self.at..)?;
        let words = [
            ("true", Loose::Bool(true)),
            ("false", Loose::Bool(false)),
            ("null", Loose::Null),
        ];
        let (word, value) = words.into_iter().find(|(word, _)| rest.starts_with(word))?;
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Option<Loose<'a>> {
        let rest = self.text.get(self.at..)?;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest
            .bytes()
            .position(|byte| !is_part(&byte))
            .unwrap_or(rest.len());
        let digits = rest.get(..length)?;
        self.at += length;
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_whole && length < 20 && (length == 1 || !digits.starts_with('0')) {
            return digits.parse().ok().map(Loose::Whole);
        }
        // Fractions are rounded by one parser alone.
        serde_json::from_str(digits).ok()
    }

    /// Reads a string, borrowed where it has no escapes.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let (end, has_escapes) = self.string_end()?;
        let inner = self.text.get(self.at + 1..end)?;
        if has_escapes {
            self.last = self.text.get(self.at..=end)?;
        }
        self.at = end + 1;
        if has_escapes {
            unescaped(inner).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// Where the string that begins here has its closing quotation mark, and whether it has escapes. `None` for strings that are
    /// not plain, and where no string begins.
    fn string_end(&mut self) -> Option<(usize, bool)> {
        if self.peek()? != b'"' {
            return None;
        }
        let bytes = self.text.as_bytes();
        let (mut at, mut has_escapes) = (self.at + 1, false);
        loop {
            while let Some(eight) = load(bytes, at) {
                match first_of(any_of(eight, [b'"', b'\\']) | below(eight, 0x20)) {
                    Some(found) => {
                        at += found;
                        break;
                    }
                    None => at += EIGHT,
                }
            }
            match *bytes.get(at)? {
                b'"' => return Some((at, has_escapes)),
                b'\\' => {
                    escaped(*bytes.get(at + 1)?)?;
                    has_escapes = true;
                    at += 2;
                }
                0..0x20 => return None,
                _ => at += 1,
            }
        }
    }
}

/// What stands for a backslash and this byte.
fn escaped(byte: u8) -> Option<char> {
    Some(match byte {
        b'n' => '\n',
        b'"' => '"',
        b'\\' => '\\',
        b't' => '\t',
        b'r' => '\r',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        _ => return None,
    })
}

fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(slash) = memchr(b'\\', rest.as_bytes()) {
        text.push_str(rest.get(..slash)?);
        text.push(escaped(*rest.as_bytes().get(slash + 1)?)?);
        rest = rest.get(slash + 2..)?;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows of keys that mean something and of others, with values good and bad, and blanks anywhere.
    fn row() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "feature",
            "layer",
            "condition",
            "trial",
            "response",
            "parsed",
            "action",
            "bet",
            "valid",
            "is_stop",
            "other",
            "respo\\u006ese",
        ]);
        let text = r#"[a-zü0-9 ]{0,4}(\\[nrtbf"/\\])?[ -~]{0,6}"#;
        let flat = prop_oneof![
            text.prop_map(|text| format!("\"{}\"", text.replace('"', "'"))),
            Just(r#""\u00e9\n""#.to_owned()),
            Just("\"a\tb\"".to_owned()),
            any::<u64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            prop::sample::select(vec![
                "true",
                "false",
                "null",
                "nul",
                "0",
                "-0",
                "007",
                "1.5e3",
                "18446744073709551616",
                "[1]",
                "1.",
                ""
            ])
            .prop_map(str::to_owned),
        ];
        let blank = prop::sample::select(vec!["", " ", "\n  ", "\t"]);
        let object = move |value: BoxedStrategy<String>| {
            prop::collection::vec((key.clone(), value, blank.clone()), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .into_iter()
                    .map(|(key, value, blank)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}"))
                    .collect();
                format!("{{{}}}", entries.join(","))
            })
        };
        let inner = object.clone()(flat.clone().boxed());
        object(prop_oneof![3 => flat, 1 => inner].boxed())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_read_is_what_the_json_parser_reads(text in row()) {
            if let Some(fields) = scan_trial(&text) {
                let expected: TrialFields<'_> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(fields, expected);
            }
        }

        #[test]
        fn damage_is_left_to_the_json_parser(text in row(), at in any::<prop::sample::Index>(), byte in 0_u8..128) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            if let Some(fields) = scan_trial(&text) {
                let expected: TrialFields<'_> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(fields, expected);
            }
        }
    }

    #[test]
    fn rows_of_the_study_are_plain() {
        let text = r#"{
            "feature": "L1-13", "condition": "safe_baseline", "trial": 7, "scale": 0.3, "response": "1\nAmount: $10\n\"é\"",
            "parsed": { "action": "bet", "bet": 10, "valid": true, "response": "1\nAmount: $10\n\"é\"" }, "note": null
        }"#;
        let fields = scan_trial(text).unwrap();
        assert_eq!(fields, serde_json::from_str(text).unwrap());
        for other in [
            "",
            "{",
            "{}x",
            r#"{"a": [1]}"#,
            r#"{"a": "\u00e9"}"#,
            r#"{"a" 1}"#,
        ] {
            assert!(scan_trial(other).is_none(), "{other}");
        }
        assert!(scan_trial("{}").is_some());
    }
}
