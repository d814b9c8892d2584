//! From a scenario to a planned sweep: the run's manifest, the *select* stage, and the plan, which is made once.

use std::collections::BTreeMap;
use std::time::Instant;

use glassbox_store::{Checksum, Manifest, hash_bytes};

use crate::error::ExperimentError;
use crate::plan::{Plan, count_trials, draw_controls, selected_features};
use crate::prompts::PromptSets;
use crate::readout::ScreenTarget;
use crate::run::{Run, RunRequest, stages};
use crate::scenario::SelectionRank;
use crate::screen::ScreenMode;
use crate::screen_stage::{CHECKED_FEATURES, ScreenSettings, screen};
use crate::select::{is_untested, select, select_by_attribution};
use crate::session::Session;
use crate::sweep::Sweep;
use crate::tables::{PromptRow, ScreenRow, SelectionRow};

/// The manifest of a run: what decides its results, and what of the execution is worth keeping.
pub(crate) fn manifest(
    request: &RunRequest,
    session: &Session,
    prompts: &PromptSets,
) -> Result<Manifest, ExperimentError> {
    let mut config = request.scenario.deciding_settings()?;
    config["description"] = request.scenario.description.clone().into();
    if let Some(pilot) = request.pilot {
        config["pilot"] = pilot.into();
    }
    let mut manifest = Manifest::new(
        env!("CARGO_PKG_VERSION"),
        &session.instruction_set(),
        config,
        &stages(&request.scenario),
    );
    let mut hashes: BTreeMap<String, Checksum> = session
        .hashes()
        .iter()
        .map(|(name, hash)| (name.clone(), hash_bytes(hash.as_bytes())))
        .collect();
    hashes.insert(
        "parser".into(),
        hash_bytes(request.scenario.compiled_parser()?.hash().as_bytes()),
    );
    hashes.insert("prompts".into(), hash_bytes(format!("{prompts:?}").as_bytes()));
    manifest.hashes = hashes;
    manifest.seeds.insert("run".into(), request.scenario.seed);
    manifest.execution = serde_json::json!({
        "threads": rayon::current_num_threads(),
        "disk_budget_bytes": request.scenario.sweep.disk_budget_bytes,
    });
    Ok(manifest)
}

