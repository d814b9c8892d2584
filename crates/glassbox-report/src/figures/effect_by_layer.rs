//! Effects by layer: the spread over all features as a shape, single features as marks upon it.

use super::stacked_bars::{column_width, label_step};
use super::{Tone, axis};
use crate::markup::Markup;
use crate::scale::Scale;
use crate::svg::{Anchor, Marker, Svg};

/// One layer.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Written below.
    pub(crate) label: String,
    /// Counts by bin of the effect, the bins side by side and even about 0, of the width `bin_width`.
    pub(crate) bins: Vec<u64>,
    /// The single features.
    pub(crate) marks: Vec<Mark>,
}

/// One feature.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Its effect: Cohen's d, points, or another unit that the axis names.
    pub(crate) effect: f64,
    /// Marks with equal keys light up together.
    pub(crate) key: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
}

/// Draws the layers side by side, on an axis from −`limit` to `limit`.
pub(crate) fn effect_by_layer(
    label: &str,
    x_title: &str,
    y_title: &str,
    columns: &[Column],
    bin_width: f64,
    limit: f64,
) -> Markup {
    let (left, top, height) = (66.0, 14.0, 300.0);
    let column = column_width(columns.len());
    let right = left + column * columns.len() as f64;
    let bottom = top + height;
    let mut svg = Svg::new(right + 10.0, bottom + 44.0, label);
    let scale = Scale::new((-limit, limit), (bottom, top));
    axis::vertical(&mut svg, &scale, left, right, 7, y_title);
    let most = columns
        .iter()
        .flat_map(|column| &column.bins)
        .copied()
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let every = label_step(columns.len(), column);
    // About forty bins over the axis, whatever its length.
    let merge = ((scale.domain().1 - scale.domain().0) / bin_width / 40.0)
        .round()
        .max(1.0) as usize;
    for (index, layer) in columns.iter().enumerate() {
        let middle = left + column * (index as f64 + 0.5);
        let half = column * 0.42;
        let merged = merged_bins(&layer.bins, merge);
        let centre = merged.len() as f64 / 2.0;
        let (bin_width, most) = (bin_width * merge as f64, most * merge as f64);
        for (bin, count) in merged.iter().enumerate().filter(|(_, count)| **count > 0) {
            let from = (bin as f64 - centre) * bin_width;
            if from + bin_width <= scale.domain().0 || from >= scale.domain().1 {
                continue;
            }
            // Logarithmic widths: thousands of features lie near zero and single ones far out.
            let reach = half * (1.0 + *count as f64).ln() / (1.0 + most).ln();
            svg.rectangle(
                (middle - reach, scale.at(from)),
                (middle + reach, scale.at(from + bin_width) - 0.4),
                "density",
            );
        }
        for (place, mark) in layer.marks.iter().enumerate() {
            let offset = [0.0, -0.4, 0.4, -0.2, 0.2, -0.6, 0.6][place % 7] * half;
            let tone = if mark.effect > 0.0 { Tone::B } else { Tone::A };
            let (marker, class) = match (scale.holds(mark.effect), tone) {
                (false, Tone::B) => (Marker::Up, tone.filled()),
                (false, _) => (Marker::Down, tone.filled()),
                (true, Tone::B) => (Marker::Square, tone.hollow()),
                (true, _) => (Marker::Circle, tone.filled()),
            };
            svg.begin("mark", &mark.key, &mark.about);
            svg.marker(marker, (middle + offset, scale.at(mark.effect)), 4.0, class);
            svg.end();
        }
        if index % every == 0 {
            svg.text((middle, bottom + 15.0), Anchor::Middle, "tick", &layer.label);
        }
    }
    svg.line((left, bottom), (right, bottom), "axis");
    svg.text(
        ((left + right) / 2.0, bottom + 34.0),
        Anchor::Middle,
        "title",
        x_title,
    );
    svg.finish()
}

/// Where the axis ends on both sides: a few features that separate the families almost perfectly must not squeeze all others together, so
/// it ends beyond four fifths of the marks, between `least` and `most`. Marks beyond stand at its edge as triangles.
pub(crate) fn axis_limit(columns: &[Column], least: f64, most: f64) -> f64 {
    let mut sizes: Vec<f64> = columns
        .iter()
        .flat_map(|column| &column.marks)
        .map(|mark| mark.effect.abs())
        .collect();
    sizes.sort_by(f64::total_cmp);
    let typical = sizes.get(sizes.len() * 4 / 5).copied().unwrap_or(2.0 * least);
    (typical * 1.2).clamp(least, most)
}

/// Neighbouring bins joined, from the middle outwards.
fn merged_bins(bins: &[u64], merge: usize) -> Vec<u64> {
    let (low, high) = bins.split_at(bins.len() / 2);
    let mut merged: Vec<u64> = low.rchunks(merge).rev().map(|group| group.iter().sum()).collect();
    merged.extend(high.chunks(merge).map(|group| group.iter().sum::<u64>()));
    merged
}
