//! Bars with intervals, in groups side by side, each bar with its name below.

use super::axis;
use crate::markup::Markup;
use crate::scale::{Scale, with_zero};
use crate::svg::{Anchor, Svg, fitted, text_width};

const COLUMN: f64 = 66.0;
const GAP: f64 = 26.0;

/// A group of bars.
#[derive(Clone, Debug)]
pub(crate) struct BarGroup {
    /// Written above it.
    pub(crate) title: String,
    /// Its bars.
    pub(crate) bars: Vec<IntervalBar>,
}

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct IntervalBar {
    /// Written below.
    pub(crate) name: String,
    /// Its height.
    pub(crate) value: f64,
    /// Its interval.
    pub(crate) interval: Option<(f64, f64)>,
    /// Written above the bar.
    pub(crate) figure: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
    /// Class of the bar.
    pub(crate) class: &'static str,
}

/// Draws the groups on one scale from zero.
pub(crate) fn interval_bars(label: &str, y_title: &str, groups: &[BarGroup]) -> Markup {
    let (left, top, height) = (66.0, 34.0, 210.0);
    let bottom = top + height;
    let width_of = |group: &BarGroup| {
        let bars = COLUMN * group.bars.len() as f64;
        bars.max(text_width(&group.title, 11.5).min(160.0) + 10.0)
    };
    let plots: f64 = groups.iter().map(|group| width_of(group) + GAP).sum();
    let right = left + plots - GAP.min(plots);
    let mut svg = Svg::new(right + 12.0, bottom + 24.0, label);
    let ends = groups.iter().flat_map(|group| &group.bars).flat_map(|bar| {
        let (low, high) = bar.interval.unwrap_or((bar.value, bar.value));
        [bar.value, low, high]
    });
    let scale = Scale::new(with_zero(ends, 0.08, 1e-6), (bottom, top));
    axis::vertical(&mut svg, &scale, left, right, 5, y_title);
    let mut from = left;
    for group in groups {
        let width = width_of(group);
        svg.text(
            (from + width / 2.0, top - 14.0),
            Anchor::Middle,
            "head",
            &fitted(&group.title, 11.5, width),
        );
        let begin = from + (width - COLUMN * group.bars.len() as f64) / 2.0;
        for (index, bar) in group.bars.iter().enumerate() {
            draw_bar(&mut svg, bar, begin + COLUMN * (index as f64 + 0.5), &scale);
        }
        svg.line((from, scale.at(0.0)), (from + width, scale.at(0.0)), "axis");
        from += width + GAP;
    }
    svg.finish()
}

fn draw_bar(svg: &mut Svg, bar: &IntervalBar, middle: f64, scale: &Scale) {
    let (zero, tip) = (scale.at(0.0), scale.at(bar.value));
    svg.begin("mark", "", &bar.about);
    svg.rectangle((middle - 19.0, zero), (middle + 19.0, tip), bar.class);
    let mut above = tip;
    if let Some((low, high)) = bar.interval {
        let (from, to) = (scale.at(low), scale.at(high));
        svg.line((middle, from), (middle, to), "whisker");
        svg.line((middle - 4.0, from), (middle + 4.0, from), "whisker");
        svg.line((middle - 4.0, to), (middle + 4.0, to), "whisker");
        above = above.min(to);
    }
    svg.text((middle, above - 5.0), Anchor::Middle, "number halo", &bar.figure);
    let bottom = scale.range().0;
    let name = fitted(&bar.name, 11.5, COLUMN - 2.0);
    svg.text((middle, bottom + 15.0), Anchor::Middle, "tick", &name);
    svg.end();
}
