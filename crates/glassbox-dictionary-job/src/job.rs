//! A job, stage by stage.
//!
//! Each dictionary stands for itself: what concerns one layer only (activations that are not finite or have no variance,
//! training that diverges, an evaluation that fails) gives that one up, is reported, and lets the others go on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use glassbox_corpus::{DocumentReader, RowOptions, Split, TokenRows};
use glassbox_kernels::CpuBackend;
use glassbox_model::load_options::LoadOptions;
use glassbox_model::locate::{HubEnvironment, locate};
use glassbox_model::model::Model;
use glassbox_model::model_hash::model_hash;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::Tokenizer;
use glassbox_training::DictionarySettings;
use serde::Serialize;

use crate::checklist::{Check, checklist};
use crate::error::{JobError, Result};
use crate::folder::JobFolder;
use crate::measured::measure;
use crate::settings::JobSettings;
use crate::stage::Stage;
use crate::stages::{census, evaluation, extraction, training};
use crate::watch::JobWatch;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The job.
    pub settings: JobSettings,
    /// Its folder.
    pub out: PathBuf,
    /// Whether to continue what is there.
    pub resume: bool,
    /// The stages to run; none is all of them.
    pub stages: Vec<Stage>,
}

/// One dictionary of a job.
#[derive(Clone, Debug)]
pub struct JobDictionary {
    /// Its layer.
    pub layer: u32,
    /// What it is.
    pub settings: DictionarySettings,
    /// The site that it reads.
    pub site: Site,
    /// The site that it writes.
    pub output_site: Site,
}

impl JobDictionary {
    /// Its name, and its folder's.
    pub fn name(&self) -> String {
        self.settings.name()
    }
}

/// What came of one dictionary.
#[derive(Clone, Debug, Serialize)]
pub struct DictionaryOutcome {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub layer: u32,
    /// Why it was given up, if it was.
    pub failure: Option<String>,
    /// Each figure against its target.
    pub checks: Vec<Check>,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub struct JobOutcome {
    /// Its dictionaries, by layer.
    pub dictionaries: Vec<DictionaryOutcome>,
    /// Seconds of each stage.
    pub seconds: Vec<(Stage, f64)>,
}

/// An open job.
#[derive(Debug)]
pub(crate) struct Job {
    pub settings: JobSettings,
    pub folder: JobFolder,
    pub model: Model,
    pub model_hash: String,
    pub tokenizer: Tokenizer,
    pub dictionaries: Vec<JobDictionary>,
    pub resume: bool,
}

/// Runs a job, or goes on with it.
///
/// # Errors
/// [`JobError`] for what concerns all dictionaries alike, and when a stop was asked for.
pub fn run(request: JobRequest, watch: &dyn JobWatch) -> Result<JobOutcome> {
    if request.stages == [Stage::Extract] && !request.settings.extract.writes() {
        return Err(JobError::Missing {
            stage: Stage::Extract,
            what: "`extract.store = true` and no `extract.states`; this job stores no activations of its own"
                .to_owned(),
        });
    }
    let stages = match request.stages.as_slice() {
        [] => request.settings.stages(),
        chosen => Stage::ALL
            .into_iter()
            .filter(|stage| chosen.contains(stage))
            .collect(),
    };
    let mut job = Job::open(request)?;
    for &stage in &stages {
        if job.alive().next().is_none() {
            break;
        }
        let began = Instant::now();
        let summary = match stage {
            Stage::Extract => extraction::run(&mut job, watch),
            Stage::Train => training::run(&mut job, watch),
            Stage::Evaluate => evaluation::run(&mut job, watch),
            Stage::Features => census::run(&mut job, watch),
        };
        let seconds = began.elapsed().as_secs_f64();
        job.folder.took(stage, seconds)?;
        watch.ended(stage, summary?, seconds);
    }
    let outcome = job.outcome(&stages)?;
    job.folder.write_checklist(&outcome.dictionaries)?;
    Ok(outcome)
}

impl Job {
    fn open(request: JobRequest) -> Result<Self> {
        let JobRequest {
            settings,
            out,
            resume,
            ..
        } = request;
        let environment = HubEnvironment::of_process();
        let beside = settings.folder.join(&settings.model);
        let model_folder = if beside.is_dir() {
            beside
        } else {
            locate(&settings.model, &environment)?
        };
        let model = Model::open_with(CpuBackend, &model_folder, &LoadOptions::default())?;
        let tokenizer = Tokenizer::open(&model_folder, model.config())?;
        let model_hash = model_hash(&model_folder)?;
        let dictionaries = settings
            .dictionaries(model.config().n_layers)?
            .into_iter()
            .map(|(layer, settings)| JobDictionary::new(layer, settings, &model))
            .collect::<Result<Vec<_>>>()?;
        settings
            .training(
                dictionaries
                    .iter()
                    .map(|dictionary| dictionary.settings.clone())
                    .collect(),
            )
            .check()?;
        // What can't be read is refused before there is a folder of it.
        rows_of(&settings, &model, &tokenizer, None)?;
        let folder = JobFolder::open(&out, &settings, &model_hash, resume)?;
        Ok(Self {
            settings,
            folder,
            model,
            model_hash,
            tokenizer,
            dictionaries,
            resume,
        })
    }

