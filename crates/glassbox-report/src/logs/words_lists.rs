//! Lists of words: what features add and remove, what goes with the outcome, and what conditions say most.

use std::collections::BTreeMap;

use glassbox_log_effects::words::{LogWordRow, WordsAnalysis};

use super::body::{Body, Caption};
use crate::ReportError;
use crate::data::FeatureId;
use crate::figures::diverging_bars::{DivergingBar, diverging_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::{Markup, shortened};
use crate::number;
use crate::scale::symmetric;

/// Features that get a figure, and words of each in either direction.
const MOST_FEATURES: usize = 12;
const MOST_WORDS: usize = 8;

pub(super) fn added_and_removed(analysis: &WordsAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    for own in &analysis.comparisons {
        let rows: Vec<&LogWordRow> = analysis
            .rows
            .iter()
            .filter(|row| row.comparison == own.comparison)
            .collect();
        let name = super::unit::comparison_name(&own.comparison);
        body.heading(&super::unit::capital(&name));
        let panels = panels(&rows, analysis.settings.alpha);
        if panels.is_empty() {
            body.absent(&format!(
                "No word stands out (q ≤ {}) in {} tests.",
                analysis.settings.alpha,
                number::count(own.tests as u64)
            ));
        } else {
            let rest = format!(
                "Bars to the right: words that the second says more often. Lines: 95 % intervals. At most {MOST_WORDS} words in each \
                 direction; every feature has its own scale. Right: share of responses with the word, first → second.{}",
                if own.features > panels.len() {
                    format!(" {} features with most words of {}.", panels.len(), own.features)
                } else {
                    String::new()
                }
            );
            let caption = Caption {
                title: "Words that stand out.",
                rest: &rest,
                legend: Vec::new(),
            };
            body.panels(&caption, &panels);
        }
        body.markup(&table(&rows, &name)?);
    }
    if analysis.comparisons.is_empty() {
        body.absent("There are no two sides of any feature to compare.");
    }
    Ok(body.finish())
}

/// One drawing per feature and kind of prompt, those with most words first.
fn panels(rows: &[&LogWordRow], alpha: f64) -> Vec<(String, String, Markup)> {
    let mut groups: BTreeMap<(u32, u32, &str), Vec<&LogWordRow>> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.q.is_none_or(|q| q <= alpha))
        .copied()
    {
        groups
            .entry((row.layer, row.feature, &row.prompt))
            .or_default()
            .push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(key, rows)| (std::cmp::Reverse(rows.len()), *key));
    groups.truncate(MOST_FEATURES);
    groups
        .into_iter()
        .map(|((layer, feature, prompt), mut rows)| {
            let name = FeatureId { layer, feature }.to_string();
            let words = rows.len();
            rows.sort_by(|a, b| a.p.total_cmp(&b.p).then_with(|| a.word.cmp(&b.word)));
            let side = |change: &str| {
                rows.iter()
                    .filter(|row| row.change == change)
                    .take(MOST_WORDS)
                    .copied()
                    .collect::<Vec<_>>()
            };
            let mut shown = side("added");
            shown.extend(side("removed"));
            shown.sort_by(|a, b| b.log_odds.total_cmp(&a.log_odds));
            let bars: Vec<DivergingBar> = shown.iter().map(|row| bar(row)).collect();
            let domain = symmetric(
                bars.iter().flat_map(|bar| [bar.interval.0, bar.interval.1]),
                0.05,
                1.0,
            );
            let drawing = diverging_bars(
                &format!("Words of {name} on {prompt} prompts"),
                "log odds ratio, second over first",
                "1st → 2nd",
                domain,
                &bars,
            );
            let remark = format!("{prompt} prompts, {}", number::counted(words, "word", "words"));
            (name, remark, drawing)
        })
        .collect()
}

fn shares(row: &LogWordRow) -> (f64, f64) {
    let share = |with: u64, of: u64| with as f64 / of.max(1) as f64;
    (share(row.responses_1, row.n_1), share(row.responses_2, row.n_2))
}

fn bar(row: &LogWordRow) -> DivergingBar {
    let (first, second) = shares(row);
    let interval = row
        .ci_low
        .zip(row.ci_high)
        .unwrap_or((row.log_odds, row.log_odds));
    DivergingBar {
        name: row.word.clone(),
        value: row.log_odds,
        interval,
        note: format!(
            "{} → {} %",
            number::decimal(100.0 * first, 0),
            number::decimal(100.0 * second, 0)
        ),
        about: format!(
            "“{}” in {} of {} responses of the first, {} of {} of the second; log odds ratio {} [{}, {}], {}",
            row.word,
            row.responses_1,
            row.n_1,
            row.responses_2,
            row.n_2,
            number::signed(row.log_odds, 2),
            number::signed(interval.0, 2),
            number::signed(interval.1, 2),
            number::equation("p", row.p)
        ),
    }
}

