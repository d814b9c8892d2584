//! The plan of a sweep: every trial, in its unit of work, before the first one runs.
//!
//! A unit is one batch of one prompt, so that the prompt's keys and values are computed once for all its rows. The
//! plan alone fixes which rows share a batch: one process, a resumed one, or many give the same tables.

use std::collections::BTreeSet;

use crate::arm::Arm;
use crate::error::ExperimentError;
use crate::prompts::Prompt;
use crate::tables::{PlanRow, SelectionRow};

/// A selected feature with the values of its arms.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedFeature {
    /// Block index.
    pub layer: u32,
    /// Feature index.
    pub feature: u32,
    /// Mean over family A's prompts.
    pub value_a: f64,
    /// Mean over family B's prompts.
    pub value_b: f64,
}

/// A random feature that is held at the levels of a selected one.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlFeature {
    /// Block index, the selected feature's own.
    pub layer: u32,
    /// The random feature.
    pub feature: u32,
    /// The selected feature whose levels it copies.
    pub matched_feature: u32,
    /// The level that stands for value A.
    pub value_a: f64,
    /// The level that stands for value B.
    pub value_b: f64,
}

/// The features marked as selected in a selection table.
pub fn selected_features(selection: &[SelectionRow]) -> Vec<SelectedFeature> {
    let mut features: Vec<&SelectionRow> = selection.iter().filter(|row| row.selected).collect();
    features.sort_by_key(|row| (row.layer, row.rank_in_layer, row.feature));
    features
        .into_iter()
        .map(|row| SelectedFeature {
            layer: row.layer,
            feature: row.feature,
            value_a: row.mean_a,
            value_b: row.mean_b,
        })
        .collect()
}

/// Draws random-feature controls: for each selected feature `per_feature` features of the same layer that are active on
/// some prompt, are not selected and were not drawn before.
///
/// A control is held at the same two levels in the residual stream: with r = ‖d_selected‖ / ‖d_control‖ its ends are
/// r · value A and r · value B, so that both the push and the step between its ends are as long as the selected
/// feature's. What remains different is the direction. Where the selected feature is naturally active and the control
/// is not, the control is pushed further than the feature: the comparison errs on the strict side.
///
/// `decoder_norm` gives ‖d‖ of a (layer, feature). If a layer has too few candidates, fewer controls are drawn.
///
/// # Errors
/// Those of `decoder_norm`.
pub fn draw_controls(
    selection: &[SelectionRow],
    per_feature: usize,
    seed: u64,
    decoder_norm: impl Fn(u32, u32) -> Result<f64, ExperimentError>,
) -> Result<Vec<ControlFeature>, ExperimentError> {
    let mut taken: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut controls = Vec::new();
    for selected in selected_features(selection) {
        let mut candidates: Vec<([u8; 32], &SelectionRow)> = selection
            .iter()
            .filter(|row| {
                row.layer == selected.layer
                    && !row.selected
                    && row.active_share_a + row.active_share_b > 0.0
                    && !taken.contains(&(row.layer, row.feature))
            })
            .map(|row| (draw_key(seed, &selected, row.feature), row))
            .collect();
        candidates.sort_by_key(|(key, row)| (*key, row.feature));
        let selected_norm = decoder_norm(selected.layer, selected.feature)?;
        let mut drawn = 0;
        for (_, row) in candidates {
            if drawn == per_feature {
                break;
            }
            let control_norm = decoder_norm(row.layer, row.feature)?;
            if control_norm <= 0.0 {
                continue;
            }
            drawn += 1;
            taken.insert((row.layer, row.feature));
            let ratio = selected_norm / control_norm;
            controls.push(ControlFeature {
                layer: row.layer,
                feature: row.feature,
                matched_feature: selected.feature,
                value_a: ratio * selected.value_a,
                value_b: ratio * selected.value_b,
            });
        }
    }
    Ok(controls)
}