    /// The dictionaries that were not given up.
    pub fn alive(&self) -> impl Iterator<Item = &JobDictionary> {
        self.dictionaries
            .iter()
            .filter(|dictionary| self.folder.failure(&dictionary.name()).is_none())
    }

    /// Gives one up and says so.
    pub fn give_up(&mut self, name: &str, stage: Stage, why: String, watch: &dyn JobWatch) -> Result<()> {
        watch.failed(stage, name, &why);
        self.folder.give_up(name, stage, why.clone())?;
        match self.alive().next() {
            Some(_) => Ok(()),
            None => Err(JobError::AllFailed { first: why }),
        }
    }

    /// All sites that can be stored and that a dictionary needs, in the order of the model. What was given up later stays in
    /// the activations.
    pub fn sites(&self) -> Vec<Site> {
        let stored = |dictionary: &&JobDictionary| {
            let failure = self.folder.failure(&dictionary.name());
            failure.is_none_or(|failure| failure.stage != Stage::Extract)
        };
        let sites: BTreeSet<Site> = self
            .dictionaries
            .iter()
            .filter(stored)
            .flat_map(|dictionary| [dictionary.site, dictionary.output_site])
            .collect();
        sites.into_iter().collect()
    }

    /// The corpus as rows, of one split or of both.
    pub fn rows(&self, only: Option<Split>) -> Result<TokenRows<'_>> {
        rows_of(&self.settings, &self.model, &self.tokenizer, only)
    }

    fn outcome(&self, stages: &[Stage]) -> Result<JobOutcome> {
        let dictionaries = self
            .dictionaries
            .iter()
            .map(|dictionary| {
                let name = dictionary.name();
                let measured = measure(&self.folder, &name, stages)?;
                Ok(DictionaryOutcome {
                    layer: dictionary.layer,
                    failure: self
                        .folder
                        .failure(&name)
                        .map(|failure| format!("{}: {}", failure.stage, failure.why)),
                    checks: checklist(&measured, &self.settings.targets),
                    name,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(JobOutcome {
            dictionaries,
            seconds: self
                .folder
                .seconds()
                .iter()
                .map(|(stage, seconds)| (*stage, *seconds))
                .collect(),
        })
    }
}

impl JobDictionary {
    fn new(layer: u32, settings: DictionarySettings, model: &Model) -> Result<Self> {
        let site = |text: &str| -> Result<Site> {
            let wrong = |what: String| JobError::Dictionary { layer, what };
            let site: Site = text.parse().map_err(|cause| wrong(format!("{cause}")))?;
            site.check(model.config())
                .map_err(|cause| wrong(cause.to_string()))?;
            Ok(site)
        };
        let reads = site(&settings.site)?;
        // Scores and patterns have no width of their own; training refuses them.
        if let Some(width) = reads.axes(model.config()).edit_width(false) {
            let features = settings.features.of_width(width);
            settings
                .objective
                .check(features)
                .map_err(|cause| JobError::Dictionary {
                    layer,
                    what: cause.to_string(),
                })?;
        }
        let writes = match &settings.output_site {
            Some(output) => site(output)?,
            None => reads,
        };
        Ok(Self {
            layer,
            site: reads,
            output_site: writes,
            settings,
        })
    }
}

fn rows_of<'a>(
    settings: &JobSettings,
    model: &Model,
    tokenizer: &'a Tokenizer,
    only: Option<Split>,
) -> Result<TokenRows<'a>> {
    let reader = DocumentReader::open(settings.documents(), &HubEnvironment::of_process())?;
    let config = model.config();
    let options = RowOptions {
        context: settings.rows.context.min(config.max_positions),
        ..settings.rows.clone()
    };
    Ok(TokenRows::new(reader, tokenizer, config, &options, only)?)
}
