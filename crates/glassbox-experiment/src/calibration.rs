//! Checks of the causal stage: does the test keep its level, do the controls behave, can the parser read the text?

use std::collections::BTreeMap;

use glassbox_stats::{PairedTable, ResampleKey, label_flips, mcnemar_test};

use crate::arm::Arm;
use crate::causal::{BOTH, CONTROL_VS_CONTROL, RECONSTRUCT_VS_BASELINE, TARGET_RATE, VALUE_VS_VALUE};
use crate::contrast::known_share;
use crate::error::ExperimentError;
use crate::plan::SelectedFeature;
use crate::scenario::Scenario;
use crate::tables::{CausalRow, CheckRow, VerdictRow};
use crate::trial_index::{Treatment, TrialIndex};

/// A check row.
pub(crate) fn check(
    stage: &str,
    name: &str,
    figure: Option<f64>,
    limit: Option<f64>,
    passed: Option<bool>,
    words: String,
) -> CheckRow {
    let result = match passed {
        Some(true) => "passed",
        Some(false) => "failed",
        None => "fact",
    };
    CheckRow {
        stage: stage.into(),
        check: name.into(),
        figure,
        limit,
        result: result.into(),
        words,
    }
}

/// Share of value-against-value tests with p < 0.05 when the two values' labels are exchanged at random within pairs.
///
/// Exchanging labels makes the null hypothesis true by construction, so a valid test rejects at most 5 % of the time, give
/// or take two standard errors over the tests made.
///
/// # Errors
/// [`ExperimentError::Stats`].
pub fn permuted_label_check(
    features: &[SelectedFeature],
    index: &TrialIndex,
    permutations: u32,
    seed: u64,
) -> Result<CheckRow, ExperimentError> {
    let (mut tests, mut rejected) = (0_u64, 0_u64);
    for feature in features {
        let treatment = Treatment {
            arm: Arm::ValueA,
            layer: Some(feature.layer),
            feature: Some(feature.feature),
            matched_feature: None,
        };
        let pairs = index.pairs(treatment, treatment.under(Arm::ValueB), None);
        if pairs.is_empty() {
            continue;
        }
        for permutation in 0..permutations {
            let key: ResampleKey = [seed, u64::from(feature.layer), u64::from(feature.feature), 1];
            let flips = label_flips(pairs.len(), u64::from(permutation), &key);
            let (mut first, mut second) = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
            for (pair, flip) in pairs.iter().zip(flips) {
                let (a, b) = (pair.first.target, pair.second.target);
                first.push(if flip { b } else { a });
                second.push(if flip { a } else { b });
            }
            tests += 1;
            let table = PairedTable::from_outcomes(&first, &second)?;
            rejected += u64::from(mcnemar_test(&table).exact.p < 0.05);
        }
    }
    let limit = if tests == 0 {
        0.05
    } else {
        0.05 + 2.0 * (0.05 * 0.95 / tests as f64).sqrt()
    };
    let share = known_share(rejected, tests);
    Ok(check(
        "causal",
        "permuted_labels",
        share,
        Some(limit),
        share.map(|share| share <= limit),
        format!(
            "Share of features with p < 0.05 after the labels of values A and B were exchanged at random within pairs \
             ({tests} tests). A valid test stays at or below 5 % plus two standard errors."
        ),
    ))
}

