//! What the features mean.

use std::sync::Arc;

use glassbox_dictionary::{Dictionary, formats};
use glassbox_interpretation::InterpretationError;
use glassbox_interpretation::census::run_census;
use glassbox_interpretation::exports::{CensusOrigin, census_files, write_census};
use glassbox_interpretation::reports::{ReportFacts, TokenTexts, report_features};

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::stages::evaluation::{Watching, check_trained, stopped};
use crate::stages::one_by_one::together_or_one_by_one;
use crate::watch::JobWatch;

/// Takes the census of the dictionaries that have none yet, or one that is not whole.
pub(crate) fn run(job: &mut Job, watch: &dyn JobWatch) -> Result<String> {
    let names: Vec<String> = job
        .alive()
        .map(|dictionary| dictionary.name())
        .filter(|name| {
            let (expected, whole) = census_files(&job.folder.features(name));
            whole < expected
        })
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
    for ((name, dictionary), findings) in names.iter().zip(&dictionaries).zip(findings) {
        let facts = ReportFacts {
            name: name.clone(),
            model: job.settings.model.clone(),
            corpus: job.settings.corpus.paths.join(", "),
        };
        let report = report_features(&job.model, dictionary, findings, settings, facts)?;
        let origin = CensusOrigin {
            corpus: &job.settings.corpus.paths,
            rows: source.options(),
            settings,
        };
        write_census(&job.folder.features(name), &report, &texts, origin, None)?;
    }
    Ok(())
}
