//! What a report is made of: the tables of a run, reduced to what the page shows.
//!
//! Large tables (selection, trials, pathways, words) are read in batches and reduced on the way, so that memory grows with the number of
//! features and not with the number of trials. A part that is `None` belongs to a stage that has not been run.

mod causal;
mod features;
mod files;
mod pathways;
mod run_facts;
mod selection;
mod trials;
mod words;

use std::path::{Path, PathBuf};

use glassbox_experiment::scenario::InterventionKind;
use glassbox_experiment::tables::{ChainRow, CheckRow, DecisionEffectRow, VerdictRow};
use glassbox_experiment::{Arm, Scenario};
use glassbox_store::{Manifest, Row, RunPaths, StoreError, read_table};

pub use causal::{CausalData, Contrast, Effect, EffectKey, Measure, Prompts, Role};
pub use features::FeatureId;
pub use files::FileFacts;
pub use pathways::{PathwayData, SourceTally, edge_strength};
pub use run_facts::{PlanFacts, PromptText, RunFacts};
pub use selection::{D_BIN_WIDTH, D_BINS, LayerSelection, SelectionData};
pub use trials::{ExamplePair, ExampleResponse, Tally, TrialData};
pub use words::{WordData, WordTally};

use crate::ReportError;

/// Everything that the page shows.
#[derive(Clone, Debug, Default)]
pub struct ReportData {
    /// Facts of the manifest that are the same for every run of the same plan.
    pub run: RunFacts,
    /// The scenario, if the manifest holds one that this version understands.
    pub scenario: Option<Scenario>,
    /// One prompt of each family, if their texts are known.
    pub prompts: Vec<PromptText>,
    /// Facts of the plan.
    pub plan: Option<PlanFacts>,
    /// *select*: features that differ between the prompt families.
    pub selection: Option<SelectionData>,
    /// *sweep*: trials, counted.
    pub trials: Option<TrialData>,
    /// *causal*: effects of features.
    pub causal: Option<CausalData>,
    /// *causal*: one verdict per selected feature.
    pub verdicts: Option<Vec<VerdictRow>>,
    /// *decision*: effects on the log-odds after the forced prefix, if the scenario reads them.
    pub decision: Option<Vec<DecisionEffectRow>>,
    /// Outcomes of the controls of all stages.
    pub checks: Option<Vec<CheckRow>>,
    /// *pathways*: effects of features on later features.
    pub pathways: Option<PathwayData>,
    /// *pathways*: chains of two edges.
    pub chains: Option<Vec<ChainRow>>,
    /// *words*: words that features add and remove.
    pub words: Option<WordData>,
    /// The tables of the run with their columns.
    pub files: Vec<FileFacts>,
}

impl ReportData {
    /// Reads a run directory, whatever stages of it are there.
    ///
    /// # Errors
    /// [`ReportError::Store`] without a manifest, for a finished table that differs from what the manifest recorded of it, or for one that
    /// cannot be read; [`ReportError::Folder`] for a folder that cannot be listed.
    pub fn load(run: &Path) -> Result<Self, ReportError> {
        let manifest = RunPaths::of_existing(run)?.read_manifest()?;
        let tables = Tables::open(run, &manifest)?;
        let paths = RunPaths::new(run);
        let scenario = run_facts::scenario_of(&manifest.config);
        let settings = scenario.as_ref();
        let names = Names::new(settings);
        let verdicts: Option<Vec<VerdictRow>> = tables.rows()?;
        let example = verdicts.as_deref().and_then(example_feature);
        let swept: Vec<FeatureId> = verdicts.iter().flatten().map(FeatureId::from).collect();
        let select_alpha = settings.map(|scenario| scenario.select.alpha);
        let percentile = settings.map(|scenario| scenario.causal.control_percentile);
        let pathway_alpha = settings.map(|scenario| scenario.pathways.alpha);
        let word_alpha = settings.map(|scenario| scenario.words.alpha);
        let trials = if paths.trials().is_dir() {
            Some(trials::read_trials(&paths.trials(), &names, example)?)
        } else {
            None
        };
        Ok(Self {
            run: run_facts::facts_of(&manifest),
            prompts: run_facts::prompts_of(
                settings,
                tables.file("prompts.parquet").as_deref(),
                trials.as_ref().map_or(&[], |trials| trials.examples.as_slice()),
            )?,
            plan: tables.read(&paths.plan(), run_facts::read_plan)?,
            selection: tables.read(&paths.selection(), |path| {
                selection::read_selection(path, select_alpha)
            })?,
            trials,
            causal: tables.read(&paths.causal(), |path| causal::read_causal(path, &names))?,
            decision: tables.rows()?,
            checks: checks(&tables)?,
            pathways: tables.read(&paths.pathways(), |path| {
                pathways::read_pathways(path, pathway_alpha, percentile, &swept)
            })?,
            chains: tables.rows()?,
            words: tables.read(&paths.words(), |path| words::read_words(path, word_alpha))?,
            files: files::read_files(&paths, &manifest)?,
            verdicts,
            scenario,
        })
    }

