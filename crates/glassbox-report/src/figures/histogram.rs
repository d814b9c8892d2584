//! Counts by value, with single values marked below the axis and a line at a limit.

use super::axis;
use crate::markup::Markup;
use crate::scale::{Scale, with_zero};
use crate::svg::{Anchor, Marker, Svg, text_width};

/// A value marked below the axis.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    /// The value.
    pub(crate) value: f64,
    /// Marks with equal keys light up together.
    pub(crate) key: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
    /// Shape.
    pub(crate) marker: Marker,
    /// Class of the shape.
    pub(crate) class: &'static str,
}

/// A histogram from zero upwards.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// For those who cannot see it.
    pub(crate) label: String,
    /// Title of the horizontal axis, with the unit.
    pub(crate) x_title: String,
    /// Title of the vertical axis.
    pub(crate) y_title: String,
    /// The values counted.
    pub(crate) values: Vec<f64>,
    /// End of the axis if it is not set by the values.
    pub(crate) end: Option<f64>,
    /// Number of bins.
    pub(crate) bins: usize,
    /// A vertical line with its text.
    pub(crate) limit: Option<(f64, String)>,
    /// A count per bin that would be expected, drawn as a line.
    pub(crate) expected: Option<f64>,
    /// Values marked below the axis.
    pub(crate) marked: Vec<Marked>,
    /// Text before the marked values.
    pub(crate) marked_label: String,
}

impl Histogram {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let (left, top, plot_width, height) = (58.0, 28.0, 430.0, 170.0);
        let (right, bottom) = (left + plot_width, top + height);
        let ends = self
            .values
            .iter()
            .copied()
            .chain(self.marked.iter().map(|marked| marked.value));
        let limit = self.limit.iter().map(|limit| limit.0);
        let domain = match self.end {
            Some(end) => (0.0, end),
            None => with_zero(ends.chain(limit), 0.06, 1e-9),
        };
        let x = Scale::new(domain, (left, right));
        let bin_width = (domain.1 - domain.0) / self.bins as f64;
        let mut counts = vec![0usize; self.bins];
        for value in self.values.iter().filter(|value| value.is_finite()) {
            let bin = ((value - domain.0) / bin_width).floor().max(0.0) as usize;
            counts[bin.min(self.bins - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(4) as f64;
        let most = most.max(self.expected.unwrap_or(0.0));
        let y = Scale::new((0.0, most * 1.12), (bottom, top));
        let piles = self.piles(&x);
        let deepest = piles
            .iter()
            .map(|(_, level)| *level)
            .max()
            .map_or(0, |level| level + 1);
        let rug = if deepest == 0 {
            0.0
        } else {
            14.0 + 9.0 * deepest.min(6) as f64
        };
        let mut svg = Svg::new(right + 14.0, bottom + rug + 46.0, &self.label);
        axis::vertical(&mut svg, &y, left, right, 4, &self.y_title);
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let from = domain.0 + bin as f64 * bin_width;
            svg.rectangle(
                (x.at(from) + 0.5, y.at(*count as f64)),
                (x.at(from + bin_width) - 0.5, bottom),
                "reference",
            );
        }
        if let Some(expected) = self.expected {
            svg.line((left, y.at(expected)), (right, y.at(expected)), "limit");
        }
        for (marked, (place, level)) in self.marked.iter().zip(&piles) {
            let place = (*place, bottom + 10.0 + 9.0 * (*level).min(5) as f64);
            svg.begin("mark", &marked.key, &marked.about);
            svg.marker(marked.marker, place, 3.8, marked.class);
            svg.end();
        }
        axis::horizontal(&mut svg, &x, bottom + rug, bottom + rug, 6, &self.x_title);
        svg.line((left, bottom), (right, bottom), "axis");
        if !self.marked_label.is_empty() && deepest > 0 {
            svg.upward_text(
                (left - 44.0, bottom + rug / 2.0 + 6.0),
                Anchor::Middle,
                "note",
                &self.marked_label,
            );
        }
        if let Some((value, text)) = &self.limit {
            let place = x.at(*value);
            svg.line((place, top - 4.0), (place, bottom + rug), "limit");
            let anchor = if place + text_width(text, 11.5) > right {
                Anchor::End
            } else {
                Anchor::Start
            };
            svg.text((place, top - 10.0), anchor, "note halo", text);
        }
        svg.finish()
    }

    /// Place and level of every mark, so that marks close together lie below one another.
    fn piles(&self, x: &Scale) -> Vec<(f64, usize)> {
        let mut last: Vec<f64> = Vec::new();
        let mut order: Vec<usize> = (0..self.marked.len()).collect();
        order.sort_by(|one, other| self.marked[*one].value.total_cmp(&self.marked[*other].value));
        let mut piles = vec![(0.0, 0); self.marked.len()];
        for index in order {
            let place = x.at(self.marked[index].value);
            let level = last
                .iter()
                .position(|end| place - end >= 8.5)
                .unwrap_or(last.len());
            if level == last.len() {
                last.push(place);
            } else {
                last[level] = place;
            }
            piles[index] = (place, level);
        }
        piles
    }
}
