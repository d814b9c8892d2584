//! Which words each feature adds and removes.

use askama::Template;
use glassbox_experiment::tables::WordRow;

use super::selection::absent;
use crate::ReportError;
use crate::data::{FeatureId, Names, ReportData, WordData, WordTally};
use crate::figures::diverging_bars::{DivergingBar, diverging_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::{Markup, shortened};
use crate::number;
use crate::scale::symmetric;

/// Features that get a figure.
const MOST_FEATURES: usize = 12;

#[derive(Template)]
#[template(path = "words.html")]
struct Words {
    names: Names,
    alpha: Option<f64>,
    panels: Vec<WordPanel>,
    with_words: usize,
    selected_share: String,
    control_share: String,
    table: Markup,
}

struct WordPanel {
    name: String,
    effect: String,
    drawing: Markup,
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let Some(words) = &data.words else {
        return absent("words");
    };
    let page = Words {
        names: data.names(),
        alpha: words.alpha,
        panels: panels(data, words),
        with_words: words.by_feature.len(),
        selected_share: share(words.selected),
        control_share: share(words.controls),
        table: table(words)?,
    };
    Ok(Markup::assembled(page.render()?))
}

fn share(tally: WordTally) -> String {
    if tally.tested == 0 {
        return "none tested".to_owned();
    }
    let share = number::percent(tally.nominal as f64 / tally.tested as f64);
    format!(
        "{} of {} ({share})",
        number::count(tally.nominal),
        number::count(tally.tested)
    )
}

fn panels(data: &ReportData, words: &WordData) -> Vec<WordPanel> {
    let effect = |feature: FeatureId| {
        data.verdicts
            .iter()
            .flatten()
            .find(|row| (row.layer, row.feature) == (feature.layer, feature.feature))
            .map(|row| row.effect)
    };
    let mut features: Vec<(FeatureId, &Vec<WordRow>, Option<f64>)> = words
        .by_feature
        .iter()
        .map(|(feature, rows)| (*feature, rows, effect(*feature)))
        .collect();
    features.sort_by(|one, other| {
        let size = |effect: Option<f64>| effect.map_or(-1.0, f64::abs);
        size(other.2).total_cmp(&size(one.2)).then(one.0.cmp(&other.0))
    });
    features.truncate(MOST_FEATURES);
    features
        .into_iter()
        .map(|(feature, rows, effect)| {
            let bars: Vec<DivergingBar> = rows.iter().map(bar).collect();
            let domain = symmetric(rows.iter().flat_map(|row| [row.ci_low, row.ci_high]), 0.05, 1.0);
            WordPanel {
                name: feature.to_string(),
                effect: effect.map_or_else(String::new, |effect| {
                    format!("effect {} points", number::points(effect))
                }),
                drawing: diverging_bars(
                    &format!("Words that {feature} adds and removes"),
                    "log odds ratio, B against A",
                    "A → B",
                    domain,
                    &bars,
                ),
            }
        })
        .collect()
}

fn bar(row: &WordRow) -> DivergingBar {
    let share = |responses: u32, all: u32| {
        if all == 0 {
            f64::NAN
        } else {
            f64::from(responses) / f64::from(all) * 100.0
        }
    };
    let (first, second) = (share(row.responses_1, row.n_1), share(row.responses_2, row.n_2));
    DivergingBar {
        name: row.word.clone(),
        value: row.log_odds,
        interval: (row.ci_low, row.ci_high),
        note: format!("{} → {} %", number::decimal(first, 0), number::decimal(second, 0)),
        about: format!(
            "“{}” in {} of {} responses under A, {} of {} under B; log odds ratio {} [{}, {}], {}",
            row.word,
            row.responses_1,
            row.n_1,
            row.responses_2,
            row.n_2,
            number::signed(row.log_odds, 2),
            number::signed(row.ci_low, 2),
            number::signed(row.ci_high, 2),
            number::equation("q", row.q.unwrap_or(1.0))
        ),
    }
}

fn table(words: &WordData) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("feature", ""),
        texts("contrast", "second against first"),
        texts("word", "lower-cased"),
        texts("change", ""),
        numbers("first", "responses of the first arm that hold the word"),
        numbers("second", "responses of the second arm that hold the word"),
        numbers(
            "log odds ratio",
            "second over first, natural logarithm, 0.5 added to each cell",
        ),
        numbers("95 % interval", "Wald"),
        numbers("p", "exact McNemar test over pairs of responses"),
        numbers("q", "Benjamini–Hochberg over all words, features and contrasts"),
    ];
    let rows = words.rows.iter().map(|row| {
        let responses = |count: u32, all: u32| format!("{count} of {all}");
        vec![
            Cell::feature(FeatureId {
                layer: row.layer,
                feature: row.feature,
            }),
            Cell::text(&row.contrast.replace("_vs_", " vs ").replace('_', " ")),
            Cell::text(&shortened(&row.word, 60)),
            Cell::text(&row.change),
            Cell::figures(
                &responses(row.responses_1, row.n_1),
                Some(f64::from(row.responses_1)),
            ),
            Cell::figures(
                &responses(row.responses_2, row.n_2),
                Some(f64::from(row.responses_2)),
            ),
            Cell::number(Some(row.log_odds), |log_odds| number::signed(log_odds, 2)),
            Cell::figures(
                &format!(
                    "[{}, {}]",
                    number::signed(row.ci_low, 2),
                    number::signed(row.ci_high, 2)
                ),
                Some(row.ci_low),
            ),
            Cell::number(Some(row.p), number::p_value),
            Cell::number(row.q, number::p_value),
        ]
    });
    HtmlTable::new("words", heads, rows, words.significant, "words.parquet").markup()
}
