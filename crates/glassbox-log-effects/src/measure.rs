//! What of a trial's outcome is compared.

use std::fmt;
use std::str::FromStr;

use crate::EffectsError;

/// What of a trial's outcome is compared between conditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// The share of trials that stop.
    Stop,
    /// The share of trials that bet.
    Bet,
    /// The share of trials that bet at least so much. Whether a bet of unknown amount does is unknown.
    BetAtLeast(f64),
    /// The share of trials that bet more than so much.
    BetAbove(f64),
    /// The mean amount of the bets whose amount is known.
    Amount,
    /// The share of trials that a file of counted cells calls high-risk.
    HighRisk,
    /// The share of trials that a file of counted cells calls bankrupt.
    Bankruptcy,
    /// The share of trials with an outcome of another experiment.
    Label(String),
}

impl Measure {
    /// Whether amounts are compared, not shares of trials.
    pub fn is_amount(&self) -> bool {
        *self == Self::Amount
    }

    /// In words, for sentences: "the stop rate".
    pub fn words(&self) -> String {
        match self {
            Self::Stop => "the stop rate".to_owned(),
            Self::Bet => "the bet rate".to_owned(),
            Self::BetAtLeast(least) => format!("the rate of bets of at least {least}"),
            Self::BetAbove(above) => format!("the rate of bets above {above}"),
            Self::Amount => "the mean bet".to_owned(),
            Self::HighRisk => "the rate of high-risk bets".to_owned(),
            Self::Bankruptcy => "the bankruptcy rate".to_owned(),
            Self::Label(label) => format!("the rate of '{label}'"),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("stop"),
            Self::Bet => f.write_str("bet"),
            Self::BetAtLeast(least) => write!(f, "bet>={least}"),
            Self::BetAbove(above) => write!(f, "bet>{above}"),
            Self::Amount => f.write_str("amount"),
            Self::HighRisk => f.write_str("high_risk"),
            Self::Bankruptcy => f.write_str("bankruptcy"),
            Self::Label(label) => write!(f, "label:{label}"),
        }
    }
}

impl FromStr for Measure {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        let wrong = || EffectsError::Measure {
            text: text.to_owned(),
        };
        let amount = |number: &str| {
            let number: f64 = number.trim().parse().map_err(|_| wrong())?;
            number.is_finite().then_some(number).ok_or_else(wrong)
        };
        Ok(match text.trim() {
            "stop" => Self::Stop,
            "bet" => Self::Bet,
            "amount" => Self::Amount,
            "high_risk" => Self::HighRisk,
            "bankruptcy" => Self::Bankruptcy,
            other => {
                if let Some(number) = other.strip_prefix("bet>=") {
                    Self::BetAtLeast(amount(number)?)
                } else if let Some(number) = other.strip_prefix("bet>") {
                    Self::BetAbove(amount(number)?)
                } else if let Some(label) = other.strip_prefix("label:").filter(|label| !label.is_empty()) {
                    Self::Label(label.to_owned())
                } else {
                    return Err(wrong());
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_read_back_from_its_name() {
        for text in [
            "stop",
            "bet",
            "bet>=20",
            "bet>15",
            "bet>=0.5",
            "amount",
            "high_risk",
            "bankruptcy",
            "label:leave",
        ] {
            assert_eq!(text.parse::<Measure>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_choices() {
        for text in ["", "bet>", "bet>=x", "bet>=inf", "label:", "quit"] {
            let error = text.parse::<Measure>().unwrap_err().to_string();
            assert!(error.contains("bet>=20"), "{error}");
        }
    }
}
