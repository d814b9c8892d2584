//! What figures show: rates by condition, by dose, and effects by block.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_stats::{
    Confidence, Moments, Proportion, covering_proportion_interval, one_sample_t_test, spread_of_z,
};
use serde::Serialize;

use crate::cells::Cells;
use crate::comparison::Comparison;
use crate::effect_row::{LogDoseRow, LogEffectRow};
use crate::feature_arms::{Arms, ByPrompt};
use crate::tally::{Known, Ordered, Tally};
use crate::verdict::Question;
use crate::{EffectsError, Measure};

/// One rate or mean, with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionRow {
    /// The prompt.
    pub prompt: String,
    /// The arm.
    pub arm: String,
    /// The dose, in rows of doses.
    pub dose: Option<f64>,
    /// The measure.
    pub measure: String,
    /// Trials (for amounts: bets) of which it is known.
    pub n: u64,
    /// Trials (bets) of which it is not known.
    pub unknown: u64,
    /// Rate or mean.
    pub value: Option<f64>,
    /// Lower limit of its 95 % interval.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
}

/// The effects of one block's features.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRow {
    /// Block index.
    pub layer: u32,
    /// The measure.
    pub measure: String,
    /// What is compared.
    pub question: Question,
    /// Features tested.
    pub features: u64,
    /// Features whose value B (whose dose) raises the measure, q at or below the limit.
    pub raised: u64,
    /// Features whose value B (whose dose) lowers it.
    pub lowered: u64,
    /// Mean effect.
    pub mean_effect: f64,
    /// Mean size of the effects, sign left out.
    pub mean_size: f64,
}

/// Whether baselines differ among the features under which they were logged, though no feature has a part in them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineDrift {
    /// The measure.
    pub measure: String,
    /// Baselines compared: one per feature and prompt.
    pub baselines: usize,
    /// Variance of their z values about the prompts' common rates: 1 by chance.
    pub variance_z: f64,
    /// p value of a variance this large: small if sessions differ.
    pub p_more: f64,
    /// p value of a variance this small: small if baselines repeat one another.
    pub p_less: f64,
}

pub(crate) fn condition_row(
    prompt: &str,
    arm: &str,
    dose: Option<f64>,
    measure: &Measure,
    tally: &Tally,
) -> Result<Option<ConditionRow>, EffectsError> {
    let mut row = ConditionRow {
        prompt: prompt.to_owned(),
        arm: arm.to_owned(),
        dose,
        measure: measure.to_string(),
        n: 0,
        unknown: 0,
        value: None,
        low: None,
        high: None,
    };
    if measure.is_amount() {
        let moments = tally
            .amount_moments()
            .map_err(EffectsError::stats("the mean of amounts"))?;
        row.n = moments.count();
        row.unknown = tally.known(&Measure::Bet).events.saturating_sub(row.n);
        row.value = moments.mean().ok();
        if let Ok(test) = one_sample_t_test(&moments, Confidence::P95) {
            (row.low, row.high) = (Some(test.interval.lower), Some(test.interval.upper));
        }
    } else {
        let known = tally.known(measure);
        (row.n, row.unknown, row.value) = (known.known, known.unknown, known.rate());
        let proportion = Proportion::new(known.events, known.known).map_err(EffectsError::stats("a rate"))?;
        if let Ok(interval) = covering_proportion_interval(&proportion, Confidence::P95) {
            (row.low, row.high) = (Some(interval.lower), Some(interval.upper));
        }
    }
    Ok((row.n > 0).then_some(row))
}

/// Rates and means of every prompt and arm, all features together; with many prompts, of every kind of prompt.
pub(crate) fn conditions(cells: &Cells, measures: &[Measure]) -> Result<Vec<ConditionRow>, EffectsError> {
    let mut sums: BTreeMap<(String, String, Option<Ordered>), Tally> = BTreeMap::new();
    for (key, tally) in &cells.tallies {
        let kind = key
            .prompt
            .split_once('/')
            .map_or(key.prompt.as_str(), |(kind, _)| kind);
        let place = (
            kind.to_owned(),
            key.arm.name().to_owned(),
            key.scale().map(Ordered),
        );
        sums.entry(place).or_default().merge(tally);
    }
    let mut rows = Vec::new();
    for measure in measures {
        for ((prompt, arm, dose), tally) in &sums {
            rows.extend(condition_row(
                prompt,
                arm,
                dose.map(|dose| dose.0),
                measure,
                tally,
            )?);
        }
    }
    Ok(rows)
}

