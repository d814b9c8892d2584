//! The *sweep* stage: every planned trial, unit by unit, each unit one shard that is whole or absent.

use std::collections::BTreeMap;
use std::time::Instant;

use glassbox_store::{
    DiskBudget, DiskState, RunDirectory, ShardOrigin, ShardState, ShardStore, StoreError, SweepShard, UnitId,
    assemble, hash_bytes,
};

use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::executor::run_units;
use crate::feature_name::parse_feature_names;
use crate::plan::{ControlFeature, Plan, SelectedFeature};
use crate::prompts::PromptSets;
use crate::recording::{Recording, WantedFeatures};
use crate::scenario::RecordFeatures;
use crate::scenario::Scenario;
use crate::session::Session;
use crate::tables::TrialRow;
use crate::trial_batch::TrialContext;
use glassbox_outcome::Parser;

/// Bytes that a trial's row takes on disk, about, per generated token and besides: for the check before the first trial.
const BYTES_PER_TOKEN: u64 = 6;
const BYTES_PER_TRIAL: u64 = 120;
const BYTES_PER_LOGIT: u64 = 8;
const BYTES_PER_RECORDED: u64 = 14;
const BYTES_PER_SHARD: u64 = 16_384;

/// A planned sweep and what of it is complete.
#[derive(Debug)]
pub struct Sweep {
    plan: Plan,
    run: String,
    store: ShardStore<TrialRow>,
    features: Vec<SelectedFeature>,
    controls: Vec<ControlFeature>,
    parser: Parser,
}

/// What a sweep is executed with.
#[derive(Clone, Copy)]
pub struct SweepPlace<'a> {
    /// Model and dictionaries.
    pub session: &'a Session,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The prompts' texts.
    pub prompts: &'a PromptSets,
    /// What may be written.
    pub budget: &'a DiskBudget,
    /// Who is told, and may ask for a stop.
    pub reporter: &'a dyn Reporter,
}

/// What executing a sweep took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SweepCost {
    /// Seconds in this process.
    pub seconds: f64,
    /// Tokens generated in this process.
    pub tokens: u64,
    /// Bytes of the shards written in this process.
    pub bytes: u64,
    /// Trials run in this process.
    pub trials: u64,
}

/// The names of a plan's units, in order.
pub(crate) fn unit_ids(plan: &Plan) -> Vec<UnitId> {
    (0..plan.units())
        .map(|unit| UnitId::numbered(u64::from(unit)))
        .collect()
}

/// Where shards of a plan with this hash come from.
pub(crate) fn shard_origin(directory: &RunDirectory, plan_hash: &str) -> ShardOrigin {
    ShardOrigin {
        plan_hash: hash_bytes(plan_hash.as_bytes()),
        glassbox_version: directory.manifest().glassbox_version.clone(),
        instruction_set: directory.manifest().instruction_set.clone(),
    }
}

