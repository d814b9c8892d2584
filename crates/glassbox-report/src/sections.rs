//! The sections of the page, one file each: from data to figures, tables and words.

mod causal;
mod conditions;
mod decision;
mod doubts;
mod pathways;
mod run_data;
mod selection;
mod summary;
mod words;

use crate::ReportError;
use crate::data::ReportData;
use crate::finding::Finding;
use crate::page::Section;

/// All sections in order.
pub(crate) fn sections(data: &ReportData, finding: &Finding) -> Result<Vec<Section>, ReportError> {
    let section = |id, title, short, is_there, body| Section {
        id,
        title,
        short,
        is_there,
        body,
    };
    let mut sections = vec![
        section(
            "summary",
            "Summary",
            "Summary",
            true,
            summary::body(data, finding)?,
        ),
        section(
            "selection",
            "Selection: which features differ between the prompts",
            "Selection",
            data.selection.is_some(),
            selection::body(data)?,
        ),
        section(
            "causal",
            "Causal effects: what each feature does to the answer",
            "Causal effects",
            data.verdicts.is_some() || data.causal.is_some(),
            causal::body(data)?,
        ),
    ];
    // Scenarios without a read-out have no such stage, which is not worth a section.
    if let Some(rows) = &data.decision {
        sections.push(section(
            "decision",
            "Decision: what each feature does to the log-odds of the answer",
            "Decision",
            true,
            decision::body(data, rows)?,
        ));
    }
    sections.extend([
        section(
            "pathways",
            "Pathways: how features act on later features",
            "Pathways",
            data.pathways.is_some(),
            pathways::body(data)?,
        ),
        section(
            "words",
            "Words: what each feature makes the model say",
            "Words",
            data.words.is_some(),
            words::body(data)?,
        ),
        section(
            "doubts",
            "What would make this wrong",
            "What would make this wrong",
            true,
            doubts::body(data)?,
        ),
        section("data", "Data of this run", "Data", true, run_data::body(data)?),
    ]);
    Ok(sections)
}