/// Sorting by this key is a random order that depends on nothing but the seed and the names.
fn draw_key(seed: u64, selected: &SelectedFeature, candidate: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"random-feature control");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&selected.layer.to_le_bytes());
    hasher.update(&selected.feature.to_le_bytes());
    hasher.update(&candidate.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// Most trials of one plan: beyond, the plan itself no longer fits comfortably into memory.
pub const MOST_TRIALS: u64 = 20_000_000;

/// Trials that a plan of this size has.
///
/// # Errors
/// [`ExperimentError::Data`] beyond [`MOST_TRIALS`].
pub fn count_trials(
    prompts: usize,
    layers: usize,
    features: usize,
    controls: usize,
    trials: u32,
) -> Result<u64, ExperimentError> {
    let per_prompt = 1 + layers as u64 + 2 * (features as u64).saturating_add(controls as u64);
    let all = (prompts as u64)
        .saturating_mul(u64::from(trials))
        .saturating_mul(per_prompt);
    if all > MOST_TRIALS {
        return Err(ExperimentError::Data {
            stage: "sweep",
            what: format!(
                "the plan has {all} trials, and one run holds at most {MOST_TRIALS}; lower sweep.trials, sweep.max_prompts, \
                 select.top_per_layer or sweep.controls_per_feature"
            ),
        });
    }
    Ok(all)
}

/// Writes out every trial.
///
/// Per prompt, in this order: baseline, reconstruct-only of every layer that has a selected feature, then per feature
/// its two values, then the controls; each with trials 0 to `trials` − 1. Rows are cut into units of `batch_rows`.
pub fn plan_trials(
    prompts: &[Prompt],
    features: &[SelectedFeature],
    controls: &[ControlFeature],
    trials: u32,
    batch_rows: usize,
) -> Vec<PlanRow> {
    let layers: BTreeSet<u32> = features.iter().map(|feature| feature.layer).collect();
    let mut rows = Vec::new();
    let mut unit = 0;
    for prompt in prompts {
        let start = rows.len();
        let mut arm = |arm: Arm, layer, feature, matched_feature, value| {
            for trial in 0..trials {
                rows.push(PlanRow {
                    unit: 0,
                    prompt_id: prompt.id.clone(),
                    family: prompt.family.clone(),
                    arm: arm.name().to_owned(),
                    layer,
                    feature,
                    matched_feature,
                    value,
                    trial,
                });
            }
        };
        arm(Arm::Baseline, None, None, None, None);
        for &layer in &layers {
            arm(Arm::ReconstructOnly, Some(layer), None, None, None);
        }
        for feature in features {
            for (name, value) in [(Arm::ValueA, feature.value_a), (Arm::ValueB, feature.value_b)] {
                arm(
                    name,
                    Some(feature.layer),
                    Some(feature.feature),
                    None,
                    Some(value),
                );
            }
        }
        for control in controls {
            for (name, value) in [(Arm::ControlA, control.value_a), (Arm::ControlB, control.value_b)] {
                let matched = Some(control.matched_feature);
                arm(
                    name,
                    Some(control.layer),
                    Some(control.feature),
                    matched,
                    Some(value),
                );
            }
        }
        for chunk in rows[start..].chunks_mut(batch_rows) {
            for row in chunk {
                row.unit = unit;
            }
            unit += 1;
        }
    }
    rows
}

/// The hash that names a plan: over every row, and over everything else that decides the trials, given as `context`.
pub fn plan_hash(rows: &[PlanRow], context: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(context.as_bytes());
    for row in rows {
        hasher.update(format!("{row:?}\n").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(layer: u32, feature: u32, means: (f64, f64), selected: bool) -> SelectionRow {
        SelectionRow {
            layer,
            feature,
            mean_a: means.0,
            mean_b: means.1,
            sd_a: 1.0,
            sd_b: 1.0,
            n_a: 9,
            n_b: 9,
            active_share_a: if means.0 > 0.0 { 0.5 } else { 0.0 },
            active_share_b: if means.1 > 0.0 { 0.5 } else { 0.0 },
            welch_t: None,
            degrees_of_freedom: None,
            p: None,
            q: None,
            cohen_d: None,
            rank_in_layer: selected.then_some(1),
            selected,
        }
    }

    fn selection() -> Vec<SelectionRow> {
        let mut rows = vec![
            row(0, 0, (1.0, 3.0), true),
            row(0, 1, (4.0, 1.0), true),
            row(2, 0, (0.0, 2.0), true),
        ];
        rows.extend((2..20).map(|feature| row(0, feature, (2.0, 2.5), false)));
        rows.extend((20..30).map(|feature| row(0, feature, (0.0, 0.0), false)));
        rows.push(row(2, 1, (0.1, 0.1), false));
        rows
    }

    #[test]
    fn controls_copy_the_levels_of_their_feature_and_are_alive_distinct_and_not_selected() {
        let norm = |_: u32, feature: u32| Ok(1.0 + f64::from(feature));
        let controls = draw_controls(&selection(), 2, 7, norm).unwrap();
        assert_eq!(controls.len(), 2 + 2 + 1);
        let mut seen = BTreeSet::new();
        for control in &controls {
            assert!(seen.insert((control.layer, control.feature)));
            assert!((2..20).contains(&control.feature) || control.layer == 2);
            let selected = selected_features(&selection())
                .into_iter()
                .find(|s| (s.layer, s.feature) == (control.layer, control.matched_feature))
                .unwrap();
            let (selected_norm, control_norm) = (
                1.0 + f64::from(selected.feature),
                1.0 + f64::from(control.feature),
            );
            assert!((selected.value_a * selected_norm - control.value_a * control_norm).abs() < 1e-9);
            assert!((selected.value_b * selected_norm - control.value_b * control_norm).abs() < 1e-9);
            assert!(control.value_a >= 0.0 && control.value_b >= 0.0);
        }
        assert_eq!(controls, draw_controls(&selection(), 2, 7, norm).unwrap());
        assert_ne!(controls, draw_controls(&selection(), 2, 8, norm).unwrap());
    }

    #[test]
    fn every_arm_has_the_same_prompts_and_trials_and_units_hold_one_prompt() {
        let prompts: Vec<Prompt> = ["x", "y"]
            .iter()
            .map(|id| Prompt {
                id: (*id).into(),
                family: "a".into(),
                text: (*id).into(),
            })
            .collect();
        let features = selected_features(&selection());
        let controls = draw_controls(&selection(), 1, 7, |_, _| Ok(1.0)).unwrap();
        let rows = plan_trials(&prompts, &features, &controls, 3, 8);
        assert_eq!(rows.len(), 2 * 3 * (1 + 2 + 2 * 3 + 2 * 3));
        let units: BTreeSet<u32> = rows.iter().map(|row| row.unit).collect();
        for &unit in &units {
            let of_unit: Vec<&PlanRow> = rows.iter().filter(|row| row.unit == unit).collect();
            assert!(of_unit.len() <= 8);
            assert!(of_unit.iter().all(|row| row.prompt_id == of_unit[0].prompt_id));
        }
        assert_eq!(units.len(), *units.last().unwrap() as usize + 1);
        for arm in Arm::ALL {
            let mut trials: Vec<(String, u32)> = rows
                .iter()
                .filter(|row| row.arm == arm.name())
                .map(|row| (row.prompt_id.clone(), row.trial))
                .collect();
            trials.sort();
            trials.dedup();
            assert_eq!(trials.len(), 6, "{arm}");
        }
    }

    #[test]
    fn the_hash_follows_rows_and_context() {
        let prompts = [Prompt {
            id: "x".into(),
            family: "a".into(),
            text: "x".into(),
        }];
        let features = selected_features(&selection());
        let rows = plan_trials(&prompts, &features, &[], 1, 8);
        let hash = plan_hash(&rows, "model 1");
        assert_eq!(hash, plan_hash(&rows, "model 1"));
        assert_ne!(hash, plan_hash(&rows, "model 2"));
        let mut changed = rows;
        changed[3].trial = 9;
        assert_ne!(hash, plan_hash(&changed, "model 1"));
    }
}