impl Run<'_> {
    /// The *select* stage: every feature compared between the families.
    pub(crate) fn select(&mut self) -> Result<Vec<SelectionRow>, ExperimentError> {
        let path = self.directory.paths().selection();
        if self.directory.is_stage_complete("select")? {
            return Ok(self
                .directory
                .paths()
                .read_table(self.directory.manifest(), &path)?);
        }
        let since = Instant::now();
        self.directory.start_stage("select")?;
        self.started("select", "prompts", self.prompts.select.len() as u64, 0);
        let families = self.families();
        let mut rows = select(
            &self.session,
            &self.prompts.select,
            families,
            &self.scenario.select,
            self.reporter,
        )?;
        if let (SelectionRank::Attribution, Some(decision)) =
            (self.scenario.select.rank_by, &self.scenario.decision)
        {
            let settings = ScreenSettings {
                target: ScreenTarget::Decision {
                    settings: decision.clone(),
                    outcome: self.scenario.outcome.target.clone(),
                },
                mode: ScreenMode::Values,
                steps: 1,
                checked: CHECKED_FEATURES,
            };
            let prompts = &self.prompts.select;
            let found = screen(
                &self.session,
                self.scenario,
                prompts,
                &rows,
                &settings,
                self.reporter,
            )?;
            select_by_attribution(&mut rows, &self.scenario.select, |layer, feature| {
                found.effect(layer, feature)
            })?;
            let path = self.directory.paths().root().join("screen.parquet");
            let screened: Vec<ScreenRow> = found.rows().collect();
            self.directory.write_table("select", &path, &screened)?;
        }
        self.directory.write_table("select", &path, &rows)?;
        let prompts_path = self.directory.paths().prompts();
        self.directory
            .write_table("select", &prompts_path, &prompt_rows(&self.prompts))?;
        let (selected, tested) = (
            rows.iter().filter(|row| row.selected).count(),
            rows.iter().filter(|row| row.p.is_some()).count(),
        );
        let below = rows
            .iter()
            .filter(|row| row.q.is_some_and(|q| q < self.scenario.select.alpha))
            .count();
        self.directory
            .complete_stage("select", since.elapsed().as_secs_f64(), rows.len() as u64, &[])?;
        self.finished(
            "select",
            since,
            if is_untested(&rows) {
                format!(
                    "{selected} features with the largest differences selected; too few prompts to test them"
                )
            } else {
                format!(
                    "{below} of {tested} features differ between the families (q < {}); {selected} selected",
                    self.scenario.select.alpha
                )
            },
        );
        Ok(rows)
    }

    /// Makes the plan, or finds it made, and opens the sweep. Returns the number of selected features of the whole
    /// besides, of which a pilot has only some.
    pub(crate) fn plan(&mut self, selection: &[SelectionRow]) -> Result<(Sweep, usize), ExperimentError> {
        let settings = &self.scenario.sweep;
        let mut features = selected_features(selection);
        if features.is_empty() {
            return Err(ExperimentError::Data {
                stage: "sweep",
                what: format!(
                    "no feature differs between the families (q < {}); give more prompts, other families, or a larger select.alpha",
                    self.scenario.select.alpha
                ),
            });
        }
        let whole = features.len();
        let mut controls = draw_controls(
            selection,
            settings.controls_per_feature,
            self.scenario.seed,
            |layer, feature| self.session.decoder_norm(layer, feature),
        )?;
        if let Some(pilot) = self.request.pilot {
            features.truncate(pilot);
            controls.retain(|control| {
                features.iter().any(|feature| {
                    (feature.layer, feature.feature) == (control.layer, control.matched_feature)
                })
            });
        }
        let layers = self.session.layers().len();
        count_trials(
            self.prompts.sweep.len(),
            layers,
            features.len(),
            controls.len(),
            settings.trials,
        )?;
        let plan = Plan::new(
            &self.prompts.sweep,
            &features,
            &controls,
            settings.trials,
            settings.unit_trials,
        );
        let context = serde_json::to_string(&self.directory.manifest().hashes).map_err(|error| {
            ExperimentError::Data {
                stage: "sweep",
                what: error.to_string(),
            }
        })?;
        let hash = plan.hash(&format!("{context} {}", self.scenario.deciding_settings()?));
        self.write_plan(&plan, hash_bytes(hash.as_bytes()))?;
        let sweep = Sweep::open(
            &self.directory,
            plan,
            hash,
            features,
            controls,
            self.scenario.compiled_parser()?,
        )?;
        Ok((sweep, whole))
    }

    /// Writes the plan unless it is there. A plan is never replaced by another one.
    fn write_plan(&mut self, plan: &Plan, hash: Checksum) -> Result<(), ExperimentError> {
        let path = self.directory.paths().plan();
        if let Some(stored) = self
            .directory
            .manifest()
            .plan_hash
            .filter(|stored| *stored != hash)
        {
            return Err(ExperimentError::Data {
                stage: "sweep",
                what: format!(
                    "the plan in {} has hash {stored}, and the one made now {hash}: it was made by another build of the program; \
                     continue with that one, or choose another folder",
                    path.display()
                ),
            });
        }
        if self.directory.manifest().plan_hash.is_some() && self.directory.has_file(&path)? {
            return Ok(());
        }
        self.directory.start_stage("sweep")?;
        self.directory
            .write_table_of("sweep", &path, plan.rows().map(Ok))?;
        self.directory.update(|manifest| {
            manifest.plan_hash = Some(hash);
            Ok(())
        })?;
        Ok(())
    }
}

fn prompt_rows(prompts: &PromptSets) -> Vec<PromptRow> {
    [("select", &prompts.select), ("sweep", &prompts.sweep)]
        .into_iter()
        .flat_map(|(stage, prompts)| prompts.iter().map(move |prompt| (stage, prompt)))
        .map(|(stage, prompt)| PromptRow {
            stage: stage.to_owned(),
            family: prompt.family.clone(),
            prompt_id: prompt.id.clone(),
            text: prompt.text.clone(),
        })
        .collect()
}
