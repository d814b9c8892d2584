//! Planned against actual trials, conditions that are missing.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{counted, grouped, percent};
use super::{Example, Finding, FindingKind, PlannedTrials, Severity};
use crate::{FeatureId, Repeats, Treatment, TrialIndex};

/// The cells of features, by feature and treatment; trials of several prompts are put together.
pub(super) struct Grid {
    features: BTreeMap<FeatureId, BTreeMap<Treatment, CellTrials>>,
    treatments: BTreeSet<Treatment>,
}

#[derive(Clone, Copy, Default)]
struct CellTrials {
    rows: u64,
    trials: u64,
}

impl Grid {
    pub(super) fn new(index: &TrialIndex) -> Self {
        let mut features: BTreeMap<FeatureId, BTreeMap<Treatment, CellTrials>> = BTreeMap::new();
        let mut treatments = BTreeSet::new();
        for (number, cell) in index.cells().iter().enumerate() {
            let Some(feature) = cell.feature else { continue };
            let rows = index.rows_of(number);
            let trials = &index.trials()[rows.clone()];
            let entry = features
                .entry(feature)
                .or_default()
                .entry(cell.treatment())
                .or_default();
            entry.rows += rows.len() as u64;
            entry.trials += trials.iter().filter(|trial| trial.counts(Repeats::First)).count() as u64;
            treatments.insert(cell.treatment());
        }
        Self { features, treatments }
    }

    /// What was planned: as stated, or the number that most cells have, if at least half of them do.
    pub(super) fn plan(&self, stated: Option<u64>) -> Option<PlannedTrials> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for cell in self.features.values().flat_map(BTreeMap::values) {
            *counts.entry(cell.trials).or_default() += 1;
        }
        let cells: u64 = counts.values().sum();
        let commonest = counts
            .iter()
            .max_by_key(|(trials, cells)| (**cells, **trials))
            .filter(|(_, with_it)| 2 * **with_it >= cells && cells > 0)
            .map(|(trials, _)| *trials);
        let per_cell = stated.or(commonest)?;
        let cells = self.features.len() as u64 * self.treatments.len() as u64;
        Some(PlannedTrials {
            cells,
            per_cell,
            stated: stated.is_some(),
            trials: cells * per_cell,
        })
    }

    pub(super) fn check(&self, plan: Option<&PlannedTrials>, fewest: u64, findings: &mut Vec<Finding>) {
        self.check_conditions(findings);
        self.check_numbers(plan, fewest, findings);
        let rows: u64 = self
            .features
            .values()
            .flat_map(BTreeMap::values)
            .map(|cell| cell.rows)
            .sum();
        if let Some(plan) = plan {
            let how = if plan.stated {
                "as stated"
            } else {
                "the commonest number"
            };
            let what = format!(
                "{} for {} planned: {} × {} ({how})",
                counted(rows, "row"),
                counted(plan.trials, "trial"),
                counted(plan.cells, "cell"),
                grouped(plan.per_cell)
            );
            findings.push(Finding::new(
                Severity::Fact,
                FindingKind::TooManyTrials,
                rows,
                what,
            ));
        }
    }

    fn check_conditions(&self, findings: &mut Vec<Finding>) {
        let incomplete: Vec<Example> = self
            .features
            .iter()
            .filter(|(_, cells)| cells.len() < self.treatments.len())
            .map(|(feature, cells)| {
                let missing: Vec<String> = self
                    .treatments
                    .iter()
                    .filter(|treatment| !cells.contains_key(treatment))
                    .map(Treatment::to_string)
                    .collect();
                Example::new(feature.to_string(), missing.len() as u64, missing.join(", "))
            })
            .collect();
        if incomplete.is_empty() {
            return;
        }
        let count = incomplete.len() as u64;
        let what = format!(
            "{} of {} lack some of the {} that others have",
            grouped(count),
            counted(self.features.len() as u64, "feature"),
            counted(self.treatments.len() as u64, "condition")
        );
        findings.push(
            Finding::new(Severity::Warning, FindingKind::MissingConditions, count, what)
                .remedy("compare these features with what they have, or find the files that are missing")
                .examples(incomplete),
        );
    }

    fn check_numbers(&self, plan: Option<&PlannedTrials>, fewest: u64, findings: &mut Vec<Finding>) {
        let wanted = plan.map_or(fewest, |plan| plan.per_cell.max(fewest));
        let cells = || {
            self.features.iter().flat_map(|(feature, cells)| {
                cells
                    .iter()
                    .map(move |(treatment, trials)| (format!("{feature} {treatment}"), trials))
            })
        };
        let all = cells().count() as u64;
        let few: Vec<Example> = cells()
            .filter(|(_, cell)| cell.trials < wanted)
            .map(|(name, cell)| Example::new(name, cell.trials, ""))
            .collect();
        if !few.is_empty() {
            let count = few.len() as u64;
            let too_few = few.iter().filter(|example| example.count < fewest).count() as u64;
            let what = format!(
                "{} of {} ({}) have fewer than {} trials, {} of them fewer than the {fewest} that a comparison needs",
                grouped(count),
                counted(all, "cell"),
                percent(count, all),
                grouped(wanted),
                grouped(too_few)
            );
            let mut few = few;
            few.sort_by_key(|example| example.count);
            findings.push(
                Finding::new(Severity::Warning, FindingKind::TooFewTrials, count, what)
                    .remedy(
                        "effects of these cells have wide intervals; cells below the minimum are left out",
                    )
                    .examples(few),
            );
        }
        let Some(plan) = plan else { return };
        let many: Vec<Example> = cells()
            .filter(|(_, cell)| cell.trials > plan.per_cell)
            .map(|(name, cell)| Example::new(name, cell.trials, ""))
            .collect();
        if !many.is_empty() {
            let count = many.len() as u64;
            let surplus: u64 = many.iter().map(|example| example.count - plan.per_cell).sum();
            let what = format!(
                "{} of {} have more than {} different trials, {} in all too many",
                grouped(count),
                counted(all, "cell"),
                grouped(plan.per_cell),
                grouped(surplus)
            );
            findings.push(
                Finding::new(Severity::Warning, FindingKind::TooManyTrials, count, what)
                    .remedy("near-certain re-runs under new trial numbers, if the plan was the same for all cells")
                    .examples(many),
            );
        }
    }
}
