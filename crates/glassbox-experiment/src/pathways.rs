//! The *pathways* stage: replays of the same seeds under both values of a source, all layers' features recorded.
//!
//! Two waves: the strongest causal features (and random ones as negative controls) first, then the middle features
//! that they move most, so that the second link of a chain is measured too.

use std::collections::BTreeMap;

use glassbox_store::{DiskBudget, RunDirectory, ShardStore, UnitId, assemble};

use crate::arm::Arm;
use crate::chains::{chain_rows, second_wave};
use crate::edges::{
    Recorded, Replays, SourceFeature, SourceReplays, SourceRole, pathway_checks, pathway_rows,
};
use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::executor::run_units;
use crate::plan::{Plan, SelectedFeature, draw_controls};
use crate::prompts::{Prompt, PromptSets};
use crate::recording::{Recording, ReplayRecord};
use crate::scenario::{InterventionPositions, Scenario};
use crate::session::Session;
use crate::sweep::{shard_origin, unit_ids, warn_of_disk};
use crate::tables::{
    ChainRow, CheckRow, PathwayRow, PlanRow, ReplayFeatureRow, SelectionRow, TokenFeatureRow, VerdictRow,
};
use crate::trial_batch::TrialContext;
use crate::trial_index::PairKey;

/// What the stage finds.
#[derive(Clone, Debug, Default)]
pub struct PathwayFindings {
    /// All edges tested.
    pub edges: Vec<PathwayRow>,
    /// Chains of two edges.
    pub chains: Vec<ChainRow>,
    /// Checks of the stage.
    pub checks: Vec<CheckRow>,
}

/// Runs both waves of replays and tests their edges.
///
/// # Errors
/// Those of the model, the dictionaries and the disk; [`ExperimentError::Interrupted`].
pub fn pathways_stage(
    session: &Session,
    scenario: &Scenario,
    prompts: &PromptSets,
    verdicts: &[VerdictRow],
    selection: &[SelectionRow],
    directory: &RunDirectory,
    budget: &DiskBudget,
    reporter: &dyn Reporter,
) -> Result<PathwayFindings, ExperimentError> {
    let settings = &scenario.pathways;
    let stage = Stage {
        session,
        scenario,
        directory,
        budget,
        reporter,
        prompts: replay_prompts(scenario, prompts),
    };
    let mut sources = causal_sources(verdicts, settings.sources);
    sources.extend(control_sources(
        session,
        scenario,
        &sources,
        selection,
        settings.control_sources,
    )?);
    let first = stage.replay(1, &sources)?;
    let mut replays = first.sources;
    let rows = pathway_rows(&first.baseline, &replays, settings)?;
    let last_layer = session.layers().last().copied().unwrap_or_default();
    let norm = |layer, feature| session.decoder_norm(layer, feature).unwrap_or_default();
    let wave = second_wave(
        &rows,
        &sources,
        settings.second_wave,
        settings.alpha,
        last_layer,
        norm,
    );
    if !wave.is_empty() {
        replays.extend(stage.replay(2, &wave)?.sources);
        sources.extend(wave);
    }
    let edges = pathway_rows(&first.baseline, &replays, settings)?;
    let chains = chain_rows(&edges, &sources, settings.alpha);
    let checks = pathway_checks(&replays, &edges, settings, scenario.seed)?;
    Ok(PathwayFindings {
        edges,
        chains,
        checks,
    })
}

fn replay_prompts(scenario: &Scenario, prompts: &PromptSets) -> Vec<Prompt> {
    let most = scenario.pathways.max_prompts;
    [scenario.family_a(), scenario.family_b()]
        .into_iter()
        .flat_map(|family| {
            prompts
                .sweep
                .iter()
                .filter(move |prompt| prompt.family == family)
                .take(most)
        })
        .cloned()
        .collect()
}

