//! What each selected feature does to the decision's log-odds: the contrasts of the *causal* stage, a prompt being one
//! observation.

use std::collections::BTreeMap;

use glassbox_stats::{Confidence, Moments, one_sample_t_test, percentile_in, sign_flip_test};

use crate::arm::Arm;
use crate::causal::{BOTH, CONTROL_VS_CONTROL, Comparison, VALUE_VS_VALUE, comparisons_of, sided};
use crate::error::ExperimentError;
use crate::scenario::InterventionKind;
use crate::tables::{DecisionEffectRow, DecisionRow};
use crate::test_family::adjust_family;
use crate::trial_index::Treatment;

/// Draws of the sign-flip test beyond 16 prompts.
const SIGN_FLIPS: u64 = 9_999;

/// The log-odds of every treatment, by (family, prompt id).
type ByTreatment<'a> = BTreeMap<Treatment, BTreeMap<(&'a str, &'a str), f64>>;

/// Tests every contrast of every treatment: paired t over prompts with a sign-flip permutation test beside it, one
/// Benjamini–Hochberg family over all tests of selected features.
///
/// # Errors
/// [`ExperimentError::UnknownName`] for an arm that does not exist, [`ExperimentError::Stats`] for values that no test can hold.
pub fn decision_effects(
    rows: &[DecisionRow],
    families: [&str; 2],
    kind: InterventionKind,
    seed: u64,
) -> Result<Vec<DecisionEffectRow>, ExperimentError> {
    let mut index = ByTreatment::new();
    for row in rows {
        let treatment = Treatment {
            arm: Arm::from_name(&row.arm)?,
            layer: row.layer,
            feature: row.feature,
            matched_feature: row.matched_feature,
        };
        index
            .entry(treatment)
            .or_default()
            .insert((&row.family, &row.prompt_id), row.log_odds);
    }
    let mut effects = Vec::new();
    for &treatment in index.keys() {
        let Some((role, comparisons)) = comparisons_of(treatment.arm, kind) else {
            continue;
        };
        for comparison in comparisons {
            for family in [None, Some(families[0]), Some(families[1])] {
                effects.extend(effect(&index, treatment, role, comparison, family, seed)?);
            }
        }
    }
    control_false_discoveries(&mut effects)?;
    place_among_controls(&mut effects)?;
    Ok(effects)
}

fn effect(
    index: &ByTreatment<'_>,
    treatment: Treatment,
    role: &str,
    comparison: &Comparison,
    family: Option<&str>,
    seed: u64,
) -> Result<Option<DecisionEffectRow>, ExperimentError> {
    let empty = BTreeMap::new();
    let of = |arm| index.get(&sided(treatment, arm)).unwrap_or(&empty);
    let (first, second) = (of(comparison.first), of(comparison.second));
    let (mut moments_1, mut moments_2, mut moments) = (Moments::new(), Moments::new(), Moments::new());
    let mut differences = Vec::new();
    for (key, &before) in first {
        let Some(&after) = second.get(key) else { continue };
        if family.is_some_and(|family| family != key.0) {
            continue;
        }
        moments_1.push(before)?;
        moments_2.push(after)?;
        moments.push(after - before)?;
        differences.push(after - before);
    }
    let (Ok(mean_1), Ok(mean_2), Ok(difference)) = (moments_1.mean(), moments_2.mean(), moments.mean())
    else {
        return Ok(None);
    };
    let test = one_sample_t_test(&moments, Confidence::new(0.95)?).ok();
    let (layer, feature) = (treatment.layer.unwrap_or_default(), treatment.feature);
    let key = [seed, u64::from(layer), feature.map_or(u64::MAX, u64::from), 1];
    Ok(Some(DecisionEffectRow {
        layer,
        feature,
        role: role.to_owned(),
        matched_feature: treatment.matched_feature,
        family: family.unwrap_or(BOTH).to_owned(),
        contrast: comparison.name.to_owned(),
        prompts: differences.len() as u32,
        mean_1,
        mean_2,
        effect: difference,
        ci_low: test.map(|found| found.interval.lower),
        ci_high: test.map(|found| found.interval.upper),
        cohen_dz: moments
            .standard_deviation()
            .ok()
            .filter(|deviation| *deviation > 0.0)
            .map(|deviation| difference / deviation),
        p: test.map(|found| found.test.p),
        p_sign_flip: sign_flip_test(&differences, SIGN_FLIPS, &key)?.p,
        q: None,
        control_percentile: None,
    }))
}

