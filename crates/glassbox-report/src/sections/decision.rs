//! What each feature does to the decision's log-odds.

use askama::Template;
use glassbox_experiment::causal::{BOTH, VALUE_VS_VALUE};
use glassbox_experiment::tables::DecisionEffectRow;

use crate::ReportError;
use crate::data::{FeatureId, Names, ReportData};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

#[derive(Template)]
#[template(path = "decision.html")]
struct Decision {
    names: Names,
    other: String,
    prefix: String,
    table: Markup,
}

pub(super) fn body(data: &ReportData, rows: &[DecisionEffectRow]) -> Result<Markup, ReportError> {
    let names = data.names();
    let settings = data
        .scenario
        .as_ref()
        .and_then(|scenario| scenario.decision.as_ref());
    let page = Decision {
        other: settings.map_or_else(String::new, |settings| settings.other(&names.target).to_owned()),
        prefix: settings.map_or_else(String::new, |settings| {
            settings.prefix.trim().replace('\n', " ⏎ ")
        }),
        table: table(rows)?,
        names,
    };
    Ok(Markup::assembled(page.render()?))
}

fn table(rows: &[DecisionEffectRow]) -> Result<Markup, ReportError> {
    let mut shown: Vec<(FeatureId, &DecisionEffectRow)> = rows
        .iter()
        .filter(|row| row.contrast == VALUE_VS_VALUE.name && row.family == BOTH)
        .filter_map(|row| {
            let (layer, feature) = (row.layer, row.feature?);
            Some((FeatureId { layer, feature }, row))
        })
        .collect();
    shown.sort_by(|(one_name, one), (other_name, other)| {
        let size = |row: &DecisionEffectRow| row.effect.abs();
        size(other).total_cmp(&size(one)).then(one_name.cmp(other_name))
    });
    let heads = vec![
        texts("feature", ""),
        numbers("value A", "mean log-odds under value A, nats"),
        numbers("value B", "mean log-odds under value B, nats"),
        numbers("effect", "B minus A, nats"),
        numbers("95 % interval", "paired t over prompts"),
        numbers("p", "paired t over prompts"),
        numbers("p, sign flips", "permutation test of the prompts' differences"),
        numbers(
            "q",
            "Benjamini–Hochberg over all contrasts of all selected features",
        ),
        numbers("percentile", "of |effect| among the random-feature controls"),
        numbers("prompts", ""),
    ];
    let total = shown.len() as u64;
    let rows = shown.into_iter().map(|(name, row)| {
        let interval = match (row.ci_low, row.ci_high) {
            (Some(low), Some(high)) => {
                format!("[{}, {}]", number::signed(low, 3), number::signed(high, 3))
            }
            _ => "–".to_owned(),
        };
        vec![
            Cell::feature(name),
            Cell::number(Some(row.mean_1), |mean| number::signed(mean, 3)),
            Cell::number(Some(row.mean_2), |mean| number::signed(mean, 3)),
            Cell::number(Some(row.effect), |effect| number::signed(effect, 3)),
            Cell::figures(&interval, row.ci_low),
            Cell::number(row.p, number::p_value),
            Cell::number(Some(row.p_sign_flip), number::p_value),
            Cell::number(row.q, number::p_value),
            Cell::number(row.control_percentile, number::percentile),
            Cell::count(u64::from(row.prompts)),
        ]
    });
    HtmlTable::new("decision", heads, rows, total, "decision_effects.parquet").markup()
}
