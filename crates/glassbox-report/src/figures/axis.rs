//! Axes with round marks and a title that holds the unit.

use crate::scale::Scale;
use crate::svg::{Anchor, Svg, fitted};

/// Draws a horizontal axis at `bottom` with grid lines up to `top`, and a heavier line at zero if zero is within.
pub(super) fn horizontal(svg: &mut Svg, scale: &Scale, top: f64, bottom: f64, ticks: usize, title: &str) {
    for tick in scale.ticks(ticks) {
        let x = scale.at(tick.value);
        svg.line(
            (x, top),
            (x, bottom),
            if tick.value == 0.0 { "zero" } else { "grid" },
        );
        svg.text((x, bottom + 15.0), Anchor::Middle, "tick", &tick.label);
    }
    let (left, right) = scale.range();
    svg.line((left, bottom), (right, bottom), "axis");
    if !title.is_empty() {
        svg.text(
            ((left + right) / 2.0, bottom + 33.0),
            Anchor::Middle,
            "title",
            &fitted(title, 12.0, right - left + 60.0),
        );
    }
}

/// Draws a vertical axis at `left` with grid lines to `right`, and a heavier line at zero if zero is within.
pub(super) fn vertical(svg: &mut Svg, scale: &Scale, left: f64, right: f64, ticks: usize, title: &str) {
    for tick in scale.ticks(ticks) {
        let y = scale.at(tick.value);
        svg.line(
            (left, y),
            (right, y),
            if tick.value == 0.0 { "zero" } else { "grid" },
        );
        svg.text((left - 7.0, y + 4.0), Anchor::End, "tick", &tick.label);
    }
    let (bottom, top) = scale.range();
    let title = fitted(title, 12.0, (bottom - top).abs() + 30.0);
    svg.upward_text(
        (left - 44.0, (bottom + top) / 2.0),
        Anchor::Middle,
        "title",
        &title,
    );
}
