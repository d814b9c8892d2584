//! What can go wrong with a report.

use std::path::PathBuf;

use glassbox_store::StoreError;
use thiserror::Error;

/// An error of writing a report. A stage that was not run is none: its section says so.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file of the run cannot be read, or the report cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder of the run cannot be listed.
    #[error("cannot read the folder {}: {cause}; check its permissions", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// A statistic of the report is undefined for the values in a table.
    #[error("{table}: {cause}; the table was edited or damaged, make it again with --resume")]
    Statistics {
        /// The table.
        table: &'static str,
        /// What the statistic needs.
        cause: glassbox_stats::StatsError,
    },
    /// A page template could not be filled.
    #[error("the page could not be put together: {0}")]
    Template(#[from] askama::Error),
}
