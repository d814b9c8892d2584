//! Lists of features: do they join the logs, and can their numbers come from the dictionary?

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{counted, grouped, percent};
use super::{DictionaryFacts, Example, Finding, FindingKind, Severity};
use crate::{FeatureId, FeatureRecord};

/// Fewest ids whose distribution is judged.
const FEWEST_IDS: usize = 20;

pub(super) fn check(
    listed: &[FeatureRecord],
    in_logs: &BTreeSet<FeatureId>,
    dictionaries: &[DictionaryFacts],
    findings: &mut Vec<Finding>,
) {
    check_join(listed, in_logs, findings);
    check_ids(listed, in_logs, dictionaries, findings);
    check_means(listed, dictionaries, findings);
}

fn check_join(listed: &[FeatureRecord], in_logs: &BTreeSet<FeatureId>, findings: &mut Vec<Finding>) {
    let names: BTreeSet<FeatureId> = listed.iter().map(|record| record.feature).collect();
    if names.is_empty() || in_logs.is_empty() {
        return;
    }
    let joined = names.intersection(in_logs).count() as u64;
    let (all, logged) = (names.len() as u64, in_logs.len() as u64);
    let what = format!(
        "{} of {} in lists have trials ({}); {} of {} with trials are in a list ({})",
        grouped(joined),
        counted(all, "feature"),
        percent(joined, all),
        grouped(joined),
        counted(logged, "feature"),
        percent(joined, logged)
    );
    let severity = match joined {
        0 => Severity::Error,
        _ if 10 * joined < 9 * all || joined < logged => Severity::Warning,
        _ => Severity::Fact,
    };
    let without: Vec<Example> = names
        .difference(in_logs)
        .map(|feature| Example::new(feature.to_string(), 0, "listed, without trials"))
        .chain(
            in_logs
                .difference(&names)
                .map(|feature| Example::new(feature.to_string(), 0, "with trials, in no list")),
        )
        .collect();
    findings.push(
        Finding::new(severity, FindingKind::Unjoined, without.len() as u64, what)
            .remedy(if severity == Severity::Fact {
                ""
            } else {
                "the lists and the logs come from different runs, layers or dictionaries, or files are missing"
            })
            .examples(without),
    );
}

/// The dictionary of a layer.
fn of_layer(dictionaries: &[DictionaryFacts], layer: u32) -> Option<&DictionaryFacts> {
    let own = dictionaries.iter().find(|facts| facts.layer == Some(layer));
    own.or_else(|| dictionaries.iter().find(|facts| facts.layer.is_none()))
}

fn check_ids(
    listed: &[FeatureRecord],
    in_logs: &BTreeSet<FeatureId>,
    dictionaries: &[DictionaryFacts],
    findings: &mut Vec<Finding>,
) {
    let all: BTreeSet<FeatureId> = listed
        .iter()
        .map(|record| record.feature)
        .chain(in_logs.iter().copied())
        .collect();
    let (known, unknown): (Vec<FeatureId>, Vec<FeatureId>) = all
        .iter()
        .copied()
        .partition(|id| of_layer(dictionaries, id.layer).is_some());
    if !unknown.is_empty() {
        let count = unknown.len() as u64;
        let highest = unknown.iter().map(|id| id.feature).max().unwrap_or(0);
        let what = format!(
            "whether the dictionaries have {} (the highest index is {highest}) and can give their means was not checked",
            counted(count, "feature")
        );
        findings.push(
            Finding::new(Severity::Fact, FindingKind::NotChecked, count, what).remedy(
                "name the dictionaries with --dictionary, or state their size with --dictionary-features",
            ),
        );
    }
    let outside: Vec<Example> = known
        .iter()
        .filter_map(|id| {
            let features = of_layer(dictionaries, id.layer)?.features;
            (u64::from(id.feature) >= features).then(|| {
                Example::new(
                    id.to_string(),
                    u64::from(id.feature),
                    format!("of {features} features"),
                )
            })
        })
        .collect();
    if !outside.is_empty() {
        let count = outside.len() as u64;
        let what = format!(
            "{} of {} are outside their dictionaries",
            grouped(count),
            counted(known.len() as u64, "feature")
        );
        findings.push(
            Finding::new(Severity::Error, FindingKind::OutsideDictionary, count, what)
                .remedy("these indices belong to another dictionary; find out which")
                .examples(outside),
        );
    }
    // The share of each dictionary that lies below the width of the residual stream.
    let shares: Vec<f64> = known
        .iter()
        .filter_map(|id| {
            let facts = of_layer(dictionaries, id.layer)?;
            let width = facts.model_width.filter(|width| *width < facts.features)?;
            (u64::from(id.feature) < width).then(|| width as f64 / facts.features as f64)
        })
        .collect();
    if shares.len() >= FEWEST_IDS && shares.len() == known.len() {
        let chance = shares.iter().map(|share| share.ln()).sum::<f64>() / std::f64::consts::LN_10;
        let what = format!(
            "all {} indices are below the width of the residual stream, though their dictionaries are wider: chance 10^{chance:.0} \
             if they were drawn from the whole of them",
            grouped(shares.len() as u64)
        );
        findings.push(
            Finding::new(
                Severity::Warning,
                FindingKind::ResidualPositions,
                shares.len() as u64,
                what,
            )
            .remedy(
                "they look like positions in the residual stream; check what the selection was computed on",
            ),
        );
    }
}

