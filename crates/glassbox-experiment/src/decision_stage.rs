//! The *decision* stage: the read-out of every sweep prompt under every arm, its contrasts, and its checks.

use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::forward::Workspace;
use glassbox_stats::{Moments, spearman};

use crate::arm::Arm;
use crate::calibration::check;
use crate::causal::{BOTH, VALUE_VS_VALUE};
use crate::decision::{ArmEdit, DecisionSettings, DecisionTokens, STAGE};
use crate::decision_effects::decision_effects;
use crate::error::ExperimentError;
use crate::events::Event;
use crate::executor::run_units;
use crate::plan::{ControlFeature, Plan, SelectedFeature};
use crate::prompts::Prompt;
use crate::scenario::Scenario;
use crate::session::Session;
use crate::sweep::SweepPlace;
use crate::tables::{CheckRow, DecisionEffectRow, DecisionRow, PlanRow, VerdictRow};
use crate::trial_batch::edit_of;

/// What the stage found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionFindings {
    /// One row per prompt and arm.
    pub rows: Vec<DecisionRow>,
    /// One row per contrast.
    pub effects: Vec<DecisionEffectRow>,
    /// What was checked.
    pub checks: Vec<CheckRow>,
}

/// That the decision's prefix and labels have tokens after every prompt of the sweep, and fit the context; for the time
/// before the first trial.
///
/// # Errors
/// Those of [`DecisionTokens::resolve`].
pub(crate) fn check_decision(
    session: &Session,
    scenario: &Scenario,
    prompts: &[Prompt],
) -> Result<(), ExperimentError> {
    let Some(settings) = &scenario.decision else {
        return Ok(());
    };
    for prompt in prompts {
        DecisionTokens::resolve(session, settings, &scenario.outcome.target, &prompt.text)?;
    }
    Ok(())
}

/// Reads the decision of every prompt under the arms of the sweep.
///
/// # Errors
/// Those of the tokens, the model and the dictionaries; [`ExperimentError::Interrupted`] if the reporter asks for a stop.
pub fn decision_stage(
    place: &SweepPlace<'_>,
    settings: &DecisionSettings,
    features: &[SelectedFeature],
    controls: &[ControlFeature],
    verdicts: &[VerdictRow],
) -> Result<DecisionFindings, ExperimentError> {
    let SweepPlace {
        session,
        scenario,
        prompts,
        reporter,
        ..
    } = *place;
    let prompts = prompts.sweep.as_slice();
    let arms: Vec<PlanRow> = match prompts {
        [] => Vec::new(),
        [one, ..] => Plan::new(std::slice::from_ref(one), features, controls, 1, usize::MAX).unit(0),
    };
    let edits = compile(session, scenario, &arms)?;
    let read = |workspace: &mut Workspace<CpuBackend>,
                prompt: &Prompt|
     -> Result<Vec<DecisionRow>, ExperimentError> {
        let tokens = DecisionTokens::resolve(session, settings, &scenario.outcome.target, &prompt.text)?;
        let readings = tokens.readings(
            session.model(),
            workspace,
            &edits,
            &scenario.sweep.positions.of_model(),
            scenario.sweep.batch_rows,
        )?;
        Ok(arms
            .iter()
            .zip(readings)
            .map(|(arm, reading)| DecisionRow {
                prompt_id: prompt.id.clone(),
                family: prompt.family.clone(),
                arm: arm.arm.clone(),
                layer: arm.layer,
                feature: arm.feature,
                matched_feature: arm.matched_feature,
                value: arm.value,
                log_odds: reading.log_odds(),
                probability_target: reading.target.exp(),
                probability_other: reading.other.exp(),
            })
            .collect())
    };
    reporter.report(Event::StageStarted {
        stage: STAGE,
        unit: "prompts",
        total: prompts.len() as u64,
        done: 0,
    });
    let units: Vec<u32> = (0..prompts.len() as u32).collect();
    let mut by_prompt: Vec<Vec<DecisionRow>> = vec![Vec::new(); prompts.len()];
    let mut done = 0;
    let all = run_units(
        &units,
        session.workers(),
        || session.model().workspace(),
        |workspace, unit| read(workspace, &prompts[unit as usize]),
        |unit, rows| {
            by_prompt[unit as usize] = rows;
            done += 1;
            reporter.report(Event::Advanced {
                stage: STAGE,
                units: 1,
                tokens: 0,
            });
            Ok(())
        },
        || reporter.should_stop(),
    )?;
    if !all {
        return Err(ExperimentError::Interrupted {
            stage: STAGE,
            done,
            total: prompts.len() as u64,
        });
    }
    let rows = by_prompt.concat();
    let families = [scenario.family_a(), scenario.family_b()];
    let effects = decision_effects(&rows, families, scenario.sweep.intervention, scenario.seed)?;
    let checks = checks(&rows, &effects, verdicts)?;
    Ok(DecisionFindings {
        rows,
        effects,
        checks,
    })
}

/// The edit of every arm, compiled once for all prompts.
fn compile(
    session: &Session,
    scenario: &Scenario,
    arms: &[PlanRow],
) -> Result<Vec<ArmEdit>, ExperimentError> {
    arms.iter()
        .map(|arm| {
            let Some(layer) = arm.layer else { return Ok(None) };
            let edit = edit_of(arm, scenario.sweep.intervention)?;
            Ok(Some((layer, edit.compile(&session.dictionary(layer)?)?)))
        })
        .collect()
}

fn checks(
    rows: &[DecisionRow],
    effects: &[DecisionEffectRow],
    verdicts: &[VerdictRow],
) -> Result<Vec<CheckRow>, ExperimentError> {
    let mut mass = Moments::new();
    for row in rows.iter().filter(|row| row.arm == Arm::Baseline.name()) {
        mass.push(row.probability_target + row.probability_other)?;
    }
    let (mut exact, mut sampled) = (Vec::new(), Vec::new());
    for row in effects
        .iter()
        .filter(|row| row.contrast == VALUE_VS_VALUE.name && row.family == BOTH)
    {
        let same = |verdict: &&VerdictRow| (verdict.layer, Some(verdict.feature)) == (row.layer, row.feature);
        if let Some(verdict) = verdicts.iter().find(same) {
            exact.push(row.effect);
            sampled.push(verdict.effect);
        }
    }
    let agreement = spearman(&exact, &sampled)?.ok().map(|found| found.rho);
    Ok(vec![
        check(
            STAGE,
            "decision_mass",
            mass.mean().ok(),
            None,
            None,
            "Mean probability, over the prompts without intervention, that what follows the forced prefix is one of the named \
             continuations. The log-odds say nothing of the rest."
                .into(),
        ),
        check(
            STAGE,
            "decision_agrees_with_trials",
            agreement,
            None,
            None,
            "Spearman's rank correlation, over the selected features, of the effect on the log-odds after the forced prefix with \
             the effect on the sampled rate. The two differ where a feature acts on what the model writes before it decides."
                .into(),
        ),
    ])
}
