//! Where a JSON value ends, found without parsing it.
//!
//! Values are handed to the parser as slices, so that an array of gigabytes is read in constant memory and its elements on
//! several threads. The scan knows strings, escapes and brackets; beyond that it checks just enough to notice at once that a
//! quotation mark or bracket is missing, so that damage in one element does not swallow those after it.

use memchr::memchr;

use crate::eight_bytes::{EIGHT, any_of, first_of, load};

/// Deepest nesting of a value; the JSON parser has the same limit.
const DEEPEST: u32 = 127;

/// What a scan finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The value has this many bytes.
    Complete(usize),
    /// The bytes end within the value.
    More,
    /// This byte cannot be where it is.
    Broken {
        /// Its place from the start of the value.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Finds the end of the value that begins with the first byte. A number or word at the very end of `bytes` counts as complete
/// only if `ended` says that the text ends there.
pub(crate) fn scan_value(bytes: &[u8], ended: bool) -> Scan {
    match bytes.first() {
        None => Scan::More,
        Some(b'{' | b'[') => scan_nested(bytes),
        Some(b'"') => match string_end(bytes, 0) {
            StringEnd::At(end) => Scan::Complete(end),
            StringEnd::More => Scan::More,
            StringEnd::Broken(at) => broken_string(at),
        },
        Some(b'}' | b']' | b',' | b':') => Scan::Broken {
            at: 0,
            what: "a value was expected",
        },
        Some(_) => {
            let end = bytes.iter().position(|byte| {
                matches!(
                    byte,
                    b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | b'{' | b'['
                )
            });
            match end {
                Some(end) => Scan::Complete(end),
                None if ended => Scan::Complete(bytes.len()),
                None => Scan::More,
            }
        }
    }
}

fn broken_string(at: usize) -> Scan {
    Scan::Broken {
        at,
        what: "a line break within a string; a quotation mark is missing",
    }
}

fn scan_nested(bytes: &[u8]) -> Scan {
    // One bit per open bracket, the innermost last: 1 for an object, 0 for an array.
    let (mut kinds, mut depth) = (0_u128, 0_u32);
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = match string_end(bytes, at) {
                    StringEnd::At(end) => end,
                    StringEnd::More => return Scan::More,
                    StringEnd::Broken(at) => return broken_string(at),
                };
                while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
                    at += 1;
                }
                match bytes.get(at) {
                    None => return Scan::More,
                    Some(b':' | b',' | b'}' | b']') => {}
                    Some(_) => {
                        let what =
                            "text after the end of a string; a quotation mark is missing or not escaped";
                        return Scan::Broken { at, what };
                    }
                }
            }
            open @ (b'{' | b'[') => {
                if depth == DEEPEST {
                    let what = "brackets nested too deeply";
                    return Scan::Broken { at, what };
                }
                kinds = kinds << 1 | u128::from(open == b'{');
                depth += 1;
                at += 1;
            }
            close @ (b'}' | b']') => {
                if (kinds & 1 == 1) != (close == b'}') {
                    let what = "a closing bracket of the other kind than the open one";
                    return Scan::Broken { at, what };
                }
                kinds >>= 1;
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Scan::Complete(at);
                }
            }
            _ => at += 1,
        }
    }
    Scan::More
}

enum StringEnd {
    /// The byte after the closing quotation mark.
    At(usize),
    More,
    /// A line break.
    Broken(usize),
}

/// Finds the end of the string whose opening quotation mark is at `start`.
fn string_end(bytes: &[u8], start: usize) -> StringEnd {
    let mut at = start + 1;
    loop {
        // Most strings are short, so that calls of a search would cost more than they save.
        while let Some(eight) = load(bytes, at) {
            match first_of(any_of(eight, [b'"', b'\\', b'\n'])) {
                Some(found) => {
                    at += found;
                    break;
                }
                None => at += EIGHT,
            }
        }
        match bytes.get(at) {
            None => return StringEnd::More,
            Some(b'"') => return StringEnd::At(at + 1),
            Some(b'\\') => at += 2,
            Some(b'\n') => return StringEnd::Broken(at),
            Some(_) => at += 1,
        }
    }
}

/// Where the next element of an array may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// At this brace.
    At(usize),
    /// Not within these bytes; so many of them cannot be part of the next beginning.
    Skip(usize),
}

/// Looks for the next object of an array: a comma, a brace and a quotation mark, with nothing but white space between. Within a
/// string the quotation mark would have a backslash before it.
pub(crate) fn find_restart(bytes: &[u8]) -> Restart {
    let mut from = 0;
    while let Some(comma) = memchr(b',', &bytes[from..]).map(|found| from + found) {
        let white = |mut at: usize| {
            while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
                at += 1;
            }
            at
        };
        let brace = white(comma + 1);
        match bytes.get(brace) {
            None => return Restart::Skip(comma),
            Some(b'{') => {
                let quote = white(brace + 1);
                match bytes.get(quote) {
                    None => return Restart::Skip(comma),
                    Some(b'"') => return Restart::At(brace),
                    Some(_) => from = comma + 1,
                }
            }
            Some(_) => from = comma + 1,
        }
    }
    Restart::Skip(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        scan_value(text.as_bytes(), true)
    }

    #[test]
    fn values_end_where_they_end() {
        for (text, length) in [
            ("{}, 1", 2),
            (r#"{"a": "}\"{"}]"#, 13),
            (r#"{"a":[1,{"b":"]"}]} ,"#, 19),
            (r#""a\\" ,"#, 5),
            ("12.5,", 4),
            ("null]", 4),
            ("true", 4),
        ] {
            assert_eq!(scan(text), Scan::Complete(length), "{text}");
        }
    }

    #[test]
    fn a_value_needs_its_end() {
        for text in ["", "{", r#"{"a"#, r#"{"a\"#, r#"{"a" "#, "[1,", r#"{"a":"b\""#] {
            assert_eq!(scan(text), Scan::More, "{text}");
        }
        assert_eq!(scan_value(b"12", false), Scan::More);
    }

    #[test]
    fn a_missing_mark_is_noticed_at_once() {
        let at = |text: &str| match scan(text) {
            Scan::Broken { at, .. } => at,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(at(r#"{"a": "b, "c": "d"}"#), 11);
        assert_eq!(at("{\"a\": \"b\n"), 8);
        assert_eq!(at(r#"{"a": [1}"#), 8);
        assert_eq!(at("]"), 0);
        assert_eq!(at(&"[".repeat(200)), 127);
    }

    #[test]
    fn the_next_object_is_found_again() {
        let text = br#""b, {\"c"} , {  "d": 1}"#;
        assert_eq!(find_restart(text), Restart::At(13));
        assert_eq!(find_restart(b"abc, { "), Restart::Skip(3));
        assert_eq!(find_restart(b"abc, {1"), Restart::Skip(7));
        assert_eq!(find_restart(b",,{\"a"), Restart::At(2));
    }
}
