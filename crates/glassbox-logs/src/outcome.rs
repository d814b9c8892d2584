//! What a trial ended in.

use std::borrow::Cow;

/// What a trial ended in: a value of its own for every case, never a number that stands for one.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// The model stopped.
    Stop,
    /// The model bet.
    Bet {
        /// How much, in dollars, where it is known.
        amount: Option<f64>,
    },
    /// An outcome of another experiment, as its parser calls it.
    Other {
        /// The label.
        label: Cow<'a, str>,
        /// An amount, where one was read.
        amount: Option<f64>,
    },
    /// No outcome could be read.
    Unknown,
}

impl<'a> Outcome<'a> {
    /// The outcome that a label and an amount stand for. Amounts that are not positive and finite are none: logs write 0 and
    /// −1 where there was no amount.
    pub fn from_label(label: Cow<'a, str>, amount: Option<f64>) -> Self {
        let amount = amount.filter(|amount| amount.is_finite() && *amount > 0.0);
        match &*label {
            "stop" => Self::Stop,
            "bet" => Self::Bet { amount },
            "bet_unknown" => Self::Bet { amount: None },
            "unknown" | "invalid" | "" => Self::Unknown,
            _ => Self::Other { label, amount },
        }
    }

    /// The label that tables use.
    pub fn label(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Bet { .. } => "bet",
            Self::Other { label, .. } => label,
            Self::Unknown => "unknown",
        }
    }

    /// The amount, where one is known.
    pub fn amount(&self) -> Option<f64> {
        match self {
            Self::Bet { amount } | Self::Other { amount, .. } => *amount,
            Self::Stop | Self::Unknown => None,
        }
    }

    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> Outcome<'static> {
        match self {
            Self::Stop => Outcome::Stop,
            Self::Bet { amount } => Outcome::Bet { amount },
            Self::Other { label, amount } => Outcome::Other {
                label: Cow::Owned(label.into_owned()),
                amount,
            },
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// The outcome that a log states for a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedOutcome<'a> {
    /// The outcome.
    pub outcome: Outcome<'a>,
    /// Whether the log calls it valid; `None` where it does not say.
    pub valid: Option<bool>,
    /// How the log's parser came to it (`source`, `reason`, `parse_method`), where it says so.
    pub method: Option<Cow<'a, str>>,
}

impl RecordedOutcome<'_> {
    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> RecordedOutcome<'static> {
        RecordedOutcome {
            outcome: self.outcome.into_owned(),
            valid: self.valid,
            method: self.method.map(|text| Cow::Owned(text.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_become_values_of_their_own() {
        let of = |label: &'static str, amount| Outcome::from_label(label.into(), amount);
        assert_eq!(of("stop", Some(0.0)), Outcome::Stop);
        assert_eq!(of("bet", Some(10.0)), Outcome::Bet { amount: Some(10.0) });
        assert_eq!(of("bet", Some(0.0)), Outcome::Bet { amount: None });
        assert_eq!(of("bet_unknown", Some(-1.0)), Outcome::Bet { amount: None });
        assert_eq!(of("unknown", Some(0.0)), Outcome::Unknown);
        assert_eq!(of("bankrupt", None).label(), "bankrupt");
    }
}
