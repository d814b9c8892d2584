//! Every feature's effect with its interval, and what both values do against the reference.

use std::collections::BTreeMap;

use glassbox_log_effects::{CausalAnalysis, MeasureResult, Question};

use super::body::{Body, Caption, legend_mark};
use super::feature_effect::{FeatureEffect, effects_of, rows_of};
use super::unit::{Unit, capital, contrast};
use crate::ReportError;
use crate::data::FeatureId;
use crate::figures::Tone;
use crate::figures::forest_plot::{Estimate, ForestPlot, ForestRow, Panel};
use crate::figures::scatter::{Point, equality_scatter};
use crate::html_table::{Cell, Head, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;
use crate::svg::Marker;

/// Rows of a forest plot.
const MOST_ROWS: usize = 30;
/// Points of a scatter that can be pointed at; the others are dots.
const MOST_POINTS: usize = 80;
/// Dots of a scatter.
const MOST_DOTS: usize = 5000;

pub(super) fn body(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    for result in &analysis.measures {
        let unit = Unit::of(&result.measure);
        let effects = effects_of(analysis, result);
        body.heading(&capital(&format!(
            "{}: {}",
            unit.words,
            contrast(result.question)
        )));
        let tested: Vec<&FeatureEffect> = effects.iter().filter(|own| own.effect.is_some()).collect();
        if tested.is_empty() {
            body.absent("No feature’s effect can be computed: the outcome is one and the same in all trials compared.");
            continue;
        }
        let rest = format!(
            "{}Lines: 95 % intervals, each feature by itself.{}",
            if tested.len() > MOST_ROWS {
                format!(
                    "The {MOST_ROWS} features with the smallest p of {}. ",
                    tested.len()
                )
            } else {
                String::new()
            },
            if unit.is_amount() {
                String::new()
            } else {
                format!(
                    " Shaded: effects below {} points, which count as none.",
                    number::decimal(100.0 * analysis.limits.smallest_effect, 0)
                )
            }
        );
        let caption = Caption {
            title: "Effect of each feature.",
            rest: &rest,
            legend: vec![
                legend_mark(Marker::Diamond, "fill-up", "stands out, raises"),
                legend_mark(Marker::Diamond, "fill-down", "stands out, lowers"),
                legend_mark(Marker::Circle, "hollow-neutral", "does not stand out"),
            ],
        };
        body.figure(&caption, &forest(analysis, result, &unit, &tested));
        if result.question == Question::Values && !unit.is_amount() {
            shifts(&mut body, analysis, result, &unit);
        }
        body.markup(&table(result, &unit, &effects)?);
    }
    Ok(body.finish())
}

fn forest(
    analysis: &CausalAnalysis,
    result: &MeasureResult,
    unit: &Unit,
    tested: &[&FeatureEffect],
) -> Markup {
    let alpha = analysis.limits.alpha;
    let mut shown: Vec<&FeatureEffect> = tested.iter().take(MOST_ROWS).copied().collect();
    shown.sort_by(|a, b| {
        let effect = |own: &FeatureEffect| own.effect.unwrap_or_default();
        effect(b)
            .total_cmp(&effect(a))
            .then_with(|| a.feature.cmp(&b.feature))
    });
    let rows = shown.into_iter().map(|own| {
        let effect = own.effect.unwrap_or_default();
        let interval = own.interval;
        let is_found = own.is_found(alpha);
        let interval_text = interval.map_or_else(|| number::MISSING.to_owned(), |ends| unit.interval(ends));
        ForestRow {
            label: own.feature.to_string(),
            key: own.feature.to_string(),
            about: format!(
                "{}: {}, 95 % interval {interval_text}, {}",
                own.feature,
                unit.named(effect),
                own.q
                    .map_or_else(|| "no test".to_owned(), |q| number::equation("q", q))
            ),
            estimates: vec![Some(Estimate {
                value: effect * unit.scale,
                interval: interval.map(|(low, high)| (low * unit.scale, high * unit.scale)),
            })],
            marker: if is_found { Marker::Diamond } else { Marker::Circle },
            tone: if is_found {
                Tone::of_sign(effect)
            } else {
                Tone::Neutral
            },
            filled: is_found,
            notes: vec![
                unit.difference(effect),
                interval_text,
                number::or_missing(own.p, number::p_value),
                number::or_missing(own.q, number::p_value),
            ],
        }
    });
    let controls: Vec<f64> = match result.question {
        Question::Values => rows_of(analysis, "control_b_vs_control_a", &result.measure)
            .filter_map(|row| row.effect)
            .map(|effect| effect * unit.scale)
            .collect(),
        Question::Doses => Vec::new(),
    };
    ForestPlot {
        label: format!(
            "Effect of each feature on {}, {}",
            unit.words,
            contrast(result.question)
        ),
        axis: format!(
            "change of {}, {} ({})",
            unit.words,
            contrast(result.question),
            unit.of_differences
        ),
        symmetric: true,
        smallest: if unit.is_amount() { 1.0 } else { 5.0 },
        strip_label: format!("{} random features", number::count(controls.len() as u64)),
        panels: vec![Panel {
            title: contrast(result.question).to_owned(),
            width: 420.0,
            band: (!unit.is_amount()).then_some(analysis.limits.smallest_effect * unit.scale),
            strip: controls,
        }],
        note_heads: ["effect", "95 % interval", "p", "q"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
    .draw()
}

/// Value A and value B against the reference: on the diagonal both do the same.
fn shifts(body: &mut Body, analysis: &CausalAnalysis, result: &MeasureResult, unit: &Unit) {
    let Some(reference) = analysis.reference else {
        return;
    };
    let against = |value: &str| -> BTreeMap<FeatureId, f64> {
        let name = format!("{value}_vs_{reference}");
        rows_of(analysis, &name, &result.measure)
            .filter_map(|row| {
                let feature = FeatureId {
                    layer: row.layer,
                    feature: row.feature,
                };
                Some((feature, row.effect? * unit.scale))
            })
            .collect()
    };
    let (of_a, of_b) = (against("value_a"), against("value_b"));
    let effects = effects_of(analysis, result);
    let both = effects.iter().filter_map(|own| {
        let (a, b) = (of_a.get(&own.feature)?, of_b.get(&own.feature)?);
        Some((own, *a, *b))
    });
    let (mut points, mut dots) = (Vec::new(), Vec::new());
    for (own, a, b) in both {
        if points.len() == MOST_POINTS {
            if dots.len() < MOST_DOTS {
                dots.push((a, b));
            }
            continue;
        }
        let is_found = own.is_found(analysis.limits.alpha);
        points.push(Point {
            x: a,
            y: b,
            key: own.feature.to_string(),
            about: format!(
                "{}: value A {}, value B {} points against the {}",
                own.feature,
                number::signed(a, 1),
                number::signed(b, 1),
                reference.replace('_', " ")
            ),
            name: if is_found {
                own.feature.to_string()
            } else {
                String::new()
            },
            marker: if is_found { Marker::Diamond } else { Marker::Circle },
            class: match (is_found, b >= a) {
                (false, _) => "hollow-neutral",
                (true, true) => "fill-up",
                (true, false) => "fill-down",
            },
        });
    }
    if points.is_empty() {
        return;
    }
    let rest = format!(
        "On the diagonal both values do the same: that shift belongs to the intervention, whatever is set. The distance from it is \
         the effect of the value.{}",
        if dots.is_empty() {
            String::new()
        } else {
            format!(
                " Grey dots: {} further features.",
                number::count(dots.len() as u64)
            )
        }
    );
    let caption = Caption {
        title: "What both values do.",
        rest: &rest,
        legend: Vec::new(),
    };
    let (label, name) = (
        format!("Change of {} under value A and under value B", unit.words),
        reference.replace('_', " "),
    );
    let drawing = equality_scatter(
        &label,
        &format!("value A minus {name} ({})", unit.of_differences),
        &format!("value B minus {name} ({})", unit.of_differences),
        "both do the same",
        &dots,
        &points,
    );
    body.figure(&caption, &drawing);
}

fn table(result: &MeasureResult, unit: &Unit, effects: &[FeatureEffect]) -> Result<Markup, ReportError> {
    let is_values = result.question == Question::Values;
    let ends = if is_values {
        ["value A", "value B"]
    } else {
        ["lowest dose", "highest dose"]
    };
    let mut heads: Vec<Head> = vec![
        texts("feature", "block and index in its dictionary"),
        numbers("trials", "of which the outcome is known"),
        numbers(ends[0], format!("{} ({})", unit.words, unit.of_values)),
        numbers(ends[1], format!("{} ({})", unit.words, unit.of_values)),
        numbers(
            "effect",
            format!(
                "{} ({}), within prompts",
                contrast(result.question),
                unit.of_differences
            ),
        ),
        numbers("95 % interval", unit.of_differences),
    ];
    if is_values {
        heads.push(numbers(
            "d",
            "Cohen’s d, pooled standard deviation within arms and prompts (ddof 1)",
        ));
        if !unit.is_amount() {
            heads.push(numbers(
                "odds ratio",
                "B over A, common to all prompts, with its 95 % interval",
            ));
        }
    }
    heads.extend([
        texts(
            "test",
            "CMH: Cochran, Mantel and Haenszel’s χ²; exact: conditional on the counts; trend: Mantel’s; t (HC3): of a slope",
        ),
        numbers("p", "two-sided"),
        numbers(
            "q",
            "Benjamini–Hochberg over all features and measures of the comparison",
        ),
    ]);
    let rows = effects.iter().map(|own| {
        let value =
            |value: Option<f64>| Cell::number(value.map(|v| v * unit.scale), |v| number::decimal(v, 1));
        let interval = own
            .interval
            .map_or_else(|| number::MISSING.to_owned(), |ends| unit.interval(ends));
        let mut cells = vec![
            Cell::feature(own.feature),
            Cell::count(own.n),
            value(own.first),
            value(own.second),
            Cell::number(own.effect.map(|e| e * unit.scale), |e| number::signed(e, 1)),
            Cell::figures(&interval, own.interval.map(|ends| ends.0)),
        ];
        if is_values {
            cells.push(Cell::number(own.d.map(|d| d.0), |d| number::signed(d, 2)));
            if !unit.is_amount() {
                cells.push(Cell::figures(&odds_text(own), own.odds.map(|odds| odds.0)));
            }
        }
        cells.extend([
            Cell::line(test_name(own.test.as_deref())),
            Cell::number(own.p, number::p_value),
            Cell::number(own.q, number::p_value),
        ]);
        cells
    });
    let name = format!("effects on {}", unit.words);
    let source = if is_values {
        "effects.parquet (--out)"
    } else {
        "doses.parquet (--out)"
    };
    HtmlTable::new(&name, heads, rows, effects.len() as u64, source).markup()
}

/// A test by its short name.
fn test_name(test: Option<&str>) -> &str {
    match test {
        None => "no information",
        Some("cochran_mantel_haenszel") => "CMH",
        Some("exact_trend") => "exact trend",
        Some("slope_t_hc3") => "t (HC3)",
        Some(other) => other,
    }
}

fn odds_text(own: &FeatureEffect) -> String {
    let Some((odds, low, high)) = own.odds else {
        return number::MISSING.to_owned();
    };
    let end = |end: Option<f64>, missing: &str| end.map_or_else(|| missing.to_owned(), number::significant);
    format!(
        "{} [{}, {}]",
        number::significant(odds),
        end(low, "0"),
        end(high, "∞")
    )
}
