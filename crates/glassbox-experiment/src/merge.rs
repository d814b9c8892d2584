//! Shards of a sweep, put together into the run that one process would have made.

use std::collections::BTreeSet;
use std::path::PathBuf;

use glassbox_store::{
    DiskBudget, Manifest, RunDirectory, RunPaths, ShardOrigin, ShardState, ShardStore, Storage, StoreError,
    SweepShardRecord, TableReader, UnitId, assemble,
};

use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::tables::{PlanRow, TrialRow};

/// What to merge.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Folders of the shards. Several shards may share one.
    pub sources: Vec<PathBuf>,
    /// Folder of the merged run.
    pub out: PathBuf,
    /// Whether to continue a merge that was interrupted.
    pub resume: bool,
    /// Whether shards of processors with different instruction sets may be merged.
    pub allow_mixed_processors: bool,
}

/// What was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeOutcome {
    /// Folder of the merged run.
    pub out: PathBuf,
    /// Folders of shards.
    pub sources: u64,
    /// Units of work.
    pub units: u64,
    /// Trials.
    pub trials: u64,
    /// Instruction set of the run, and then those of other processors.
    pub instruction_sets: Vec<String>,
}

/// Checks that the shards belong together and are whole, and writes them as one run, with which `run --resume` goes on. All
/// sources are read and checked before anything is written; they are not changed.
///
/// # Errors
/// [`StoreError::Incompatible`] for shards of different scenarios, models, prompts or program versions,
/// [`StoreError::Unfinished`] for one without a plan, [`StoreError::Damaged`], [`StoreError::Duplicate`],
/// [`StoreError::NotInPlan`], [`ExperimentError::ShardsMissing`], [`ExperimentError::MixedProcessors`],
/// [`ExperimentError::Interrupted`], and those of a failed write.
pub fn merge(request: &MergeRequest, reporter: &dyn Reporter) -> Result<MergeOutcome, ExperimentError> {
    let storage = Storage::new();
    let sources = Sources::read(request)?;
    let trials = sources.planned_trials()?;
    let stores = sources.open(&storage)?;
    let ids: Vec<UnitId> = (0..trials.len() as u64).map(UnitId::numbered).collect();
    sources.check(&stores, &ids, &trials)?;
    let outcome = MergeOutcome {
        out: request.out.clone(),
        sources: sources.manifests.len() as u64,
        units: ids.len() as u64,
        trials: trials.iter().sum(),
        instruction_sets: sources.instruction_sets.clone(),
    };
    let mut directory =
        RunDirectory::create(&storage, &request.out, sources.merged_manifest(), request.resume)?;
    if directory.is_stage_complete("sweep")? && directory.manifest().stage("sweep")?.rows.is_some() {
        return Ok(outcome);
    }
    sources.copy_plan(&mut directory)?;
    let origin = sources.origin()?;
    let mut store: ShardStore<TrialRow> =
        ShardStore::open_accepting(&storage, &directory.paths().trials(), origin, sources.others())?;
    let done = ids.iter().filter(|unit| store.is_complete(unit)).count() as u64;
    let budget = DiskBudget::new(&storage, &request.out, u64::MAX)?;
    budget.check_before(stores.iter().map(|from| bytes_to_copy(from, &store, &ids)).sum())?;
    reporter.report(Event::StageStarted {
        stage: "merge",
        unit: "units",
        total: ids.len() as u64,
        done,
    });
    let mut copied = done;
    for unit in &ids {
        if store.is_complete(unit) {
            continue;
        }
        if reporter.should_stop() {
            return Err(ExperimentError::Interrupted {
                stage: "merge",
                done: copied,
                total: ids.len() as u64,
            });
        }
        if let Some(from) = stores.iter().find(|from| from.is_complete(unit)) {
            store.adopt(unit, from)?;
            copied += 1;
            reporter.report(Event::Advanced {
                stage: "merge",
                units: 1,
                tokens: 0,
            });
        }
    }
    let tokens: u64 = sources.records.iter().map(|record| record.tokens).sum();
    let seconds = sources.records.iter().map(|record| record.seconds).sum();
    directory.complete_stage("sweep", seconds, outcome.trials, &[("tokens", tokens as f64)])?;
    Ok(outcome)
}

