//! Whether the data support the analysis.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{counted, grouped};
use super::{Analysis, Finding, FindingKind, Severity, Support};
use crate::{AggregateRecord, Arm, FeatureId, Repeats, TrialIndex};

/// The analysis that the logs are made for.
pub(super) fn usual_analysis(index: &TrialIndex) -> Analysis {
    let doses = index.cells().iter().filter(|cell| cell.dose.is_some()).count();
    if 2 * doses > index.cells().len() {
        Analysis::Dose
    } else {
        Analysis::Effects
    }
}

/// What can be compared of one feature under one kind of prompt.
#[derive(Default)]
struct Comparable {
    arms: BTreeSet<&'static str>,
    doses: usize,
}

/// Feature, kind of prompt, arm and dose (its bits): cells of several prompts have it in common.
type GroupKey = (Option<FeatureId>, String, &'static str, Option<u64>);

/// Counts the features that the analysis can be done for. An error among the findings also means that it cannot.
pub(super) fn judge(
    index: &TrialIndex,
    aggregates: &[AggregateRecord],
    analysis: Analysis,
    asked_for: bool,
    fewest: u64,
    findings: &mut Vec<Finding>,
) -> Support {
    let mut prompts: BTreeMap<FeatureId, BTreeMap<String, Comparable>> = BTreeMap::new();
    let mut baselines: BTreeSet<String> = BTreeSet::new();
    let mut all: BTreeSet<FeatureId> = BTreeSet::new();
    // Several prompts of a kind count together.
    let mut counts: BTreeMap<GroupKey, u64> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        all.extend(cell.feature);
        let Some(arm) = arm_of(&cell.condition.arm) else {
            continue;
        };
        let prompt = cell.condition.prompt_name().to_owned();
        let usable = index
            .counted(number, 0, Repeats::First)
            .filter(|(trial, _)| analysis != Analysis::Words || !trial.is_empty())
            .count() as u64;
        let dose = cell.dose.map(|dose| dose.value().to_bits());
        *counts.entry((cell.feature, prompt, arm, dose)).or_default() += usable;
    }
    for record in aggregates {
        // Counts have no doses and no words.
        if analysis != Analysis::Effects {
            continue;
        }
        all.extend(record.feature);
        let Some(arm) = arm_of(&record.condition.arm) else {
            continue;
        };
        let has_outcome = record.stop.count.is_some() || !record.amounts.is_empty();
        if let Some(trials) = record.trials.filter(|_| has_outcome) {
            let prompt = record.condition.prompt_name().to_owned();
            *counts.entry((record.feature, prompt, arm, None)).or_default() += trials;
        }
    }
    for ((feature, prompt, arm, dose), trials) in counts {
        if trials < fewest {
            continue;
        }
        match feature {
            Some(feature) => {
                let comparable = prompts.entry(feature).or_default().entry(prompt).or_default();
                comparable.arms.insert(arm);
                comparable.doses += usize::from(dose.is_some());
            }
            None => {
                baselines.insert(prompt);
            }
        }
    }
    let is_supported = |prompt: &str, found: &Comparable| match analysis {
        Analysis::Dose => found.doses >= 3,
        Analysis::Effects | Analysis::Words => {
            let values = ["value_a", "value_b", "dose"]
                .iter()
                .filter(|arm| found.arms.contains(*arm))
                .count();
            let has_baseline = found.arms.contains("baseline") || baselines.contains(prompt);
            values + usize::from(has_baseline) >= 2 && values > 0 || found.doses >= 2
        }
    };
    let features = prompts
        .values()
        .filter(|kinds| kinds.iter().any(|(prompt, found)| is_supported(prompt, found)))
        .count() as u64;
    let all_features = all.len() as u64;
    let needs = match analysis {
        Analysis::Dose => format!("three doses of one prompt with at least {fewest} trials each"),
        Analysis::Effects => {
            format!(
                "two arms of one prompt (two values, or a value and a baseline) with at least {fewest} trials each"
            )
        }
        Analysis::Words => format!("two arms of one prompt with at least {fewest} responses each"),
    };
    if features == 0 {
        let what = format!("no feature has what the analysis of {analysis} needs: {needs}");
        findings.push(
            Finding::new(Severity::Error, FindingKind::NothingToAnalyse, all_features, what)
                .remedy("give the files that hold the trials, or ask for another analysis (--for)"),
        );
    } else if features < all_features {
        let what = format!(
            "the analysis of {analysis} can be done for {} of {}; the others lack {needs}",
            grouped(features),
            counted(all_features, "feature")
        );
        findings.push(Finding::new(
            Severity::Warning,
            FindingKind::PartlySupported,
            all_features - features,
            what,
        ));
    }
    Support {
        analysis,
        asked_for,
        supported: !findings.iter().any(|finding| finding.severity == Severity::Error),
        features,
        all_features,
    }
}

/// The arms that analyses compare.
fn arm_of(arm: &Arm<'_>) -> Option<&'static str> {
    match arm {
        Arm::Baseline => Some("baseline"),
        Arm::ValueA => Some("value_a"),
        Arm::ValueB => Some("value_b"),
        Arm::Dose => Some("dose"),
        Arm::ReconstructOnly | Arm::ControlA | Arm::ControlB | Arm::Other(_) => None,
    }
}
