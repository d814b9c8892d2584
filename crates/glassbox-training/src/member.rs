//! One dictionary of a run.

use std::path::{Path, PathBuf};

use glassbox_corpus::SourceSite;
use glassbox_dictionary::ModelReference;
use glassbox_kernels::TrainingBackend;
use glassbox_model::site::Site;

use crate::checkpoint::{Checkpoint, MemberState};
use crate::error::{Result, TrainingError};
use crate::held_out::HeldOutFigures;
use crate::objective::Objective;
use crate::preparation::Preparation;
use crate::settings::{DictionarySettings, TrainSettings};
use crate::step_report::StepReport;
use crate::trained_dictionary::TrainedDictionary;
use crate::training_step::{StepShape, TrainingStep};

#[derive(Debug)]
pub(crate) struct Member<B: TrainingBackend> {
    pub name: String,
    /// The sites read and written.
    pub sites: (Site, Site),
    /// Their places among the sites of a batch; `None` where they are one.
    places: (usize, Option<usize>),
    step: TrainingStep<B>,
    pub last: Option<StepReport>,
    pub figures: Option<HeldOutFigures>,
    /// Best score so far; lower is better.
    pub best: Option<f64>,
    /// Why it was given up.
    pub failure: Option<String>,
}

impl<B: TrainingBackend> Member<B> {
    /// Before its first step. The caller has checked that the sites are there.
    pub fn new(
        backend: &B,
        dictionary: &DictionarySettings,
        settings: &TrainSettings,
        sites: &[SourceSite],
        survey: &[Vec<f32>],
    ) -> Result<Self> {
        let place = |name: &str| {
            (sites.iter().position(|site| site.site.to_string() == name)).ok_or_else(|| {
                TrainingError::NoSite {
                    dictionary: dictionary.name(),
                    site: name.to_owned(),
                    present: String::new(),
                }
            })
        };
        let input = place(&dictionary.site)?;
        let output = match &dictionary.output_site {
            Some(site) if dictionary.is_transcoder() => Some(place(site)?),
            _ => None,
        };
        let width = sites[input].width;
        let features = dictionary.features.of_width(width);
        let shape = match output {
            None => StepShape::autoencoder(width, features),
            Some(output) => StepShape::transcoder(width, sites[output].width, features),
        };
        let target = output.map(|output| {
            let site = dictionary.output_site.as_deref().unwrap_or_default();
            (site, survey[output].as_slice(), sites[output].width)
        });
        let preparation = Preparation::measure(
            (&dictionary.site, &survey[input], width),
            target,
            dictionary.bias_start,
        )?;
        let steps = settings.steps();
        Ok(Self {
            name: dictionary.name(),
            sites: (sites[input].site, sites[output.unwrap_or(input)].site),
            places: (input, output),
            step: TrainingStep::new(backend, dictionary, shape, preparation, steps, settings.batch())?,
            last: None,
            figures: None,
            best: None,
            failure: None,
        })
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.step.shape().features
    }

    /// Share of the features that count as dead.
    pub fn dead_share(&self) -> f64 {
        self.step.dead_features().len() as f64 / self.features() as f64
    }

    /// One step on a batch of all sites. A dictionary that diverges is given up.
    pub fn make_step(&mut self, rows: &[Vec<f32>], n: usize) -> Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        let (x, y) = self.rows(rows);
        let made = match y {
            None => self.step.step(x, n),
            Some(y) => self.step.step_pair(x, y, n),
        };
        match made {
            Ok(report) => {
                self.last = Some(report);
                Ok(())
            }
            Err(error) => {
                if matches!(error, TrainingError::Diverged { .. }) {
                    self.failure = Some(error.to_string());
                    self.last = None;
                }
                Err(error)
            }
        }
    }

    /// Its input and output among rows of all sites.
    pub fn rows<'a>(&self, rows: &'a [Vec<f32>]) -> (&'a [f32], Option<&'a [f32]>) {
        let (input, output) = self.places;
        (&rows[input], output.map(|output| rows[output].as_slice()))
    }

    /// The dictionary as it stands.
    pub fn trained(&self, model: &ModelReference) -> Result<TrainedDictionary> {
        self.step.trained(self.sites, model)
    }

    /// The objective on held-out tokens, penalties at their full weight. Lower is better. The reconstruction alone would
    /// choose the state before the penalty has worked.
    pub fn score(&self, figures: &HeldOutFigures) -> f64 {
        let scale = self.step.preparation.output_scale;
        let error = figures.mean_squared_error * scale * scale;
        match &self.step.settings.objective {
            Objective::Relu { l1 } | Objective::Gated { l1 } => error + l1 * figures.l1 * scale,
            Objective::JumpRelu { l0, coefficient, .. } => {
                error + coefficient * (figures.l0 / l0 - 1.0).powi(2)
            }
            Objective::TopK { .. } | Objective::BatchTopK { .. } | Objective::Matryoshka { .. } => error,
        }
    }

    /// For a progress bar.
    pub fn progress(&self) -> (&str, usize, Option<StepReport>) {
        (&self.name, self.features(), self.last)
    }

    /// The file of its history in a run.
    pub fn history(&self, run: &Path) -> PathBuf {
        run.join("history").join(format!("{}.jsonl", self.name))
    }

    /// Writes its arrays.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.write_member(&self.name, &self.step)
    }

    /// What is saved besides the arrays.
    pub fn state(&self) -> MemberState {
        MemberState {
            name: self.name.clone(),
            counters: self.step.counters.clone(),
            silent_for: self.step.silent_for.clone(),
            preparation: self.step.preparation.clone(),
            best: self.best,
            failure: self.failure.clone(),
        }
    }

    /// Puts everything back.
    pub fn restore(&mut self, checkpoint: &Checkpoint, state: MemberState) -> Result<()> {
        self.best = state.best;
        self.failure.clone_from(&state.failure);
        self.step.set_preparation(state.preparation.clone());
        checkpoint.read_member(state, &mut self.step)
    }
}
