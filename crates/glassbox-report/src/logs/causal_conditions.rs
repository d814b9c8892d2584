//! Rates and means of every prompt and arm, all features together.

use glassbox_log_effects::{CausalAnalysis, ConditionRow};

use super::body::{Body, Caption};
use super::unit::{Unit, capital};
use crate::ReportError;
use crate::figures::interval_bars::{BarGroup, IntervalBar, interval_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

/// Arms in the order of bars, with their names and colours; others follow.
const ARMS: [(&str, &str, &str); 6] = [
    ("baseline", "baseline", "reference"),
    ("reconstruct_only", "reconstr.", "density"),
    ("value_a", "value A", "fill-a"),
    ("value_b", "value B", "light-b"),
    ("control_a", "random A", "density"),
    ("control_b", "random B", "density"),
];

pub(super) fn body(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.paragraph(
        "All features together. A bar of a value is what intervening did on average, not what one feature does: if value A and value B \
         stand alike beside the baseline, the intervention matters and the value does not.",
    );
    let mut measures: Vec<&str> = Vec::new();
    for row in &analysis.conditions {
        if !measures.contains(&row.measure.as_str()) {
            measures.push(&row.measure);
        }
    }
    for measure in measures {
        let unit = Unit::of(measure);
        let rows: Vec<&ConditionRow> = analysis
            .conditions
            .iter()
            .filter(|row| row.measure == measure && row.dose.is_none())
            .collect();
        if rows.is_empty() {
            continue;
        }
        let caption = Caption {
            title: &format!("{} by prompt and arm.", capital(&unit.words)),
            rest: "Lines: 95 % intervals of one rate or mean.",
            legend: Vec::new(),
        };
        let title = format!("{} ({})", unit.words, unit.of_values);
        body.figure(&caption, &interval_bars(&title, &title, &groups(&rows, &unit)));
    }
    let rows: Vec<&ConditionRow> = analysis
        .conditions
        .iter()
        .filter(|row| row.dose.is_none())
        .collect();
    body.markup(&table(&rows)?);
    Ok(body.finish())
}

fn groups(rows: &[&ConditionRow], unit: &Unit) -> Vec<BarGroup> {
    let mut prompts: Vec<&str> = rows.iter().map(|row| row.prompt.as_str()).collect();
    prompts.dedup();
    let order = |arm: &str| {
        ARMS.iter()
            .position(|(name, _, _)| *name == arm)
            .unwrap_or(ARMS.len())
    };
    prompts
        .into_iter()
        .map(|prompt| {
            let mut of_prompt: Vec<&&ConditionRow> = rows
                .iter()
                .filter(|row| row.prompt == prompt && row.value.is_some())
                .collect();
            of_prompt.sort_by_key(|row| order(&row.arm));
            BarGroup {
                title: format!("{prompt} prompts"),
                bars: of_prompt.into_iter().map(|row| bar(row, unit)).collect(),
            }
        })
        .filter(|group| !group.bars.is_empty())
        .collect()
}

fn bar(row: &ConditionRow, unit: &Unit) -> IntervalBar {
    let value = row.value.unwrap_or_default();
    let interval = row.low.zip(row.high);
    let (name, class) = ARMS
        .iter()
        .find(|(arm, _, _)| *arm == row.arm)
        .map_or((row.arm.as_str(), "density"), |(_, name, class)| (*name, *class));
    let ends = interval.map_or_else(String::new, |(low, high)| {
        format!(", 95 % interval {} to {}", unit.value(low), unit.value(high))
    });
    IntervalBar {
        name: name.to_owned(),
        value: value * unit.scale,
        interval: interval.map(|(low, high)| (low * unit.scale, high * unit.scale)),
        figure: unit.value(value),
        about: format!(
            "{}, {}: {}{ends}, {} known, {} unknown",
            row.prompt,
            row.arm.replace('_', " "),
            unit.value(value),
            number::count(row.n),
            number::count(row.unknown)
        ),
        class,
    }
}

/// The table of conditions, or of doses.
pub(super) fn table(rows: &[&ConditionRow]) -> Result<Markup, ReportError> {
    let has_doses = rows.iter().any(|row| row.dose.is_some());
    let mut heads = vec![texts("measure", ""), texts("prompt", ""), texts("arm", "")];
    if has_doses {
        heads.push(numbers("dose", ""));
    }
    heads.extend([
        numbers("known", "trials (for amounts: bets) of which it is known"),
        numbers("unknown", ""),
        numbers("value", "percent, or mean amount"),
        numbers("95 % interval", ""),
    ]);
    let cells = rows.iter().map(|row| {
        let unit = Unit::of(&row.measure);
        let ends = row.low.zip(row.high).map_or_else(
            || number::MISSING.to_owned(),
            |(low, high)| format!("[{}, {}]", unit.value(low), unit.value(high)),
        );
        let mut cells = vec![
            Cell::text(&row.measure),
            Cell::text(&row.prompt),
            Cell::text(&row.arm.replace('_', " ")),
        ];
        if has_doses {
            cells.push(Cell::number(row.dose, number::figure));
        }
        cells.extend([
            Cell::count(row.n),
            Cell::count(row.unknown),
            Cell::number(row.value.map(|value| value * unit.scale), |value| {
                number::decimal(value, 1)
            }),
            Cell::figures(&ends, row.low),
        ]);
        cells
    });
    HtmlTable::new(
        "conditions",
        heads,
        cells,
        rows.len() as u64,
        "the output of --json",
    )
    .markup()
}
