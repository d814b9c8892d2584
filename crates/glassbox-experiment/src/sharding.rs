//! The sweep alone, whole or as one shard of several: in a folder of its own, or in one that all shards share.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use glassbox_store::{
    Manifest, RunDirectory, RunPaths, StageStatus, Storage, StoreError, SweepShard, SweepShardRecord,
};

use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::run::{Run, RunRequest};
use crate::scenario::Scenario;
use crate::sweep::{Sweep, SweepCost};
use crate::tables::SelectionRow;

/// How often a waiting process looks whether the plan is there.
const PAUSE: Duration = Duration::from_millis(100);

/// What to sweep.
#[derive(Debug, Clone)]
pub struct SweepRequest {
    /// The scenario.
    pub scenario: Scenario,
    /// Folder of the run, which other shards may share.
    pub out: PathBuf,
    /// Whether to continue what is there.
    pub resume: bool,
    /// The shard; `None` is the whole sweep in one process.
    pub shard: Option<SweepShard>,
    /// A run whose selection and plan are taken over instead of being made.
    pub plan: Option<PathBuf>,
    /// Whether to stop when the plan is there.
    pub plan_only: bool,
}

/// What is there now.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepOutcome {
    /// Folder of the run.
    pub out: PathBuf,
    /// The shard that was done, if it was one of several.
    pub shard: Option<SweepShard>,
    /// Trials of the whole plan.
    pub planned_trials: u64,
    /// Trials of this shard, all of them complete unless only the plan was made.
    pub shard_trials: u64,
    /// What this process did.
    pub cost: SweepCost,
}

/// Selects, plans, and runs every trial of the shard that is not complete.
///
/// The plan is made once: in a shared folder by the first process, for which the others wait; in folders of their own by
/// each shard anew, or taken over from [`SweepRequest::plan`]. That all plans are the same is checked by their hash here, where one
/// is there already, and when the shards are merged.
///
/// # Errors
/// [`ExperimentError::Interrupted`] when the reporter asks for a stop; else what is wrong with the input, the model
/// or the disk. Whatever is complete stays complete.
pub fn sweep(request: &SweepRequest, reporter: &dyn Reporter) -> Result<SweepOutcome, ExperimentError> {
    let run_request = RunRequest {
        scenario: request.scenario.clone(),
        out: request.out.clone(),
        resume: request.resume,
        pilot: None,
    };
    let mut run = Run::open(&run_request, reporter, |storage, manifest| match request.shard {
        Some(shard) => join(request, shard, storage, &manifest, reporter),
        None => Ok(RunDirectory::create(
            storage,
            &request.out,
            manifest,
            request.resume,
        )?),
    })?;
    if let Some(from) = &request.plan {
        run.adopt_selection(from)?;
    }
    let selection = run.select()?;
    let shard = request.shard.unwrap_or(SweepShard::WHOLE);
    let mut cost = SweepCost::default();
    let planned = if request.plan_only {
        run.plan(&selection)?.0
    } else if request.shard.is_some() {
        run.sweep_shard(&selection, shard, &mut cost)?
    } else {
        run.sweep(&selection, &mut cost)?
    };
    let plan = planned.plan();
    Ok(SweepOutcome {
        out: request.out.clone(),
        shard: request.shard,
        planned_trials: plan.trials(),
        shard_trials: (0..plan.units())
            .filter(|&unit| shard.has(unit))
            .map(|unit| plan.unit_len(unit) as u64)
            .sum(),
        cost,
    })
}

/// Joins the folder of a shard, and waits while another process plans for all.
fn join(
    request: &SweepRequest,
    shard: SweepShard,
    storage: &Storage,
    manifest: &Manifest,
    reporter: &dyn Reporter,
) -> Result<RunDirectory, ExperimentError> {
    wait_while_planning(reporter, || {
        RunDirectory::join(
            storage,
            &request.out,
            manifest.clone(),
            shard,
            request.resume,
            is_planned,
        )
    })
}

/// Whether the plan is there: nothing of the manifest changes any more until the sweep is complete.
fn is_planned(manifest: &Manifest) -> bool {
    let is_selected = manifest
        .stage("select")
        .is_ok_and(|stage| stage.status == StageStatus::Complete);
    is_selected && manifest.plan_hash.is_some() && manifest.files.contains_key("plan.parquet")
}

fn wait_while_planning<T>(
    reporter: &dyn Reporter,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, ExperimentError> {
    let mut told = false;
    loop {
        match attempt() {
            Err(StoreError::Planning { holder, .. }) => {
                if reporter.should_stop() {
                    return Err(ExperimentError::Interrupted {
                        stage: "select",
                        done: 0,
                        total: 1,
                    });
                }
                if !told {
                    told = true;
                    reporter.report(Event::Warning(format!(
                        "waiting for another process ({holder}), which plans the sweep for all shards"
                    )));
                }
                sleep(PAUSE);
            }
            other => return Ok(other?),
        }
    }
}

impl Run<'_> {
    /// Runs one shard beside others, and records how far it came.
    fn sweep_shard(
        &mut self,
        selection: &[SelectionRow],
        shard: SweepShard,
        cost: &mut SweepCost,
    ) -> Result<Sweep, ExperimentError> {
        let since = Instant::now();
        let (mut sweep, _) = self.plan(selection)?;
        let reporter = self.reporter;
        wait_while_planning(reporter, || self.directory.share())?;
        let result = sweep.execute(shard, &self.place(), cost);
        let written = self.record_shard(shard, cost, result.is_ok());
        result?;
        written?;
        self.finished(
            "sweep",
            since,
            format!(
                "shard {shard} is complete: {} trials and {} tokens in this process",
                cost.trials, cost.tokens
            ),
        );
        Ok(sweep)
    }

    fn record_shard(
        &self,
        shard: SweepShard,
        cost: &SweepCost,
        complete: bool,
    ) -> Result<(), ExperimentError> {
        let folder = self.directory.paths().shards();
        let manifest = self.directory.manifest();
        let mut record = SweepShardRecord::read_all(&folder)?
            .into_iter()
            .find(|record| record.shard == shard)
            .unwrap_or_else(|| SweepShardRecord::begun(shard, &manifest.instruction_set));
        record.complete = complete;
        record.plan_hash = manifest.plan_hash;
        record.trials += cost.trials;
        record.tokens += cost.tokens;
        record.seconds += cost.seconds;
        Ok(record.write(self.directory.storage(), &folder)?)
    }

    /// Takes the selection of another run of the same scenario, which may have been made on another processor, and holds this
    /// run to the same plan.
    fn adopt_selection(&mut self, from: &Path) -> Result<(), ExperimentError> {
        let paths = RunPaths::of_existing(from)?;
        let stored = paths.read_manifest()?;
        let mut expected = self.directory.manifest().clone();
        expected.instruction_set.clone_from(&stored.instruction_set);
        stored.ensure_compatible(&expected, from)?;
        if self.directory.is_stage_complete("select")? {
            return Ok(());
        }
        self.directory.adopt_stage("select", &paths, &stored)?;
        Ok(self.directory.update(|manifest| {
            manifest.plan_hash = stored.plan_hash;
            Ok(())
        })?)
    }
}
