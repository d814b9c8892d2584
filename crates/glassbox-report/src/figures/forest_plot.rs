//! Effects with intervals, one row each, in one or more panels on the same axis, with a reference band and a strip of reference values.

use super::Tone;
use super::axis;
use crate::markup::Markup;
use crate::scale::{Scale, symmetric, with_zero};
use crate::svg::{Anchor, Marker, Svg, fitted, text_width};

const ROW: f64 = 22.0;
const HEAD: f64 = 30.0;
const STRIP: f64 = 58.0;
const FOOT: f64 = 44.0;
const GAP: f64 = 18.0;
const LABEL_SIZE: f64 = 12.5;
/// Above this number of reference values their dots become columns.
const MOST_DOTS: usize = 120;

/// A panel.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// Written above it.
    pub(crate) title: String,
    /// Width in pixels.
    pub(crate) width: f64,
    /// Values within ± this are shaded.
    pub(crate) band: Option<f64>,
    /// Reference values, drawn below the rows.
    pub(crate) strip: Vec<f64>,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// The value.
    pub(crate) value: f64,
    /// Its interval.
    pub(crate) interval: Option<(f64, f64)>,
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct ForestRow {
    /// Written at the left.
    pub(crate) label: String,
    /// Rows and marks with equal keys light up together.
    pub(crate) key: String,
    /// Shown when the row is pointed at.
    pub(crate) about: String,
    /// One estimate per panel.
    pub(crate) estimates: Vec<Option<Estimate>>,
    /// Shape of the value.
    pub(crate) marker: Marker,
    /// Colour of the value.
    pub(crate) tone: Tone,
    /// Whether the shape is filled.
    pub(crate) filled: bool,
    /// Written at the right, under `note_heads`.
    pub(crate) notes: Vec<String>,
}

/// The whole figure.
#[derive(Clone, Debug)]
pub(crate) struct ForestPlot {
    /// For those who cannot see it.
    pub(crate) label: String,
    /// Title of the axis, with the unit.
    pub(crate) axis: String,
    /// Whether the axis is symmetric about zero; else it begins at zero.
    pub(crate) symmetric: bool,
    /// Smallest half width (or width) of the axis.
    pub(crate) smallest: f64,
    /// The panels.
    pub(crate) panels: Vec<Panel>,
    /// Label of the strip.
    pub(crate) strip_label: String,
    /// Heads of the notes.
    pub(crate) note_heads: Vec<String>,
    /// The rows from top to bottom.
    pub(crate) rows: Vec<ForestRow>,
}

