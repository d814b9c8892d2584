//! Effects by block: how many features raise and lower the measure, and the spread of all.

use std::collections::BTreeMap;

use glassbox_log_effects::{CausalAnalysis, LayerRow, MeasureResult};

use super::body::{Body, Caption, legend_mark, legend_swatch};
use super::feature_effect::{FeatureEffect, effects_of};
use super::unit::{Unit, capital, contrast};
use crate::ReportError;
use crate::figures::effect_by_layer::{Column, Mark, axis_limit, effect_by_layer};
use crate::figures::stacked_bars::{Bar, stacked_bars};
use crate::html_table::{Cell, HtmlTable, numbers};
use crate::markup::Markup;
use crate::number;
use crate::svg::Marker;

/// Bins of effects on either side of zero.
const BINS: usize = 100;
/// Marks of one block.
const MOST_MARKS: usize = 40;

pub(super) fn body(analysis: &CausalAnalysis) -> Result<Markup, ReportError> {
    let mut body = Body::default();
    for result in &analysis.measures {
        let rows: Vec<&LayerRow> = analysis
            .layers
            .iter()
            .filter(|row| row.measure == result.measure && row.question == result.question)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let unit = Unit::of(&result.measure);
        body.heading(&capital(&format!(
            "{}: {}",
            unit.words,
            contrast(result.question)
        )));
        let none_stands_out = rows.iter().all(|row| row.raised + row.lowered == 0);
        if none_stands_out {
            body.absent(&format!(
                "No feature stands out in any layer (q ≤ {}).",
                analysis.limits.alpha
            ));
        }
        // Figures of many layers take the whole width.
        if rows.len() > 8 {
            figures(&mut body, analysis, result, &rows, &unit);
        } else {
            body.row(|body| figures(body, analysis, result, &rows, &unit));
        }
        body.markup(&table(&rows, &unit)?);
    }
    Ok(body.finish())
}

fn figures(
    body: &mut Body,
    analysis: &CausalAnalysis,
    result: &MeasureResult,
    rows: &[&LayerRow],
    unit: &Unit,
) {
    if rows.iter().any(|row| row.raised + row.lowered > 0) {
        counts(body, analysis, rows);
    }
    spread(body, analysis, result, unit);
}

fn counts(body: &mut Body, analysis: &CausalAnalysis, rows: &[&LayerRow]) {
    let bars: Vec<Bar> = rows
        .iter()
        .map(|row| Bar {
            label: row.layer.to_string(),
            about: format!(
                "layer {}: {} lower it, {} raise it, of {} features",
                row.layer,
                number::count(row.lowered),
                number::count(row.raised),
                number::count(row.features)
            ),
            lower: row.lowered,
            upper: row.raised,
        })
        .collect();
    let caption = Caption {
        title: "Features that stand out, by layer and direction.",
        rest: &format!("q ≤ {} over all features and measures.", analysis.limits.alpha),
        legend: vec![
            legend_swatch("fill-a", "lower it"),
            legend_swatch("light-b", "raise it"),
        ],
    };
    let label = "Number of features that stand out, by layer";
    body.figure(&caption, &stacked_bars(label, "layer", "features", &bars));
}

/// All effects of every block as a shape, those that stand out (or the largest) as marks.
fn spread(body: &mut Body, analysis: &CausalAnalysis, result: &MeasureResult, unit: &Unit) {
    let effects = effects_of(analysis, result);
    let largest = effects
        .iter()
        .filter_map(|own| own.effect)
        .fold(0.0f64, |largest, effect| largest.max(effect.abs()))
        * unit.scale;
    let bin_width = if unit.is_amount() {
        (largest / BINS as f64).max(1e-6)
    } else {
        1.0
    };
    let mut layers: BTreeMap<u32, (Vec<u64>, Vec<&FeatureEffect>)> = BTreeMap::new();
    for own in effects.iter().filter(|own| own.effect.is_some()) {
        let (bins, of_layer) = layers
            .entry(own.feature.layer)
            .or_insert_with(|| (vec![0; 2 * BINS], Vec::new()));
        let bin = (own.effect.unwrap_or_default() * unit.scale / bin_width).floor() + BINS as f64;
        bins[(bin.max(0.0) as usize).min(2 * BINS - 1)] += 1;
        of_layer.push(own);
    }
    let any_found = effects.iter().any(|own| own.is_found(analysis.limits.alpha));
    let columns: Vec<Column> = layers
        .into_iter()
        .map(|(layer, (bins, of_layer))| Column {
            label: layer.to_string(),
            bins,
            // Without any that stands out the three with the smallest p of each block.
            marks: of_layer
                .into_iter()
                .filter(|own| !any_found || own.is_found(analysis.limits.alpha))
                .take(if any_found { MOST_MARKS } else { 3 })
                .map(|own| mark(own, unit))
                .collect(),
        })
        .collect();
    let limit = axis_limit(
        &columns,
        if unit.is_amount() { bin_width * 10.0 } else { 10.0 },
        largest.max(10.0),
    );
    let marked = if any_found {
        "Marks: the features that stand out."
    } else {
        "Marks: the three features of each layer with the smallest p; none stands out."
    };
    let caption = Caption {
        title: "Effect by layer.",
        rest: &format!(
            "Grey: all features tested, widths logarithmic. {marked} Triangles at the edge lie beyond the axis."
        ),
        legend: vec![
            legend_mark(Marker::Square, "hollow-b", "raises"),
            legend_mark(Marker::Circle, "fill-a", "lowers"),
        ],
    };
    let title = format!("{} ({})", contrast(result.question), unit.of_differences);
    let label = format!("Effects on {} of all features, by layer", unit.words);
    body.figure(
        &caption,
        &effect_by_layer(&label, "layer", &title, &columns, bin_width, limit),
    );
}

fn mark(own: &FeatureEffect, unit: &Unit) -> Mark {
    let effect = own.effect.unwrap_or_default();
    Mark {
        effect: effect * unit.scale,
        key: own.feature.to_string(),
        about: format!(
            "{}: {}, {}",
            own.feature,
            unit.named(effect),
            own.q
                .map_or_else(|| "no test".to_owned(), |q| number::equation("q", q))
        ),
    }
}

fn table(rows: &[&LayerRow], unit: &Unit) -> Result<Markup, ReportError> {
    let heads = vec![
        numbers("layer", "block index"),
        numbers("features", "tested"),
        numbers("lower it", ""),
        numbers("raise it", ""),
        numbers("mean effect", unit.of_differences),
        numbers("mean size", format!("{}, sign left out", unit.of_differences)),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            Cell::count(u64::from(row.layer)),
            Cell::count(row.features),
            Cell::count(row.lowered),
            Cell::count(row.raised),
            Cell::number(Some(row.mean_effect * unit.scale), |effect| {
                number::signed(effect, 2)
            }),
            Cell::number(Some(row.mean_size * unit.scale), |size| number::decimal(size, 2)),
        ]
    });
    HtmlTable::new(
        "layers",
        heads,
        cells,
        rows.len() as u64,
        "effects.parquet (--out)",
    )
    .markup()
}
