//! The files of the run, how to open them, and what the run was made from.

use askama::Template;

use crate::ReportError;
use crate::data::{FileFacts, ReportData};
use crate::html_table::{Cell, HtmlTable, texts};
use crate::markup::Markup;
use crate::number;

#[derive(Template)]
#[template(path = "run_data.html")]
struct RunData<'a> {
    files: Vec<FileView<'a>>,
    facts: Vec<(&'static str, String)>,
    stages: Vec<(String, &'static str, String)>,
    hashes: &'a [(String, String)],
    settings: Markup,
}

struct FileView<'a> {
    file: &'a FileFacts,
    rows: String,
    parts: String,
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let run = &data.run;
    let page = RunData {
        files: data
            .files
            .iter()
            .map(|file| FileView {
                file,
                rows: if file.rows == 1 {
                    "1 row".to_owned()
                } else {
                    format!("{} rows", number::count(file.rows))
                },
                parts: if file.parts > 1 {
                    format!(" in {} files", number::count(file.parts))
                } else {
                    String::new()
                },
            })
            .collect(),
        facts: facts(data),
        stages: run
            .stages
            .iter()
            .map(|(name, complete, rows)| {
                let state = if *complete { "complete" } else { "not complete" };
                (
                    name.clone(),
                    state,
                    rows.map_or_else(String::new, |rows| format!("{} rows", number::count(rows))),
                )
            })
            .collect(),
        hashes: &run.hashes,
        settings: settings(&run.settings)?,
    };
    Ok(Markup::assembled(page.render()?))
}

fn facts(data: &ReportData) -> Vec<(&'static str, String)> {
    let run = &data.run;
    let mut facts = vec![
        ("glassbox", run.glassbox_version.clone()),
        ("instruction set", run.instruction_set.clone()),
    ];
    if let Some(hash) = &run.plan_hash {
        facts.push(("plan", hash.clone()));
    }
    if let Some(plan) = &data.plan {
        facts.push((
            "planned",
            format!(
                "{} trials in {} units of work: {} prompts × {} trials × arms of {} features and {} controls",
                number::count(plan.trials),
                number::count(plan.units),
                number::count(plan.prompts),
                number::count(plan.trials_per_prompt),
                number::count(plan.features),
                number::count(plan.controls)
            ),
        ));
    }
    if let Some(trials) = &data.trials {
        facts.push((
            "complete",
            format!(
                "{} trials in {} units of work",
                number::count(trials.trials),
                number::count(trials.units)
            ),
        ));
    }
    facts.extend(
        run.seeds
            .iter()
            .map(|(name, seed)| ("seed", format!("{name} {seed}"))),
    );
    facts
}

fn settings(settings: &[(String, String)]) -> Result<Markup, ReportError> {
    let heads = vec![texts("key", ""), texts("value", "as resolved, with defaults")];
    let rows = settings
        .iter()
        .map(|(key, value)| vec![Cell::text(key), Cell::text(value)]);
    HtmlTable::new("settings", heads, rows, settings.len() as u64, "manifest.json").markup()
}
