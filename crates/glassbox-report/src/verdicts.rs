//! How the verdicts look and what they are called on the page.

use crate::figures::Tone;
use crate::svg::Marker;
use glassbox_experiment::tables::VerdictRow;

/// The verdicts of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The two values differ, beyond the controls.
    Specific,
    /// Both values shift the outcome alike.
    SharedShiftOnly,
    /// Nothing as large as what would be of interest.
    NoEffect,
    /// Too few trials, or no more than random features do.
    CannotTell,
}

impl Verdict {
    /// All of them, in the order of the page.
    pub(crate) const ALL: [Self; 4] = [
        Self::Specific,
        Self::SharedShiftOnly,
        Self::NoEffect,
        Self::CannotTell,
    ];

    /// The verdict of a row. A name unknown here is shown as what cannot be told.
    pub(crate) fn of(row: &VerdictRow) -> Self {
        match row.verdict.as_str() {
            crate::data::SPECIFIC => Self::Specific,
            "shared_shift_only" => Self::SharedShiftOnly,
            "no_effect" => Self::NoEffect,
            _ => Self::CannotTell,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Specific => "specific effect",
            Self::SharedShiftOnly => "shared shift only",
            Self::NoEffect => "no effect",
            Self::CannotTell => "cannot tell",
        }
    }

    /// What it means.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Specific => {
                "value B and value A differ (q below alpha), by more than nearly all random features do, also among readable answers"
            }
            Self::SharedShiftOnly => {
                "both values shift the outcome alike: intervening matters, the value does not"
            }
            Self::NoEffect => "the interval excludes every effect that would be of interest",
            Self::CannotTell => {
                "too few trials to decide, no more than random features do, or a difference that unreadable answers make"
            }
        }
    }

    /// The shape of its marks.
    pub(crate) fn marker(self) -> Marker {
        match self {
            Self::Specific | Self::NoEffect => Marker::Circle,
            Self::SharedShiftOnly => Marker::Diamond,
            Self::CannotTell => Marker::Square,
        }
    }

    /// Whether its marks are filled.
    pub(crate) fn is_filled(self) -> bool {
        self == Self::Specific
    }

    /// The colour of its marks for an effect of this sign.
    pub(crate) fn tone(self, effect: f64) -> Tone {
        if self == Self::Specific {
            Tone::of_sign(effect)
        } else {
            Tone::Neutral
        }
    }

    /// The class of its marks for an effect of this sign.
    pub(crate) fn class(self, effect: f64) -> &'static str {
        let tone = self.tone(effect);
        if self.is_filled() {
            tone.filled()
        } else {
            tone.hollow()
        }
    }
}
