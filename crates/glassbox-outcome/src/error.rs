//! What can be wrong with a parser.

use std::path::PathBuf;

use thiserror::Error;

/// A rule of a parser is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("parser '{parser}', {}: {what}", rule.map_or("as a whole".to_owned(), |rule| format!("rule {}", rule + 1)))]
pub struct ParserError {
    /// Name of the parser.
    pub parser: String,
    /// Index of the rule, from 0; `None` if it is no single rule.
    pub rule: Option<usize>,
    /// What is wrong.
    pub what: String,
}

/// A file with a parser cannot be used.
#[derive(Debug, Error)]
pub enum ParserFileError {
    /// It cannot be read, or is not what a parser file is.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its parser is wrong.
    #[error("{}: {cause}", path.display())]
    Parser {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: ParserError,
    },
}