/// The strongest features by |effect|: those with a specific effect first.
fn causal_sources(verdicts: &[VerdictRow], most: usize) -> Vec<SourceFeature> {
    let mut ranked: Vec<&VerdictRow> = verdicts.iter().collect();
    ranked.sort_by(|x, y| {
        let specific = |row: &VerdictRow| row.verdict != "specific_effect";
        specific(x)
            .cmp(&specific(y))
            .then(y.effect.abs().total_cmp(&x.effect.abs()))
            .then((x.layer, x.feature).cmp(&(y.layer, y.feature)))
    });
    ranked
        .into_iter()
        .take(most)
        .map(|row| SourceFeature {
            layer: row.layer,
            feature: row.feature,
            value_a: row.value_a,
            value_b: row.value_b,
            role: SourceRole::Causal,
        })
        .collect()
}

/// Random features of the sources' layers, moved as far as their source.
fn control_sources(
    session: &Session,
    scenario: &Scenario,
    sources: &[SourceFeature],
    selection: &[SelectionRow],
    most: usize,
) -> Result<Vec<SourceFeature>, ExperimentError> {
    let matched = |row: &SelectionRow| {
        sources
            .iter()
            .take(most)
            .any(|source| (source.layer, source.feature) == (row.layer, row.feature))
    };
    let narrowed: Vec<SelectionRow> = selection
        .iter()
        .filter(|row| !row.selected || matched(row))
        .cloned()
        .collect();
    // Another seed than the sweep's, so that the negative controls are not the same features.
    let seed = scenario.seed.wrapping_add(1);
    let controls = draw_controls(&narrowed, 1, seed, |layer, feature| {
        session.decoder_norm(layer, feature)
    })?;
    Ok(controls
        .into_iter()
        .map(|control| SourceFeature {
            layer: control.layer,
            feature: control.feature,
            value_a: control.value_a,
            value_b: control.value_b,
            role: SourceRole::Control,
        })
        .collect())
}

/// The replays of one wave.
struct Wave {
    baseline: Replays,
    sources: Vec<SourceReplays>,
}

struct Stage<'a> {
    session: &'a Session,
    scenario: &'a Scenario,
    directory: &'a RunDirectory,
    budget: &'a DiskBudget,
    reporter: &'a dyn Reporter,
    prompts: Vec<Prompt>,
}

