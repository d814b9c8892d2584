//! The contrasts of every feature.

use glassbox_logs::FeatureId;
use glassbox_stats::{Moments, PowerTarget, detectable_risk_difference};
use rayon::prelude::*;

use crate::comparison::Comparison;
use crate::contrast::{Contrast, amount_contrast, rate_contrast};
use crate::effect_row::LogEffectRow;
use crate::family::{Family, adjust};
use crate::feature_arms::{Arms, BaselinePolicy, ByPrompt, FeatureArms};
use crate::tally::{Known, Tally};
use crate::{EffectsError, Measure};

/// The contrasts of all features, one family per comparison over all features and measures.
pub(crate) fn effects(
    arms: &Arms<'_>,
    measures: &[Measure],
    policy: BaselinePolicy,
) -> Result<(Vec<LogEffectRow>, Vec<Family>), EffectsError> {
    let features: Vec<(&FeatureId, &FeatureArms<'_>)> = arms.features.iter().collect();
    let per_feature: Vec<Vec<(Comparison, LogEffectRow)>> = features
        .into_par_iter()
        .map(|(feature, own)| feature_effects(arms, *feature, own, measures, policy))
        .collect::<Result<_, EffectsError>>()?;
    let mut rows: Vec<(Comparison, LogEffectRow)> = per_feature.into_iter().flatten().collect();
    let mut families = Vec::new();
    for comparison in [
        Comparison::ValueVsValue,
        Comparison::ValueA,
        Comparison::ValueB,
        Comparison::SharedShift,
        Comparison::ControlVsControl,
    ] {
        let mut members: Vec<&mut LogEffectRow> = rows
            .iter_mut()
            .filter(|(own, _)| *own == comparison)
            .map(|(_, row)| row)
            .collect();
        families.extend(adjust(comparison.name(arms.reference()), &mut members)?);
    }
    Ok((rows.into_iter().map(|(_, row)| row).collect(), families))
}

fn feature_effects(
    arms: &Arms<'_>,
    feature: FeatureId,
    own: &FeatureArms<'_>,
    measures: &[Measure],
    policy: BaselinePolicy,
) -> Result<Vec<(Comparison, LogEffectRow)>, EffectsError> {
    let mut rows = Vec::new();
    let reference = arms.reference_of(feature, own, policy);
    let mut both = own.value_a.clone();
    for (prompt, tally) in &own.value_b {
        both.entry(prompt).or_default().merge(tally);
    }
    let mut add = |comparison: Comparison, first: &ByPrompt<'_>, second: &ByPrompt<'_>, of: FeatureId| {
        if first.is_empty() || second.is_empty() {
            return Ok(());
        }
        for measure in measures {
            let name = comparison.name(arms.reference());
            if let Some(row) = effect_row(comparison, name, of, first, second, measure)? {
                rows.push((comparison, row));
            }
        }
        Ok::<(), EffectsError>(())
    };
    add(Comparison::ValueVsValue, &own.value_a, &own.value_b, feature)?;
    if let Some(reference) = reference {
        add(Comparison::ValueA, reference, &own.value_a, feature)?;
        add(Comparison::ValueB, reference, &own.value_b, feature)?;
        if !own.value_a.is_empty() && !own.value_b.is_empty() {
            add(Comparison::SharedShift, reference, &both, feature)?;
        }
    }
    for (control, low) in &own.control_a {
        if let Some(high) = own.control_b.get(control) {
            add(Comparison::ControlVsControl, low, high, *control)?;
        }
    }
    Ok(rows)
}

/// Pairs of tallies of the prompts that both arms have.
fn pairs<'t>(
    first: &'t ByPrompt<'_>,
    second: &'t ByPrompt<'_>,
) -> impl Iterator<Item = (&'t Tally, &'t Tally)> {
    first
        .iter()
        .filter_map(|(prompt, tally)| second.get(prompt).map(|other| (tally, other)))
}

