//! From contrasts to a verdict on each selected feature: a specific effect, a shared shift, none, or undecided.

use std::collections::BTreeMap;

use glassbox_stats::{
    PowerTarget, ResampleKey, benjamini_hochberg, detectable_paired_risk_difference, percentile_in,
    sign_flip_test, upper_tail_p,
};

use crate::arm::Arm;
use crate::causal::{
    BOTH, CONTROL_VS_CONTROL, Comparison, TARGET_RATE, VALUE_A_VS_BASELINE, VALUE_A_VS_RECONSTRUCTION,
    VALUE_B_VS_BASELINE, VALUE_B_VS_RECONSTRUCTION, VALUE_VS_VALUE, sided,
};
use crate::error::ExperimentError;
use crate::judgement::Figures;
use crate::plan::SelectedFeature;
use crate::scenario::{CausalSettings, InterventionKind};
use crate::tables::{CausalRow, VerdictRow};
use crate::trial_index::{Treatment, TrialIndex};

/// |effect| of every random-feature control, both families, rising.
pub fn control_effects(rows: &[CausalRow]) -> Vec<f64> {
    let mut effects: Vec<f64> = rows
        .iter()
        .filter(|row| {
            row.contrast == CONTROL_VS_CONTROL.name && row.family == BOTH && row.measure == TARGET_RATE
        })
        .filter_map(|row| row.effect.map(f64::abs))
        .collect();
    effects.sort_by(f64::total_cmp);
    effects
}

/// A verdict for every selected feature.
///
/// `outcome` is the target's name, for the words; `seed` keys the permutations of the shared-shift test.
///
/// # Errors
/// [`ExperimentError::Stats`], or [`ExperimentError::Data`] if a feature has no trials.
pub fn verdicts(
    features: &[SelectedFeature],
    rows: &[CausalRow],
    index: &TrialIndex,
    settings: &CausalSettings,
    outcome: &str,
    kind: InterventionKind,
    seed: u64,
) -> Result<Vec<VerdictRow>, ExperimentError> {
    let controls = control_effects(rows);
    let against = match kind {
        InterventionKind::Delta => [VALUE_A_VS_BASELINE, VALUE_B_VS_BASELINE],
        InterventionKind::Reconstruction => [VALUE_A_VS_RECONSTRUCTION, VALUE_B_VS_RECONSTRUCTION],
    };
    let shared: Vec<Option<f64>> = features
        .iter()
        .map(|feature| shared_shift_p(feature, index, against, seed))
        .collect::<Result<_, _>>()?;
    // A test that could not be made counts as one that found nothing.
    let p_values: Vec<f64> = shared.iter().map(|p| p.unwrap_or(1.0)).collect();
    let q_values = benjamini_hochberg(&p_values)?;
    let mut by_feature: BTreeMap<(u32, u32, &str), &CausalRow> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.role == "selected" && row.family == BOTH && row.measure == TARGET_RATE)
    {
        if let Some(feature) = row.feature {
            by_feature.insert((row.layer, feature, row.contrast.as_str()), row);
        }
    }
    features
        .iter()
        .zip(shared.into_iter().zip(q_values))
        .map(|(feature, shared_shift)| {
            verdict(
                feature,
                &by_feature,
                settings,
                &controls,
                outcome,
                against,
                shared_shift,
            )
        })
        .collect()
}