/// Folders of shards whose manifests belong together.
struct Sources {
    paths: Vec<RunPaths>,
    manifests: Vec<Manifest>,
    records: Vec<SweepShardRecord>,
    /// That of the first folder first.
    instruction_sets: Vec<String>,
}

impl Sources {
    fn read(request: &MergeRequest) -> Result<Self, ExperimentError> {
        let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
        let (mut paths, mut manifests, mut records) = (Vec::new(), Vec::<Manifest>::new(), Vec::new());
        for folder in &request.sources {
            let run = RunPaths::of_existing(folder)?;
            let place = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            if !seen.insert(place) {
                return Err(ExperimentError::Data {
                    stage: "merge",
                    what: format!(
                        "the folder {} is named twice; name every shard once",
                        folder.display()
                    ),
                });
            }
            let manifest = run.read_manifest()?;
            let first = manifests.first().unwrap_or(&manifest);
            let mut expected = first.clone();
            expected.instruction_set.clone_from(&manifest.instruction_set);
            manifest.ensure_compatible(&expected, folder)?;
            let plan = run.plan();
            if manifest.plan_hash.is_none() || !manifest.files.contains_key("plan.parquet") {
                return Err(StoreError::Unfinished { path: plan }.into());
            }
            if let Some(damage) = run.damaged_files(&manifest)?.into_iter().next() {
                return Err(damage.into());
            }
            records.extend(SweepShardRecord::read_all(&run.shards())?);
            paths.push(run);
            manifests.push(manifest);
        }
        let mut instruction_sets: Vec<String> = Vec::new();
        for manifest in &manifests {
            for set in std::iter::once(&manifest.instruction_set).chain(&manifest.other_instruction_sets) {
                if !instruction_sets.contains(set) {
                    instruction_sets.push(set.clone());
                }
            }
        }
        if instruction_sets.len() > 1 && !request.allow_mixed_processors {
            let found = paths
                .iter()
                .zip(&manifests)
                .map(|(run, manifest)| format!("{}: {}", run.root().display(), manifest.instruction_set))
                .collect();
            return Err(ExperimentError::MixedProcessors { found });
        }
        if manifests.is_empty() {
            return Err(ExperimentError::Data {
                stage: "merge",
                what: "no folder of a shard is named".into(),
            });
        }
        Ok(Self {
            paths,
            manifests,
            records,
            instruction_sets,
        })
    }

    /// Trials of every unit of the plan.
    fn planned_trials(&self) -> Result<Vec<u64>, ExperimentError> {
        let mut trials: Vec<u64> = Vec::new();
        for rows in TableReader::<PlanRow>::open(&self.paths[0].plan())? {
            for row in rows? {
                let unit = row.unit as usize;
                if unit > trials.len() {
                    return Err(ExperimentError::Data {
                        stage: "merge",
                        what: format!("the plan has no unit {}; the plan file was edited", trials.len()),
                    });
                }
                if unit == trials.len() {
                    trials.push(0);
                }
                trials[unit] += 1;
            }
        }
        Ok(trials)
    }

    fn origin(&self) -> Result<ShardOrigin, ExperimentError> {
        let first = &self.manifests[0];
        let plan_hash = first.plan_hash.ok_or_else(|| StoreError::Unfinished {
            path: self.paths[0].plan(),
        })?;
        Ok(ShardOrigin {
            plan_hash,
            glassbox_version: first.glassbox_version.clone(),
            instruction_set: first.instruction_set.clone(),
        })
    }

    /// The instruction sets besides the first folder's.
    fn others(&self) -> &[String] {
        self.instruction_sets.get(1..).unwrap_or_default()
    }

    /// The shards of every folder that has some.
    fn open(&self, storage: &Storage) -> Result<Vec<ShardStore<TrialRow>>, ExperimentError> {
        self.paths
            .iter()
            .map(RunPaths::trials)
            .filter(|folder| folder.is_dir())
            .map(|folder| {
                Ok(ShardStore::open_accepting(
                    storage,
                    &folder,
                    self.origin()?,
                    self.others(),
                )?)
            })
            .collect()
    }

