//! Activations of all layers to disk, in one pass.

use std::fs;

use glassbox_corpus::{CorpusError, ExtractPlan, ExtractRequest, ExtractSettings, ExtractWatch, extract};
use glassbox_store::Storage;

use crate::error::{JobError, Result};
use crate::job::Job;
use crate::stage::Stage;
use crate::watch::JobWatch;

/// Extracts. A site whose activations can't be stored gives its dictionaries up; the others are extracted anew.
pub(crate) fn run(job: &mut Job, watch: &dyn JobWatch) -> Result<String> {
    let mut resume = job.resume;
    loop {
        match once(job, resume, watch) {
            Ok(summary) => return Ok(summary),
            Err(JobError::Corpus(CorpusError::Interrupted { .. })) => {
                return Err(JobError::Stopped {
                    stage: Stage::Extract,
                });
            }
            Err(JobError::Corpus(error)) => {
                let Some(site) = site_of(&error) else {
                    return Err(error.into());
                };
                let named = |job: &Job| {
                    job.alive()
                        .find(|dictionary| {
                            [dictionary.site, dictionary.output_site]
                                .iter()
                                .any(|s| s.to_string() == site)
                        })
                        .map(|dictionary| dictionary.name())
                };
                let Some(mut name) = named(job) else {
                    return Err(error.into());
                };
                loop {
                    job.give_up(&name, Stage::Extract, error.to_string(), watch)?;
                    match named(job) {
                        Some(next) => name = next,
                        None => break,
                    }
                }
                // What was stored has the site in it.
                let folder = job.folder.activations();
                fs::remove_dir_all(&folder).map_err(|cause| JobError::Folder {
                    folder,
                    what: format!("activations that can't be removed: {cause}"),
                })?;
                resume = false;
            }
            Err(other) => return Err(other),
        }
    }
}

fn once(job: &Job, resume: bool, watch: &dyn JobWatch) -> Result<String> {
    let settings = ExtractSettings {
        dtype: job.settings.extract.dtype,
        tokens: job.settings.extract.tokens,
        ..ExtractSettings::of_sites(job.sites())
    };
    let request = ExtractRequest {
        model: &job.model,
        model_hash: job.model_hash.clone(),
        rows: job.rows(None)?,
        settings,
        out: job.folder.activations(),
        resume,
        disk_limit: None,
    };
    let manifest = extract(request, &Storage::new(), &Watching(watch))?;
    Ok(format!(
        "{} tokens at {} sites, {} shards",
        manifest.tokens(None),
        manifest.sites.len(),
        manifest.shards.len()
    ))
}

/// The site that an error concerns.
fn site_of(error: &CorpusError) -> Option<&str> {
    match error {
        CorpusError::NonFiniteActivation { site, .. } | CorpusError::TooLarge { site, .. } => Some(site),
        _ => None,
    }
}

struct Watching<'a>(&'a dyn JobWatch);

impl ExtractWatch for Watching<'_> {
    fn begun(&self, plan: &ExtractPlan) {
        self.0.begun(
            Stage::Extract,
            "tokens",
            plan.tokens.unwrap_or(0),
            plan.stored_tokens,
        );
    }

    fn advanced(&self, tokens: u64) {
        self.0.advanced(Stage::Extract, tokens, None);
    }

    fn should_stop(&self) -> bool {
        self.0.should_stop()
    }
}
