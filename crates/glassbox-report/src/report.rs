//! From a run directory to `report.html`.

use std::path::{Path, PathBuf};

use askama::Template;
use glassbox_store::{RunPaths, Storage, write_bytes};

use crate::ReportError;
use crate::data::ReportData;
use crate::finding::Finding;
use crate::sections::{Section, sections};

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

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: String,
    subtitle: String,
    sections: &'a [Section],
    version: &'a str,
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
        Some(scenario) => (scenario.name.clone(), scenario.description.clone()),
        None => ("glassbox run".to_owned(), String::new()),
    };
    let page = Page {
        title,
        subtitle,
        sections: &sections,
        version: &data.run.glassbox_version,
    };
    let missing = sections
        .iter()
        .filter(|section| !section.is_there)
        .map(|section| section.short)
        .collect();
    // Templates escape markup, but neither control characters, which HTML does not allow, nor marks that turn the direction of all text
    // after them, which would let a response rewrite the sentence around it. Letters of any direction stay.
    let is_odd = |character: char| {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || character.is_control() && !matches!(character, '\n' | '\t')
    };
    Ok((page.render()?.replace(is_odd, "\u{fffd}"), missing))
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
