//! How features act on features of later layers.

use std::collections::BTreeMap;

use askama::Template;
use glassbox_experiment::tables::{ChainRow, PathwayRow};

use super::selection::absent;
use crate::ReportError;
use crate::data::{FeatureId, Names, PathwayData, ReportData, edge_strength};
use crate::figures::Tone;
use crate::figures::interval_strip::interval_strip;
use crate::figures::layered_graph::{Edge, Node, layered_graph};
use crate::html_table::{Cell, HtmlTable, numbers, texts};
use crate::markup::Markup;
use crate::number;

/// Edges in the graph.
const MOST_EDGES: usize = 48;
/// Edges in the graph from one source, besides those to other sources.
const MOST_EDGES_PER_SOURCE: usize = 5;

#[derive(Template)]
#[template(path = "pathways.html")]
struct Pathways {
    names: Names,
    alpha: Option<f64>,
    significant: u64,
    beyond: Option<(u64, f64)>,
    shown: usize,
    graph: Markup,
    sources: Markup,
    edges: Markup,
    chains: Option<Markup>,
}

pub(super) fn body(data: &ReportData) -> Result<Markup, ReportError> {
    let Some(pathways) = &data.pathways else {
        return absent("pathways");
    };
    let drawn = edges_to_draw(pathways);
    let page = Pathways {
        names: data.names(),
        alpha: pathways.alpha,
        significant: pathways.significant,
        beyond: pathways
            .control_percentile
            .filter(|_| {
                pathways
                    .edges
                    .iter()
                    .any(|edge| edge.control_percentile.is_some())
            })
            .map(|percentile| (pathways.beyond_controls, percentile)),
        shown: drawn.len(),
        graph: graph(data, pathways, &drawn),
        sources: source_table(pathways)?,
        edges: edge_table(pathways)?,
        chains: match &data.chains {
            Some(chains) => Some(chain_table(chains)?),
            None => None,
        },
    };
    Ok(Markup::assembled(page.render()?))
}

fn source_of(edge: &PathwayRow) -> FeatureId {
    FeatureId {
        layer: edge.source_layer,
        feature: edge.source_feature,
    }
}

fn target_of(edge: &PathwayRow) -> FeatureId {
    FeatureId {
        layer: edge.target_layer,
        feature: edge.target_feature,
    }
}

/// All edges between two sources, then the strongest of every source, within the limits of a readable figure.
fn edges_to_draw(pathways: &PathwayData) -> Vec<&PathwayRow> {
    let is_source = |feature: FeatureId| {
        pathways
            .sources
            .get(&feature)
            .is_some_and(|tally| tally.role != CONTROL)
    };
    let (links, others): (Vec<&PathwayRow>, Vec<&PathwayRow>) =
        pathways.edges.iter().partition(|edge| is_source(target_of(edge)));
    let mut drawn: Vec<&PathwayRow> = links.into_iter().take(MOST_EDGES * 2 / 3).collect();
    let mut per_source: BTreeMap<FeatureId, usize> = BTreeMap::new();
    for edge in others {
        let count = per_source.entry(source_of(edge)).or_default();
        if drawn.len() < MOST_EDGES && *count < MOST_EDGES_PER_SOURCE {
            *count += 1;
            drawn.push(edge);
        }
    }
    drawn
}

const CONTROL: &str = "control";

fn graph(data: &ReportData, pathways: &PathwayData, drawn: &[&PathwayRow]) -> Markup {
    let effects: BTreeMap<FeatureId, f64> = data
        .verdicts
        .iter()
        .flatten()
        .map(|row| (FeatureId::from(row), row.effect))
        .collect();
    let mut places: BTreeMap<FeatureId, usize> = BTreeMap::new();
    for edge in drawn {
        for feature in [source_of(edge), target_of(edge)] {
            places.insert(feature, 0);
        }
    }
    let mut nodes = Vec::with_capacity(places.len());
    for (feature, place) in &mut places {
        *place = nodes.len();
        let effect = effects.get(feature).copied();
        let source = pathways.sources.get(feature);
        let mut about = feature.to_string();
        if let Some(effect) = effect {
            about.push_str(&format!(": causal effect {} points", number::points(effect)));
        }
        if let Some(source) = source {
            about.push_str(&format!(
                "; source ({}), {} of {} edges significant",
                source.role.replace('_', " "),
                number::count(source.significant),
                number::count(source.tested)
            ));
        }
        nodes.push(Node {
            layer: feature.layer,
            name: feature.to_string(),
            about,
            tone: effect.map_or(Tone::Neutral, Tone::of_sign),
            filled: source.is_some(),
        });
    }
    // Standardised effects of very regular targets can be huge: widths stop at the 9th decile.
    let mut strengths: Vec<f64> = drawn.iter().map(|edge| edge_strength(edge)).collect();
    strengths.sort_by(f64::total_cmp);
    let widest = strengths
        .get(strengths.len() * 9 / 10)
        .copied()
        .unwrap_or(1.0)
        .max(f64::MIN_POSITIVE);
    let edges: Vec<Edge> = drawn
        .iter()
        .map(|edge| Edge {
            from: places[&source_of(edge)],
            to: places[&target_of(edge)],
            positive: edge.effect >= 0.0,
            weight: edge_strength(edge) / widest,
            faint: pathways.is_beyond_controls(edge) == Some(false),
            about: format!(
                "{} → {}: mean activation {} → {} ({}), d_z {} (percentile {} among random sources), {}; at prompt end {}",
                source_of(edge),
                target_of(edge),
                number::significant(edge.mean_1),
                number::significant(edge.mean_2),
                number::signed_significant(edge.effect),
                number::or_missing(edge.cohen_dz, |dz| number::signed(dz, 2)),
                number::or_missing(edge.control_percentile, number::percentile),
                number::equation("q", edge.q.unwrap_or(1.0)),
                number::signed_significant(edge.effect_at_prompt_end)
            ),
        })
        .collect();
    layered_graph("Effects of features on features of later layers", &nodes, &edges)
}

