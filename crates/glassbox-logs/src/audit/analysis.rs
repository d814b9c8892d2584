//! What logs are wanted for.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What logs are wanted for; the audit says whether they support it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Analysis {
    /// Arms compared within a feature: value with value, or value with baseline.
    Effects,
    /// Outcomes over doses.
    Dose,
    /// Words that a feature adds or removes.
    Words,
}

impl Analysis {
    const ALL: [Self; 3] = [Self::Effects, Self::Dose, Self::Words];

    /// The name that flags and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Effects => "effects",
            Self::Dose => "dose",
            Self::Words => "words",
        }
    }
}

impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Analysis {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|analysis| analysis.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("'{name}' is no analysis; there are {names}")
            })
    }
}
