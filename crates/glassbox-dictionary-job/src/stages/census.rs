//! What the features mean.

use std::sync::Arc;

use glassbox_dictionary::{Dictionary, formats};
use glassbox_interpretation::InterpretationError;
use glassbox_interpretation::census::run_census;
use glassbox_interpretation::exports::{write_json_lines, write_page, write_tables};
use glassbox_interpretation::reports::{ReportFacts, TokenTexts, report_features};
use glassbox_store::{Storage, write_json};
use serde_json::json;

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::stages::evaluation::{Watching, check_trained, make_folder_of, stopped};
use crate::stages::one_by_one::together_or_one_by_one;
use crate::watch::JobWatch;

/// The file that is written last: where it is, the others are too.
pub(crate) const SUMMARY: &str = "census.json";

/// Takes the census of the dictionaries that have none yet.
pub(crate) fn run(job: &mut Job, watch: &dyn JobWatch) -> Result<String> {
    let names: Vec<String> = job
        .alive()
        .map(|dictionary| dictionary.name())
        .filter(|name| !job.folder.features(name).join(SUMMARY).is_file())
        .collect();
    if names.is_empty() {
        return Ok("complete already".to_owned());
    }
    check_trained(job, &names, Stage::Features)?;
    let done = together_or_one_by_one(job, Stage::Features, &names, watch, |job, names| {
        take_census(job, names, watch)
    })?;
    Ok(format!("{done} dictionaries; browse features/NAME/index.html"))
}

fn take_census(job: &Job, names: &[String], watch: &dyn JobWatch) -> Result<()> {
    let settings = &job.settings.features.census;
    let dictionaries = names
        .iter()
        .map(|name| {
            let stored = formats::open(&job.folder.dictionary(name))?;
            Ok(Arc::new(stored.load(job.model.backend())?))
        })
        .collect::<Result<Vec<Arc<Dictionary>>>>()?;
    watch.begun(Stage::Features, "tokens", job.settings.features.tokens, 0);
    let watching = Watching {
        stage: Stage::Features,
        watch,
    };
    let mut source = job.rows(None)?;
    let rows = source
        .until_tokens(job.settings.features.tokens)
        .map(|row| row.map_err(JobError::from));
    let findings =
        run_census(&job.model, &dictionaries, rows, settings, &watching).map_err(|error| match error {
            JobError::Interpretation(error @ InterpretationError::Stopped { .. }) => {
                stopped(error, Stage::Features)
            }
            other => other,
        })?;
    let texts = TokenTexts::new(&job.tokenizer, job.model.config().vocab_size)?;
    let storage = Storage::new();
    for ((name, dictionary), findings) in names.iter().zip(&dictionaries).zip(findings) {
        let facts = ReportFacts {
            name: name.clone(),
            model: job.settings.model.clone(),
            corpus: job.settings.corpus.paths.join(", "),
        };
        let report = report_features(&job.model, dictionary, findings, settings, facts)?;
        let folder = job.folder.features(name);
        let summary = folder.join(SUMMARY);
        make_folder_of(&summary)?;
        write_tables(&storage, &folder, &report, &texts)?;
        write_json_lines(&storage, &folder.join("features.jsonl"), &report, &texts)?;
        write_page(&storage, &folder.join("index.html"), &report, &texts)?;
        let written = json!({
            "name": report.name,
            "site": report.site,
            "output_site": report.output_site,
            "facts": report.facts,
            "summary": report.summary,
        });
        write_json(&storage, &summary, &written)?;
    }
    Ok(())
}
