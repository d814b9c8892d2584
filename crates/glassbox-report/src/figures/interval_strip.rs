//! One measured value with its interval and one predicted value, small enough for a table cell.

use crate::markup::Markup;
use crate::scale::{Scale, with_zero};
use crate::svg::{Marker, Svg};

/// Draws measured value, its interval, zero, and the prediction on a scale of their own.
pub(crate) fn interval_strip(measured: f64, interval: (f64, f64), predicted: f64) -> Markup {
    let (width, height) = (150.0, 20.0);
    let label = format!(
        "measured {}, interval {} to {}, predicted {}",
        crate::number::significant(measured),
        crate::number::significant(interval.0),
        crate::number::significant(interval.1),
        crate::number::significant(predicted)
    );
    let mut svg = Svg::new(width, height, &label);
    let domain = with_zero(
        [measured, interval.0, interval.1, predicted].into_iter(),
        0.0,
        f64::MIN_POSITIVE,
    );
    let scale = Scale::new(domain, (6.0, width - 6.0));
    let middle = height / 2.0;
    svg.line((scale.at(0.0), 1.0), (scale.at(0.0), height - 1.0), "zero");
    svg.line(
        (scale.at(interval.0), middle),
        (scale.at(interval.1), middle),
        "stroke-neutral",
    );
    svg.marker(Marker::Circle, (scale.at(measured), middle), 3.6, "fill-neutral");
    svg.marker(Marker::Diamond, (scale.at(predicted), middle), 3.8, "hollow-b");
    svg.finish()
}
