//! A whole screen: every prompt's effects gathered per feature, ranked, and checked against exact ones.

use std::collections::BTreeMap;
use std::time::Instant;

use glassbox_stats::Moments;

use crate::edges::RecordedFeature;
use crate::error::ExperimentError;
use crate::events::{Event, Reporter};
use crate::prompts::Prompt;
use crate::readout::ScreenTarget;
use crate::scenario::Scenario;
use crate::screen::{Passes, STAGE, Screen, ScreenMode};
use crate::screen_check::{CheckedEffect, ScreenTrust, check_screen};
use crate::session::Session;
use crate::tables::{ScreenRow, SelectionRow};

/// Prompts on which exact effects are computed, at most.
const CHECKED_PROMPTS: usize = 16;

/// Features from the top of a ranking, and as many random ones, that a screen compares with exact effects unless told otherwise.
pub const CHECKED_FEATURES: usize = 20;

/// What to screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenSettings {
    /// The scalar.
    pub target: ScreenTarget,
    /// The edit.
    pub mode: ScreenMode,
    /// Points of the gradient's path; 1 is plain attribution patching.
    pub steps: u32,
    /// Features from the top of the ranking, and as many random ones, whose exact effect is computed.
    pub checked: usize,
}

/// What a screen found. Its size does not grow with the prompts.
#[derive(Clone, Debug)]
pub struct ScreenFindings {
    settings: ScreenSettings,
    prompts: u32,
    effects: BTreeMap<u32, Vec<Moments>>,
    /// Features with an effect other than zero, by falling |effect|.
    ranking: Vec<RecordedFeature>,
    checked: BTreeMap<RecordedFeature, CheckedEffect>,
    /// How far it can be trusted.
    pub trust: ScreenTrust,
    /// What it cost.
    pub passes: Passes,
    /// Passes of the check against exact effects, besides.
    pub check_passes: Passes,
    /// Mean of the scalar over the prompts, without intervention.
    pub scalar: Option<f64>,
}

/// Screens every feature of every layer that acts on the target, over these prompts. `selection` gives the values A and B.
///
/// # Errors
/// Those of [`Screen::new`], the model and the dictionaries; [`ExperimentError::Interrupted`] if the reporter asks for a stop.
pub fn screen(
    session: &Session,
    scenario: &Scenario,
    prompts: &[Prompt],
    selection: &[SelectionRow],
    settings: &ScreenSettings,
    reporter: &dyn Reporter,
) -> Result<ScreenFindings, ExperimentError> {
    let since = Instant::now();
    let positions = scenario.sweep.positions;
    let means = |layer: u32, features: usize| {
        let (mut a, mut b) = (vec![0.0; features], vec![0.0; features]);
        for row in selection.iter().filter(|row| row.layer == layer) {
            a[row.feature as usize] = row.mean_a as f32;
            b[row.feature as usize] = row.mean_b as f32;
        }
        (a, b)
    };
    let (mode, steps) = (settings.mode, settings.steps);
    let screen = Screen::new(session, &settings.target, mode, positions, steps, means)?;
    let mut effects: BTreeMap<u32, Vec<Moments>> = screen
        .layers()
        .iter()
        .map(|layer| (layer.layer, vec![Moments::new(); layer.dictionary.features()]))
        .collect();
    let total = prompts.len() as u64;
    reporter.report(Event::StageStarted {
        stage: STAGE,
        unit: "prompts",
        total,
        done: 0,
    });
    let mut workspace = session.model().workspace();
    let (mut passes, mut scalar) = (Passes::default(), Moments::new());
    for (done, prompt) in (0..).zip(prompts) {
        if reporter.should_stop() {
            return Err(ExperimentError::Interrupted {
                stage: STAGE,
                done,
                total,
            });
        }
        let readout = settings.target.readout(session, prompt)?;
        let (value, found) = screen.effects(&mut workspace, &readout, &mut passes)?;
        scalar.push(value)?;
        for (moments, found) in effects.values_mut().zip(found) {
            for (moments, effect) in moments.iter_mut().zip(found) {
                moments.push(f64::from(effect))?;
            }
        }
        reporter.report(Event::Advanced {
            stage: STAGE,
            units: 1,
            tokens: 0,
        });
    }
    let ranking = ranked(&effects);
    let mut check_passes = Passes::default();
    let every = prompts.len().div_ceil(CHECKED_PROMPTS).max(1);
    let some: Vec<&Prompt> = prompts.iter().step_by(every).collect();
    let (checked, trust) = check_screen(
        session,
        scenario,
        &screen,
        mode,
        &settings.target,
        &some,
        &ranking,
        settings.checked,
        &mut workspace,
        &mut check_passes,
    )?;
    reporter.report(Event::StageFinished {
        stage: STAGE,
        summary: format!("{} passes forward, {} back", passes.forward, passes.backward),
        seconds: since.elapsed().as_secs_f64(),
    });
    Ok(ScreenFindings {
        settings: settings.clone(),
        prompts: prompts.len() as u32,
        effects,
        ranking,
        checked,
        trust,
        passes,
        check_passes,
        scalar: scalar.mean().ok(),
    })
}

/// Features with an effect, by falling |mean|, then by layer and feature.
fn ranked(effects: &BTreeMap<u32, Vec<Moments>>) -> Vec<RecordedFeature> {
    let mut sizes: Vec<(f64, RecordedFeature)> = Vec::new();
    for (&layer, moments) in effects {
        for (feature, moments) in (0..).zip(moments) {
            let size = moments.mean().unwrap_or_default().abs();
            if size > 0.0 {
                sizes.push((size, (layer, feature)));
            }
        }
    }
    sizes.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    sizes.into_iter().map(|(_, feature)| feature).collect()
}

impl ScreenFindings {
    /// Features with an effect other than zero.
    pub fn ranked(&self) -> usize {
        self.ranking.len()
    }

    /// Features that were screened.
    pub fn screened(&self) -> usize {
        self.effects.values().map(Vec::len).sum()
    }

    /// The mean effect of a feature; `None` if its layer was not screened.
    pub fn effect(&self, layer: u32, feature: u32) -> Option<f64> {
        self.effects.get(&layer)?.get(feature as usize)?.mean().ok()
    }

    /// The table's rows, by rank. Features that are left out have an effect of exactly zero.
    pub fn rows(&self) -> impl Iterator<Item = ScreenRow> + '_ {
        let (target, mode) = (self.settings.target.name(), self.settings.mode.name());
        (1..).zip(&self.ranking).map(move |(rank, &(layer, feature))| {
            let moments = &self.effects[&layer][feature as usize];
            let checked = self.checked.get(&(layer, feature));
            ScreenRow {
                rank,
                layer,
                feature,
                target: target.clone(),
                mode: mode.to_owned(),
                steps: self.settings.steps,
                effect: moments.mean().unwrap_or_default(),
                standard_error: moments
                    .standard_deviation()
                    .ok()
                    .map(|deviation| deviation / f64::from(self.prompts).sqrt()),
                prompts: self.prompts,
                checked: checked.map(|found| if found.is_top { "top" } else { "random" }.to_owned()),
                first_order_checked: checked.map(|found| found.first_order),
                exact_checked: checked.map(|found| found.exact),
            }
        })
    }
}
