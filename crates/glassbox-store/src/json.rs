//! JSON in which every number is finite.
//!
//! `serde_json` writes NaN and infinities as `null` without a word. Here they are an error that names the key, so that a missing number
//! is always one that somebody meant to leave out.

use std::fmt;
use std::io::{self, Write};

use serde::ser;
use serde::{Serialize, Serializer};

/// Why a value cannot become JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// NaN or an infinity.
    #[error("`{key}` is {value}, not a finite number; a missing number is written as null")]
    NonFinite {
        /// The key with dots between its parts and list positions in brackets, such as `layers[3].effect`.
        key: String,
        /// The value.
        value: String,
    },
    /// Any other reason, such as a map whose keys are not texts.
    #[error("{0}")]
    Other(String),
}

impl ser::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}

/// A value as indented JSON with a newline at the end; keys keep the order of the value.
///
/// # Errors
/// [`JsonError::NonFinite`] with the path of the key, and [`JsonError::Other`] for what JSON cannot express.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, JsonError> {
    check_finite(value)?;
    let mut text =
        serde_json::to_string_pretty(value).map_err(|cause| JsonError::Other(cause.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// Writes a value as [`to_json`] gives it, without holding its text.
///
/// # Errors
/// [`WriteJsonError::Json`] as [`to_json`], before anything is written; [`WriteJsonError::Io`] if it cannot be written.
pub fn stream_json<T: Serialize + ?Sized, W: Write>(mut to: W, value: &T) -> Result<(), WriteJsonError> {
    check_finite(value)?;
    serde_json::to_writer_pretty(&mut to, value).map_err(|cause| match cause.io_error_kind() {
        Some(kind) => WriteJsonError::Io(io::Error::new(kind, cause)),
        None => WriteJsonError::Json(JsonError::Other(cause.to_string())),
    })?;
    to.write_all(b"\n")
        .and_then(|()| to.flush())
        .map_err(WriteJsonError::Io)
}

/// Why a value was not written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum WriteJsonError {
    /// It cannot become JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It could not be written.
    #[error(transparent)]
    Io(io::Error),
}

/// Checks that every number of a value is finite.
///
/// # Errors
/// As [`to_json`].
pub fn check_finite<T: Serialize + ?Sized>(value: &T) -> Result<(), JsonError> {
    value.serialize(&mut Check { path: Vec::new() })
}

/// Walks a value as a serialiser does, but writes nothing and only looks at floats.
struct Check {
    /// Parts of the key.
    path: Vec<Part>,
}

/// A part of a key. Written out only for an error: values have millions of parts.
enum Part {
    Field(&'static str),
    Key(String),
    Position(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(name) => write!(f, ".{name}"),
            Self::Position(position) => write!(f, "[{position}]"),
        }
    }
}

impl Check {
    fn float(&self, finite: bool, value: f64) -> Result<(), JsonError> {
        if finite {
            return Ok(());
        }
        let key: String = self.path.iter().map(Part::to_string).collect();
        let key = key.strip_prefix('.').unwrap_or(&key);
        let key = if key.is_empty() { "(the value itself)" } else { key };
        Err(JsonError::NonFinite {
            key: key.to_string(),
            value: value.to_string(),
        })
    }

    fn inside<T: Serialize + ?Sized>(&mut self, part: Part, value: &T) -> Result<(), JsonError> {
        self.path.push(part);
        value.serialize(&mut *self)?;
        self.path.pop();
        Ok(())
    }
}

/// A list, map or struct in progress.
struct Inside<'a> {
    check: &'a mut Check,
    position: usize,
    key: String,
    /// Whether the variant's name is still to be taken off the path at the end.
    variant: bool,
}

impl<'a> Inside<'a> {
    fn new(check: &'a mut Check, variant: Option<&'static str>) -> Self {
        if let Some(name) = variant {
            check.path.push(Part::Field(name));
        }
        Self {
            check,
            position: 0,
            key: String::new(),
            variant: variant.is_some(),
        }
    }

    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        let part = Part::Position(self.position);
        self.position += 1;
        self.check.inside(part, value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), JsonError> {
        self.check.inside(Part::Field(name), value)
    }