/// Why a mean cannot come from a dictionary, if it cannot. Of n activations that are 0 or above a threshold, the mean is 0 or
/// above a n-th of it.
fn impossible(
    mean: Option<f64>,
    count: Option<u64>,
    feature: u32,
    facts: Option<&DictionaryFacts>,
) -> Option<String> {
    let mean = mean?;
    if mean < 0.0 {
        return Some(format!("mean {mean}"));
    }
    let threshold = f64::from(*facts?.thresholds.get(feature as usize)?);
    let least = threshold / count.filter(|count| *count > 0)? as f64;
    // Means are written with a few digits, and single precision rounds.
    (mean > 0.0 && mean < least * (1.0 - 1e-3))
        .then(|| format!("mean {mean}, though the least above 0 is {least}"))
}

fn check_means(listed: &[FeatureRecord], dictionaries: &[DictionaryFacts], findings: &mut Vec<Finding>) {
    let mut is_certain = false;
    let wrong: Vec<Example> = listed
        .iter()
        .filter_map(|record| {
            let facts = of_layer(dictionaries, record.feature.layer);
            let (measures, feature) = (&record.measures, record.feature.feature);
            let why = impossible(measures.mean_a, measures.n_a, feature, facts)
                .or_else(|| impossible(measures.mean_b, measures.n_b, feature, facts))?;
            is_certain |= facts.is_some_and(|facts| facts.is_non_negative);
            Some(Example::new(record.feature.to_string(), 0, why))
        })
        .collect();
    if !wrong.is_empty() {
        let count = wrong.len() as u64;
        let (severity, why) = if is_certain {
            (Severity::Error, "the dictionary cannot give")
        } else {
            (
                Severity::Warning,
                "no dictionary with ReLU, JumpReLU or TopK can give",
            )
        };
        let what = format!("{} have a mean that {why}", counted(count, "listed feature"));
        findings.push(
            Finding::new(severity, FindingKind::ImpossibleMeans, count, what)
                .remedy("the means come from another space, such as the residual stream; measure them again")
                .examples(wrong),
        );
    }
    let equal: Vec<Example> = listed
        .iter()
        .filter(|record| record.measures.mean_a.is_some() && record.measures.mean_a == record.measures.mean_b)
        .map(|record| Example::new(record.feature.to_string(), 0, ""))
        .collect();
    if !equal.is_empty() {
        let count = equal.len() as u64;
        let what = format!(
            "{} have the same mean on both kinds of prompts",
            counted(count, "listed feature")
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::ImpossibleMeans, count, what)
                .remedy("setting them to one or the other is the same; leave them out")
                .examples(equal),
        );
    }
    let mut means: BTreeMap<FeatureId, Vec<(f64, f64)>> = BTreeMap::new();
    for record in listed {
        if let (Some(a), Some(b)) = (record.measures.mean_a, record.measures.mean_b) {
            means.entry(record.feature).or_default().push((a, b));
        }
    }
    let differs = |one: f64, other: f64| (one - other).abs() > 1e-6 * one.abs().max(other.abs());
    let contradictory: Vec<Example> = means
        .into_iter()
        .filter(|(_, stated)| {
            let first = stated[0];
            stated
                .iter()
                .any(|next| differs(first.0, next.0) || differs(first.1, next.1))
        })
        .map(|(feature, stated)| Example::new(feature.to_string(), stated.len() as u64, ""))
        .collect();
    if !contradictory.is_empty() {
        let count = contradictory.len() as u64;
        let what = format!(
            "{} have different means in different places",
            counted(count, "feature")
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::ContradictoryFeatures, count, what)
                .remedy("means depend on the dictionary's rule and the layer; never mix them")
                .examples(contradictory),
        );
    }
}
