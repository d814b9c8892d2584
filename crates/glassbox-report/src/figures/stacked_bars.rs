//! Two counts per category, one upon the other.

use super::axis;
use crate::markup::Markup;
use crate::number;
use crate::scale::Scale;
use crate::svg::{Anchor, Svg};

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Written below.
    pub(crate) label: String,
    /// Shown when the bar is pointed at.
    pub(crate) about: String,
    /// Lower part, filled.
    pub(crate) lower: u64,
    /// Upper part, outlined.
    pub(crate) upper: u64,
}

/// Draws the bars.
pub(crate) fn stacked_bars(label: &str, x_title: &str, y_title: &str, bars: &[Bar]) -> Markup {
    let (left, top, height) = (66.0, 24.0, 230.0);
    let column = column_width(bars.len());
    let right = left + column * bars.len() as f64;
    let bottom = top + height;
    let mut svg = Svg::new(right + 10.0, bottom + 44.0, label);
    let most = bars
        .iter()
        .map(|bar| bar.lower + bar.upper)
        .max()
        .unwrap_or(0)
        .max(4);
    let scale = Scale::new((0.0, most as f64 * 1.08), (bottom, top));
    axis::vertical(&mut svg, &scale, left, right, 5, y_title);
    let numbered = column >= 26.0;
    let every = label_step(bars.len(), column);
    for (index, bar) in bars.iter().enumerate() {
        let middle = left + column * (index as f64 + 0.5);
        let half = (column * 0.36).min(30.0);
        let joint = scale.at(bar.lower as f64);
        let tip = scale.at((bar.lower + bar.upper) as f64);
        svg.begin("mark", "", &bar.about);
        if bar.lower > 0 {
            svg.rectangle((middle - half, joint), (middle + half, bottom), "fill-a");
        }
        if bar.upper > 0 {
            svg.rectangle((middle - half, tip), (middle + half, joint), "light-b");
        }
        if numbered {
            let total = number::count(bar.lower + bar.upper);
            svg.text((middle, tip - 5.0), Anchor::Middle, "number", &total);
        }
        svg.end();
        if index % every == 0 {
            svg.text((middle, bottom + 15.0), Anchor::Middle, "tick", &bar.label);
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

/// Width of a category's column: wide if there are few.
pub(super) fn column_width(categories: usize) -> f64 {
    (760.0 / categories.max(1) as f64).clamp(17.0, 90.0)
}

/// Every how many categories a label has room.
pub(super) fn label_step(categories: usize, column: f64) -> usize {
    let widest = 7.0 * categories.to_string().len() as f64 + 12.0;
    (widest / column).ceil().max(1.0) as usize
}