fn verdict(
    feature: &SelectedFeature,
    rows: &BTreeMap<(u32, u32, &str), &CausalRow>,
    settings: &CausalSettings,
    controls: &[f64],
    outcome: &str,
    against: [Comparison; 2],
    (shared_shift_p, shared_shift_q): (Option<f64>, f64),
) -> Result<VerdictRow, ExperimentError> {
    let name = format!("L{}-{}", feature.layer, feature.feature);
    let missing = || ExperimentError::Data {
        stage: "causal",
        what: format!("feature {name} has no paired trials; run the sweep to its end"),
    };
    let find = |contrast: &str| rows.get(&(feature.layer, feature.feature, contrast)).copied();
    let [against_a, against_b] = against;
    let value = find(VALUE_VS_VALUE.name).ok_or_else(missing)?;
    let shift_a = find(against_a.name)
        .and_then(|row| row.effect)
        .ok_or_else(missing)?;
    let shift_b = find(against_b.name)
        .and_then(|row| row.effect)
        .ok_or_else(missing)?;
    let (Some(effect), Some(ci_low), Some(ci_high), Some(p), Some(q)) =
        (value.effect, value.ci_low, value.ci_high, value.p, value.q)
    else {
        return Err(missing());
    };
    let percentile = percentile_in(effect.abs(), controls)?.ok();
    let p_by_controls = if controls.is_empty() {
        None
    } else {
        Some(upper_tail_p(effect.abs(), controls)?)
    };
    let detectable = detectable_effect(value)?;
    let shared_shift = f64::midpoint(shift_a, shift_b);
    let unknown_share = f64::midpoint(
        value.unknown_1.unwrap_or_default(),
        value.unknown_2.unwrap_or_default(),
    );
    let figures = Figures {
        effect,
        ci: (ci_low, ci_high),
        q,
        percentile,
        shift_a,
        shift_b,
        shared_shift_q,
        detectable,
        shared_shift,
        unknown_share,
        known: value.effect_known.zip(value.p_known),
    };
    let (verdict, words) = figures.judge(settings, outcome);
    Ok(VerdictRow {
        layer: feature.layer,
        feature: feature.feature,
        value_a: feature.value_a,
        value_b: feature.value_b,
        effect,
        ci_low,
        ci_high,
        p,
        q,
        control_percentile: percentile,
        p_by_controls,
        shift_a,
        shift_b,
        shared_shift,
        shared_shift_p,
        shared_shift_q,
        unknown_share,
        effect_known: value.effect_known,
        p_known: value.p_known,
        detectable_effect: detectable,
        direction: direction(ci_low, ci_high).to_owned(),
        verdict: verdict.to_owned(),
        words,
    })
}

fn direction(ci_low: f64, ci_high: f64) -> &'static str {
    if ci_low > 0.0 {
        "raises_target"
    } else if ci_high < 0.0 {
        "lowers_target"
    } else {
        "undecided"
    }
}

/// Sign-flip permutation test of the mean over (prompt, trial) of (A + B)/2 − reference, outcomes as 0 and 1.
fn shared_shift_p(
    feature: &SelectedFeature,
    index: &TrialIndex,
    against: [Comparison; 2],
    seed: u64,
) -> Result<Option<f64>, ExperimentError> {
    let treatment = Treatment {
        arm: Arm::ValueA,
        layer: Some(feature.layer),
        feature: Some(feature.feature),
        matched_feature: None,
    };
    let [against_a, against_b] = against.map(|comparison| {
        index.pairs(
            sided(treatment, comparison.first),
            sided(treatment, comparison.second),
            None,
        )
    });
    let number = |target: bool| f64::from(u8::from(target));
    let differences: Vec<f64> = against_a
        .iter()
        .zip(&against_b)
        .filter(|(a, b)| a.key == b.key)
        .map(|(a, b)| {
            f64::midpoint(number(a.second.target), number(b.second.target)) - number(a.first.target)
        })
        .collect();
    if differences.is_empty() {
        return Ok(None);
    }
    let key: ResampleKey = [seed, u64::from(feature.layer), u64::from(feature.feature), 0];
    Ok(Some(sign_flip_test(&differences, 9_999, &key)?.p))
}

/// The smallest effect that these pairs would have found at the discordance seen.
fn detectable_effect(row: &CausalRow) -> Result<Option<f64>, ExperimentError> {
    let (Some(gained), Some(lost)) = (row.pairs_gained, row.pairs_lost) else {
        return Ok(None);
    };
    if row.n_1 == 0 {
        return Ok(None);
    }
    let discordant = f64::from(gained + lost) / f64::from(row.n_1);
    let target = PowerTarget::new(0.05, 0.8)?;
    Ok(detectable_paired_risk_difference(u64::from(row.n_1), discordant, target)?.ok())
}
