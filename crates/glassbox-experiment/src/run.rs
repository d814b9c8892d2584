//! All stages of a scenario in order, each skipped when a resumed run finds it complete.

use std::path::PathBuf;
use std::time::Instant;

use glassbox_store::{DiskBudget, Manifest, RunDirectory, Storage, SweepShard, SweepShardRecord};

use crate::calibration::causal_checks;
use crate::causal::{BOTH, VALUE_VS_VALUE, causal_rows};
use crate::decision;
use crate::decision_stage::check_decision;
use crate::decision_stage::decision_stage;
use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::pathways::pathways_stage;
use crate::planning::manifest;
use crate::prompts::PromptSets;
use crate::scenario::Scenario;
use crate::select::is_untested;
use crate::session::Session;
use crate::sweep::{Sweep, SweepCost, SweepPlace};
use crate::tables::{CausalRow, CheckRow, PathwayRow, SelectionRow, VerdictRow};
use crate::trial_index::TrialIndex;
use crate::verdict::verdicts;
use crate::words::{ResponseWords, word_checks};

/// The stages of a scenario, in order: *decision* only where it has such a section.
pub fn stages(scenario: &Scenario) -> Vec<&'static str> {
    let decision = scenario.decision.as_ref().map(|_| decision::STAGE);
    ["select", "sweep", "causal"]
        .into_iter()
        .chain(decision)
        .chain(["pathways", "words"])
        .collect()
}

/// What to run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The scenario.
    pub scenario: Scenario,
    /// Folder of the run.
    pub out: PathBuf,
    /// Whether to continue a run that is there.
    pub resume: bool,
    /// Only the first so many selected features, to learn what the whole costs.
    pub pilot: Option<usize>,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Folder of the run.
    pub out: PathBuf,
    /// One verdict per selected feature.
    pub verdicts: Vec<VerdictRow>,
    /// Every check.
    pub checks: Vec<CheckRow>,
    /// What a pilot says of the whole run.
    pub pilot: Option<PilotEstimate>,
}

/// What the whole run will cost, by the measure of a pilot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PilotEstimate {
    /// Selected features of the pilot.
    pub pilot_features: u64,
    /// Selected features of the whole.
    pub features: u64,
    /// Trials of the pilot.
    pub pilot_trials: u64,
    /// Trials of the whole.
    pub trials: u64,
    /// Seconds of the pilot's sweep.
    pub pilot_seconds: f64,
    /// Seconds of the whole sweep.
    pub seconds: f64,
    /// Bytes of the whole sweep's tables.
    pub bytes: u64,
    /// Largest memory that this process has held, which a larger sweep does not raise; missing where the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

/// Runs every stage that is not complete.
///
/// # Errors
/// [`ExperimentError::Interrupted`] when the reporter asks for a stop; else what is wrong with the input, the model
/// or the disk. Whatever is complete stays complete.
pub fn run(request: &RunRequest, reporter: &dyn Reporter) -> Result<RunOutcome, ExperimentError> {
    let mut run = Run::open(request, reporter, |storage, manifest| {
        Ok(RunDirectory::create(
            storage,
            &request.out,
            manifest,
            request.resume,
        )?)
    })?;
    let selection = run.select()?;
    let sweep = run.sweep(&selection, &mut SweepCost::default())?;
    let verdicts = run.causal(&selection, &sweep)?;
    run.decision(&sweep, &verdicts)?;
    run.pathways(&verdicts, &selection)?;
    run.words(&sweep)?;
    run.finish(verdicts)
}

/// A run in progress.
pub(crate) struct Run<'a> {
    pub(crate) request: &'a RunRequest,
    pub(crate) scenario: &'a Scenario,
    pub(crate) prompts: PromptSets,
    pub(crate) directory: RunDirectory,
    pub(crate) budget: DiskBudget,
    pub(crate) session: Session,
    pub(crate) reporter: &'a dyn Reporter,
    checks: Vec<CheckRow>,
    pilot: Option<PilotEstimate>,
}

