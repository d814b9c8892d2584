//! Which features differ between the prompt families.

use askama::Template;
use glassbox_experiment::tables::SelectionRow;

use crate::ReportError;
use crate::data::{D_BIN_WIDTH, FeatureId, LayerSelection, Names, ReportData, SelectionData};
use crate::figures::effect_by_layer::{Column, Mark, axis_limit, effect_by_layer};
use crate::figures::stacked_bars::{Bar, stacked_bars};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

/// Marks of one layer in the figure; a layer of a large run may have hundreds of selected features.
const MOST_MARKS: usize = 60;

#[derive(Template)]
#[template(path = "selection.html")]
struct Selection {
    names: Names,
    alpha: Option<f64>,
    counts: Markup,
    spread: Markup,
    selected: Markup,
    not_marked: usize,
    beyond: bool,
    is_crowded: bool,
}

#[derive(Template)]
#[template(path = "absent.html")]
struct Absent {
    stage: &'static str,
}

/// What stands in place of a section whose stage has not been run.
pub(super) fn absent(stage: &'static str) -> Result<Markup, ReportError> {
    Ok(Markup::assembled(Absent { stage }.render()?))
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let Some(selection) = &data.selection else {
        return absent("select");
    };
    let names = data.names();
    let not_marked = selection
        .layers
        .iter()
        .map(|layer| (layer.selected as usize).saturating_sub(MOST_MARKS))
        .sum();
    let (spread, beyond) = spread(selection, &names);
    let page = Selection {
        alpha: selection.alpha,
        counts: counts(selection, &names),
        spread,
        selected: table(selection, &names)?,
        names,
        not_marked,
        beyond,
        is_crowded: selection.layers.len() > 8,
    };
    Ok(Markup::assembled(page.render()?))
}

fn counts(selection: &SelectionData, names: &Names) -> Markup {
    let bars: Vec<Bar> = selection
        .layers
        .iter()
        .map(|layer| Bar {
            label: layer.layer.to_string(),
            about: format!(
                "layer {}: {} higher in {}, {} higher in {}; {} of {} features tested, {} selected",
                layer.layer,
                number::count(layer.higher_a),
                names.family_a,
                number::count(layer.higher_b),
                names.family_b,
                number::count(layer.tested),
                number::count(layer.features),
                number::count(layer.selected)
            ),
            lower: layer.higher_a,
            upper: layer.higher_b,
        })
        .collect();
    stacked_bars(
        "Number of features that differ between the families, by layer",
        "layer",
        "features",
        &bars,
    )
}

/// The figure, and whether some of its marks lie beyond its axis.
fn spread(selection: &SelectionData, names: &Names) -> (Markup, bool) {
    let columns: Vec<Column> = selection
        .layers
        .iter()
        .map(|layer| Column {
            label: layer.layer.to_string(),
            bins: layer.d_bins.clone(),
            marks: marks(selection, layer),
        })
        .collect();
    let limit = axis_limit(&columns, 1.0, 20.0);
    let beyond = columns
        .iter()
        .flat_map(|column| &column.marks)
        .any(|mark| mark.effect.abs() > limit);
    let y_title = format!("Cohen’s d ({} minus {})", names.family_b, names.family_a);
    let label = "Effect sizes of all features by layer, with the selected ones marked";
    (
        effect_by_layer(label, "layer", &y_title, &columns, D_BIN_WIDTH, limit),
        beyond,
    )
}

fn marks(selection: &SelectionData, layer: &LayerSelection) -> Vec<Mark> {
    let of_layer = selection.selected.iter().filter(|row| row.layer == layer.layer);
    of_layer
        .filter_map(|row| row.cohen_d.map(|d| (row, d)))
        .take(MOST_MARKS)
        .map(|(row, d)| {
            let feature = feature_of(row);
            Mark {
                effect: d,
                key: feature.to_string(),
                about: format!(
                    "{feature}: d {}, mean {} → {}, {}",
                    number::signed(d, 2),
                    number::significant(row.mean_a),
                    number::significant(row.mean_b),
                    row.q.map_or_else(String::new, |q| number::equation("q", q))
                ),
            }
        })
        .collect()
}

fn feature_of(row: &SelectionRow) -> FeatureId {
    FeatureId {
        layer: row.layer,
        feature: row.feature,
    }
}

fn table(selection: &SelectionData, names: &Names) -> Result<Markup, ReportError> {
    let (a, b) = (&names.family_a, &names.family_b);
    let heads = vec![
        texts("feature", "block and index in its dictionary"),
        numbers("rank", "by |d| within the layer"),
        numbers(
            "d",
            format!("Cohen’s d, {b} minus {a}, pooled standard deviation (ddof 1)"),
        ),
        numbers(
            format!("mean {a}"),
            format!("mean activation over {a} prompts: value A"),
        ),
        numbers(
            format!("mean {b}"),
            format!("mean activation over {b} prompts: value B"),
        ),
        numbers(
            format!("active {a}"),
            format!("share of {a} prompts on which it is active"),
        ),
        numbers(
            format!("active {b}"),
            format!("share of {b} prompts on which it is active"),
        ),
        numbers("Welch t", format!("{b} minus {a}")),
        numbers("p", "two-sided"),
        numbers("q", "Benjamini–Hochberg over all layers and features tested"),
    ];
    let rows = selection.selected.iter().map(|row| {
        vec![
            Cell::feature(feature_of(row)),
            Cell::number(row.rank_in_layer.map(f64::from), |rank| number::decimal(rank, 0)),
            Cell::number(row.cohen_d, |d| number::signed(d, 2)),
            Cell::number(Some(row.mean_a), number::significant),
            Cell::number(Some(row.mean_b), number::significant),
            Cell::number(Some(row.active_share_a), number::percent),
            Cell::number(Some(row.active_share_b), number::percent),
            Cell::number(row.welch_t, |t| number::signed(t, 1)),
            Cell::number(row.p, number::p_value),
            Cell::number(row.q, number::p_value),
        ]
    });
    let total = selection.selected.len() as u64;
    HtmlTable::new("selected features", heads, rows, total, "selection.parquet").markup()
}