    /// The names that the scenario gives to families and outcomes, or stand-ins without a scenario.
    pub fn names(&self) -> Names {
        Names::new(self.scenario.as_ref())
    }
}

/// What families, outcomes and the reference of shifts are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Family A.
    pub family_a: String,
    /// Family B.
    pub family_b: String,
    /// The outcome whose rate is compared.
    pub target: String,
    /// Unit before an amount; may be empty.
    pub unit: String,
    /// What both values are compared with for their shifts: baseline, or reconstruct-only where interventions replace the residual by its
    /// reconstruction.
    pub reference: Arm,
}

impl Names {
    /// The names of a scenario. Without one the families are `A` and `B` and the outcome is `target`.
    pub fn new(scenario: Option<&Scenario>) -> Self {
        match scenario {
            Some(scenario) => Self {
                family_a: scenario.family_a().to_owned(),
                family_b: scenario.family_b().to_owned(),
                target: scenario.outcome.target.clone(),
                unit: scenario.outcome.amount_unit.clone(),
                reference: match scenario.sweep.intervention {
                    InterventionKind::Delta => Arm::Baseline,
                    InterventionKind::Reconstruction => Arm::ReconstructOnly,
                },
            },
            None => Self {
                family_a: "A".into(),
                family_b: "B".into(),
                target: "target".into(),
                unit: String::new(),
                reference: Arm::Baseline,
            },
        }
    }

    /// The reference in words.
    pub fn reference_name(&self) -> &'static str {
        match self.reference {
            Arm::ReconstructOnly => "reconstruct-only",
            _ => "baseline",
        }
    }
}

/// The feature whose responses are shown: the largest effect among those with a specific one, else the largest of all.
fn example_feature(verdicts: &[VerdictRow]) -> Option<(FeatureId, f64)> {
    strongest(verdicts).map(|row| (FeatureId::from(row), row.effect))
}

/// The verdict with the largest effect, specific ones first.
pub(crate) fn strongest(verdicts: &[VerdictRow]) -> Option<&VerdictRow> {
    verdicts.iter().max_by(|one, other| {
        let specific = |row: &VerdictRow| row.verdict == SPECIFIC;
        specific(one)
            .cmp(&specific(other))
            .then(one.effect.abs().total_cmp(&other.effect.abs()))
            // Of equals the first in the table's order.
            .then((other.layer, other.feature).cmp(&(one.layer, one.feature)))
    })
}

/// The verdict of a feature whose two values differ in what they do, beyond the controls.
pub(crate) const SPECIFIC: &str = "specific_effect";

/// The checks of all stages: the joint table of a finished run, else those that the finished stages left.
fn checks(tables: &Tables<'_>) -> Result<Option<Vec<CheckRow>>, ReportError> {
    if let Some(all) = tables.rows()? {
        return Ok(Some(all));
    }
    let mut found: Option<Vec<CheckRow>> = None;
    for stage in [
        "causal_checks.parquet",
        "pathway_checks.parquet",
        "word_checks.parquet",
    ] {
        if let Some(path) = tables.file(stage) {
            found
                .get_or_insert_default()
                .extend(read_table::<CheckRow>(&path)?);
        }
    }
    Ok(found)
}

/// The finished tables of a run. A file that the manifest does not list is left from a stage that was begun again.
struct Tables<'a> {
    run: &'a Path,
    manifest: &'a Manifest,
}

impl<'a> Tables<'a> {
    fn open(run: &'a Path, manifest: &'a Manifest) -> Result<Self, ReportError> {
        let tables = Self { run, manifest };
        for damage in RunPaths::new(run).damaged_files(manifest)? {
            // A table that was taken away leaves its section empty; one that was changed must not be shown.
            if let StoreError::Damaged { path, .. } = &damage
                && path.is_file()
                && path.extension().is_some_and(|extension| extension == "parquet")
            {
                return Err(damage.into());
            }
        }
        Ok(tables)
    }

    /// The path of a finished file.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.run.join(name);
        (self.manifest.files.contains_key(name) && path.is_file()).then_some(path)
    }

    /// Reads a finished table in its own way.
    fn read<T>(
        &self,
        path: &Path,
        read: impl FnOnce(&Path) -> Result<T, ReportError>,
    ) -> Result<Option<T>, ReportError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.file(&name).map(|path| read(&path)).transpose()
    }

    /// All rows of a finished table that is named as its rows are.
    fn rows<R: Row>(&self) -> Result<Option<Vec<R>>, ReportError> {
        let path = self.file(&format!("{}.parquet", R::TABLE));
        path.map(|path| Ok(read_table(&path)?)).transpose()
    }
}
