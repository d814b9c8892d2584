//! Standard output holds the data that a command was asked for, and nothing else.

use std::io::{self, Write as _};

use glassbox_store::to_json;
use serde::Serialize;

use crate::error::CliError;

/// Writes text as it is.
///
/// # Errors
/// [`CliError::Output`].
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(CliError::Output)
}

/// Writes a value as indented JSON, every number finite.
///
/// # Errors
/// [`CliError::Json`] and [`CliError::Output`].
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    print(&to_json(value)?)
}

/// Whether the reader of standard output has gone away: nobody is left to tell.
pub fn is_broken_pipe(error: &CliError) -> bool {
    matches!(error, CliError::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
}
