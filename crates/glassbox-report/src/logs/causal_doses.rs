//! Curves over doses: all features together, and those whose trend is most distinct.

use glassbox_log_effects::{CausalAnalysis, ConditionRow, DoseCurve, LogDoseRow};

use super::body::{Body, Caption, legend_mark};
use super::unit::{Unit, capital};
use crate::figures::Tone;
use crate::figures::curves::{CurvePoint, Plot, Series, common_domain, curves};
use crate::markup::Markup;
use crate::number;
use crate::svg::Marker;

/// How the lines of prompts differ.
const STYLES: [(Tone, Marker); 4] = [
    (Tone::A, Marker::Circle),
    (Tone::B, Marker::Square),
    (Tone::Up, Marker::Diamond),
    (Tone::Down, Marker::Up),
];

pub(super) fn body(analysis: &CausalAnalysis) -> Markup {
    let mut body = Body::default();
    let mut prompts: Vec<&str> = Vec::new();
    for row in analysis.conditions.iter().filter(|row| row.dose.is_some()) {
        if !prompts.contains(&row.prompt.as_str()) {
            prompts.push(&row.prompt);
        }
    }
    let legend = || {
        prompts
            .iter()
            .zip(STYLES)
            .map(|(prompt, (tone, marker))| {
                legend_mark(marker, class(tone, marker), &format!("{prompt} prompts"))
            })
            .collect::<Vec<_>>()
    };
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
            .filter(|row| row.measure == measure && row.dose.is_some())
            .collect();
        if rows.is_empty() {
            continue;
        }
        body.heading(&capital(&unit.words));
        let all = lines(rows.into_iter(), &prompts, &unit);
        let title = format!("{} ({})", unit.words, unit.of_values);
        let caption = Caption {
            title: "All features together.",
            rest: "Lines up and down: 95 % intervals. A scale of 1 is the value that the model gives by itself.",
            legend: legend(),
        };
        let plot = Plot {
            width: 560.0,
            height: 220.0,
        };
        body.figure(
            &caption,
            &curves(
                &format!("{title} over doses"),
                ("dose", &title),
                plot,
                common_domain(all.iter()),
                &all,
            ),
        );
        single(&mut body, analysis, measure, &prompts, &unit, legend());
    }
    body.finish()
}

fn class(tone: Tone, marker: Marker) -> &'static str {
    if marker == Marker::Circle {
        tone.filled()
    } else {
        tone.hollow()
    }
}

/// One line per prompt.
fn lines<'r>(
    rows: impl Iterator<Item = &'r ConditionRow> + Clone,
    prompts: &[&str],
    unit: &Unit,
) -> Vec<Series> {
    prompts
        .iter()
        .zip(STYLES)
        .map(|(prompt, (tone, marker))| Series {
            tone,
            marker,
            points: rows
                .clone()
                .filter(|row| row.prompt == *prompt)
                .filter_map(|row| point(row, unit))
                .collect(),
        })
        .collect()
}

fn point(row: &ConditionRow, unit: &Unit) -> Option<CurvePoint> {
    let (dose, value) = (row.dose?, row.value?);
    let interval = row.low.zip(row.high);
    let ends = interval.map_or_else(String::new, |(low, high)| {
        format!(" [{}, {}]", unit.value(low), unit.value(high))
    });
    Some(CurvePoint {
        x: dose,
        y: value * unit.scale,
        interval: interval.map(|(low, high)| (low * unit.scale, high * unit.scale)),
        about: format!(
            "{} prompts, dose {}: {}{ends}, {} known",
            row.prompt,
            number::figure(dose),
            unit.value(value),
            number::count(row.n)
        ),
    })
}

/// The features whose trend is most distinct, all on one scale.
fn single(
    body: &mut Body,
    analysis: &CausalAnalysis,
    measure: &str,
    prompts: &[&str],
    unit: &Unit,
    legend: Vec<(Markup, String)>,
) {
    let of_measure: Vec<&DoseCurve> = analysis
        .dose_curves
        .iter()
        .filter(|curve| curve.measure == measure)
        .collect();
    if of_measure.is_empty() {
        return;
    }
    let drawn: Vec<Vec<Series>> = of_measure
        .iter()
        .map(|curve| lines(curve.points.iter(), prompts, unit))
        .collect();
    let domain = common_domain(drawn.iter().flatten());
    let plot = Plot {
        width: 220.0,
        height: 120.0,
    };
    let panels: Vec<(String, String, Markup)> = of_measure
        .iter()
        .zip(&drawn)
        .map(|(curve, series)| {
            let name = curve.feature.to_string();
            let drawing = curves(&format!("{name} over doses"), ("", ""), plot, domain, series);
            let row = analysis.doses.iter().find(|row| {
                (row.layer, row.feature) == (curve.feature.layer, curve.feature.feature)
                    && row.measure == measure
            });
            (
                name,
                row.map_or_else(String::new, |row| remark(row, unit)),
                drawing,
            )
        })
        .collect();
    let tested = analysis.doses.iter().filter(|row| row.measure == measure).count();
    let caption = Caption {
        title: "The features with the smallest p.",
        rest: &format!(
            "{} of {tested}, all on one scale. Beside the names: the change over the range of doses. Chosen for their trends: that they look like trends is no evidence; q is.",
            panels.len()
        ),
        legend,
    };
    body.panels(&caption, &panels);
}

fn remark(row: &LogDoseRow, unit: &Unit) -> String {
    let effect = row
        .effect
        .map_or_else(String::new, |effect| format!("{}, ", unit.difference(effect)));
    let part = |name: &str, value: Option<f64>| {
        value.map_or_else(String::new, |value| number::equation(name, value))
    };
    format!("{effect}{}, {}", part("p", row.p), part("q", row.q))
}
