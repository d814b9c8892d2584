//! The page of an audit.

use glassbox_logs::audit::AuditReport;

use super::audit_findings;
use super::audit_parsers;
use super::audit_trials;
use crate::ReportError;
use crate::page::{Section, page};

/// Puts the page of an audit together. `title` says which logs it is of. Equal audits give equal bytes.
///
/// # Errors
/// [`ReportError::Template`].
pub fn render_audit(report: &AuditReport, title: &str) -> Result<String, ReportError> {
    let section = |id, title, short, body| Section {
        id,
        title,
        short,
        is_there: true,
        body,
    };
    let mut sections = vec![section(
        "summary",
        "Whether the logs support the analysis",
        "Summary",
        audit_findings::body(report),
    )];
    if !report.treatments.is_empty() || !report.layers.is_empty() {
        sections.push(section(
            "trials",
            "Trials, outcomes and layers",
            "Trials",
            audit_trials::body(report)?,
        ));
    }
    if let Some(comparison) = &report.comparison {
        sections.push(section(
            "parsers",
            "Two parsers on the same responses",
            "Parsers",
            audit_parsers::body(comparison)?,
        ));
    }
    sections.push(section(
        "files",
        "What was read",
        "Files",
        audit_trials::files(report)?,
    ));
    page(title, "Audit of trial logs", &sections, env!("CARGO_PKG_VERSION"))
}