impl Stage<'_> {
    fn replay(&self, wave: u32, sources: &[SourceFeature]) -> Result<Wave, ExperimentError> {
        let (plan, hash) = self.plan(wave, sources)?;
        let origin = shard_origin(self.directory, &hash);
        let storage = self.directory.storage();
        let root = self.directory.paths().root().to_owned();
        let mut store: ShardStore<ReplayFeatureRow> = ShardStore::open(
            storage,
            &root.join(format!("replays/wave-{wave}")),
            origin.clone(),
        )?;
        let mut tokens: Option<ShardStore<TokenFeatureRow>> = if self.scenario.pathways.record_tokens {
            let folder = self.directory.paths().features().join(format!("wave-{wave}"));
            Some(ShardStore::open(storage, &folder, origin)?)
        } else {
            None
        };
        self.execute(&plan, &hash, &mut store, tokens.as_mut())?;
        let units = unit_ids(&plan);
        let mut replays = Wave {
            baseline: Replays::new(),
            sources: sources
                .iter()
                .map(|source| SourceReplays {
                    source: source.clone(),
                    value_a: Replays::new(),
                    value_b: Replays::new(),
                })
                .collect(),
        };
        // Trials without any active feature have no rows but were run: the plan knows them.
        for row in plan.rows() {
            if let Some(target) = replays.of(&row.arm, row.layer, row.feature)? {
                target.insert(pair_key(&row.family, &row.prompt_id, row.trial), BTreeMap::new());
            }
        }
        // A source that acts at the end of the prompt alone is measured there, in the same pass.
        let at_prompt_end = self.scenario.sweep.positions == InterventionPositions::LastOfPrompt;
        for unit in assemble(&[&store], &units)? {
            for row in unit? {
                let key = pair_key(&row.family, &row.prompt_id, row.trial);
                if let Some(target) = replays.of(&row.arm, row.source_layer, row.source_feature)? {
                    let recorded = Recorded {
                        mean: f64::from(if at_prompt_end {
                            row.activation_at_prompt_end
                        } else {
                            row.mean_activation
                        }),
                        at_prompt_end: f64::from(row.activation_at_prompt_end),
                    };
                    target
                        .entry(key)
                        .or_default()
                        .insert((row.layer, row.feature), recorded);
                }
            }
        }
        Ok(replays)
    }

    fn plan(&self, wave: u32, sources: &[SourceFeature]) -> Result<(Plan, String), ExperimentError> {
        let features: Vec<SelectedFeature> = sources
            .iter()
            .map(|source| SelectedFeature {
                layer: source.layer,
                feature: source.feature,
                value_a: source.value_a,
                value_b: source.value_b,
            })
            .collect();
        let settings = &self.scenario.pathways;
        let batch_rows = self.scenario.sweep.batch_rows;
        let plan = Plan::new(&self.prompts, &features, &[], settings.trials, batch_rows);
        // The baseline is pooled: the second wave is compared with the first one's.
        let plan = if wave > 1 {
            plan.without(&[Arm::ReconstructOnly, Arm::Baseline])
        } else {
            plan.without(&[Arm::ReconstructOnly])
        };
        let hashes = serde_json::to_string(&self.directory.manifest().hashes).map_err(|error| {
            ExperimentError::Data {
                stage: "pathways",
                what: error.to_string(),
            }
        })?;
        let scenario = self.scenario;
        let context = format!("wave {wave} {hashes} {}", scenario.deciding_settings()?);
        let hash = plan.hash(&context);
        Ok((plan, hash))
    }

    fn execute(
        &self,
        plan: &Plan,
        hash: &str,
        store: &mut ShardStore<ReplayFeatureRow>,
        mut tokens: Option<&mut ShardStore<TokenFeatureRow>>,
    ) -> Result<(), ExperimentError> {
        let complete = |unit: u32| {
            let id = UnitId::numbered(u64::from(unit));
            store.is_complete(&id) && tokens.as_ref().is_none_or(|tokens| tokens.is_complete(&id))
        };
        let open: Vec<u32> = (0..plan.units()).filter(|&unit| !complete(unit)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let total = plan.trials();
        let to_do: u64 = open.iter().map(|&unit| plan.unit_len(unit) as u64).sum();
        self.reporter.report(Event::StageStarted {
            stage: "pathways",
            unit: "replays",
            total,
            done: total - to_do,
        });
        self.budget.check_before(self.estimated_bytes(to_do))?;
        let parser = self.scenario.compiled_parser()?;
        let run: String = hash.chars().take(16).collect();
        let context = TrialContext {
            session: self.session,
            scenario: self.scenario,
            parser: &parser,
            run: &run,
            baseline_runs: 1,
            progress: &|_, _| {},
        };
        let recording = if tokens.is_some() {
            Recording::Activations
        } else {
            Recording::Sums
        };
        let mut warned = false;
        let mut delivered = total - to_do;
        let all = run_units(
            &open,
            self.session.workers(),
            || self.session.model().workspace(),
            |workspace, unit| {
                let rows = plan.unit(unit);
                let text = rows.first().and_then(|row| {
                    self.prompts
                        .iter()
                        .find(|prompt| prompt.family == row.family && prompt.id == row.prompt_id)
                });
                context.run_unit(
                    workspace,
                    text.map_or("", |prompt| &prompt.text),
                    &rows,
                    recording,
                )
            },
            |unit, result| {
                let id = UnitId::numbered(u64::from(unit));
                let rows = plan.unit(unit);
                if let Some(tokens) = tokens.as_deref_mut()
                    && !tokens.is_complete(&id)
                {
                    let activations = rows
                        .iter()
                        .zip(&result.records)
                        .flat_map(|(row, record)| token_rows(&run, row, record));
                    tokens.write(&id, activations)?;
                }
                if !store.is_complete(&id) {
                    let sums = rows
                        .iter()
                        .zip(&result.records)
                        .flat_map(|(row, record)| sum_rows(&run, row, record));
                    store.write(&id, sums)?;
                }
                delivered += rows.len() as u64;
                let (units, tokens) = (rows.len() as u64, result.tokens);
                self.reporter.report(Event::Advanced {
                    stage: "pathways",
                    units,
                    tokens,
                });
                warn_of_disk(self.budget, &mut warned, self.reporter)
            },
            || self.reporter.should_stop(),
        )?;
        if all {
            Ok(())
        } else {
            Err(ExperimentError::Interrupted {
                stage: "pathways",
                done: delivered,
                total,
            })
        }
    }
}

