//! One row of text to records.

use serde_json::Value;
use serde_json::error::Category;

use crate::summary_row::read_summary;
use crate::trial_row::{LastNames, RowFault, TrialFields};
use crate::trial_scan::scan_trial;
use crate::{Batch, Place, ProblemKind, RowProblem};

/// Reads one row into the batch; what cannot be used becomes a problem. `text` is the row as text, where that is known to be one,
/// `names` those of the row before.
pub(crate) fn read_row<'a>(
    bytes: &'a [u8],
    text: Option<&'a str>,
    place: Place,
    names: &mut LastNames<'a>,
    batch: &mut Batch<'a>,
) {
    let bytes = bytes.trim_ascii();
    if let Some(fields) = text.and_then(|text| scan_trial(text.trim_ascii())) {
        return read_fields(fields, bytes, place, names, batch, |record| record);
    }
    if bytes.first() != Some(&b'{') {
        let fault = match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => (
                ProblemKind::WrongType,
                format!("the row is {}; an object was expected", kind(&value)),
            ),
            Err(error) => fault_of(&error, bytes, place),
        };
        return tell(batch, place, fault);
    }
    match serde_json::from_slice::<TrialFields<'a>>(bytes) {
        Ok(fields) => read_fields(fields, bytes, place, names, batch, |record| record),
        Err(error) => {
            // Python writes NaN and Infinity as they are.
            let repaired = match error.classify() {
                Category::Syntax => without_non_finite(bytes),
                _ => None,
            };
            match repaired {
                Some(text) => match serde_json::from_slice::<TrialFields<'_>>(&text) {
                    Ok(fields) => {
                        batch.repaired += 1;
                        let names = &mut LastNames::default();
                        read_fields(fields, &text, place, names, batch, |record| record.into_owned());
                    }
                    Err(error) => tell(batch, place, fault_of(&error, &text, place)),
                },
                None => tell(batch, place, fault_of(&error, bytes, place)),
            }
        }
    }
}

fn read_fields<'t, 'a>(
    fields: TrialFields<'t>,
    bytes: &[u8],
    place: Place,
    names: &mut LastNames<'t>,
    batch: &mut Batch<'a>,
    keep: impl FnOnce(crate::TrialRecord<'t>) -> crate::TrialRecord<'a>,
) {
    if fields.is_trial() {
        batch.count(fields.layout());
        match fields.into_record(place, names) {
            Ok(record) => batch.trials.push(keep(record)),
            Err(fault) => tell(batch, place, fault),
        }
        return;
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(object)) => {
            if let Err(fault) = read_summary(&object, place, batch) {
                tell(batch, place, fault);
            }
        }
        Ok(_) => {}
        Err(error) => tell(batch, place, fault_of(&error, bytes, place)),
    }
}

pub(crate) fn tell(batch: &mut Batch<'_>, place: Place, (kind, what): RowFault) {
    batch.problems.push(RowProblem { place, kind, what });
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What the parser's error means, with the offset in the file.
fn fault_of(error: &serde_json::Error, bytes: &[u8], place: Place) -> RowFault {
    if let Err(wrong) = std::str::from_utf8(bytes) {
        let at = place.offset.unwrap_or(0) + wrong.valid_up_to() as u64;
        return (
            ProblemKind::Encoding,
            format!("byte {at} is no UTF-8; write the file again as UTF-8"),
        );
    }
    if error.classify() == Category::Eof {
        return (ProblemKind::Truncated, "the row ends too early".into());
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    // Rows of one line have their place in the column; in others the line is named too.
    let place = match (error.line(), place.offset) {
        (1, Some(offset)) => format!("byte {}", offset + (error.column() as u64).saturating_sub(1)),
        (line, _) => format!("line {line} of the row, column {}", error.column()),
    };
    (ProblemKind::Syntax, format!("{message} ({place})"))
}

/// The text with NaN, Infinity and -Infinity outside strings as null; `None` if it has none of them.
fn without_non_finite(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut text = Vec::new();
    let (mut at, mut copied) = (0, 0);
    let mut within = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if within => at += 2,
            b'"' => {
                within = !within;
                at += 1;
            }
            b'N' | b'I' | b'-' if !within => match WORDS.iter().find(|word| bytes[at..].starts_with(word)) {
                Some(word) => {
                    text.extend_from_slice(&bytes[copied..at]);
                    text.extend_from_slice(b"null");
                    at += word.len();
                    copied = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if copied == 0 {
        return None;
    }
    text.extend_from_slice(&bytes[copied..]);
    Some(text)
}
