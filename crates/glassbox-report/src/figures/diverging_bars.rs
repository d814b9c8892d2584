//! Signed values as bars to the left and right of zero, with intervals, a name before and a note after each.

use super::{Tone, axis};
use crate::markup::Markup;
use crate::scale::Scale;
use crate::svg::{Anchor, Svg, fitted};

const ROW: f64 = 19.0;
const NAME: f64 = 108.0;
const PLOT: f64 = 210.0;
const NOTE: f64 = 96.0;

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct DivergingBar {
    /// Written at the left.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: f64,
    /// Its interval.
    pub(crate) interval: (f64, f64),
    /// Written at the right.
    pub(crate) note: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
}

/// Draws the bars on the scale `domain`, which several drawings can share.
pub(crate) fn diverging_bars(
    label: &str,
    axis_title: &str,
    note_head: &str,
    domain: (f64, f64),
    bars: &[DivergingBar],
) -> Markup {
    let head = 16.0;
    let width = NAME + PLOT + NOTE;
    let bottom = head + ROW * bars.len() as f64 + 3.0;
    let mut svg = Svg::new(width, bottom + 38.0, label);
    let scale = Scale::new(domain, (NAME, NAME + PLOT));
    axis::horizontal(&mut svg, &scale, head - 2.0, bottom, 5, axis_title);
    svg.text((width - 2.0, head - 5.0), Anchor::End, "head", note_head);
    for (index, bar) in bars.iter().enumerate() {
        let y = head + ROW * (index as f64 + 0.5);
        let tone = Tone::of_sign(bar.value);
        let class = if tone == Tone::Down {
            "light-down"
        } else {
            tone.filled()
        };
        svg.begin("mark", "", &bar.about);
        svg.rectangle((0.0, y - ROW / 2.0), (width, y + ROW / 2.0), "row");
        svg.text(
            (NAME - 8.0, y + 4.0),
            Anchor::End,
            "label",
            &fitted(&bar.name, 12.5, NAME - 12.0),
        );
        svg.rectangle((scale.at(0.0), y - 5.5), (scale.at(bar.value), y + 5.5), class);
        let (low, high) = (scale.at(bar.interval.0), scale.at(bar.interval.1));
        svg.line((low, y), (high, y), "whisker");
        svg.line((low, y - 3.0), (low, y + 3.0), "whisker");
        svg.line((high, y - 3.0), (high, y + 3.0), "whisker");
        svg.text((width - 2.0, y + 4.0), Anchor::End, "number", &bar.note);
        svg.end();
    }
    svg.finish()
}
