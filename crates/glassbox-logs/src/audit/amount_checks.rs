//! Amounts that pile up where a parser puts them.

use std::collections::BTreeMap;

use super::finding::{grouped, percent};
use super::{Example, Finding, FindingKind, Severity};
use crate::{Dose, Repeats, TrialIndex};

/// Warns if the lowest and the highest amount together hold far more than the others: parsers that clamp put
/// everything there.
pub(super) fn check(index: &TrialIndex, findings: &mut Vec<Finding>) {
    let mut prompts: BTreeMap<&str, BTreeMap<Dose, u64>> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        let amounts = prompts.entry(cell.condition.prompt_name()).or_default();
        for (_, outcome) in index.counted(number, 0, Repeats::First) {
            if let Some(amount) = outcome.amount().and_then(Dose::new) {
                *amounts.entry(amount).or_default() += 1;
            }
        }
    }
    let (mut at_ends, mut all, mut examples) = (0, 0, Vec::new());
    for (prompt, amounts) in &prompts {
        let total: u64 = amounts.values().sum();
        all += total;
        // With a few amounts the ends are choices like any other.
        if amounts.len() < 5 {
            continue;
        }
        let ends = [amounts.first_key_value(), amounts.last_key_value()];
        let counts: Vec<(f64, u64)> = ends
            .into_iter()
            .flatten()
            .map(|(amount, count)| (amount.value(), *count))
            .collect();
        let here: u64 = counts.iter().map(|(_, count)| count).sum();
        // A quarter, or twice what the ends would hold if all amounts were as frequent.
        if 4 * here > total && here * amounts.len() as u64 > 4 * total {
            at_ends += here;
            for (amount, count) in counts {
                examples.push(Example::new(
                    format!("{prompt}: {amount}"),
                    count,
                    percent(count, total),
                ));
            }
        }
    }
    if examples.is_empty() {
        return;
    }
    let what = format!(
        "{} of {} recorded amounts ({}) are the lowest or the highest possible one: they are clamped, not read",
        grouped(at_ends),
        grouped(all),
        percent(at_ends, all)
    );
    findings.push(
        Finding::new(Severity::Warning, FindingKind::ClampedAmounts, at_ends, what)
            .remedy("read amounts again with a parser that does not clamp; unknown amounts stay unknown")
            .examples(examples),
    );
}
