//! Values with intervals over a common axis, joined by lines: one line per series.

use super::{Tone, axis};
use crate::markup::Markup;
use crate::scale::{Scale, with_zero};
use crate::svg::{Marker, Svg};

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its colour.
    pub(crate) tone: Tone,
    /// The shape of its points.
    pub(crate) marker: Marker,
    /// Its points, from left to right.
    pub(crate) points: Vec<CurvePoint>,
}

/// A point of a line.
#[derive(Clone, Debug)]
pub(crate) struct CurvePoint {
    /// Right.
    pub(crate) x: f64,
    /// Up.
    pub(crate) y: f64,
    /// Its interval.
    pub(crate) interval: Option<(f64, f64)>,
    /// Shown when it is pointed at.
    pub(crate) about: String,
}

/// Size of a drawing: width and height of the plot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    /// Width.
    pub(crate) width: f64,
    /// Height.
    pub(crate) height: f64,
}

/// The vertical axis that holds several drawings' values, zero included.
pub(crate) fn common_domain<'a>(series: impl Iterator<Item = &'a Series>) -> (f64, f64) {
    let values = series.flat_map(|line| &line.points).flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.y, point.y));
        [point.y, low, high]
    });
    with_zero(values, 0.06, 1e-6)
}

/// Draws the lines; `domain` is that of the vertical axis.
pub(crate) fn curves(
    label: &str,
    (x_title, y_title): (&str, &str),
    plot: Plot,
    domain: (f64, f64),
    series: &[Series],
) -> Markup {
    let (left, top) = (62.0, 10.0);
    let (right, bottom) = (left + plot.width, top + plot.height);
    let mut svg = Svg::new(
        right + 12.0,
        bottom + if x_title.is_empty() { 24.0 } else { 44.0 },
        label,
    );
    let ends = series.iter().flat_map(|line| &line.points).map(|point| point.x);
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    let margin = 0.04 * (high - low);
    let x = Scale::new((low - margin, high + margin), (left, right));
    let y = Scale::new(domain, (bottom, top));
    axis::vertical(&mut svg, &y, left, right, 4, y_title);
    let ticks = (plot.width / 62.0).round().max(2.0) as usize;
    axis::horizontal(&mut svg, &x, bottom, bottom, ticks, x_title);
    // Lines that share their doses stand a little beside one another, so that intervals can be told apart.
    let shift = |index: usize| 2.6 * (index as f64 - (series.len() as f64 - 1.0) / 2.0);
    for (index, line) in series.iter().enumerate() {
        let place = |point: &CurvePoint| (x.at(point.x) + shift(index), y.at(point.y));
        for pair in line.points.windows(2) {
            svg.line(place(&pair[0]), place(&pair[1]), line.tone.stroked());
        }
        for point in &line.points {
            let at = place(point);
            svg.begin("mark", "", &point.about);
            if let Some((low, high)) = point.interval {
                svg.line((at.0, y.at(low)), (at.0, y.at(high)), "whisker");
            }
            let class = if line.marker == Marker::Circle {
                line.tone.filled()
            } else {
                line.tone.hollow()
            };
            svg.marker(line.marker, at, 3.8, class);
            svg.end();
        }
    }
    svg.finish()
}