fn source_table(pathways: &PathwayData) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("source", ""),
        texts("role", "why it was replayed; controls are random features"),
        numbers(
            "edges tested",
            "features of later layers that were active often enough",
        ),
        numbers("p < 0.05", "edges below 0.05 without adjustment"),
        numbers("share", "of the edges tested"),
        numbers(
            "q < alpha",
            "edges that stay after adjustment; controls are not in the family",
        ),
    ];
    let rows = pathways.sources.iter().map(|(feature, tally)| {
        let share = (tally.tested > 0).then(|| tally.nominal as f64 / tally.tested as f64);
        let is_control = tally.role == CONTROL;
        vec![
            Cell::feature(*feature),
            Cell::text(&tally.role.replace('_', " ")),
            Cell::count(tally.tested),
            Cell::count(tally.nominal),
            Cell::number(share, number::percent),
            Cell::number((!is_control).then_some(tally.significant as f64), |_| {
                number::count(tally.significant)
            }),
        ]
    });
    HtmlTable::new(
        "sources",
        heads,
        rows,
        pathways.sources.len() as u64,
        "pathways.parquet",
    )
    .markup()
}

fn edge_table(pathways: &PathwayData) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("source", ""),
        texts("target", ""),
        numbers(
            "mean A",
            "mean activation of the target per generated token (at the prompt’s end where sources act there alone), source at value A",
        ),
        numbers("mean B", "the same, source at value B"),
        numbers("effect", "B minus A, in the target dictionary’s units"),
        numbers("95 % interval", "paired t over prompts"),
        numbers(
            "d_z",
            "effect over the standard deviation of the prompts’ differences",
        ),
        numbers("p", "paired t test over prompts"),
        numbers(
            "q",
            "Benjamini–Hochberg over all edges and contrasts of sources that are no controls",
        ),
        numbers(
            "percentile",
            "of |d_z| among the edges of random sources into the same layer",
        ),
        numbers(
            "at prompt end",
            "difference at the last prompt position, before any token could change",
        ),
        numbers("prompts", "number of observations"),
    ];
    let rows = pathways.edges.iter().map(|edge| {
        let interval = format!(
            "[{}, {}]",
            number::signed_significant(edge.ci_low),
            number::signed_significant(edge.ci_high)
        );
        vec![
            Cell::feature(source_of(edge)),
            Cell::feature(target_of(edge)),
            Cell::number(Some(edge.mean_1), number::significant),
            Cell::number(Some(edge.mean_2), number::significant),
            Cell::number(Some(edge.effect), number::signed_significant),
            Cell::figures(&interval, Some(edge.ci_low)),
            Cell::number(edge.cohen_dz, |dz| number::signed(dz, 2)),
            Cell::number(Some(edge.p), number::p_value),
            Cell::number(edge.q, number::p_value),
            Cell::number(edge.control_percentile, number::percentile),
            Cell::number(Some(edge.effect_at_prompt_end), number::signed_significant),
            Cell::count(u64::from(edge.prompts)),
        ]
    });
    HtmlTable::new("edges", heads, rows, pathways.significant, "pathways.parquet").markup()
}

fn chain_table(chains: &[ChainRow]) -> Result<Markup, ReportError> {
    let heads = vec![
        texts("chain", "first → second → third feature"),
        numbers("first link", "effect of the first on the second"),
        numbers("second link", "effect of the second on the third"),
        numbers(
            "predicted",
            "effect on the third if only this chain acted, linearly",
        ),
        numbers("measured", "effect of the first on the third"),
        numbers("95 % interval", "of the measured effect"),
        texts(
            "both",
            "circle and line: measured with interval; diamond: predicted; every row has its own scale",
        ),
        numbers(
            "ratio",
            "predicted over measured, where the interval excludes zero",
        ),
        numbers("q", "of the edge from the first to the third"),
    ];
    let rows = chains.iter().map(|chain| {
        let features = [
            (chain.layer_1, chain.feature_1),
            (chain.layer_2, chain.feature_2),
            (chain.layer_3, chain.feature_3),
        ];
        let name = features
            .map(|(layer, feature)| FeatureId { layer, feature }.to_string())
            .join(" → ");
        // A ratio to an effect that may be zero says nothing.
        let is_clear = chain.ci_low > 0.0 || chain.ci_high < 0.0;
        let explained =
            (is_clear && chain.measured_13 != 0.0).then(|| chain.predicted_13 / chain.measured_13);
        let interval = format!(
            "[{}, {}]",
            number::signed_significant(chain.ci_low),
            number::signed_significant(chain.ci_high)
        );
        vec![
            Cell::line(&name),
            Cell::number(Some(chain.effect_12), number::signed_significant),
            Cell::number(Some(chain.effect_23), number::signed_significant),
            Cell::number(Some(chain.predicted_13), number::signed_significant),
            Cell::number(Some(chain.measured_13), number::signed_significant),
            Cell::figures(&interval, Some(chain.ci_low)),
            Cell::markup(interval_strip(
                chain.measured_13,
                (chain.ci_low, chain.ci_high),
                chain.predicted_13,
            )),
            Cell::number(explained, |share| number::decimal(share, 2)),
            Cell::number(Some(chain.q_13), number::p_value),
        ]
    });
    HtmlTable::new("chains", heads, rows, chains.len() as u64, "chains.parquet").markup()
}