impl Sweep {
    /// Opens the shards of a plan; what is complete there counts as done.
    ///
    /// # Errors
    /// Those of [`ShardStore::open`].
    pub fn open(
        directory: &RunDirectory,
        plan: Plan,
        plan_hash: String,
        features: Vec<SelectedFeature>,
        controls: Vec<ControlFeature>,
        parser: Parser,
    ) -> Result<Self, ExperimentError> {
        let origin = shard_origin(directory, &plan_hash);
        let store = ShardStore::open_accepting(
            directory.storage(),
            &directory.paths().trials(),
            origin,
            &directory.manifest().other_instruction_sets,
        )?;
        let run = plan_hash.chars().take(16).collect();
        Ok(Self {
            plan,
            run,
            store,
            features,
            controls,
            parser,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The units in order.
    pub fn units(&self) -> Vec<UnitId> {
        unit_ids(&self.plan)
    }

    /// The features whose values the sweep sets.
    pub fn features(&self) -> &[SelectedFeature] {
        &self.features
    }

    /// The random-feature controls.
    pub fn controls(&self) -> &[ControlFeature] {
        &self.controls
    }

    /// Bytes of the complete shards.
    pub fn bytes(&self) -> u64 {
        self.units()
            .iter()
            .map(|unit| match self.store.state(unit) {
                ShardState::Complete(record) => record.bytes,
                _ => 0,
            })
            .sum()
    }

    /// The trials, one unit after the other, in the order of the plan.
    ///
    /// # Errors
    /// Those of [`assemble`]: gaps, duplicates, damage.
    pub fn trials(&self) -> Result<impl Iterator<Item = Result<Vec<TrialRow>, StoreError>>, ExperimentError> {
        Ok(assemble(&[&self.store], &self.units())?)
    }

    /// Runs every unit of a shard that is not complete, and adds what that takes to `cost`, also if it ends early.
    ///
    /// # Errors
    /// [`ExperimentError::Interrupted`] if the reporter asked for a stop before the last unit; else what went wrong. Complete
    /// units stay complete.
    pub fn execute(
        &mut self,
        shard: SweepShard,
        place: &SweepPlace<'_>,
        cost: &mut SweepCost,
    ) -> Result<(), ExperimentError> {
        let SweepPlace {
            session,
            scenario,
            budget,
            reporter,
            ..
        } = *place;
        let since = Instant::now();
        for (unit, error) in self.store.damaged() {
            reporter.report(Event::Warning(format!("{unit} is done again: {error}")));
        }
        let units = || (0..self.plan.units()).filter(|&unit| shard.has(unit));
        let open: Vec<u32> = units()
            .filter(|&unit| !self.store.is_complete(&UnitId::numbered(u64::from(unit))))
            .collect();
        let trials = |unit: u32| self.plan.unit_len(unit) as u64;
        let total: u64 = units().map(trials).sum();
        let to_do: u64 = open.iter().copied().map(trials).sum();
        if open.is_empty() {
            return Ok(());
        }
        budget.check_before(estimated_bytes(scenario, to_do, self.features.len()))?;
        reporter.report(Event::StageStarted {
            stage: "sweep",
            unit: "trials",
            total,
            done: total - to_do,
        });
        let texts: BTreeMap<(&str, &str), &str> = place
            .prompts
            .sweep
            .iter()
            .map(|prompt| ((prompt.family.as_str(), prompt.id.as_str()), prompt.text.as_str()))
            .collect();
        let context = TrialContext {
            session,
            scenario,
            parser: &self.parser,
            run: &self.run,
            baseline_runs: if scenario.sweep.engine.pool_baselines {
                1
            } else {
                self.features.len()
            },
            progress: &|trials, tokens| {
                reporter.report(Event::Advanced {
                    stage: "sweep",
                    units: trials,
                    tokens,
                });
            },
        };
        let wanted = self.wanted_features(session, scenario)?;
        let recording = wanted.as_ref().map_or(Recording::None, Recording::Wanted);
        let (plan, store) = (&self.plan, &mut self.store);
        let mut done = total - to_do;
        let mut warned = false;
        let all = run_units(
            &open,
            session.workers(),
            || session.model().workspace(),
            |workspace, unit| {
                let rows = plan.unit(unit);
                let text = rows
                    .first()
                    .and_then(|row| texts.get(&(row.family.as_str(), row.prompt_id.as_str())))
                    .copied()
                    .unwrap_or_default();
                context.run_unit(workspace, text, &rows, recording)
            },
            |unit, result| {
                let trials = result.trials.len() as u64;
                session.check_weights_unchanged()?;
                let record = store.write(&UnitId::numbered(u64::from(unit)), result.trials)?;
                cost.bytes += record.bytes;
                cost.tokens += result.tokens;
                cost.trials += trials;
                done += trials;
                warn_of_disk(budget, &mut warned, reporter)
            },
            || reporter.should_stop(),
        );
        cost.seconds += since.elapsed().as_secs_f64();
        if all? {
            return Ok(());
        }
        Err(ExperimentError::Interrupted {
            stage: "sweep",
            done,
            total,
        })
    }
}

impl Sweep {
    /// What every trial records.
    fn wanted_features(
        &self,
        session: &Session,
        scenario: &Scenario,
    ) -> Result<Option<WantedFeatures>, ExperimentError> {
        let settings = &scenario.sweep;
        let features = match settings.record {
            RecordFeatures::None => return Ok(None),
            RecordFeatures::Selected => self
                .features
                .iter()
                .map(|selected| (selected.layer, selected.feature))
                .collect(),
            RecordFeatures::Listed => parse_feature_names("sweep", &settings.recorded_features)?,
        };
        WantedFeatures::new(session, features, settings.engine.encode_recorded_only).map(Some)
    }
}

/// Stops a run that has used up its budget, and warns once when it has nearly done so.
pub(crate) fn warn_of_disk(
    budget: &DiskBudget,
    warned: &mut bool,
    reporter: &dyn Reporter,
) -> Result<(), ExperimentError> {
    let watch = budget.enforce()?;
    if watch.state == DiskState::Warn && !*warned {
        *warned = true;
        reporter.report(Event::Warning(format!(
            "the run has written {} of its {} bytes (sweep.disk_budget_bytes)",
            watch.written_bytes, watch.limit_bytes
        )));
    }
    Ok(())
}

/// Bytes that so many trials may take on disk, generously.
pub(crate) fn estimated_bytes(scenario: &Scenario, trials: u64, selected_features: usize) -> u64 {
    let settings = &scenario.sweep;
    let per_token = BYTES_PER_TOKEN + BYTES_PER_LOGIT * settings.top_logits as u64;
    let shards = (trials / settings.unit_trials as u64 + 1).saturating_mul(BYTES_PER_SHARD);
    let recorded = match settings.record {
        RecordFeatures::None => 0,
        RecordFeatures::Selected => selected_features,
        RecordFeatures::Listed => settings.recorded_features.len(),
    };
    let per_trial = BYTES_PER_TRIAL
        + per_token.saturating_mul(settings.max_new_tokens as u64)
        + BYTES_PER_RECORDED * recorded as u64;
    trials.saturating_mul(per_trial).saturating_add(shards)
}
