//! A file that holds one parser: the `[outcome]` and `[parser]` tables of a scenario, by themselves.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Parser, ParserFileError, ParserSpec};

/// A parser file.
///
/// ```
/// let file = glassbox_outcome::ParserFile::from_toml(r#"
/// [outcome]
/// choices = ["stop", "bet"]
/// [parser]
/// name = "first-line"
/// version = 1
/// [[parser.rules]]
/// pattern = '^\s*2'
/// outcome = "stop"
/// region = "first_line"
/// "#)?;
/// assert_eq!(file.compile()?.parse("2\n", None).label, "stop");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParserFile {
    /// What the parser is, for people.
    #[serde(default)]
    pub description: String,
    /// The outcomes that it can read.
    pub outcome: OutcomeChoices,
    /// The rules.
    pub parser: ParserSpec,
}

/// A closed list of outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeChoices {
    /// Names of all outcomes; `unknown` is always possible besides and is not listed.
    pub choices: Vec<String>,
}

impl ParserFile {
    /// Reads the text of a parser file.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Reads and compiles a parser file.
    ///
    /// # Errors
    /// [`ParserFileError`] naming the file.
    pub fn open(path: &Path) -> Result<Parser, ParserFileError> {
        let wrong = |what: String| ParserFileError::File {
            path: path.to_path_buf(),
            what,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file = Self::from_toml(&text).map_err(|error| wrong(error.to_string()))?;
        file.compile().map_err(|cause| ParserFileError::Parser {
            path: path.to_path_buf(),
            cause,
        })
    }

    /// The parser, compiled.
    ///
    /// # Errors
    /// As [`Parser::new`].
    pub fn compile(&self) -> Result<Parser, crate::ParserError> {
        Parser::new(self.parser.clone(), &self.outcome.choices)
    }
}
