//! The plan of a sweep: every trial, in its unit of work, before the first one runs.
//!
//! A unit holds trials of one prompt, so that the prompt's keys and values are computed once for all of them. Its numbers
//! depend on nothing outside it: one process, a resumed one, or many give the same tables.

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

/// Most trials of one plan: beyond, its shard files are too many for one folder.
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

/// One arm of a plan: what every prompt gets, `trials` times.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PlannedArm {
    arm: Arm,
    layer: Option<u32>,
    feature: Option<u32>,
    matched_feature: Option<u32>,
    value: Option<f64>,
}

/// Every trial of a sweep, written out on demand: what is kept does not grow with the number of trials.
///
/// Per prompt, in this order: baseline, reconstruct-only of every layer that has a selected feature, then per feature
/// its two values, then the controls; each with trials 0 to `trials` − 1. A prompt's rows are cut into units of at most
/// `unit_trials`, and units are numbered from 0 through all prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// (family, prompt id) of every prompt.
    prompts: Vec<(String, String)>,
    arms: Vec<PlannedArm>,
    trials: u32,
    unit_trials: usize,
}

impl Plan {
    /// The plan of these prompts, features and controls. A `unit_trials` of 0 counts as 1.
    pub fn new(
        prompts: &[Prompt],
        features: &[SelectedFeature],
        controls: &[ControlFeature],
        trials: u32,
        unit_trials: usize,
    ) -> Self {
        let layers: BTreeSet<u32> = features.iter().map(|feature| feature.layer).collect();
        let mut arms = Vec::new();
        let mut push = |arm, layer, feature, matched_feature, value| {
            arms.push(PlannedArm {
                arm,
                layer,
                feature,
                matched_feature,
                value,
            });
        };
        push(Arm::Baseline, None, None, None, None);
        for &layer in &layers {
            push(Arm::ReconstructOnly, Some(layer), None, None, None);
        }
        for feature in features {
            for (arm, value) in [(Arm::ValueA, feature.value_a), (Arm::ValueB, feature.value_b)] {
                push(arm, Some(feature.layer), Some(feature.feature), None, Some(value));
            }
        }
        for control in controls {
            for (arm, value) in [(Arm::ControlA, control.value_a), (Arm::ControlB, control.value_b)] {
                let matched = Some(control.matched_feature);
                push(
                    arm,
                    Some(control.layer),
                    Some(control.feature),
                    matched,
                    Some(value),
                );
            }
        }
        Self {
            prompts: prompts
                .iter()
                .map(|prompt| (prompt.family.clone(), prompt.id.clone()))
                .collect(),
            arms,
            trials,
            unit_trials: unit_trials.max(1),
        }
    }

    /// The same plan without some arms. Units are cut anew.
    pub fn without(mut self, left_out: &[Arm]) -> Self {
        self.arms.retain(|planned| !left_out.contains(&planned.arm));
        self
    }

    /// Number of trials.
    pub fn trials(&self) -> u64 {
        self.prompts.len() as u64 * self.prompt_trials() as u64
    }

    /// Number of units; they are numbered from 0.
    pub fn units(&self) -> u32 {
        // A plan has at most MOST_TRIALS trials.
        (self.prompts.len() * self.prompt_units()) as u32
    }

    /// Number of trials of a unit; 0 for one that the plan does not have.
    pub fn unit_len(&self, unit: u32) -> usize {
        self.place(unit).map_or(0, |(_, places)| places.len())
    }

    /// The trials of a unit, all of one prompt; none for a unit that the plan does not have.
    pub fn unit(&self, unit: u32) -> Vec<PlanRow> {
        let Some(((family, prompt_id), places)) = self.place(unit) else {
            return Vec::new();
        };
        let trials = self.trials as usize;
        places
            .map(|place| {
                let planned = self.arms[place / trials];
                PlanRow {
                    unit,
                    prompt_id: prompt_id.clone(),
                    family: family.clone(),
                    arm: planned.arm.name().to_owned(),
                    layer: planned.layer,
                    feature: planned.feature,
                    matched_feature: planned.matched_feature,
                    value: planned.value,
                    // Less than `trials`, which is a u32.
                    trial: (place % trials) as u32,
                }
            })
            .collect()
    }

    /// Every trial in order.
    pub fn rows(&self) -> impl Iterator<Item = PlanRow> + '_ {
        (0..self.units()).flat_map(|unit| self.unit(unit))
    }

    /// The hash that names the plan: over every row, and over everything else that decides the trials, given as `context`.
    pub fn hash(&self, context: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(context.as_bytes());
        for row in self.rows() {
            hasher.update(format!("{row:?}\n").as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The prompt of a unit, and which of the prompt's trials are its own.
    fn place(&self, unit: u32) -> Option<(&(String, String), std::ops::Range<usize>)> {
        let units = self.prompt_units();
        if units == 0 {
            return None;
        }
        let prompt = self.prompts.get(unit as usize / units)?;
        let first = unit as usize % units * self.unit_trials;
        Some((
            prompt,
            first..(first + self.unit_trials).min(self.prompt_trials()),
        ))
    }

    fn prompt_trials(&self) -> usize {
        self.arms.len() * self.trials as usize
    }

    fn prompt_units(&self) -> usize {
        self.prompt_trials().div_ceil(self.unit_trials)
    }
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
        let plan = Plan::new(&prompts, &features, &controls, 3, 8);
        let rows: Vec<PlanRow> = plan.rows().collect();
        assert_eq!(rows.len(), 2 * 3 * (1 + 2 + 2 * 3 + 2 * 3));
        assert_eq!(plan.trials(), rows.len() as u64);
        let units: BTreeSet<u32> = rows.iter().map(|row| row.unit).collect();
        for &unit in &units {
            let of_unit: Vec<&PlanRow> = rows.iter().filter(|row| row.unit == unit).collect();
            assert!(of_unit.len() <= 8);
            assert!(of_unit.iter().all(|row| row.prompt_id == of_unit[0].prompt_id));
            assert_eq!(of_unit.len(), plan.unit_len(unit));
            assert!(of_unit.into_iter().eq(&plan.unit(unit)));
        }
        assert_eq!(units.len(), *units.last().unwrap() as usize + 1);
        assert_eq!(units.len(), plan.units() as usize);
        assert_eq!(
            (plan.unit_len(plan.units()), plan.unit(plan.units())),
            (0, vec![])
        );
        let edited = plan.without(&[Arm::Baseline, Arm::ReconstructOnly]);
        assert_eq!(edited.trials(), 2 * 3 * (2 * 3 + 2 * 3));
        assert_eq!(edited.rows().count() as u64, edited.trials());
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
        let plan = Plan::new(&prompts, &features, &[], 1, 8);
        let hash = plan.hash("model 1");
        assert_eq!(hash, plan.hash("model 1"));
        assert_ne!(hash, plan.hash("model 2"));
        assert_ne!(hash, plan.without(&[Arm::Baseline]).hash("model 1"));
        for (trials, unit_trials) in [(2, 8), (1, 7)] {
            let changed = Plan::new(&prompts, &features, &[], trials, unit_trials);
            assert_ne!(hash, changed.hash("model 1"));
        }
    }
}
