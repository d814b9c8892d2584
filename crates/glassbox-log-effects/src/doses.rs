//! Trends over doses of every feature.

use std::collections::BTreeMap;

use glassbox_logs::FeatureId;
use glassbox_stats::{
    Confidence, DoseGroup, PowerTarget, Proportion, SlopeErrors, TrendVariance, detectable_slope,
    exact_trend_test, slope_test, trend_test,
};
use rayon::prelude::*;

use crate::contrast::{TestName, normal_score};
use crate::effect_row::LogDoseRow;
use crate::family::{Family, adjust};
use crate::feature_arms::{Arms, FeatureArms};
use crate::tally::{Known, Ordered, Tally};
use crate::{EffectsError, Measure};

/// Below this number of the rarer outcome the trend test is exact.
const RARE: u64 = 20;

/// Permutations where the exact distribution is too large.
const REPLICATES: u64 = 9_999;

/// The trends of all features that were set to doses, one family over all features and measures.
pub(crate) fn doses(
    arms: &Arms<'_>,
    measures: &[Measure],
) -> Result<(Vec<LogDoseRow>, Option<Family>), EffectsError> {
    let features: Vec<(&FeatureId, &FeatureArms<'_>)> = arms
        .features
        .iter()
        .filter(|(_, own)| !own.doses.is_empty())
        .collect();
    let per_feature: Vec<Vec<LogDoseRow>> = features
        .into_par_iter()
        .map(|(feature, own)| {
            measures
                .iter()
                .filter_map(|measure| dose_row(*feature, own, measure).transpose())
                .collect()
        })
        .collect::<Result<_, EffectsError>>()?;
    let mut rows: Vec<LogDoseRow> = per_feature.into_iter().flatten().collect();
    let mut members: Vec<&mut LogDoseRow> = rows.iter_mut().collect();
    let family = adjust("trend_over_doses".to_owned(), &mut members)?;
    Ok((rows, family))
}

/// The outcomes at every dose, all prompts together.
pub(crate) fn by_dose(own: &FeatureArms<'_>) -> BTreeMap<Ordered, Tally> {
    let mut all: BTreeMap<Ordered, Tally> = BTreeMap::new();
    for (dose, tally) in own.doses.values().flatten() {
        all.entry(Ordered(*dose)).or_default().merge(tally);
    }
    all
}

/// `None` for a measure that no trial has, or a single dose.
fn dose_row(
    feature: FeatureId,
    own: &FeatureArms<'_>,
    measure: &Measure,
) -> Result<Option<LogDoseRow>, EffectsError> {
    let all = by_dose(own);
    let (Some((lowest, at_lowest)), Some((highest, at_highest))) =
        (all.first_key_value(), all.last_key_value())
    else {
        return Ok(None);
    };
    let value = |tally: &Tally| {
        if measure.is_amount() {
            tally
                .amount_moments()
                .ok()
                .and_then(|moments| moments.mean().ok())
        } else {
            tally.known(measure).rate()
        }
    };
    let mut row = LogDoseRow {
        layer: feature.layer,
        feature: feature.feature,
        measure: measure.to_string(),
        doses: all.len() as u64,
        lowest_dose: lowest.0,
        highest_dose: highest.0,
        n: 0,
        unknown: 0,
        value_lowest: value(at_lowest),
        value_highest: value(at_highest),
        slope: None,
        effect: None,
        ci_low: None,
        ci_high: None,
        standard_error: None,
        z: None,
        p: None,
        test: None,
        q: None,
        q_any_dependence: None,
        q_storey: None,
        prompts: own.doses.values().filter(|doses| doses.len() > 1).count() as u64,
        detectable: None,
    };
    if measure.is_amount() {
        amount_trend(&mut row, own)?;
    } else {
        rate_trend(&mut row, own, measure)?;
    }
    Ok((row.n > 0 && row.doses > 1).then_some(row))
}

fn rate_trend(row: &mut LogDoseRow, own: &FeatureArms<'_>, measure: &Measure) -> Result<(), EffectsError> {
    let mut events = 0;
    let mut strata: Vec<Vec<DoseGroup>> = Vec::new();
    for doses in own.doses.values() {
        let mut groups = Vec::with_capacity(doses.len());
        for (dose, tally) in doses {
            let Known {
                events: here,
                known,
                unknown,
            } = tally.known(measure);
            (row.n, row.unknown, events) = (row.n + known, row.unknown + unknown, events + here);
            groups.push(DoseGroup {
                score: *dose,
                outcome: Proportion::new(here, known).map_err(EffectsError::stats("a rate"))?,
            });
        }
        strata.push(groups);
    }
    let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
    let name = || format!("the trend of L{}-{}", row.layer, row.feature);
    let found = trend_test(&strata, TrendVariance::Hypergeometric, Confidence::P95)
        .map_err(EffectsError::stats(name()))?;
    let Ok(trend) = found else {
        return Ok(());
    };
    let (p, test) = if trend.rarer_outcomes < RARE {
        let key = [u64::from(row.layer), u64::from(row.feature), 0, 0];
        let exact = exact_trend_test(&strata, REPLICATES, &key).map_err(EffectsError::stats(name()))?;
        (exact.p, TestName::ExactTrend)
    } else {
        (trend.p, TestName::Trend)
    };
    let range = row.highest_dose - row.lowest_dose;
    row.slope = Some(trend.slope);
    row.effect = Some(trend.slope * range);
    row.ci_low = Some(trend.slope_interval.lower * range);
    row.ci_high = Some(trend.slope_interval.upper * range);
    row.standard_error = Some(trend.slope_error * range);
    row.z = Some(trend.z);
    row.p = Some(p);
    row.test = Some(test.name().to_owned());
    let rate = events as f64 / row.n.max(1) as f64;
    row.detectable = PowerTarget::new(0.05, 0.8)
        .and_then(|target| detectable_slope(trend.squares, rate, target))
        .map_err(EffectsError::stats(name()))?
        .ok()
        .map(|slope| slope * range);
    Ok(())
}

fn amount_trend(row: &mut LogDoseRow, own: &FeatureArms<'_>) -> Result<(), EffectsError> {
    let (mut doses, mut amounts, mut strata) = (Vec::new(), Vec::new(), Vec::new());
    for (stratum, levels) in own.doses.values().enumerate() {
        for (dose, tally) in levels {
            let before = amounts.len() as u64;
            for (amount, count) in tally.amounts() {
                for _ in 0..count {
                    doses.push(*dose);
                    amounts.push(amount);
                    strata.push(stratum as u64);
                }
            }
            let known = amounts.len() as u64 - before;
            row.n += known;
            row.unknown += tally.known(&Measure::Bet).events.saturating_sub(known);
        }
    }
    let name = format!("the slope of amounts of L{}-{}", row.layer, row.feature);
    let found = slope_test(&doses, &amounts, &strata, SlopeErrors::Hc3, Confidence::P95)
        .map_err(EffectsError::stats(name))?;
    let Ok(slope) = found else {
        return Ok(());
    };
    let range = row.highest_dose - row.lowest_dose;
    row.slope = Some(slope.slope);
    row.effect = Some(slope.slope * range);
    row.ci_low = Some(slope.interval.lower * range);
    row.ci_high = Some(slope.interval.upper * range);
    row.standard_error = Some(slope.standard_error * range);
    row.z = Some(normal_score(slope.test.p, slope.test.t));
    row.p = Some(slope.test.p);
    row.test = Some(TestName::SlopeT.name().to_owned());
    Ok(())
}