impl<'a> Run<'a> {
    /// Loads everything that a run needs, and then opens its directory as `open` does.
    pub(crate) fn open(
        request: &'a RunRequest,
        reporter: &'a dyn Reporter,
        open: impl FnOnce(&Storage, Manifest) -> Result<RunDirectory, ExperimentError>,
    ) -> Result<Self, ExperimentError> {
        let scenario = &request.scenario;
        let prompts = PromptSets::read(scenario)?;
        let storage = Storage::new();
        let session = Session::load(scenario)?;
        prompts.check_lengths(&session)?;
        check_decision(&session, scenario, &prompts.sweep)?;
        let manifest = manifest(request, &session, &prompts)?;
        Ok(Self {
            request,
            scenario,
            prompts,
            directory: open(&storage, manifest)?,
            budget: DiskBudget::new(&storage, &request.out, scenario.sweep.disk_budget_bytes)?,
            session,
            reporter,
            checks: Vec::new(),
            pilot: None,
        })
    }
}

impl Run<'_> {
    /// What a sweep is executed with.
    pub(crate) fn place(&self) -> SweepPlace<'_> {
        SweepPlace {
            session: &self.session,
            scenario: self.scenario,
            prompts: &self.prompts,
            budget: &self.budget,
            reporter: self.reporter,
        }
    }

    pub(crate) fn families(&self) -> [&str; 2] {
        [self.scenario.family_a(), self.scenario.family_b()]
    }

    pub(crate) fn started(&self, stage: &'static str, unit: &'static str, total: u64, done: u64) {
        self.reporter.report(Event::StageStarted {
            stage,
            unit,
            total,
            done,
        });
    }

    pub(crate) fn finished(&self, stage: &'static str, since: Instant, summary: String) {
        let seconds = since.elapsed().as_secs_f64();
        self.reporter.report(Event::StageFinished {
            stage,
            summary,
            seconds,
        });
    }

    /// The *sweep* stage: every planned trial.
    pub(crate) fn sweep(
        &mut self,
        selection: &[SelectionRow],
        cost: &mut SweepCost,
    ) -> Result<Sweep, ExperimentError> {
        let since = Instant::now();
        let was_complete = self.directory.is_stage_complete("sweep")?;
        let (mut sweep, whole) = self.plan(selection)?;
        sweep.execute(SweepShard::WHOLE, &self.place(), cost)?;
        if !was_complete {
            let rows = sweep.plan().trials();
            // Shards that began the sweep have used their share of the time.
            let shards = SweepShardRecord::read_all(&self.directory.paths().shards())?;
            let tokens = cost.tokens + shards.iter().map(|record| record.tokens).sum::<u64>();
            let seconds = shards.iter().map(|record| record.seconds).sum::<f64>();
            self.directory.complete_stage(
                "sweep",
                since.elapsed().as_secs_f64() + seconds,
                rows,
                &[("tokens", tokens as f64)],
            )?;
            let rate = cost.tokens as f64 / cost.seconds.max(1e-9);
            self.finished(
                "sweep",
                since,
                format!("{rows} trials, {} tokens, {rate:.0} tokens/s", cost.tokens),
            );
        }
        if self.request.pilot.is_some() {
            self.pilot = Some(self.pilot_estimate(&sweep, cost, whole));
        }
        Ok(sweep)
    }

    fn pilot_estimate(&self, sweep: &Sweep, cost: &SweepCost, whole: usize) -> PilotEstimate {
        let settings = &self.scenario.sweep;
        let layers = self.session.layers().len() as u64;
        let per_prompt = 1 + layers + 2 * whole as u64 * (1 + settings.controls_per_feature as u64);
        let trials = self.prompts.sweep.len() as u64 * u64::from(settings.trials) * per_prompt;
        let pilot_trials = sweep.plan().trials();
        // A resumed pilot that had been swept to its end is known by its records.
        let (seconds, bytes, done) = if cost.trials > 0 {
            (cost.seconds, cost.bytes, cost.trials)
        } else {
            let recorded = self
                .directory
                .manifest()
                .stage("sweep")
                .ok()
                .and_then(|stage| stage.seconds);
            (recorded.unwrap_or_default(), sweep.bytes(), pilot_trials)
        };
        let factor = trials as f64 / done.max(1) as f64;
        PilotEstimate {
            pilot_features: sweep.features().len() as u64,
            features: whole as u64,
            pilot_trials,
            trials,
            pilot_seconds: seconds,
            seconds: seconds * factor,
            bytes: (bytes as f64 * factor) as u64,
            peak_memory_bytes: peak_memory_bytes(),
        }
    }

    fn causal(
        &mut self,
        selection: &[SelectionRow],
        sweep: &Sweep,
    ) -> Result<Vec<VerdictRow>, ExperimentError> {
        let root = self.directory.paths().root().to_owned();
        let (verdict_path, check_path) = (root.join("verdicts.parquet"), root.join("causal_checks.parquet"));
        if self.directory.is_stage_complete("causal")? {
            let manifest = self.directory.manifest();
            self.checks.extend(
                self.directory
                    .paths()
                    .read_table::<CheckRow>(manifest, &check_path)?,
            );
            return Ok(self.directory.paths().read_table(manifest, &verdict_path)?);
        }
        let since = Instant::now();
        self.directory.start_stage("causal")?;
        self.started("causal", "units", sweep.units().len() as u64, 0);
        let mut index = TrialIndex::new();
        for unit in sweep.trials()? {
            for row in unit? {
                index.add(&row, &self.scenario.outcome.target)?;
            }
            self.reporter.report(Event::Advanced {
                stage: "causal",
                units: 1,
                tokens: 0,
            });
        }
        let features = sweep.features();
        let rows: Vec<CausalRow> = causal_rows(&index, self.families(), self.scenario.sweep.intervention)?;
        let verdicts = verdicts(
            features,
            &rows,
            &index,
            &self.scenario.causal,
            &self.scenario.outcome.target,
            self.scenario.sweep.intervention,
            self.scenario.seed,
        )?;
        let mut checks = causal_checks(
            self.scenario,
            features,
            &index,
            &rows,
            &verdicts,
            self.prompts.held_out,
        )?;
        checks.push(crate::calibration::check(
            "select",
            "features_tested",
            Some(selection.iter().filter(|row| row.p.is_some()).count() as f64),
            None,
            None,
            if is_untested(selection) {
                "A family has a single prompt, so no feature could be tested between the families: features were chosen by the \
                 size of their difference, which may be chance."
                    .into()
            } else {
                "Features tested between the families, all in one Benjamini–Hochberg family.".into()
            },
        ));
        let causal_path = self.directory.paths().causal();
        self.directory.write_table("causal", &causal_path, &rows)?;
        self.directory.write_table("causal", &verdict_path, &verdicts)?;
        self.directory.write_table("causal", &check_path, &checks)?;
        self.directory
            .complete_stage("causal", since.elapsed().as_secs_f64(), rows.len() as u64, &[])?;
        let specific = verdicts
            .iter()
            .filter(|row| row.verdict == "specific_effect")
            .count();
        self.finished(
            "causal",
            since,
            format!(
                "{specific} of {} features have a specific effect on the {} rate",
                verdicts.len(),
                self.scenario.outcome.target
            ),
        );
        self.checks.extend(checks);
        Ok(verdicts)
    }

    /// The *decision* stage, for scenarios with a `[decision]` section.
    fn decision(&mut self, sweep: &Sweep, verdicts: &[VerdictRow]) -> Result<(), ExperimentError> {
        let Some(settings) = &self.scenario.decision else {
            return Ok(());
        };
        let root = self.directory.paths().root().to_owned();
        let checks_path = root.join("decision_checks.parquet");
        if self.directory.is_stage_complete(decision::STAGE)? {
            let manifest = self.directory.manifest();
            self.checks.extend(
                self.directory
                    .paths()
                    .read_table::<CheckRow>(manifest, &checks_path)?,
            );
            return Ok(());
        }
        let since = Instant::now();
        self.directory.start_stage(decision::STAGE)?;
        let found = decision_stage(
            &self.place(),
            settings,
            sweep.features(),
            sweep.controls(),
            verdicts,
        )?;
        let (rows_path, effects_path) = (
            root.join("decision.parquet"),
            root.join("decision_effects.parquet"),
        );
        self.directory
            .write_table(decision::STAGE, &rows_path, &found.rows)?;
        self.directory
            .write_table(decision::STAGE, &effects_path, &found.effects)?;
        self.directory
            .write_table(decision::STAGE, &checks_path, &found.checks)?;
        let rows = found.rows.len() as u64;
        self.directory
            .complete_stage(decision::STAGE, since.elapsed().as_secs_f64(), rows, &[])?;
        let alpha = self.scenario.causal.alpha;
        let significant = found
            .effects
            .iter()
            .filter(|row| row.contrast == VALUE_VS_VALUE.name && row.family == BOTH)
            .filter(|row| row.q.is_some_and(|q| q < alpha))
            .count();
        self.finished(
            decision::STAGE,
            since,
            format!("{rows} exact read-outs; {significant} features move the log-odds (q < {alpha})"),
        );
        self.checks.extend(found.checks);
        Ok(())
    }

    fn pathways(
        &mut self,
        verdicts: &[VerdictRow],
        selection: &[SelectionRow],
    ) -> Result<(), ExperimentError> {
        let checks_path = self.directory.paths().root().join("pathway_checks.parquet");
        if self.directory.is_stage_complete("pathways")? {
            let manifest = self.directory.manifest();
            self.checks.extend(
                self.directory
                    .paths()
                    .read_table::<CheckRow>(manifest, &checks_path)?,
            );
            return Ok(());
        }
        let since = Instant::now();
        self.directory.start_stage("pathways")?;
        let found = pathways_stage(
            &self.session,
            self.scenario,
            &self.prompts,
            verdicts,
            selection,
            &self.directory,
            &self.budget,
            self.reporter,
        )?;
        let (pathways_path, chains_path) =
            (self.directory.paths().pathways(), self.directory.paths().chains());
        self.directory
            .write_table("pathways", &pathways_path, &found.edges)?;
        self.directory
            .write_table("pathways", &chains_path, &found.chains)?;
        self.directory
            .write_table("pathways", &checks_path, &found.checks)?;
        let rows = found.edges.len() as u64;
        self.directory
            .complete_stage("pathways", since.elapsed().as_secs_f64(), rows, &[])?;
        let alpha = self.scenario.pathways.alpha;
        let strong = |row: &&PathwayRow| {
            row.q.is_some_and(|q| q < alpha) && row.control_percentile.is_some_and(|found| found >= 95.0)
        };
        let significant = found.edges.iter().filter(strong).count();
        self.finished(
            "pathways",
            since,
            format!(
                "{significant} edges with q < {alpha} stronger than 95 % of random sources' (of {rows} tested); {} chains",
                found.chains.len()
            ),
        );
        self.checks.extend(found.checks);
        Ok(())
    }

    fn words(&mut self, sweep: &Sweep) -> Result<(), ExperimentError> {
        let checks_path = self.directory.paths().root().join("word_checks.parquet");
        if self.directory.is_stage_complete("words")? {
            let manifest = self.directory.manifest();
            self.checks.extend(
                self.directory
                    .paths()
                    .read_table::<CheckRow>(manifest, &checks_path)?,
            );
            return Ok(());
        }
        let since = Instant::now();
        self.directory.start_stage("words")?;
        self.started("words", "units", sweep.units().len() as u64, 0);
        let mut words = ResponseWords::new(&self.scenario.words)?;
        for unit in sweep.trials()? {
            for row in unit? {
                words.add(&row)?;
            }
            self.reporter.report(Event::Advanced {
                stage: "words",
                units: 1,
                tokens: 0,
            });
        }
        let rows = words.test(&self.scenario.words)?;
        let checks = word_checks(&rows, self.scenario.words.alpha);
        let path = self.directory.paths().words();
        self.directory.write_table("words", &path, &rows)?;
        self.directory.write_table("words", &checks_path, &checks)?;
        let all: Vec<CheckRow> = self.checks.iter().cloned().chain(checks).collect();
        let controls = self.directory.paths().controls();
        self.directory.write_table("words", &controls, &all)?;
        self.directory
            .complete_stage("words", since.elapsed().as_secs_f64(), rows.len() as u64, &[])?;
        let alpha = self.scenario.words.alpha;
        let found = rows.iter().filter(|row| row.q.is_some_and(|q| q < alpha)).count();
        self.finished(
            "words",
            since,
            format!("{found} of {} (feature, word) pairs have q < {alpha}", rows.len()),
        );
        self.checks = all;
        Ok(())
    }

    fn finish(mut self, verdicts: Vec<VerdictRow>) -> Result<RunOutcome, ExperimentError> {
        let findings = serde_json::json!({
            "scenario": self.scenario.name,
            "target": self.scenario.outcome.target,
            "verdicts": verdicts,
            "checks": self.checks,
        });
        let path = self.directory.paths().findings();
        self.directory.write_json("words", &path, &findings)?;
        Ok(RunOutcome {
            out: self.request.out.clone(),
            verdicts,
            checks: self.checks,
            pilot: self.pilot,
        })
    }
}

/// `VmHWM` of this process, where Linux tells it.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