fn control_false_discoveries(rows: &mut [DecisionEffectRow]) -> Result<(), ExperimentError> {
    adjust_family(
        rows,
        |row| row.p.filter(|_| row.role == "selected"),
        |row, q| row.q = Some(q),
    )
}

fn place_among_controls(rows: &mut [DecisionEffectRow]) -> Result<(), ExperimentError> {
    let mut controls: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.contrast == CONTROL_VS_CONTROL.name) {
        controls
            .entry(row.family.clone())
            .or_default()
            .push(row.effect.abs());
    }
    for row in rows.iter_mut().filter(|row| row.contrast == VALUE_VS_VALUE.name) {
        if let Some(reference) = controls.get(&row.family) {
            row.control_percentile = percentile_in(row.effect.abs(), reference)?.ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(
        prompt: usize,
        arm: Arm,
        feature: Option<u32>,
        matched: Option<u32>,
        log_odds: f64,
    ) -> DecisionRow {
        DecisionRow {
            prompt_id: format!("p{prompt}"),
            family: if prompt < 4 { "a" } else { "b" }.into(),
            arm: arm.name().into(),
            layer: feature.map(|_| 2),
            feature,
            matched_feature: matched,
            value: None,
            log_odds,
            probability_target: 0.5,
            probability_other: 0.5,
        }
    }

    #[test]
    fn contrasts_pair_prompts_and_stand_among_the_controls() {
        let mut rows = Vec::new();
        for prompt in 0..8 {
            let base = prompt as f64;
            let noise = if prompt % 2 == 0 { 0.1 } else { -0.1 };
            rows.push(row(prompt, Arm::Baseline, None, None, base));
            rows.push(row(prompt, Arm::ValueA, Some(5), None, base + 1.0));
            rows.push(row(prompt, Arm::ValueB, Some(5), None, base - 1.0 + noise));
            for control in 6..9_u32 {
                rows.push(row(prompt, Arm::ControlA, Some(control), Some(5), base));
                rows.push(row(
                    prompt,
                    Arm::ControlB,
                    Some(control),
                    Some(5),
                    base + noise * f64::from(control),
                ));
            }
        }
        let effects = decision_effects(&rows, ["a", "b"], InterventionKind::Delta, 1).unwrap();
        let value = effects
            .iter()
            .find(|row| row.contrast == "value_b_vs_value_a" && row.family == BOTH)
            .unwrap();
        assert_eq!((value.prompts, value.role.as_str()), (8, "selected"));
        assert!((value.effect + 2.0).abs() < 1e-12);
        assert!(value.ci_high.unwrap() < -1.8 && value.p.unwrap() < 1e-6 && value.q.unwrap() < 1e-5);
        assert!((value.p_sign_flip - 2.0 / 256.0).abs() < 1e-12);
        assert_eq!(value.control_percentile, Some(100.0));
        let family = effects
            .iter()
            .find(|row| row.contrast == "value_a_vs_baseline" && row.family == "b")
            .unwrap();
        assert_eq!((family.prompts, family.effect), (4, 1.0));
        // All differences are equal: there is a difference, and no test of it.
        assert_eq!((family.p, family.q), (None, None));
        assert!(
            effects
                .iter()
                .filter(|row| row.role == "control")
                .all(|row| row.q.is_none())
        );
        assert_eq!(effects.len(), 3 * (3 + 3));
    }
}