/// All checks that trials and contrasts allow.
///
/// # Errors
/// [`ExperimentError::Stats`].
pub fn causal_checks(
    scenario: &Scenario,
    features: &[SelectedFeature],
    index: &TrialIndex,
    rows: &[CausalRow],
    verdicts: &[VerdictRow],
    held_out: bool,
) -> Result<Vec<CheckRow>, ExperimentError> {
    let settings = &scenario.causal;
    let mut checks = vec![permuted_label_check(
        features,
        index,
        settings.permutations,
        scenario.seed,
    )?];
    checks.push(control_level_check(rows));
    checks.push(check(
        "causal",
        "features_beyond_controls",
        Some(verdicts.iter().filter(|row| row.verdict == "specific_effect").count() as f64),
        None,
        None,
        format!(
            "Of {} selected features, those whose value-against-value effect has q < {} and lies beyond the {}th \
             percentile of the random-feature controls.",
            verdicts.len(),
            settings.alpha,
            settings.control_percentile
        ),
    ));
    let expected = (1.0 - settings.control_percentile / 100.0) * verdicts.len() as f64;
    checks.push(check(
        "causal",
        "features_beyond_controls_by_chance",
        Some(expected),
        None,
        None,
        "Features expected beyond that percentile if selected features were no better than random ones."
            .into(),
    ));
    checks.push(check(
        "causal",
        "shared_shift_only",
        Some(verdicts.iter().filter(|row| row.verdict == "shared_shift_only").count() as f64),
        None,
        None,
        "Selected features for which both values move the outcome alike: intervening matters, the value does not. A \
         criterion that compares a patched arm with baseline alone would have called them causal."
            .into(),
    ));
    checks.push(check(
        "causal",
        "held_out_prompts",
        None,
        None,
        Some(held_out),
        if held_out {
            "Features were chosen on other prompts than those on which their effects are measured.".into()
        } else {
            "The same prompts chose the features and measure their effects: effects are biased upwards. Give \
             select_prompts and sweep_prompts that share no text."
                .into()
        },
    ));
    checks.extend(reconstruction_checks(rows));
    checks.extend(unknown_checks(index));
    Ok(checks)
}

/// Random features moved equally far: how many of them differ between their ends at p < 0.05.
fn control_level_check(rows: &[CausalRow]) -> CheckRow {
    let p_values: Vec<f64> = rows
        .iter()
        .filter(|row| {
            row.contrast == CONTROL_VS_CONTROL.name && row.family == BOTH && row.measure == TARGET_RATE
        })
        .filter_map(|row| row.p)
        .collect();
    let rejected = p_values.iter().filter(|p| **p < 0.05).count() as u64;
    let selected: Vec<f64> = rows
        .iter()
        .filter(|row| row.contrast == VALUE_VS_VALUE.name && row.family == BOTH && row.measure == TARGET_RATE)
        .filter_map(|row| row.p)
        .collect();
    let selected_rejected = selected.iter().filter(|p| **p < 0.05).count();
    check(
        "causal",
        "random_features",
        known_share(rejected, p_values.len() as u64),
        None,
        None,
        format!(
            "Share of random-feature controls with p < 0.05 ({rejected} of {}); among selected features it is \
             {selected_rejected} of {}. Random directions do move a model, which is why features are ranked among them.",
            p_values.len(),
            selected.len()
        ),
    )
}

fn reconstruction_checks(rows: &[CausalRow]) -> Vec<CheckRow> {
    rows.iter()
        .filter(|row| {
            row.contrast == RECONSTRUCT_VS_BASELINE.name && row.family == BOTH && row.measure == TARGET_RATE
        })
        .map(|row| {
            check(
                "causal",
                &format!("reconstruct_only_L{}", row.layer),
                row.effect,
                None,
                None,
                format!(
                    "Change of the target rate when block {}'s residual is merely replaced by its reconstruction \
                     (95 % interval {:+.3} to {:+.3}, p = {:.2e}): what an encode–set–decode patch would add to every arm.",
                    row.layer,
                    row.ci_low.unwrap_or_default(),
                    row.ci_high.unwrap_or_default(),
                    row.p.unwrap_or(1.0)
                ),
            )
        })
        .collect()
}

fn unknown_checks(index: &TrialIndex) -> Vec<CheckRow> {
    let mut by_arm: BTreeMap<Arm, (u64, u64)> = BTreeMap::new();
    for treatment in index.treatments() {
        let counts = by_arm.entry(treatment.arm).or_default();
        for (_, outcome) in index.trials(treatment) {
            counts.0 += u64::from(!outcome.known);
            counts.1 += 1;
        }
    }
    by_arm
        .into_iter()
        .map(|(arm, (unknown, all))| {
            check(
                "causal",
                &format!("unknown_outcomes_{arm}"),
                known_share(unknown, all),
                None,
                None,
                format!(
                    "Share of {all} trials whose outcome the parser could not read; they count as not the target. A \
                     difference between arms would be part of every effect."
                ),
            )
        })
        .collect()
}
