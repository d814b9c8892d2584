//! How two parsers agree: confusion, outcomes by treatment, and the findings that flip.

use glassbox_logs::audit::{ComparedSet, ComparedTreatment, ParserComparison};

use super::body::{Body, Caption, legend_mark};
use crate::ReportError;
use crate::figures::dumbbell::{DumbbellRow, Rates, dumbbell};
use crate::figures::heat_map::{HeatCell, HeatMap};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;
use crate::svg::Marker;

/// Treatments in the figure.
const MOST_TREATMENTS: usize = 40;

pub(super) fn body(comparison: &ParserComparison) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    let [first, second] = &comparison.parsers;
    body.paragraph(&format!(
        "{} ({}) and {} ({}). Unknown differs from every other outcome. Of a repeated trial {} was kept.",
        first.id, first.hash, second.id, second.hash, comparison.kept
    ));
    body.markup(&sets(comparison)?);
    let panels: Vec<(String, String, Markup)> = comparison
        .sets
        .iter()
        .map(|set| {
            let remark = format!(
                "{} of {} differ ({})",
                number::count(set.disagree),
                number::count(set.responses),
                number::percent(set.disagree_share)
            );
            (set.rows.to_owned(), remark, confusion(set, &first.id, &second.id))
        })
        .collect();
    let caption = Caption {
        title: "What one parser reads, and the other.",
        rest: "Responses; green: both read the same; purple: they differ. Deeper: a larger share of all.",
        legend: Vec::new(),
    };
    body.panels(&caption, &panels);
    treatments(&mut body, comparison);
    if !comparison.flips.is_empty() {
        body.heading("Findings that flip");
        body.markup(&flips(comparison)?);
    }
    Ok(body.finish())
}

fn sets(comparison: &ParserComparison) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("rows", ""),
        numbers("responses", ""),
        numbers("differ", ""),
        numbers("share", ""),
        numbers("bets of both", ""),
        numbers("same amount", "of these, or unknown for both"),
    ];
    let rows = comparison.sets.iter().map(|set| {
        vec![
            Cell::text(set.rows),
            Cell::count(set.responses),
            Cell::count(set.disagree),
            Cell::number(Some(set.disagree_share), number::percent),
            Cell::count(set.both_bet),
            Cell::count(set.same_amount),
        ]
    });
    let total = comparison.sets.len() as u64;
    HtmlTable::new("agreement", heads, rows, total, "the output of --json").markup()
}

fn confusion(set: &ComparedSet, first: &str, second: &str) -> Markup {
    let rows = set.labels.iter().enumerate().map(|(row, label)| {
        let cells = set.confusion[row].iter().enumerate().map(|(column, count)| {
            let share = *count as f64 / set.responses.max(1) as f64;
            let level = share.sqrt();
            Some(HeatCell {
                level: if row == column { level } else { -level },
                text: number::count(*count),
                about: format!(
                    "{first}: {label}, {second}: {}: {} responses ({})",
                    set.labels[column],
                    number::count(*count),
                    number::percent(share)
                ),
                is_marked: false,
            })
        });
        (label.clone(), cells.collect())
    });
    HeatMap {
        label: format!("Outcomes by {first} and by {second}, {}", set.rows),
        titles: (first.to_owned(), second.to_owned()),
        columns: set.labels.clone(),
        rows: rows.collect(),
        cell: (92.0, 38.0),
    }
    .draw()
}

/// The share of one outcome under every treatment, as each parser reads it.
fn treatments(body: &mut Body, comparison: &ParserComparison) {
    let Some(outcome) = shown_outcome(&comparison.treatments) else {
        return;
    };
    let [first, second] = &comparison.parsers;
    let rows: Vec<DumbbellRow> = comparison
        .treatments
        .iter()
        .filter(|row| row.responses > 0)
        .take(MOST_TREATMENTS)
        .map(|row| {
            let shares = row
                .outcomes
                .get(&outcome)
                .copied()
                .unwrap_or_default()
                .map(|count| 100.0 * count as f64 / row.responses as f64);
            DumbbellRow {
                label: row.treatment.clone(),
                key: String::new(),
                about: format!(
                    "{}: {} of {} responses are “{outcome}” by {}, {} by {}",
                    row.treatment,
                    number::percent(shares[0] / 100.0),
                    number::count(row.responses),
                    first.id,
                    number::percent(shares[1] / 100.0),
                    second.id
                ),
                panels: vec![Rates {
                    reference: None,
                    a: Some(shares[0]),
                    b: Some(shares[1]),
                }],
            }
        })
        .collect();
    let rest = match comparison.treatments.len().saturating_sub(MOST_TREATMENTS) {
        0 => "Repeats left out. The longer the line, the more the parser decides.".to_owned(),
        more => format!("Repeats left out. The first {MOST_TREATMENTS} treatments; {more} more."),
    };
    let caption = Caption {
        title: &format!("Share of “{outcome}” by treatment, as each parser reads it."),
        rest: &rest,
        legend: vec![
            legend_mark(Marker::Circle, "fill-a", &first.id),
            legend_mark(Marker::Square, "ring-b", &second.id),
        ],
    };
    let title = format!("responses read as “{outcome}” (%)");
    body.figure(
        &caption,
        &dumbbell(&title, &title, &["all features together".to_owned()], &rows),
    );
}

/// `stop` where it occurs, else the most frequent outcome that can be read.
fn shown_outcome(treatments: &[ComparedTreatment]) -> Option<String> {
    if treatments.iter().any(|row| row.outcomes.contains_key("stop")) {
        return Some("stop".to_owned());
    }
    let mut sums: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for (label, [first, second]) in treatments.iter().flat_map(|row| &row.outcomes) {
        *sums.entry(label).or_default() += first + second;
    }
    sums.into_iter()
        .filter(|(label, _)| *label != "unknown")
        .max_by_key(|(label, count)| (*count, std::cmp::Reverse(*label)))
        .map(|(label, _)| label.to_owned())
}

fn flips(comparison: &ParserComparison) -> Result<Markup, ReportError> {
    let [first, second] = &comparison.parsers;
    let heads = vec![
        texts("criterion", ""),
        numbers("tested", "with both"),
        numbers(first.id.clone(), "findings"),
        numbers(second.id.clone(), "findings"),
        numbers("both", ""),
        numbers("flip", "findings of one alone"),
        texts("which", "the first of them"),
    ];
    let rows = comparison.flips.iter().map(|flips| {
        let some = |names: &[String], of: &str| match names {
            [] => None,
            names => {
                let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
                let more = if names.len() > 8 { ", …" } else { "" };
                Some(format!("{of}: {}{more}", shown.join(", ")))
            }
        };
        let which: Vec<String> = [
            some(&flips.only_first, &first.id),
            some(&flips.only_second, &second.id),
        ]
        .into_iter()
        .flatten()
        .collect();
        vec![
            Cell::sentences(&flips.criterion),
            Cell::count(flips.tested),
            Cell::count(flips.first),
            Cell::count(flips.second),
            Cell::count(flips.both),
            Cell::count(flips.flipped),
            Cell::sentences(&which.join("; ")),
        ]
    });
    let total = comparison.flips.len() as u64;
    HtmlTable::new("findings that flip", heads, rows, total, "the output of --json").markup()
}