fn table(rows: &[&LogWordRow], name: &str) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("feature", ""),
        texts("prompt", ""),
        texts("word", ""),
        texts("change", ""),
        texts("the study’s name", "of the comparison"),
        numbers("first", "responses of the first side that have the word"),
        numbers("second", "responses of the second side that have the word"),
        numbers(
            "log odds ratio",
            "second over first, natural logarithm, with an informative prior",
        ),
        numbers("95 % interval", ""),
        numbers("p", ""),
        numbers("q", "Benjamini–Hochberg over all features, prompts and words"),
    ];
    let mut order: Vec<&&LogWordRow> = rows.iter().collect();
    order.sort_by(|a, b| a.p.total_cmp(&b.p));
    let cells = order.into_iter().map(|row| {
        let interval = row.ci_low.zip(row.ci_high).map_or_else(
            || number::MISSING.to_owned(),
            |(low, high)| format!("[{}, {}]", number::signed(low, 2), number::signed(high, 2)),
        );
        let (first, second) = shares(row);
        vec![
            Cell::feature(FeatureId {
                layer: row.layer,
                feature: row.feature,
            }),
            Cell::text(&row.prompt),
            Cell::text(&shortened(&row.word, 60)),
            Cell::text(&row.change),
            Cell::text(
                &row.study_name
                    .as_deref()
                    .unwrap_or(number::MISSING)
                    .replace('_', " "),
            ),
            Cell::figures(&format!("{} of {}", row.responses_1, row.n_1), Some(first)),
            Cell::figures(&format!("{} of {}", row.responses_2, row.n_2), Some(second)),
            Cell::number(Some(row.log_odds), |odds| number::signed(odds, 2)),
            Cell::figures(&interval, row.ci_low),
            Cell::number(Some(row.p), number::p_value),
            Cell::number(row.q, number::p_value),
        ]
    });
    HtmlTable::new(name, heads, cells, rows.len() as u64, "the table of --out").markup()
}

pub(super) fn presence(analysis: &WordsAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.paragraph(&format!(
        "Responses that have a word against responses that have not, within conditions (prompt, arm and dose): how often is the \
         outcome “{}”? A word that the parser itself reads tells of the parser; a word that goes with the outcome need not \
         cause it.",
        analysis.presence_outcome
    ));
    if analysis.presence.is_empty() {
        body.absent("No word is in enough responses, with and without it, whose outcome is known.");
        return Ok(body.finish());
    }
    let heads = vec![
        texts("word", ""),
        numbers("with it", "responses"),
        numbers("without it", "responses of conditions in which both occur"),
        numbers("% with it", analysis.presence_outcome.clone()),
        numbers("% without it", analysis.presence_outcome.clone()),
        numbers("odds ratio", "with over without, common to all conditions"),
        numbers("95 % interval", ""),
        numbers("p", ""),
        numbers("q", "Benjamini–Hochberg over all words"),
    ];
    let rows = analysis.presence.iter().map(|row| {
        let end =
            |end: Option<f64>, missing: &str| end.map_or_else(|| missing.to_owned(), number::significant);
        let interval = match row.odds_ratio {
            Some(_) => format!("[{}, {}]", end(row.odds_low, "0"), end(row.odds_high, "∞")),
            None => number::MISSING.to_owned(),
        };
        vec![
            Cell::text(&shortened(&row.word, 60)),
            Cell::count(row.present),
            Cell::count(row.absent),
            Cell::number(Some(100.0 * row.rate_present), |rate| number::decimal(rate, 1)),
            Cell::number(Some(100.0 * row.rate_absent), |rate| number::decimal(rate, 1)),
            Cell::number(row.odds_ratio, number::significant),
            Cell::figures(&interval, row.odds_low),
            Cell::number(Some(row.p), number::p_value),
            Cell::number(Some(row.q), number::p_value),
        ]
    });
    let total = analysis.presence.len() as u64;
    body.markup(&HtmlTable::new("words and outcome", heads, rows, total, "the output of --json").markup()?);
    Ok(body.finish())
}

pub(super) fn views(analysis: &WordsAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    body.paragraph(
        "The words that most responses of a condition have, beside those of the largest TF-IDF (share of all words said, times how rare \
         the word is among all responses). All features together, doses of one prompt together.",
    );
    let heads = vec![
        texts("prompt", ""),
        texts("arm", ""),
        numbers("rank", ""),
        texts("by responses", "word"),
        numbers("% of responses", "that have it"),
        texts("by TF-IDF", "word"),
        numbers("TF-IDF", "frequency × (ln((1 + N)/(1 + n)) + 1)"),
    ];
    let mut rows = Vec::new();
    for view in &analysis.views {
        for (rank, (frequent, characteristic)) in view.by_responses.iter().zip(&view.by_tf_idf).enumerate() {
            rows.push(vec![
                Cell::text(&view.prompt),
                Cell::text(&view.arm.replace('_', " ")),
                Cell::count(rank as u64 + 1),
                Cell::text(&shortened(&frequent.word, 60)),
                Cell::number(Some(100.0 * frequent.response_share), |share| {
                    number::decimal(share, 1)
                }),
                Cell::text(&shortened(&characteristic.word, 60)),
                Cell::number(Some(characteristic.tf_idf), |value| number::decimal(value, 4)),
            ]);
        }
    }
    let total = rows.len() as u64;
    body.markup(
        &HtmlTable::new(
            "words by condition",
            heads,
            rows.into_iter(),
            total,
            "the output of --json",
        )
        .markup()?,
    );
    Ok(body.finish())
}