/// Effects by block: value against value, and trends over doses.
pub(crate) fn layers(effects: &[LogEffectRow], doses: &[LogDoseRow], alpha: f64) -> Vec<LayerRow> {
    /// Effect and q value of one feature.
    type Effect = (f64, Option<f64>);
    let values = Comparison::ValueVsValue.name(None);
    let of_values = effects.iter().filter(|row| row.comparison == values).map(|row| {
        (
            row.layer,
            row.measure.as_str(),
            Question::Values,
            row.effect,
            row.q,
        )
    });
    let of_doses = doses.iter().map(|row| {
        (
            row.layer,
            row.measure.as_str(),
            Question::Doses,
            row.effect,
            row.q,
        )
    });
    let mut blocks: BTreeMap<(u32, &str, Question), Vec<Effect>> = BTreeMap::new();
    for (layer, measure, question, effect, q) in of_values.chain(of_doses) {
        if let Some(effect) = effect {
            blocks
                .entry((layer, measure, question))
                .or_default()
                .push((effect, q));
        }
    }
    blocks
        .into_iter()
        .map(|((layer, measure, question), rows)| {
            let n = rows.len() as f64;
            let found = |sign: f64| {
                let is =
                    |(effect, q): &&(f64, Option<f64>)| q.is_some_and(|q| q <= alpha) && effect * sign > 0.0;
                rows.iter().filter(is).count() as u64
            };
            LayerRow {
                layer,
                measure: measure.to_owned(),
                question,
                features: rows.len() as u64,
                raised: found(1.0),
                lowered: found(-1.0),
                mean_effect: rows.iter().map(|(effect, _)| effect).sum::<f64>() / n,
                mean_size: rows.iter().map(|(effect, _)| effect.abs()).sum::<f64>() / n,
            }
        })
        .collect()
}

/// Whether the features' own baselines differ; `None` for measures or logs where that cannot be asked.
pub(crate) fn baseline_drift(
    arms: &Arms<'_>,
    measure: &Measure,
) -> Result<Option<BaselineDrift>, EffectsError> {
    if measure.is_amount() {
        return Ok(None);
    }
    let mut z = Vec::new();
    let prompts: BTreeSet<&str> = arms.baseline.keys().copied().collect();
    for prompt in prompts {
        let known = |place: &ByPrompt<'_>| place.get(prompt).map(|tally| tally.known(measure));
        let Some(all) = known(&arms.baseline) else {
            continue;
        };
        let Some(rate) = all.rate().filter(|rate| *rate > 0.0 && *rate < 1.0) else {
            continue;
        };
        for Known { events, known, .. } in arms
            .features
            .values()
            .filter_map(|own| known(&own.own_baseline))
            .filter(|own| own.known > 0 && own.known < all.known)
        {
            let n = known as f64;
            // Sampling without replacement from all baseline trials.
            let variance = n * rate * (1.0 - rate) * (all.known - known) as f64 / (all.known - 1) as f64;
            z.push((events as f64 - n * rate) / variance.sqrt());
        }
    }
    let found = spread_of_z(&z, Confidence::P95).map_err(EffectsError::stats("the spread of baselines"))?;
    Ok(found.ok().map(|spread| BaselineDrift {
        measure: measure.to_string(),
        baselines: spread.count,
        variance_z: spread.variance,
        p_more: spread.p_more,
        p_less: spread.p_less,
    }))
}

/// Standard deviation of the known amounts within prompts and arms, all features together.
pub(crate) fn amount_deviation(cells: &Cells) -> Result<Option<f64>, EffectsError> {
    let mut groups: BTreeMap<(&str, &str, Option<Ordered>), Moments> = BTreeMap::new();
    for (key, tally) in &cells.tallies {
        let moments = tally
            .amount_moments()
            .map_err(EffectsError::stats("the mean of amounts"))?;
        groups
            .entry((&key.prompt, key.arm.name(), key.scale().map(Ordered)))
            .or_default()
            .merge(&moments)
            .map_err(EffectsError::stats("the mean of amounts"))?;
    }
    let (mut squares, mut df) = (0.0, 0.0);
    for group in groups.values() {
        if let Ok(variance) = group.variance() {
            let own = (group.count() - 1) as f64;
            squares += variance * own;
            df += own;
        }
    }
    Ok((squares > 0.0).then(|| (squares / df).sqrt()))
}
