//! JSON values whose type is judged later, when the layout of their row is known.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON value. Arrays and objects are passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Loose<'a> {
    /// The key is not there.
    #[default]
    Absent,
    Null,
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    Number(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

impl<'a> Loose<'a> {
    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Whole(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    /// Whether there is something.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Absent | Self::Null)
    }

    /// A text, if given.
    ///
    /// # Errors
    /// What was found in its place.
    pub(crate) fn text(self) -> Result<Option<Cow<'a, str>>, String> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            other => Err(format!("{} where a text was expected", other.kind())),
        }
    }

    /// A number, if given; a text that is a number counts as one.
    ///
    /// # Errors
    /// What was found in its place.
    pub(crate) fn number(&self) -> Result<Option<f64>, String> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::Whole(number) => Ok(Some(*number as f64)),
            Self::Number(number) => Ok(Some(*number)),
            Self::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(format!("the text {text:?} where a number was expected")),
            },
            other => Err(format!("{} where a number was expected", other.kind())),
        }
    }

    /// A whole number that is not negative, if given; 3.0 and "3" count as 3.
    ///
    /// # Errors
    /// What was found in its place.
    pub(crate) fn whole(&self) -> Result<Option<u64>, String> {
        if let Self::Whole(number) = self {
            return Ok(Some(*number));
        }
        if let Self::Text(text) = self
            && let Ok(number) = text.trim().parse::<u64>()
        {
            return Ok(Some(number));
        }
        match self.number()? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 && (0.0..9.0e15).contains(&number) => {
                Ok(Some(number as u64))
            }
            Some(number) => Err(format!("{number} where a whole number from 0 on was expected")),
        }
    }

    /// A truth value, if given; 0 and 1 count as one.
    ///
    /// # Errors
    /// What was found in its place.
    pub(crate) fn truth(&self) -> Result<Option<bool>, String> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::Bool(truth) => Ok(Some(*truth)),
            Self::Whole(number @ (0 | 1)) => Ok(Some(*number == 1)),
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            other => Err(format!("{} where true or false was expected", other.kind())),
        }
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Loose::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Loose::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Loose::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Loose::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Object)
    }
}
