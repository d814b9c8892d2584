//! Standard output holds the data that a command was asked for, and nothing else.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use glassbox_store::{WriteJsonError, stream_json};
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

/// Writes a line to standard error. If nobody can read it, the work that it tells of goes on all the same.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a value as indented JSON, every number finite.
///
/// # Errors
/// [`CliError::Json`] and [`CliError::Output`].
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    let stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    stream_json(stdout, value).map_err(|error| match error {
        WriteJsonError::Json(cause) => cause.into(),
        WriteJsonError::Io(cause) => CliError::Output(cause),
    })
}

/// Whether the reader of standard output has gone away: nobody is left to tell.
pub fn is_broken_pipe(error: &CliError) -> bool {
    matches!(error, CliError::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Refuses pipes and devices where a file is read more than once, or not from its start: to open a pipe is to wait for its writer.
///
/// # Errors
/// [`CliError::Usage`] naming it.
pub fn refuse_special_files<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), CliError> {
    let is_special =
        |path: &&Path| std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    match paths.into_iter().find(is_special) {
        None => Ok(()),
        Some(path) => Err(CliError::usage_with_hint(
            format!("{} is a pipe or a device", path.display()),
            "name a file",
        )),
    }
}

/// Refuses to put a file in the place of a folder, a device or a pipe.
///
/// # Errors
/// [`CliError::Write`] naming it.
pub fn refuse_other_kinds(path: &Path) -> Result<(), CliError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let cause = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already and is no file");
            Err(CliError::write(path, cause))
        }
        _ => Ok(()),
    }
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