impl Stage<'_> {
    /// Bytes that so many replays may take on disk: about a hundred active features per layer and replay, and with every
    /// token recorded about thirty per layer and token.
    fn estimated_bytes(&self, replays: u64) -> u64 {
        let layers = self.session.layers().len() as u64;
        let sums = 100 * 16 * layers;
        let tokens = if self.scenario.pathways.record_tokens {
            30 * 12 * layers * self.scenario.sweep.max_new_tokens as u64
        } else {
            0
        };
        replays.saturating_mul(sums + tokens)
    }
}

impl Wave {
    fn of(
        &mut self,
        arm: &str,
        layer: Option<u32>,
        feature: Option<u32>,
    ) -> Result<Option<&mut Replays>, ExperimentError> {
        let arm = Arm::from_name(arm)?;
        if arm == Arm::Baseline {
            return Ok(Some(&mut self.baseline));
        }
        let source = self
            .sources
            .iter_mut()
            .find(|replays| (Some(replays.source.layer), Some(replays.source.feature)) == (layer, feature));
        Ok(source.map(|replays| {
            if arm == Arm::ValueA {
                &mut replays.value_a
            } else {
                &mut replays.value_b
            }
        }))
    }
}

fn pair_key(family: &str, prompt_id: &str, trial: u32) -> PairKey {
    PairKey {
        family: family.to_owned(),
        prompt_id: prompt_id.to_owned(),
        trial,
    }
}

fn sum_rows(run: &str, row: &PlanRow, record: &ReplayRecord) -> Vec<ReplayFeatureRow> {
    let tokens = record.tokens;
    record
        .features
        .iter()
        .map(|(&(layer, feature), sums)| ReplayFeatureRow {
            run: run.to_owned(),
            prompt_id: row.prompt_id.clone(),
            family: row.family.clone(),
            arm: row.arm.clone(),
            source_layer: row.layer,
            source_feature: row.feature,
            trial: row.trial,
            layer,
            feature,
            tokens,
            active_tokens: sums.active_tokens,
            mean_activation: (sums.sum / f64::from(tokens.max(1))) as f32,
            max_activation: sums.max,
            activation_at_prompt_end: sums.at_prompt_end,
        })
        .collect()
}

fn token_rows(run: &str, row: &PlanRow, record: &ReplayRecord) -> Vec<TokenFeatureRow> {
    let intervention = match (row.layer, row.feature) {
        (Some(layer), Some(feature)) => format!("L{layer}-{feature}"),
        _ => "none".to_owned(),
    };
    record
        .activations
        .iter()
        .map(|&(position, layer, feature, activation)| TokenFeatureRow {
            run: run.to_owned(),
            prompt_id: row.prompt_id.clone(),
            family: row.family.clone(),
            arm: row.arm.clone(),
            trial: row.trial,
            intervention: intervention.clone(),
            position,
            layer,
            feature,
            activation,
        })
        .collect()
}
