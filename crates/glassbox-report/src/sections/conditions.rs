//! Rates by prompt family and arm, in the vocabulary of the slot-machine study where it has a word.

use glassbox_experiment::tables::VerdictRow;
use glassbox_experiment::{Arm, Condition};

use super::causal::feature_of;
use crate::ReportError;
use crate::data::{CausalData, Contrast, Effect, FeatureId, Measure, Names, Prompts, ReportData, Tally};
use crate::figures::dumbbell::Rates;
use crate::html_table::{Cell, Head, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

/// Target rates of one feature in one family: reference, value A, value B.
pub(super) fn rates(causal: &CausalData, feature: FeatureId, prompts: Prompts, names: &Names) -> Rates {
    let of = |contrast| causal.of_selected(feature, contrast, Measure::TargetRate, prompts);
    let (against_a, against_b) = match names.reference {
        Arm::ReconstructOnly => (
            of(Contrast::AAgainstReconstruction),
            of(Contrast::BAgainstReconstruction),
        ),
        _ => (of(Contrast::AAgainstBaseline), of(Contrast::BAgainstBaseline)),
    };
    let values = of(Contrast::BAgainstA);
    let first = |effect: Option<&Effect>| effect.and_then(|effect| effect.figure_1);
    let second = |effect: Option<&Effect>| effect.and_then(|effect| effect.figure_2);
    Rates {
        reference: first(against_a).or(first(against_b)),
        a: second(against_a).or(first(values)),
        b: second(against_b).or(second(values)),
    }
}

/// Every family under every arm, all features together, in the vocabulary of the slot-machine study where it has a word.
pub(super) fn condition_table(data: &ReportData, names: &Names) -> Result<Option<Markup>, ReportError> {
    let Some(trials) = &data.trials else {
        return Ok(None);
    };
    let mut outcomes: Vec<String> = data
        .scenario
        .iter()
        .flat_map(|scenario| scenario.outcome.choices.clone())
        .collect();
    let seen = trials
        .by_condition
        .values()
        .flat_map(|tally| tally.outcomes.keys());
    for outcome in seen {
        if !outcomes.contains(outcome) {
            outcomes.push(outcome.clone());
        }
    }
    let amounts = trials.by_condition.values().any(|tally| tally.with_amount > 0);
    let mut heads = vec![
        texts("condition", "prompt family, then what is patched"),
        texts("arm", "name of the arm in the tables"),
        numbers("trials", ""),
    ];
    heads.extend(
        outcomes
            .iter()
            .map(|outcome| numbers(outcome.clone(), "share of trials")),
    );
    if amounts {
        heads.push(numbers(
            with_unit("mean amount", names),
            "among trials with an amount",
        ));
    }
    let mut conditions: Vec<(&(String, Arm), &Tally)> = trials.by_condition.iter().collect();
    conditions.sort_by_key(|((family, arm), _)| (*family != names.family_a, family.clone(), *arm));
    let rows = conditions.into_iter().map(|((family, arm), tally)| {
        let condition = Condition {
            family: family.clone(),
            arm: *arm,
        };
        let name = condition
            .patch_name(&names.family_a, &names.family_b)
            .unwrap_or_else(|| format!("{family}_{arm}"));
        let mut cells = vec![
            Cell::text(&name),
            Cell::text(arm.name()),
            Cell::count(tally.trials),
        ];
        cells.extend(
            outcomes
                .iter()
                .map(|outcome| Cell::number(tally.share(outcome), number::percent)),
        );
        if amounts {
            cells.push(Cell::number(Tally::mean_amount(tally), |amount| {
                number::decimal(amount, 1)
            }));
        }
        cells
    });
    let total = trials.by_condition.len() as u64;
    HtmlTable::new("conditions", heads, rows, total, "trials/*.parquet")
        .markup()
        .map(Some)
}

/// Target rate of every feature under the six conditions.
pub(super) fn six_conditions(
    verdicts: &[VerdictRow],
    causal: &CausalData,
    names: &Names,
) -> Result<Markup, ReportError> {
    let families = [
        (Prompts::FamilyA, &names.family_a),
        (Prompts::FamilyB, &names.family_b),
    ];
    let mut heads: Vec<Head> = vec![texts("feature", "")];
    for (_, family) in families {
        for arm in [names.reference, Arm::ValueA, Arm::ValueB] {
            let condition = Condition {
                family: family.clone(),
                arm,
            };
            let name = condition
                .patch_name(&names.family_a, &names.family_b)
                .unwrap_or_else(|| condition.to_string());
            heads.push(numbers(name, format!("{} rate: {condition}", names.target)));
        }
    }
    let rows = verdicts.iter().map(|row| {
        let mut cells = vec![Cell::feature(feature_of(row))];
        for (prompts, _) in families {
            let rates = rates(causal, feature_of(row), prompts, names);
            cells.extend([rates.reference, rates.a, rates.b].map(|rate| Cell::number(rate, number::percent)));
        }
        cells
    });
    HtmlTable::new(
        "six conditions",
        heads,
        rows,
        verdicts.len() as u64,
        "causal.parquet",
    )
    .markup()
}

/// A head with the unit of amounts.
pub(super) fn with_unit(text: &str, names: &Names) -> String {
    if names.unit.is_empty() {
        text.to_owned()
    } else {
        format!("{text} ({})", names.unit)
    }
}
