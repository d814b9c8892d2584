//! Two figures of the same unit against each other, with the line where they are equal.

use super::axis;
use crate::markup::Markup;
use crate::scale::{Scale, symmetric};
use crate::svg::{Anchor, Marker, Svg, text_width};

/// A point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Right.
    pub(crate) x: f64,
    /// Up.
    pub(crate) y: f64,
    /// Points with equal keys light up together.
    pub(crate) key: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
    /// Written beside it; may be empty.
    pub(crate) name: String,
    /// Shape.
    pub(crate) marker: Marker,
    /// Class of the shape.
    pub(crate) class: &'static str,
}

/// Draws points on two equal axes about zero, reference points (no texts) below the others. `diagonal` is written along the line of
/// equality.
pub(crate) fn equality_scatter(
    label: &str,
    x_title: &str,
    y_title: &str,
    diagonal: &str,
    reference: &[(f64, f64)],
    points: &[Point],
) -> Markup {
    let (left, top, side) = (66.0, 12.0, 400.0);
    let (right, bottom) = (left + side, top + side);
    let mut svg = Svg::new(right + 14.0, bottom + 44.0, label);
    let values = points
        .iter()
        .flat_map(|point| [point.x, point.y])
        .chain(reference.iter().flat_map(|point| [point.0, point.1]));
    let domain = symmetric(values, 0.1, 1.0);
    let x = Scale::new(domain, (left, right));
    let y = Scale::new(domain, (bottom, top));
    axis::vertical(&mut svg, &y, left, right, 6, y_title);
    axis::horizontal(&mut svg, &x, top, bottom, 6, x_title);
    svg.line((left, bottom), (right, top), "limit");
    svg.text((right - 18.0, top + 12.0), Anchor::End, "note halo", diagonal);
    for point in reference {
        svg.marker(Marker::Circle, (x.at(point.0), y.at(point.1)), 2.4, "reference");
    }
    let places: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (x.at(point.x), y.at(point.y)))
        .collect();
    for (point, place) in points.iter().zip(&places) {
        svg.begin("mark", &point.key, &point.about);
        svg.marker(point.marker, *place, 4.6, point.class);
        svg.end();
    }
    let frame = ((left, top), (right, bottom));
    for (name, at) in free_names(points, &places, frame) {
        svg.text(at, Anchor::Middle, "label halo", name);
    }
    svg.finish()
}

/// Places for the names beside their points, none upon a point or another name. A name without such a place is left to the table and to
/// pointing.
fn free_names<'a>(
    points: &'a [Point],
    places: &[(f64, f64)],
    frame: ((f64, f64), (f64, f64)),
) -> Vec<(&'a str, (f64, f64))> {
    let ((left, top), (right, bottom)) = frame;
    let mut boxes: Vec<[f64; 4]> = places
        .iter()
        .map(|(x, y)| [x - 5.0, y - 5.0, x + 5.0, y + 5.0])
        .collect();
    let mut names = Vec::new();
    for (point, (x, y)) in points
        .iter()
        .zip(places)
        .filter(|(point, _)| !point.name.is_empty())
    {
        let half = text_width(&point.name, 12.5) / 2.0;
        let offsets = [
            (half + 9.0, 0.0),
            (-half - 9.0, 0.0),
            (0.0, -14.0),
            (0.0, 14.0),
            (half, -14.0),
            (-half, 14.0),
        ];
        let place = offsets
            .into_iter()
            .map(|(right, down)| (x + right, y + down))
            .find(|(x, y)| {
                let area = [x - half, y - 7.0, x + half, y + 7.0];
                let within = area[0] > left && area[1] > top && area[2] < right && area[3] < bottom;
                within
                    && boxes.iter().all(|other| {
                        area[2] < other[0] || other[2] < area[0] || area[3] < other[1] || other[3] < area[1]
                    })
            });
        if let Some((x, y)) = place {
            boxes.push([x - half, y - 7.0, x + half, y + 7.0]);
            names.push((point.name.as_str(), (x, y + 4.2)));
        }
    }
    names
}
