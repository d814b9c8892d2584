//! Standard output holds the data that a command was asked for, and nothing else.

use std::io::{self, Write as _};
use std::path::Path;

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

/// Refuses to write over a file that the command reads, or into a folder whose existing file it is.
///
/// # Errors
/// [`CliError::Usage`] naming the file.
pub fn refuse_input_as_output(out: &Path, inputs: &[&Path]) -> Result<(), CliError> {
    let Ok(existing) = out.canonicalize() else {
        return Ok(());
    };
    let reads = |input: &&&Path| {
        input
            .canonicalize()
            .is_ok_and(|input| existing.starts_with(input))
    };
    match inputs.iter().find(reads) {
        Some(input) => Err(CliError::usage_with_hint(
            format!(
                "--out {} is part of {}, which this command reads",
                out.display(),
                input.display()
            ),
            "write to another file",
        )),
        None => Ok(()),
    }
}
