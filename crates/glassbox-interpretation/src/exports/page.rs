//! One HTML file per dictionary to browse and search its features, without network or server.
//!
//! The page holds a short record of every feature, by which it sorts and searches, and one packed record with contexts, histogram and
//! logit weights, which is read when a feature is opened. Packed records are bytes in base64:
//!
//! ```text
//! numbers are LEB128 varints; an activation is its share of the largest, in 1/255
//! histogram: count of bins, counts
//! contexts:  groups, per group (contexts, per context (tokens, peak, document, token ids…, active tokens, per active token (index
//!            minus the last index, activation)))
//! ```

use std::path::Path;

use glassbox_store::{AtomicFile, Storage};
use serde_json::{Value, json};

use crate::census::{Context, TokenCount};
use crate::error::Result;
use crate::exports::json_lines::{finish, writing};
use crate::reports::{DictionaryReport, FeatureReport, TokenTexts, TokenWeight};

const TEMPLATE: &str = include_str!("../../templates/page.html");
const STYLE: &str = include_str!("../../templates/page.css");
const SCRIPT: &str = include_str!("../../templates/page.js");

/// Tokens of the short record, by which the page searches.
const SHORT_TOKENS: usize = 6;

/// Writes the page.
///
/// # Errors
/// [`crate::InterpretationError::Store`] and [`crate::InterpretationError::Io`].
pub fn write_page(
    storage: &Storage,
    path: &Path,
    report: &DictionaryReport,
    texts: &TokenTexts,
) -> Result<()> {
    let mut file = std::io::BufWriter::new(AtomicFile::create(storage, path)?);
    write_parts(&mut file, report, texts).map_err(writing(path))?;
    finish(file, path)
}

