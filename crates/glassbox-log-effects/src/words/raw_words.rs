//! Words as they stand in texts, looked up by the million.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;

/// The numbers of words as they stand in texts.
#[derive(Debug, Default)]
pub(crate) struct RawWords {
    short: FxHashMap<ShortWord, u32>,
    long: FxHashMap<String, u32>,
}

impl RawWords {
    pub(crate) fn get(&self, raw: &str) -> Option<u32> {
        match ShortWord::of(raw) {
            Some(word) => self.short.get(&word),
            None => self.long.get(raw),
        }
        .copied()
    }

    pub(crate) fn insert(&mut self, raw: &str, number: u32) {
        match ShortWord::of(raw) {
            Some(word) => self.short.insert(word, number),
            None => self.long.insert(raw.to_owned(), number),
        };
    }
}

/// A word of at most 16 bytes as two numbers and its length: compared without following a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ShortWord {
    first: u64,
    last: u64,
    length: usize,
}

impl Hash for ShortWord {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Words that differ in their length alone are few.
        state.write_u64(self.first);
        state.write_u64(self.last);
    }
}

impl ShortWord {
    /// `None` for longer words. Words of the same length with the same first and last bytes are the same: the two ends meet or
    /// overlap.
    fn of(raw: &str) -> Option<Self> {
        let bytes = raw.as_bytes();
        let length = bytes.len();
        let (first, last) = match length {
            8..=16 => (
                u64::from_le_bytes(*bytes.first_chunk()?),
                u64::from_le_bytes(*bytes.last_chunk()?),
            ),
            4..=7 => (
                u64::from(u32::from_le_bytes(*bytes.first_chunk()?)),
                u64::from(u32::from_le_bytes(*bytes.last_chunk()?)),
            ),
            2..=3 => (
                u64::from(u16::from_le_bytes(*bytes.first_chunk()?)),
                u64::from(u16::from_le_bytes(*bytes.last_chunk()?)),
            ),
            1 => (u64::from(bytes[0]), 0),
            0 => (0, 0),
            _ => return None,
        };
        Some(Self { first, last, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn every_word_has_its_own_number(words in prop::collection::vec("[ab\u{0}é]{0,20}", 0..60)) {
            let (mut raws, mut expected) = (RawWords::default(), HashMap::new());
            for (number, word) in words.iter().enumerate() {
                prop_assert_eq!(raws.get(word), expected.get(word).copied());
                raws.insert(word, number as u32);
                expected.insert(word.clone(), number as u32);
            }
            for word in &words {
                prop_assert_eq!(raws.get(word), expected.get(word).copied());
            }
        }
    }
}