    fn finish(self) {
        if self.variant {
            self.check.path.pop();
        }
    }
}

macro_rules! nothing_to_check {
    ($($method:ident: $type:ty),*) => { $(fn $method(self, _: $type) -> Result<(), JsonError> { Ok(()) })* };
}

impl<'a> Serializer for &'a mut Check {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    nothing_to_check!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str
    );

    fn serialize_f32(self, value: f32) -> Result<(), JsonError> {
        self.float(value.is_finite(), f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), JsonError> {
        self.float(value.is_finite(), value)
    }
    fn serialize_none(self) -> Result<(), JsonError> {
        Ok(())
    }
    fn serialize_unit(self) -> Result<(), JsonError> {
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), JsonError> {
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.inside(Part::Field(variant), value)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, None))
    }
    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, None))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, None))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, Some(variant)))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, None))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, JsonError> {
        Ok(Inside::new(self, Some(variant)))
    }
}

macro_rules! list_in_progress {
    ($($trait:ident: $method:ident),*) => { $(
        impl ser::$trait for Inside<'_> {
            type Ok = ();
            type Error = JsonError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
                self.next(value)
            }
            fn end(self) -> Result<(), JsonError> {
                self.finish();
                Ok(())
            }
        }
    )* };
}

macro_rules! struct_in_progress {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Inside<'_> {
            type Ok = ();
            type Error = JsonError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), JsonError> {
                self.field(name, value)
            }
            fn end(self) -> Result<(), JsonError> {
                self.finish();
                Ok(())
            }
        }
    )* };
}

list_in_progress!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);
struct_in_progress!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.key = match serde_json::to_value(key) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(cause) => return Err(JsonError::Other(cause.to_string())),
        };
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        let key = std::mem::take(&mut self.key);
        self.check.inside(Part::Key(key), value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Effect {
        Pair(f32, f64),
        Named { p: f64 },
        One(Option<f32>),
        Absent,
    }

    #[derive(Serialize)]
    struct Finding {
        name: String,
        effects: Vec<Effect>,
        by_layer: BTreeMap<u32, f64>,
    }

    fn finding() -> Finding {
        let effects = vec![
            Effect::Pair(1.5, 2.0),
            Effect::Named { p: 0.1 },
            Effect::One(Some(0.1)),
            Effect::One(None),
            Effect::Absent,
        ];
        Finding {
            name: "L1-2".into(),
            effects,
            by_layer: BTreeMap::from([(3, 0.5), (4, 0.25)]),
        }
    }

    #[test]
    fn finite_values_are_written_as_serde_json_writes_them() {
        let text = to_json(&finding()).unwrap();
        assert_eq!(text, serde_json::to_string_pretty(&finding()).unwrap() + "\n");
        assert!(text.contains("0.1") && text.contains("null"));
        let mut written = Vec::new();
        stream_json(&mut written, &finding()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }

    #[test]
    fn a_non_finite_number_is_refused_with_its_key() {
        let key_of = |finding: &Finding| match to_json(finding) {
            Err(JsonError::NonFinite { key, .. }) => key,
            other => panic!("{other:?}"),
        };
        let mut bad = finding();
        bad.effects[0] = Effect::Pair(1.0, f64::NAN);
        assert_eq!(key_of(&bad), "effects[0].Pair[1]");
        let mut bad = finding();
        bad.effects[1] = Effect::Named { p: f64::INFINITY };
        assert_eq!(key_of(&bad), "effects[1].Named.p");
        let mut bad = finding();
        bad.effects[2] = Effect::One(Some(f32::NEG_INFINITY));
        assert_eq!(key_of(&bad), "effects[2].One");
        let mut bad = finding();
        bad.by_layer.insert(4, f64::NAN);
        assert_eq!(key_of(&bad), "by_layer.4");
        let mut written = Vec::new();
        assert!(
            matches!(stream_json(&mut written, &bad), Err(WriteJsonError::Json(_))) && written.is_empty()
        );
        let message = to_json(&f64::NAN).unwrap_err().to_string();
        assert_eq!(
            message,
            "`(the value itself)` is NaN, not a finite number; a missing number is written as null"
        );
    }
}