    /// Gaps, duplicates, damage, shards of other plans.
    fn check(
        &self,
        stores: &[ShardStore<TrialRow>],
        ids: &[UnitId],
        trials: &[u64],
    ) -> Result<(), ExperimentError> {
        let missing: Vec<usize> = (0..ids.len())
            .filter(|&unit| {
                !stores
                    .iter()
                    .any(|store| *store.state(&ids[unit]) != ShardState::Missing)
            })
            .collect();
        if !missing.is_empty() {
            return Err(self.missing(&missing, ids));
        }
        let stores: Vec<&ShardStore<TrialRow>> = stores.iter().collect();
        drop(assemble(&stores, ids)?);
        for (unit, &planned) in ids.iter().zip(trials) {
            for store in &stores {
                let ShardState::Complete(record) = store.state(unit) else {
                    continue;
                };
                if record.rows != planned {
                    return Err(StoreError::Damaged {
                        path: store.folder().join(format!("{unit}.parquet")),
                        reason: format!("it has {} trials, the plan {planned}", record.rows),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }

    fn missing(&self, missing: &[usize], ids: &[UnitId]) -> ExperimentError {
        let counts: BTreeSet<u32> = self.records.iter().map(|record| record.shard.count()).collect();
        // Without one number of shards nobody knows whose the units are.
        let shards = match counts.into_iter().collect::<Vec<_>>()[..] {
            [count] => {
                let indices: BTreeSet<usize> = missing.iter().map(|unit| unit % count as usize).collect();
                let names: Vec<String> = indices
                    .iter()
                    .take(20)
                    .map(|index| format!("{index}/{count}"))
                    .collect();
                let more = if indices.len() > names.len() { ", …" } else { "" };
                format!(", of the shards {}{more}", names.join(", "))
            }
            _ => String::new(),
        };
        ExperimentError::ShardsMissing {
            missing: missing.len(),
            planned: ids.len(),
            first: missing
                .iter()
                .take(5)
                .map(|&unit| ids[unit].to_string())
                .collect(),
            shards,
        }
    }

    fn merged_manifest(&self) -> Manifest {
        let first = &self.manifests[0];
        let stages: Vec<&str> = first.stages.iter().map(|stage| stage.name.as_str()).collect();
        let mut manifest = Manifest::new(
            &first.glassbox_version,
            &first.instruction_set,
            first.config.clone(),
            &stages,
        );
        manifest.other_instruction_sets = self.others().to_vec();
        manifest.execution.clone_from(&first.execution);
        manifest.hashes.clone_from(&first.hashes);
        manifest.seeds.clone_from(&first.seeds);
        manifest.plan_hash = first.plan_hash;
        manifest
    }

    /// The stage select and the plan of the first folder; equal in all, since the hash of the plan is.
    fn copy_plan(&self, directory: &mut RunDirectory) -> Result<(), ExperimentError> {
        let (from, manifest) = (&self.paths[0], &self.manifests[0]);
        let own = directory.paths().clone();
        if !directory.is_stage_complete("select")? {
            directory.adopt_stage("select", from, manifest)?;
        }
        if !directory.has_file(&own.plan())? {
            directory.start_stage("sweep")?;
            // Batch by batch: equal rows give equal bytes.
            let rows = TableReader::<PlanRow>::open(&from.plan())?.flat_map(|batch| match batch {
                Ok(rows) => rows.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            });
            directory.write_table_of("sweep", &own.plan(), rows)?;
        }
        Ok(())
    }
}

/// Bytes of the shards that are still to be copied from a folder.
fn bytes_to_copy(from: &ShardStore<TrialRow>, to: &ShardStore<TrialRow>, ids: &[UnitId]) -> u64 {
    ids.iter()
        .filter(|unit| !to.is_complete(unit))
        .map(|unit| match from.state(unit) {
            ShardState::Complete(record) => record.bytes,
            _ => 0,
        })
        .sum()
}
