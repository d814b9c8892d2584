//! From a run directory to `report.html`.

use std::path::{Path, PathBuf};

use glassbox_store::{RunPaths, Storage, write_bytes};

use crate::ReportError;
use crate::data::ReportData;
use crate::finding::Finding;
use crate::sections::sections;

/// What a report says, for whoever has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSummary {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The finding in one sentence.
    pub headline: String,
    /// The sentences that stand behind it.
    pub details: Vec<String>,
    /// Features with a verdict.
    pub judged_features: usize,
    /// Features with a specific effect.
    pub specific_features: usize,
    /// Checks that failed.
    pub failed_checks: Vec<String>,
    /// Sections whose stage has not been run.
    pub missing_sections: Vec<&'static str>,
}

/// Puts the page together. Equal data give equal bytes.
///
/// # Errors
/// [`ReportError::Statistics`] for values that no table of this program holds, and [`ReportError::Template`].
pub fn render(data: &ReportData) -> Result<String, ReportError> {
    page(data, &Finding::of(data)).map(|(page, _)| page)
}

fn page(data: &ReportData, finding: &Finding) -> Result<(String, Vec<&'static str>), ReportError> {
    let sections = sections(data, finding)?;
    let (title, subtitle) = match &data.scenario {
        Some(scenario) => (scenario.name.as_str(), scenario.description.as_str()),
        None => ("glassbox run", ""),
    };
    let page = crate::page::page(title, subtitle, &sections, &data.run.glassbox_version)?;
    let missing = sections
        .iter()
        .filter(|section| !section.is_there)
        .map(|section| section.short)
        .collect();
    Ok((page, missing))
}

/// Reads a run directory and puts its page together without writing it. The summary names the place where [`write_report`] would write.
///
/// # Errors
/// Those of [`ReportData::load`] and [`render`].
pub fn render_run(run_dir: &Path) -> Result<(String, ReportSummary), ReportError> {
    let data = ReportData::load(run_dir)?;
    let finding = Finding::of(&data);
    let (page, missing_sections) = page(&data, &finding)?;
    let summary = ReportSummary {
        path: RunPaths::new(run_dir).report(),
        bytes: page.len() as u64,
        headline: finding.headline,
        details: finding.details,
        judged_features: finding.judged,
        specific_features: finding.specific,
        failed_checks: finding.failed_checks,
        missing_sections,
    };
    Ok((page, summary))
}

/// Writes `report.html` into a run directory, whole or not at all. Whatever stages have been run are shown; the others say that they have
/// not. The file is not entered into the manifest: whoever holds the run open can do that with the page of [`render_run`].
///
/// # Errors
/// Those of [`render_run`], and [`ReportError::Store`] if the file cannot be written.
pub fn write_report(run_dir: &Path) -> Result<ReportSummary, ReportError> {
    let (page, summary) = render_run(run_dir)?;
    write_bytes(&Storage::new(), &summary.path, page.as_bytes())?;
    Ok(summary)
}
