//! Chains of two edges, with the measured end-to-end effect beside the product.

use std::collections::BTreeMap;

use crate::causal::VALUE_VS_VALUE;
use crate::edges::{RecordedFeature, SourceFeature, SourceRole};
use crate::tables::{ChainRow, PathwayRow};

/// Most chains kept.
const MOST_CHAINS: usize = 200;

/// Chains first → second → third of which both links have q below alpha and whose end-to-end effect was measured.
///
/// The second feature must itself have been a source: its link to the third is then measured by setting it, not inferred.
/// The strongest predictions come first.
pub fn chain_rows(rows: &[PathwayRow], sources: &[SourceFeature], alpha: f64) -> Vec<ChainRow> {
    let mut edges: BTreeMap<RecordedFeature, BTreeMap<RecordedFeature, &PathwayRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| {
        row.contrast == VALUE_VS_VALUE.name
            && row.source_role != SourceRole::Control.name()
            && row.q.is_some()
    }) {
        edges
            .entry((row.source_layer, row.source_feature))
            .or_default()
            .insert((row.target_layer, row.target_feature), row);
    }
    let steps: BTreeMap<RecordedFeature, f64> = sources
        .iter()
        .filter(|source| source.role != SourceRole::Control)
        .map(|source| ((source.layer, source.feature), source.value_b - source.value_a))
        .collect();
    let significant = |row: &PathwayRow| row.q.is_some_and(|q| q < alpha);
    let mut chains = Vec::new();
    for (first, targets) in &edges {
        for (second, link_12) in targets.iter().filter(|(_, row)| significant(row)) {
            let (Some(onward), Some(&step)) = (edges.get(second), steps.get(second)) else {
                continue;
            };
            if step == 0.0 {
                continue;
            }
            for (third, link_23) in onward.iter().filter(|(_, row)| significant(row)) {
                let Some(whole) = targets.get(third) else { continue };
                chains.push(ChainRow {
                    layer_1: first.0,
                    feature_1: first.1,
                    layer_2: second.0,
                    feature_2: second.1,
                    layer_3: third.0,
                    feature_3: third.1,
                    effect_12: link_12.effect,
                    q_12: link_12.q.unwrap_or(1.0),
                    effect_23: link_23.effect,
                    q_23: link_23.q.unwrap_or(1.0),
                    predicted_13: link_12.effect * link_23.effect / step,
                    measured_13: whole.effect,
                    ci_low: whole.ci_low,
                    ci_high: whole.ci_high,
                    q_13: whole.q.unwrap_or(1.0),
                });
            }
        }
    }
    chains.sort_by(|a, b| b.predicted_13.abs().total_cmp(&a.predicted_13.abs()));
    chains.truncate(MOST_CHAINS);
    chains
}

/// Sources of a second wave: the targets that wave one moves most and that lie below the last layer, set to the mean
/// activations that the strongest source gave them, so that a chain's second link repeats what its first link did.
///
/// Strength is |effect| · ‖decoder row‖: the change of the residual stream that the target's own change stands for.
pub fn second_wave(
    rows: &[PathwayRow],
    sources: &[SourceFeature],
    most: usize,
    alpha: f64,
    last_layer: u32,
    decoder_norm: impl Fn(u32, u32) -> f64,
) -> Vec<SourceFeature> {
    let known: Vec<RecordedFeature> = sources
        .iter()
        .map(|source| (source.layer, source.feature))
        .collect();
    let mut strongest: BTreeMap<RecordedFeature, (f64, &PathwayRow)> = BTreeMap::new();
    for row in rows {
        let target = (row.target_layer, row.target_feature);
        if row.contrast != VALUE_VS_VALUE.name
            || row.source_role == SourceRole::Control.name()
            || row.q.is_none_or(|q| q >= alpha)
            || row.target_layer >= last_layer
            || known.contains(&target)
        {
            continue;
        }
        let strength = row.effect.abs() * decoder_norm(row.target_layer, row.target_feature);
        let entry = strongest.entry(target).or_insert((strength, row));
        if strength > entry.0 {
            *entry = (strength, row);
        }
    }
    let mut candidates: Vec<(RecordedFeature, (f64, &PathwayRow))> = strongest.into_iter().collect();
    candidates.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then(a.0.cmp(&b.0)));
    candidates
        .into_iter()
        .take(most)
        .map(|((layer, feature), (_, row))| SourceFeature {
            layer,
            feature,
            value_a: row.mean_1,
            value_b: row.mean_2,
            role: SourceRole::SecondWave,
        })
        .collect()
}
