//! Where a trial's outcome comes from.

use glassbox_logs::{Outcome, TrialRecord};
use glassbox_outcome::{Parser, UNKNOWN};
use serde::Serialize;

use crate::tally::Counted;

/// Where outcomes come from.
#[derive(Clone, Copy, Debug)]
pub enum OutcomeSource<'p> {
    /// What the log states; where it states nothing, the outcome is unknown.
    Recorded,
    /// What a parser reads from the response.
    Parser(&'p Parser),
}

/// Where outcomes came from, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceName {
    /// `recorded`, or the parser as name@version.
    pub name: String,
    /// First 16 digits of the hash of the parser's rules.
    pub hash: Option<String>,
}

impl OutcomeSource<'_> {
    /// What to call it.
    pub fn name(&self) -> SourceName {
        match self {
            Self::Recorded => SourceName {
                name: "recorded".to_owned(),
                hash: None,
            },
            Self::Parser(parser) => SourceName {
                name: parser.id(),
                hash: Some(parser.hash().to_owned()),
            },
        }
    }

    /// The outcome of a trial, as it is counted.
    pub(crate) fn read<'t>(&'t self, trial: &'t TrialRecord<'_>) -> Counted<'t> {
        match self {
            Self::Recorded => match trial.recorded.as_ref().map(|recorded| &recorded.outcome) {
                None | Some(Outcome::Unknown) => Counted::Unknown,
                Some(Outcome::Stop) => Counted::Stop,
                Some(Outcome::Bet { amount }) => Counted::Bet(*amount),
                Some(Outcome::Other { label, .. }) => Counted::Label(label),
            },
            Self::Parser(parser) => {
                let read = parser.parse(&trial.response, trial.condition.prompt_type.as_deref());
                match read.label {
                    "stop" => Counted::Stop,
                    "bet" => Counted::Bet(read.amount),
                    "bet_unknown" => Counted::Bet(None),
                    UNKNOWN => Counted::Unknown,
                    label => Counted::Label(label),
                }
            }
        }
    }
}
