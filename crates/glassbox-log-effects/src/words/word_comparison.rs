//! Which responses are compared with which.

use crate::Reference;

/// A comparison of responses to one kind of prompt; changes are *second against first*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WordComparison {
    /// Value B against value A.
    ValueVsValue,
    /// Value A against the reference.
    ValueA,
    /// Value B against the reference.
    ValueB,
    /// Doses above the middle one against doses below it.
    HighVsLowDoses,
}

impl WordComparison {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ValueVsValue,
        Self::ValueA,
        Self::ValueB,
        Self::HighVsLowDoses,
    ];

    /// The name in tables.
    pub fn name(self, reference: Option<Reference>) -> String {
        let against = reference.map_or("reference", Reference::name);
        match self {
            Self::ValueVsValue => "value_b_vs_value_a".to_owned(),
            Self::ValueA => format!("value_a_vs_{against}"),
            Self::ValueB => format!("value_b_vs_{against}"),
            Self::HighVsLowDoses => "high_vs_low_doses".to_owned(),
        }
    }

    /// The slot-machine study's name for a comparison with the baseline: its four are these two on two prompts.
    pub fn study_name(self, prompt: &str) -> Option<&'static str> {
        match (self, prompt) {
            (Self::ValueB, "safe") => Some("risky_feature"),
            (Self::ValueA, "risky") => Some("safe_feature"),
            (Self::ValueA, "safe") => Some("safe_amplification"),
            (Self::ValueB, "risky") => Some("risky_amplification"),
            _ => None,
        }
    }
}
