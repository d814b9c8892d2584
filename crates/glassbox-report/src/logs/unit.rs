//! In which unit the effects on a measure are shown.

use glassbox_log_effects::{Measure, Question};

use crate::number;

/// The unit of a measure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    /// What a number of the tables is multiplied by.
    pub(super) scale: f64,
    /// Of differences, for axes.
    pub(super) of_differences: &'static str,
    /// Of rates and means, for axes.
    pub(super) of_values: &'static str,
    /// The measure in words: "the stop rate".
    pub(super) words: String,
    is_amount: bool,
}

impl Unit {
    /// That of a measure, by its name.
    pub(super) fn of(measure: &str) -> Self {
        let parsed = measure.parse::<Measure>().ok();
        let is_amount = parsed.as_ref().is_some_and(Measure::is_amount);
        Self {
            scale: if is_amount { 1.0 } else { 100.0 },
            of_differences: if is_amount { "amount" } else { "percentage points" },
            of_values: if is_amount { "amount" } else { "%" },
            words: parsed.map_or_else(|| measure.to_owned(), |measure| measure.words()),
            is_amount,
        }
    }

    /// Whether amounts are meant.
    pub(super) fn is_amount(&self) -> bool {
        self.is_amount
    }

    /// A difference with its unit: "+24.8 points".
    pub(super) fn named(&self, difference: f64) -> String {
        let unit = if self.is_amount { "" } else { " points" };
        format!("{}{unit}", self.difference(difference))
    }

    /// A difference, signed, without the unit.
    pub(super) fn difference(&self, difference: f64) -> String {
        number::signed(difference * self.scale, 1)
    }

    /// An interval of differences.
    pub(super) fn interval(&self, (low, high): (f64, f64)) -> String {
        format!("[{}, {}]", self.difference(low), self.difference(high))
    }

    /// A rate or mean, without the unit.
    pub(super) fn value(&self, value: f64) -> String {
        number::decimal(value * self.scale, 1)
    }
}

/// What is compared, in words.
pub(super) fn contrast(question: Question) -> &'static str {
    match question {
        Question::Values => "value B minus value A",
        Question::Doses => "highest dose minus lowest",
    }
}

/// The text with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A comparison of the tables as a reader writes it: "value B vs value A".
pub(super) fn comparison_name(name: &str) -> String {
    name.replace('_', " ")
        .replace("value a", "value A")
        .replace("value b", "value B")
        .replace("control a", "control A")
        .replace("control b", "control B")
}
