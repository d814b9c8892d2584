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
    dictionary: Option<&DictionaryFacts>,
    findings: &mut Vec<Finding>,
) {
    check_join(listed, in_logs, findings);
    check_ids(listed, in_logs, dictionary, findings);
    check_means(listed, dictionary, findings);
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

fn check_ids(
    listed: &[FeatureRecord],
    in_logs: &BTreeSet<FeatureId>,
    dictionary: Option<&DictionaryFacts>,
    findings: &mut Vec<Finding>,
) {
    let all: BTreeSet<FeatureId> = listed
        .iter()
        .map(|record| record.feature)
        .chain(in_logs.iter().copied())
        .collect();
    if all.is_empty() {
        return;
    }
    let highest = all.iter().map(|id| id.feature).max().unwrap_or(0);
    let Some(dictionary) = dictionary else {
        let what = format!(
            "whether the dictionary has these features (the highest index is {highest}) and can give their means was not checked"
        );
        findings.push(
            Finding::new(Severity::Fact, FindingKind::NotChecked, all.len() as u64, what)
                .remedy("name it with --dictionary, or state its size with --dictionary-features"),
        );
        return;
    };
    let outside: Vec<Example> = all
        .iter()
        .filter(|id| u64::from(id.feature) >= dictionary.features)
        .map(|id| Example::new(id.to_string(), u64::from(id.feature), ""))
        .collect();
    if !outside.is_empty() {
        let count = outside.len() as u64;
        let what = format!(
            "{} of {} are outside the dictionary, whose last feature is {}",
            grouped(count),
            counted(all.len() as u64, "feature"),
            dictionary.features.saturating_sub(1)
        );
        findings.push(
            Finding::new(Severity::Error, FindingKind::OutsideDictionary, count, what)
                .remedy("these indices belong to another dictionary; find out which")
                .examples(outside),
        );
    }
    let Some(width) = dictionary.model_width else {
        return;
    };
    if all.len() >= FEWEST_IDS && width < dictionary.features && u64::from(highest) < width {
        let chance =
            (width as f64 / dictionary.features as f64).powi(i32::try_from(all.len()).unwrap_or(i32::MAX));
        let what = format!(
            "all {} indices are below {width}, the width of the residual stream, though the dictionary has {} features: chance \
             {chance:.1e} if they were drawn from it",
            grouped(all.len() as u64),
            grouped(dictionary.features)
        );
        findings.push(
            Finding::new(
                Severity::Warning,
                FindingKind::ResidualPositions,
                all.len() as u64,
                what,
            )
            .remedy(
                "they look like positions in the residual stream; check what the selection was computed on",
            ),
        );
    }
}

fn check_means(listed: &[FeatureRecord], dictionary: Option<&DictionaryFacts>, findings: &mut Vec<Finding>) {
    let non_negative = dictionary.is_some_and(|dictionary| dictionary.is_non_negative);
    let negative: Vec<Example> = listed
        .iter()
        .filter_map(|record| {
            let means = [record.measures.mean_a, record.measures.mean_b];
            let lowest = means.into_iter().flatten().fold(f64::INFINITY, f64::min);
            (lowest < 0.0).then(|| Example::new(record.feature.to_string(), 0, format!("mean {lowest}")))
        })
        .collect();
    if !negative.is_empty() {
        let count = negative.len() as u64;
        let (severity, why) = if non_negative {
            (Severity::Error, "the dictionary's activations are never negative")
        } else {
            (
                Severity::Warning,
                "activations after a ReLU, JumpReLU or TopK are never negative",
            )
        };
        let what = format!(
            "{} have a negative mean, but {why}",
            counted(count, "listed feature")
        );
        findings.push(
            Finding::new(severity, FindingKind::ImpossibleMeans, count, what)
                .remedy("the means come from another space, such as the residual stream; measure them again")
                .examples(negative),
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