impl ForestPlot {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let has_strip = self.panels.iter().any(|panel| !panel.strip.is_empty());
        let labels = self.rows.iter().map(|row| &row.label).chain([&self.strip_label]);
        let labels = labels.map(|label| text_width(label, LABEL_SIZE));
        let label_width = labels.fold(0.0f64, f64::max).clamp(60.0, 190.0) + 12.0;
        let note_widths = self.note_widths();
        let panels_width: f64 = self.panels.iter().map(|panel| panel.width + GAP).sum();
        let width = label_width + panels_width + note_widths.iter().sum::<f64>() + 4.0;
        let rows_bottom = HEAD + ROW * self.rows.len() as f64 + 4.0;
        let bottom = rows_bottom + if has_strip { STRIP } else { 0.0 };
        let mut svg = Svg::new(width, bottom + FOOT, &self.label);
        let domain = self.domain();
        let mut left = label_width;
        let mut scales = Vec::with_capacity(self.panels.len());
        for panel in &self.panels {
            let scale = Scale::new(domain, (left, left + panel.width));
            self.draw_panel(&mut svg, panel, &scale, rows_bottom, bottom);
            scales.push(scale);
            left += panel.width + GAP;
        }
        if let (Some(first), Some(last)) = (scales.first(), scales.last()) {
            let middle = (first.range().0 + last.range().1) / 2.0;
            svg.text(
                (middle, bottom + 34.0),
                Anchor::Middle,
                "title",
                &fitted(&self.axis, 12.0, width),
            );
        }
        if has_strip {
            let y = bottom - 8.0;
            svg.text((label_width - 10.0, y), Anchor::End, "note", &self.strip_label);
        }
        let mut note_right = left - 6.0;
        let note_rights: Vec<f64> = note_widths
            .iter()
            .map(|width| {
                note_right += width;
                note_right
            })
            .collect();
        for (head, right) in self.note_heads.iter().zip(&note_rights) {
            svg.text((*right, HEAD - 12.0), Anchor::End, "head", head);
        }
        for (index, row) in self.rows.iter().enumerate() {
            let y = HEAD + ROW * (index as f64 + 0.5);
            svg.begin("mark", &row.key, &row.about);
            svg.rectangle((0.0, y - ROW / 2.0), (width, y + ROW / 2.0), "row");
            let label = fitted(&row.label, LABEL_SIZE, label_width - 12.0);
            svg.text((label_width - 10.0, y + 4.2), Anchor::End, "label", &label);
            for (estimate, scale) in row.estimates.iter().zip(&scales) {
                draw_estimate(&mut svg, row, *estimate, scale, y);
            }
            for (note, right) in row.notes.iter().zip(&note_rights) {
                svg.text((*right, y + 4.2), Anchor::End, "number", note);
            }
            svg.end();
        }
        svg.finish()
    }

    fn note_widths(&self) -> Vec<f64> {
        self.note_heads
            .iter()
            .enumerate()
            .map(|(index, head)| {
                let notes = self.rows.iter().filter_map(|row| row.notes.get(index));
                notes
                    .map(|note| text_width(note, 12.0))
                    .fold(text_width(head, 11.5), f64::max)
                    + 20.0
            })
            .collect()
    }

    fn domain(&self) -> (f64, f64) {
        let ends = self
            .rows
            .iter()
            .flat_map(|row| row.estimates.iter().flatten())
            .flat_map(|estimate| {
                let (low, high) = estimate.interval.unwrap_or((estimate.value, estimate.value));
                [estimate.value, low, high]
            });
        let reference = self
            .panels
            .iter()
            .flat_map(|panel| panel.strip.iter().copied().chain(panel.band));
        let values = ends.chain(reference);
        if self.symmetric {
            symmetric(values, 0.06, self.smallest)
        } else {
            with_zero(values, 0.06, self.smallest)
        }
    }

    fn draw_panel(&self, svg: &mut Svg, panel: &Panel, scale: &Scale, rows_bottom: f64, bottom: f64) {
        if let Some(band) = panel.band {
            svg.rectangle((scale.at(-band), HEAD - 2.0), (scale.at(band), bottom), "band");
        }
        let ticks = (panel.width / 40.0).floor().max(2.0) as usize;
        axis::horizontal(svg, scale, HEAD - 2.0, bottom, ticks, "");
        let (left, right) = scale.range();
        svg.text(
            ((left + right) / 2.0, HEAD - 12.0),
            Anchor::Middle,
            "head",
            &fitted(&panel.title, 11.5, panel.width + GAP),
        );
        if !panel.strip.is_empty() {
            svg.line((left, rows_bottom), (right, rows_bottom), "rule");
            draw_strip(svg, &panel.strip, scale, bottom - 2.0, STRIP - 14.0);
        }
    }
}

fn draw_estimate(svg: &mut Svg, row: &ForestRow, estimate: Option<Estimate>, scale: &Scale, y: f64) {
    let Some(Estimate { value, interval }) = estimate else {
        return;
    };
    if let Some((low, high)) = interval {
        let (from, to) = (scale.at(low), scale.at(high));
        svg.line((from, y), (to, y), row.tone.stroked());
        svg.line((from, y - 3.5), (from, y + 3.5), row.tone.stroked());
        svg.line((to, y - 3.5), (to, y + 3.5), row.tone.stroked());
    }
    let class = if row.filled {
        row.tone.filled()
    } else {
        row.tone.hollow()
    };
    svg.marker(row.marker, (scale.at(value), y), 4.4, class);
}

/// Values as dots piled up from `bottom`, or as columns if there are many.
fn draw_strip(svg: &mut Svg, values: &[f64], scale: &Scale, bottom: f64, height: f64) {
    let (left, right) = scale.range();
    let bin_width = 6.0;
    let bins = ((right - left) / bin_width).ceil().max(1.0) as usize;
    let mut counts = vec![0usize; bins];
    for value in values {
        let bin = ((scale.at(*value) - left) / bin_width).floor().max(0.0) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    for (bin, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let x = left + bin as f64 * bin_width;
        if values.len() <= MOST_DOTS && most as f64 * 5.0 <= height {
            for level in 0..count {
                let y = bottom - 4.0 - 5.0 * level as f64;
                svg.marker(Marker::Circle, (x + bin_width / 2.0, y), 2.2, "reference");
            }
        } else {
            let top = bottom - height * count as f64 / most as f64;
            svg.rectangle((x + 0.5, top), (x + bin_width - 0.5, bottom), "reference");
        }
    }
}
