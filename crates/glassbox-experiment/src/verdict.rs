//! From contrasts to a verdict on each selected feature: a specific effect, a shared shift, none, or undecided.

use glassbox_stats::{
    PowerTarget, ResampleKey, detectable_paired_risk_difference, percentile_in, sign_flip_test, upper_tail_p,
};

use crate::arm::Arm;
use crate::causal::{
    BOTH, CONTROL_VS_CONTROL, Comparison, TARGET_RATE, VALUE_A_VS_BASELINE, VALUE_A_VS_RECONSTRUCTION,
    VALUE_B_VS_BASELINE, VALUE_B_VS_RECONSTRUCTION, VALUE_VS_VALUE, sided,
};
use crate::error::ExperimentError;
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
    features
        .iter()
        .map(|feature| verdict(feature, rows, index, settings, &controls, outcome, kind, seed))
        .collect()
}

fn verdict(
    feature: &SelectedFeature,
    rows: &[CausalRow],
    index: &TrialIndex,
    settings: &CausalSettings,
    controls: &[f64],
    outcome: &str,
    kind: InterventionKind,
    seed: u64,
) -> Result<VerdictRow, ExperimentError> {
    let name = format!("L{}-{}", feature.layer, feature.feature);
    let missing = || ExperimentError::Data {
        stage: "causal",
        what: format!("feature {name} has no paired trials; run the sweep to its end"),
    };
    let find = |contrast: &str| {
        rows.iter().find(|row| {
            (row.layer, row.feature) == (feature.layer, Some(feature.feature))
                && row.role == "selected"
                && row.family == BOTH
                && row.measure == TARGET_RATE
                && row.contrast == contrast
        })
    };
    let [against_a, against_b] = match kind {
        InterventionKind::Delta => [VALUE_A_VS_BASELINE, VALUE_B_VS_BASELINE],
        InterventionKind::Reconstruction => [VALUE_A_VS_RECONSTRUCTION, VALUE_B_VS_RECONSTRUCTION],
    };
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
    let shared_shift_p = shared_shift_p(feature, index, [against_a, against_b], seed)?;
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
        shared_shift_p,
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

/// The figures that a verdict rests on.
struct Figures {
    effect: f64,
    ci: (f64, f64),
    q: f64,
    percentile: Option<f64>,
    shift_a: f64,
    shift_b: f64,
    shared_shift_p: Option<f64>,
    detectable: Option<f64>,
    shared_shift: f64,
    unknown_share: f64,
    known: Option<(f64, f64)>,
}

impl Figures {
    fn judge(&self, settings: &CausalSettings, outcome: &str) -> (&'static str, String) {
        let range = format!("{} to {}", points(self.ci.0), points(self.ci.1));
        if self.q < settings.alpha {
            return self.judge_difference(settings, outcome);
        }
        if self.shared_shift_p.is_some_and(|p| p < settings.alpha) && self.shift_a * self.shift_b > 0.0 {
            let words = format!(
                "Both values move the {outcome} rate the same way against the reference ({} and {} points) and do not \
                 differ from each other ({}, {range}): intervening matters, the value does not.",
                points(self.shift_a),
                points(self.shift_b),
                points(self.effect)
            );
            return ("shared_shift_only", words);
        }
        let smallest = settings.smallest_effect_of_interest;
        if self.ci.0 > -smallest && self.ci.1 < smallest {
            let words = format!(
                "At most a small difference between the values: {} points ({range}), within ±{:.0} points.",
                points(self.effect),
                100.0 * smallest
            );
            return ("no_effect", words);
        }
        let power = self.detectable.map_or_else(
            || "no effect could have been detected with so few trials".to_owned(),
            |found| format!("the trials could have detected {:.0} points", 100.0 * found),
        );
        let words = format!(
            "Undecided: {} points ({range}) includes zero and effects beyond ±{:.0} points; {power}.",
            points(self.effect),
            100.0 * smallest
        );
        ("cannot_tell", words)
    }

    /// The values differ: by the feature's doing, or by something that a control explains?
    fn judge_difference(&self, settings: &CausalSettings, outcome: &str) -> (&'static str, String) {
        let change = format!(
            "Value B against value A changes the {outcome} rate by {} points (95 % interval {} to {})",
            points(self.effect),
            points(self.ci.0),
            points(self.ci.1)
        );
        if let Some(percentile) = self
            .percentile
            .filter(|found| *found < settings.control_percentile)
        {
            let words = format!(
                "{change}, but random features moved equally far do as much (percentile {percentile:.0}): the size of \
                 the step may be the cause, not the feature."
            );
            return ("cannot_tell", words);
        }
        let readable = self
            .known
            .is_some_and(|(effect, p)| p < settings.alpha && effect.signum() == self.effect.signum());
        let unreadable = 100.0 * self.unknown_share;
        if !readable {
            let words = format!(
                "{change}, but {unreadable:.0} % of these trials have no readable outcome, and among pairs with two \
                 readable outcomes the difference does not hold: the values may break the text, not the decision."
            );
            return ("cannot_tell", words);
        }
        let controls = self.percentile.map_or_else(
            || {
                "no random-feature controls were run, so nothing shows that another direction would do less"
                    .into()
            },
            |found| format!("more than {found:.0} % of random features moved equally far do"),
        );
        let mut words = format!("{change}, {controls}.");
        if self.shared_shift.abs() > self.effect.abs() {
            words.push_str(&format!(
                " Both values together shift the rate by {} points against the reference, more than they differ.",
                points(self.shared_shift)
            ));
        }
        if let Some((effect, _)) = self.known.filter(|_| self.unknown_share > 0.05) {
            words.push_str(&format!(
                " {unreadable:.0} % of these trials have no readable outcome; among pairs with two readable outcomes \
                 the change is {} points.",
                points(effect)
            ));
        }
        ("specific_effect", words)
    }
}

/// A difference of rates in percentage points, with its sign.
fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference)
}
