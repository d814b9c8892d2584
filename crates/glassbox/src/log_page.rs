//! The page of an analysis of trial logs: where it goes, and what it is called.

use std::path::{Path, PathBuf};

use glassbox_report::ReportError;
use glassbox_store::{Storage, write_bytes};

use crate::error::{CliError, one_file};
use crate::output::{refuse_other_kinds, tell};

/// A page that was asked for.
pub struct LogPage<'a> {
    path: &'a Path,
    title: String,
}

impl<'a> LogPage<'a> {
    /// Looks at the place before logs are read; `None` if no page was asked for.
    ///
    /// # Errors
    /// [`CliError::Write`] or [`CliError::Usage`] if the page cannot or must not be written there.
    pub fn new(path: Option<&'a Path>, logs: &[PathBuf]) -> Result<Option<Self>, CliError> {
        let Some(path) = path else {
            return Ok(None);
        };
        refuse_other_kinds(path)?;
        // A page may lie among logs: its name is no log's. It must not be one of them.
        let existing = path.canonicalize().ok();
        if existing.is_some() && logs.iter().any(|log| log.canonicalize().ok() == existing) {
            return Err(CliError::usage_with_hint(
                format!("--html {} is a log that this command reads", path.display()),
                "write to another file",
            ));
        }
        Ok(Some(Self {
            path,
            title: title(logs),
        }))
    }

    /// Writes the page, whole or not at all, and says where it is.
    ///
    /// # Errors
    /// [`CliError::Report`], and [`CliError::Write`] or [`CliError::DiskFull`].
    pub fn write(&self, render: impl FnOnce(&str) -> Result<String, ReportError>) -> Result<(), CliError> {
        let page = render(&self.title)?;
        write_bytes(&Storage::new(), self.path, page.as_bytes()).map_err(one_file)?;
        tell(&format!("page          {}", self.path.display()));
        Ok(())
    }
}

/// The logs by name: the first, and how many more.
fn title(logs: &[PathBuf]) -> String {
    let name = |path: &PathBuf| {
        path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    match logs {
        [] => "trial logs".to_owned(),
        [only] => name(only),
        [first, more @ ..] => format!("{} and {} more", name(first), more.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_named_by_the_first() {
        assert_eq!(title(&["a/b.json".into()]), "b.json");
        assert_eq!(title(&["a/logs/".into(), "c".into()]), "logs and 1 more");
        assert_eq!(title(&["/".into()]), "/");
    }
}