fn write_parts(
    file: &mut impl std::io::Write,
    report: &DictionaryReport,
    texts: &TokenTexts,
) -> std::io::Result<()> {
    let title = format!("{} · {}", report.name, report.site);
    let mut rest = TEMPLATE;
    while let Some(at) = rest.find("{{") {
        write!(file, "{}", &rest[..at])?;
        let end = rest[at..].find("}}").map_or(rest.len(), |end| at + end + 2);
        match &rest[at..end] {
            "{{title}}" => write!(file, "{}", escape(&title))?,
            "{{style}}" => write!(file, "{STYLE}")?,
            "{{script}}" => write!(file, "{SCRIPT}")?,
            "{{data}}" => write_data(file, report, texts)?,
            other => write!(file, "{other}")?,
        }
        rest = &rest[end..];
    }
    write!(file, "{rest}")
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// JSON as it may stand in a script element.
fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

fn write_data(
    file: &mut impl std::io::Write,
    report: &DictionaryReport,
    texts: &TokenTexts,
) -> std::io::Result<()> {
    let mut vocabulary = Vocabulary::default();
    let mut short = Vec::with_capacity(report.features.len());
    let mut packed = Vec::with_capacity(report.features.len());
    for feature in &report.features {
        short.push(short_record(feature, &mut vocabulary));
        packed.push(pack(feature, &mut vocabulary));
    }
    let words: Vec<&str> = vocabulary.tokens.iter().map(|token| texts.text(*token)).collect();
    let head = json!({
        "name": report.name,
        "model": report.model,
        "site": report.site,
        "layer": report.layer,
        "facts": report.facts,
        "corpus": report.corpus,
        "summary": report.summary,
        "settings": report.settings,
        "tokens": words,
    });
    writeln!(file, "const DATA = {};", embedded(&head))?;
    writeln!(file, "DATA.features = [")?;
    for record in &short {
        writeln!(file, "{},", embedded(record))?;
    }
    writeln!(file, "];\nDATA.packed = [")?;
    for bytes in &packed {
        writeln!(file, "\"{}\",", base64(bytes))?;
    }
    writeln!(file, "];")
}

/// Numbers the tokens that occur in the page.
#[derive(Default)]
struct Vocabulary {
    places: std::collections::HashMap<u32, u32>,
    tokens: Vec<u32>,
}

impl Vocabulary {
    fn place(&mut self, token: u32) -> u32 {
        let next = self.tokens.len() as u32;
        *self.places.entry(token).or_insert_with(|| {
            self.tokens.push(token);
            next
        })
    }
}

/// Four significant digits: enough for a page.
fn short_number(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(0);
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    json!((value * scale).round() / scale)
}

fn short_record(feature: &FeatureReport, vocabulary: &mut Vocabulary) -> Value {
    let mut counts = |counts: &[TokenCount]| -> Value {
        counts
            .iter()
            .take(SHORT_TOKENS)
            .map(|count| json!([vocabulary.place(count.token), count.at_least]))
            .collect()
    };
    let (tokens, peaks, window) = (
        counts(&feature.tokens),
        counts(&feature.peak_tokens),
        counts(&feature.window_tokens),
    );
    let mut weights = |tokens: &[TokenWeight]| -> Value {
        tokens
            .iter()
            .map(|found| {
                json!([
                    vocabulary.place(found.token),
                    short_number(f64::from(found.weight))
                ])
            })
            .collect()
    };
    let logits = feature.logits.as_ref().map(|logits| {
        json!([
            weights(&logits.promoted),
            weights(&logits.suppressed),
            short_number(logits.kurtosis)
        ])
    });
    let consistency = feature.consistency.map(|found| {
        json!([
            short_number(found.score),
            short_number(found.agreement),
            found.offset,
            short_number(found.control),
            short_number(found.q),
            u8::from(found.interpretable)
        ])
    });
    json!([
        feature.active,
        short_number(feature.density),
        short_number(f64::from(feature.largest)),
        short_number(feature.mean),
        consistency,
        tokens,
        peaks,
        window,
        logits,
        feature
            .nearest
            .iter()
            .map(|near| json!([near.feature, short_number(f64::from(near.cosine))]))
            .collect::<Value>(),
        feature
            .correlated
            .iter()
            .map(|found| json!([found.feature, short_number(found.correlation)]))
            .collect::<Value>(),
        feature.label,
        short_number(f64::from(feature.bin_width)),
        feature
            .intervals
            .iter()
            .map(|interval| json!([
                short_number(interval.from),
                short_number(interval.to),
                short_number(interval.share)
            ]))
            .collect::<Value>(),
    ])
}

fn pack(feature: &FeatureReport, vocabulary: &mut Vocabulary) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(&mut bytes, feature.histogram.len() as u64);
    for count in &feature.histogram {
        number(&mut bytes, *count);
    }
    number(&mut bytes, 1 + feature.intervals.len() as u64);
    let groups = std::iter::once(&feature.top_contexts)
        .chain(feature.intervals.iter().map(|interval| &interval.contexts));
    for contexts in groups {
        number(&mut bytes, contexts.len() as u64);
        for context in contexts {
            pack_context(&mut bytes, context, feature.largest, vocabulary);
        }
    }
    bytes
}

fn pack_context(bytes: &mut Vec<u8>, context: &Context, largest: f32, vocabulary: &mut Vocabulary) {
    number(bytes, context.tokens.len() as u64);
    number(bytes, u64::from(context.peak));
    number(bytes, context.document);
    for token in &context.tokens {
        number(bytes, u64::from(vocabulary.place(*token)));
    }
    let active: Vec<(usize, f32)> = context
        .activations
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, value)| *value > 0.0)
        .collect();
    number(bytes, active.len() as u64);
    let mut last = 0;
    for (index, value) in active {
        number(bytes, (index - last) as u64);
        last = index;
        // An active token never rounds to an inactive one.
        bytes.push((value / largest * 255.0).round().clamp(1.0, 255.0) as u8);
    }
}

/// A LEB128 varint.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7F) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!(short_number(0.000_123_456).to_string(), "0.0001235");
        assert_eq!(short_number(123_456.0).to_string(), "123500.0");
        assert_eq!(short_number(0.0).to_string(), "0");
    }

    #[test]
    fn varints_take_seven_bits_a_byte() {
        let mut bytes = Vec::new();
        [0, 127, 128, 300]
            .into_iter()
            .for_each(|value| number(&mut bytes, value));
        assert_eq!(bytes, [0, 127, 128, 1, 172, 2]);
    }

    #[test]
    fn a_token_cannot_end_the_script() {
        assert!(!embedded(&json!(["</script>", "<!--"])).contains('<'));
    }
}
