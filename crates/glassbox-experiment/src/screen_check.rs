//! How far a screen can be trusted: first-order effects beside exact ones, for the features that it ranks first and for
//! random ones.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::forward::Workspace;
use glassbox_stats::spearman;

use crate::decision::ArmEdit;
use crate::edges::RecordedFeature;
use crate::error::ExperimentError;
use crate::prompts::Prompt;
use crate::readout::ScreenTarget;
use crate::scenario::{InterventionKind, Scenario};
use crate::screen::{Passes, Screen, ScreenMode};
use crate::session::Session;

/// A feature with both of its effects, over the same prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedEffect {
    /// Whether it is one of the first of the ranking; else it was drawn at random from the others.
    pub is_top: bool,
    /// Mean first-order effect.
    pub first_order: f64,
    /// Mean effect of the delta edit itself.
    pub exact: f64,
}

/// The agreement of first-order and exact effects. Missing with fewer than three features, or where one side does not vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct ScreenTrust {
    /// Prompts that both were computed on.
    pub prompts: u32,
    /// Features from the top of the ranking.
    pub top: u32,
    /// Random features.
    pub random: u32,
    /// Spearman's rank correlation among the top features.
    pub top_correlation: Option<f64>,
    /// Spearman's rank correlation among the random features.
    pub random_correlation: Option<f64>,
    /// Spearman's rank correlation over all of them.
    pub correlation: Option<f64>,
    /// Share of the top features whose two effects have the same sign.
    pub top_same_sign: Option<f64>,
}

/// Both effects of the first `count` features of a ranking and of as many random others, over some prompts.
///
/// # Errors
/// Those of the model and the dictionaries.
pub fn check_screen(
    session: &Session,
    scenario: &Scenario,
    screen: &Screen<'_>,
    mode: ScreenMode,
    target: &ScreenTarget,
    prompts: &[&Prompt],
    ranking: &[RecordedFeature],
    count: usize,
    workspace: &mut Workspace<CpuBackend>,
    passes: &mut Passes,
) -> Result<(BTreeMap<RecordedFeature, CheckedEffect>, ScreenTrust), ExperimentError> {
    let chosen = choose(ranking, count, scenario.seed);
    if chosen.is_empty() || prompts.is_empty() {
        return Ok((BTreeMap::new(), ScreenTrust::default()));
    }
    let edits = edits(screen, mode, &chosen)?;
    let positions = scenario.sweep.positions.of_model();
    let mut checked: BTreeMap<RecordedFeature, CheckedEffect> = chosen
        .iter()
        .map(|&(feature, is_top)| {
            let nothing = CheckedEffect {
                is_top,
                first_order: 0.0,
                exact: 0.0,
            };
            (feature, nothing)
        })
        .collect();
    let share = 1.0 / prompts.len() as f64;
    for prompt in prompts {
        let readout = target.readout(session, prompt)?;
        let (_, effects) = screen.effects(workspace, &readout, passes)?;
        let values = readout.values(session, workspace, &edits, &positions, scenario.sweep.batch_rows)?;
        passes.forward += edits.len() as u64;
        for (i, (feature, _)) in chosen.iter().enumerate() {
            let Some(place) = screen.layers().iter().position(|layer| layer.layer == feature.0) else {
                continue;
            };
            let exact = match mode {
                ScreenMode::Values => values[2 * i + 1] - values[2 * i],
                ScreenMode::Zero => values[1 + i] - values[0],
            };
            if let Some(entry) = checked.get_mut(feature) {
                entry.first_order += share * f64::from(effects[place][feature.1 as usize]);
                entry.exact += share * exact;
            }
        }
    }
    let trust = trust(&checked, prompts.len())?;
    Ok((checked, trust))
}

/// The first of the ranking, and random ones of the rest; whether each is one of the first.
fn choose(ranking: &[RecordedFeature], count: usize, seed: u64) -> Vec<(RecordedFeature, bool)> {
    let top = &ranking[..count.min(ranking.len())];
    let mut rest: Vec<([u8; 32], RecordedFeature)> = ranking[top.len()..]
        .iter()
        .map(|&(layer, feature)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(b"random feature of a screen");
            hasher.update(&seed.to_le_bytes());
            hasher.update(&layer.to_le_bytes());
            hasher.update(&feature.to_le_bytes());
            (*hasher.finalize().as_bytes(), (layer, feature))
        })
        .collect();
    rest.sort_unstable();
    let random: BTreeSet<RecordedFeature> =
        rest.into_iter().take(count).map(|(_, feature)| feature).collect();
    top.iter()
        .map(|&feature| (feature, true))
        .chain(random.into_iter().map(|feature| (feature, false)))
        .collect()
}

/// Per feature set to A and set to B, or first no edit and then per feature set to zero.
fn edits(
    screen: &Screen<'_>,
    mode: ScreenMode,
    chosen: &[(RecordedFeature, bool)],
) -> Result<Vec<ArmEdit>, ExperimentError> {
    let mut edits: Vec<ArmEdit> = Vec::new();
    if mode == ScreenMode::Zero {
        edits.push(None);
    }
    for &((layer, feature), _) in chosen {
        let Some(of_layer) = screen.layers().iter().find(|found| found.layer == layer) else {
            continue;
        };
        let values = match mode {
            ScreenMode::Values => vec![
                of_layer.values_a[feature as usize],
                of_layer.values_b[feature as usize],
            ],
            ScreenMode::Zero => vec![0.0],
        };
        for value in values {
            let edit = InterventionKind::Delta.set(feature, value);
            edits.push(Some((layer, edit.compile(&of_layer.dictionary)?)));
        }
    }
    Ok(edits)
}

fn trust(
    checked: &BTreeMap<RecordedFeature, CheckedEffect>,
    prompts: usize,
) -> Result<ScreenTrust, ExperimentError> {
    let correlation =
        |wanted: &dyn Fn(&CheckedEffect) -> bool| -> Result<(u32, Option<f64>), ExperimentError> {
            let (first_order, exact): (Vec<f64>, Vec<f64>) = checked
                .values()
                .filter(|effect| wanted(effect))
                .map(|effect| (effect.first_order, effect.exact))
                .unzip();
            let rho = spearman(&first_order, &exact)?.ok().map(|found| found.rho);
            Ok((first_order.len() as u32, rho))
        };
    let (top, top_correlation) = correlation(&|effect| effect.is_top)?;
    let (random, random_correlation) = correlation(&|effect| !effect.is_top)?;
    let same_sign = checked
        .values()
        .filter(|effect| effect.is_top && effect.first_order * effect.exact > 0.0)
        .count();
    Ok(ScreenTrust {
        prompts: prompts as u32,
        top,
        random,
        top_correlation,
        random_correlation,
        correlation: correlation(&|_| true)?.1,
        top_same_sign: (top > 0).then(|| same_sign as f64 / f64::from(top)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_as_many_random_others_are_checked_once() {
        let ranking: Vec<RecordedFeature> = (0..50).map(|feature| (feature % 3, feature)).collect();
        let chosen = choose(&ranking, 10, 4);
        assert_eq!(chosen.iter().filter(|(_, is_top)| *is_top).count(), 10);
        let distinct: BTreeSet<RecordedFeature> = chosen.iter().map(|(feature, _)| *feature).collect();
        assert_eq!((chosen.len(), distinct.len()), (20, 20));
        assert_ne!(chosen, choose(&ranking, 10, 5));
        assert_eq!(choose(&ranking[..4], 10, 4).len(), 4);
    }
}