/// `None` for a measure that no trial of either arm has.
fn effect_row(
    comparison: Comparison,
    name: String,
    feature: FeatureId,
    first: &ByPrompt<'_>,
    second: &ByPrompt<'_>,
    measure: &Measure,
) -> Result<Option<LogEffectRow>, EffectsError> {
    let mut row = LogEffectRow {
        layer: feature.layer,
        feature: feature.feature,
        role: if comparison == Comparison::ControlVsControl {
            "control"
        } else {
            "feature"
        }
        .to_owned(),
        comparison: name,
        measure: measure.to_string(),
        n_1: 0,
        n_2: 0,
        unknown_1: 0,
        unknown_2: 0,
        value_1: None,
        value_2: None,
        effect: None,
        ci_low: None,
        ci_high: None,
        standard_error: None,
        odds_ratio: None,
        odds_low: None,
        odds_high: None,
        cohen_d: None,
        d_low: None,
        d_high: None,
        z: None,
        p: None,
        test: None,
        q: None,
        q_any_dependence: None,
        q_storey: None,
        prompts: 0,
        detectable: None,
    };
    let contrast = if measure.is_amount() {
        let mut strata = Vec::new();
        let (mut all_1, mut all_2) = (Moments::new(), Moments::new());
        for (a, b) in pairs(first, second) {
            let moments = |tally: &Tally| {
                tally
                    .amount_moments()
                    .map_err(EffectsError::stats("the mean of amounts"))
            };
            let (a_moments, b_moments) = (moments(a)?, moments(b)?);
            row.unknown_1 += silent_bets(a, &a_moments);
            row.unknown_2 += silent_bets(b, &b_moments);
            let failed = || EffectsError::stats("the mean of amounts");
            all_1.merge(&a_moments).map_err(failed())?;
            all_2.merge(&b_moments).map_err(failed())?;
            strata.push((a_moments, b_moments));
        }
        (row.n_1, row.n_2) = (all_1.count(), all_2.count());
        (row.value_1, row.value_2) = (all_1.mean().ok(), all_2.mean().ok());
        amount_contrast(&strata)
    } else {
        let knowns: Vec<(Known, Known)> = pairs(first, second)
            .map(|(a, b)| (a.known(measure), b.known(measure)))
            .collect();
        let sum = |pick: &dyn Fn(&(Known, Known)) -> Known| {
            knowns.iter().map(pick).fold(Known::default(), |sum, own| Known {
                events: sum.events + own.events,
                known: sum.known + own.known,
                unknown: sum.unknown + own.unknown,
            })
        };
        let (all_1, all_2) = (sum(&|pair| pair.0), sum(&|pair| pair.1));
        (row.n_1, row.n_2) = (all_1.known, all_2.known);
        (row.unknown_1, row.unknown_2) = (all_1.unknown, all_2.unknown);
        (row.value_1, row.value_2) = (all_1.rate(), all_2.rate());
        row.detectable = detectable(&all_1, &all_2);
        rate_contrast(&knowns)?
    };
    if row.n_1 == 0 && row.n_2 == 0 {
        return Ok(None);
    }
    if let Some(contrast) = contrast {
        fill(&mut row, &contrast);
    }
    Ok(Some(row))
}

/// Bets whose amount is not known.
fn silent_bets(tally: &Tally, known: &Moments) -> u64 {
    let bets = tally.known(&Measure::Bet).events;
    bets.saturating_sub(known.count())
}

/// Smallest change from the first arm's rate, in the direction that is easier to see, that a single test would find.
fn detectable(first: &Known, second: &Known) -> Option<f64> {
    let target = PowerTarget::new(0.05, 0.8).ok()?;
    let found = detectable_risk_difference(first.known, second.known, first.rate()?, target).ok()?;
    [found.rise.ok(), found.fall.ok()]
        .into_iter()
        .flatten()
        .min_by(f64::total_cmp)
}

fn fill(row: &mut LogEffectRow, contrast: &Contrast) {
    let finite = |value: f64| value.is_finite().then_some(value);
    row.effect = Some(contrast.effect.value);
    row.ci_low = Some(contrast.effect.low);
    row.ci_high = Some(contrast.effect.high);
    row.standard_error = Some(contrast.standard_error);
    row.prompts = contrast.prompts as u64;
    if let Some(odds) = contrast.odds_ratio {
        row.odds_ratio = finite(odds.value);
        row.odds_low = finite(odds.low);
        row.odds_high = finite(odds.high);
    }
    if let Some(d) = contrast.cohen_d {
        (row.cohen_d, row.d_low, row.d_high) = (Some(d.value), Some(d.low), Some(d.high));
    }
    if let Ok(tested) = contrast.tested {
        row.z = Some(tested.z);
        row.p = Some(tested.p);
        row.test = Some(tested.test.name().to_owned());
    }
}
