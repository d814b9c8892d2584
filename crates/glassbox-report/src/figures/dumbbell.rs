//! Rates under three treatments, one row each: a tick for the reference, two markers for the values, joined by a line.

use super::axis;
use crate::markup::Markup;
use crate::scale::{Scale, with_zero};
use crate::svg::{Anchor, Marker, Svg, fitted, text_width};

const ROW: f64 = 20.0;
const HEAD: f64 = 30.0;
const FOOT: f64 = 44.0;
const GAP: f64 = 26.0;
const PANEL: f64 = 330.0;

/// Rates in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Without setting the feature.
    pub(crate) reference: Option<f64>,
    /// Under value A.
    pub(crate) a: Option<f64>,
    /// Under value B.
    pub(crate) b: Option<f64>,
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct DumbbellRow {
    /// Written at the left.
    pub(crate) label: String,
    /// Rows and marks with equal keys light up together.
    pub(crate) key: String,
    /// Shown when the row is pointed at.
    pub(crate) about: String,
    /// Rates per panel.
    pub(crate) panels: Vec<Rates>,
}

/// Draws the rows in panels of the same scale.
pub(crate) fn dumbbell(label: &str, axis_title: &str, titles: &[String], rows: &[DumbbellRow]) -> Markup {
    let label_width = rows
        .iter()
        .map(|row| text_width(&row.label, 12.5))
        .fold(0.0f64, f64::max)
        .clamp(60.0, 160.0)
        + 12.0;
    let width = label_width + (PANEL + GAP) * titles.len() as f64;
    let bottom = HEAD + ROW * rows.len() as f64 + 4.0;
    let mut svg = Svg::new(width, bottom + FOOT, label);
    let values = rows
        .iter()
        .flat_map(|row| &row.panels)
        .flat_map(|rates| [rates.reference, rates.a, rates.b])
        .flatten();
    let domain = with_zero(values, 0.05, 10.0);
    let domain = (domain.0, domain.1.min(100.0));
    let scales: Vec<Scale> = (0..titles.len())
        .map(|index| {
            let left = label_width + (PANEL + GAP) * index as f64;
            Scale::new(domain, (left, left + PANEL))
        })
        .collect();
    for (title, scale) in titles.iter().zip(&scales) {
        axis::horizontal(&mut svg, scale, HEAD - 2.0, bottom, 6, axis_title);
        let (left, right) = scale.range();
        svg.text(
            ((left + right) / 2.0, HEAD - 12.0),
            Anchor::Middle,
            "head",
            &fitted(title, 11.5, PANEL),
        );
    }
    for (index, row) in rows.iter().enumerate() {
        let y = HEAD + ROW * (index as f64 + 0.5);
        svg.begin("mark", &row.key, &row.about);
        svg.rectangle((0.0, y - ROW / 2.0), (width, y + ROW / 2.0), "row");
        svg.text(
            (label_width - 10.0, y + 4.2),
            Anchor::End,
            "label",
            &fitted(&row.label, 12.5, label_width - 12.0),
        );
        for (rates, scale) in row.panels.iter().zip(&scales) {
            if let (Some(a), Some(b)) = (rates.a, rates.b) {
                svg.line((scale.at(a), y), (scale.at(b), y), "stroke-neutral");
            }
            if let Some(reference) = rates.reference {
                let x = scale.at(reference);
                svg.line((x, y - 7.0), (x, y + 7.0), "baseline");
            }
            if let Some(a) = rates.a {
                svg.marker(Marker::Circle, (scale.at(a), y), 4.6, "fill-a");
            }
            if let Some(b) = rates.b {
                svg.marker(Marker::Square, (scale.at(b), y), 4.8, "ring-b");
            }
        }
        svg.end();
    }
    svg.finish()
}
