//! A grid of cells whose shade is a value between −1 and 1. Signs are written in the cells: the colour says nothing alone.

use crate::markup::Markup;
use crate::svg::{Anchor, Marker, Svg, fitted, text_width};

const NAME_SIZE: f64 = 12.5;
const HEAD_SIZE: f64 = 11.5;
/// Steps of shade on either side of zero.
const STEPS: f64 = 5.0;

/// A cell.
#[derive(Clone, Debug)]
pub(crate) struct HeatCell {
    /// Its shade, from −1 (as far down as any) to 1.
    pub(crate) level: f64,
    /// Written in it.
    pub(crate) text: String,
    /// Shown when it is pointed at.
    pub(crate) about: String,
    /// Whether it is marked as standing out.
    pub(crate) is_marked: bool,
}

/// The whole figure.
#[derive(Clone, Debug)]
pub(crate) struct HeatMap {
    /// For those who cannot see it.
    pub(crate) label: String,
    /// What rows and columns are; either may be empty.
    pub(crate) titles: (String, String),
    /// Names of the columns, from left to right.
    pub(crate) columns: Vec<String>,
    /// Names of the rows from top to bottom, each with one cell per column; a missing cell has no value.
    pub(crate) rows: Vec<(String, Vec<Option<HeatCell>>)>,
    /// Width and height of a cell.
    pub(crate) cell: (f64, f64),
}

impl HeatMap {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let (cell_width, cell_height) = self.cell;
        let widest = |names: &mut dyn Iterator<Item = &String>, size: f64, most: f64| {
            names
                .map(|name| text_width(name, size))
                .fold(20.0f64, f64::max)
                .min(most)
        };
        let title_room = if self.titles.0.is_empty() { 0.0 } else { 18.0 };
        let left = title_room + widest(&mut self.rows.iter().map(|(name, _)| name), NAME_SIZE, 150.0) + 10.0;
        // Names that do not fit above their column read upwards.
        let head_width = widest(&mut self.columns.iter(), HEAD_SIZE, 120.0);
        let is_upward = head_width > cell_width - 4.0;
        let column_title = if self.titles.1.is_empty() { 0.0 } else { 17.0 };
        let top = column_title + if is_upward { head_width + 10.0 } else { 20.0 };
        let right = left + cell_width * self.columns.len() as f64;
        let bottom = top + cell_height * self.rows.len() as f64;
        let mut svg = Svg::new(right + 8.0, bottom + 6.0, &self.label);
        if !self.titles.0.is_empty() {
            let middle = (12.0, (top + bottom) / 2.0);
            let title = fitted(&self.titles.0, 12.0, (bottom - top).max(60.0));
            svg.upward_text(middle, Anchor::Middle, "title", &title);
        }
        if !self.titles.1.is_empty() {
            let middle = ((left + right) / 2.0, 12.0);
            svg.text(middle, Anchor::Middle, "title", &self.titles.1);
        }
        for (index, name) in self.columns.iter().enumerate() {
            let x = left + cell_width * (index as f64 + 0.5);
            if is_upward {
                let name = fitted(name, HEAD_SIZE, head_width + 2.0);
                svg.upward_text((x + 4.0, top - 6.0), Anchor::Start, "tick", &name);
            } else {
                svg.text((x, top - 7.0), Anchor::Middle, "tick", name);
            }
        }
        for (row, (name, cells)) in self.rows.iter().enumerate() {
            let y = top + cell_height * row as f64;
            let name = fitted(name, NAME_SIZE, left - title_room - 8.0);
            let baseline = y + cell_height / 2.0 + 4.2;
            svg.text((left - 7.0, baseline), Anchor::End, "label", &name);
            for (column, cell) in cells.iter().enumerate() {
                let x = left + cell_width * column as f64;
                match cell {
                    Some(cell) => self.draw_cell(&mut svg, cell, (x, y)),
                    None => svg.rectangle(
                        (x + 0.5, y + 0.5),
                        (x + cell_width - 0.5, y + cell_height - 0.5),
                        "nothing",
                    ),
                }
            }
        }
        svg.finish()
    }

    fn draw_cell(&self, svg: &mut Svg, cell: &HeatCell, (x, y): (f64, f64)) {
        let (width, height) = self.cell;
        let level = if cell.level.is_finite() {
            cell.level.clamp(-1.0, 1.0)
        } else {
            0.0
        };
        let step = (level.abs() * STEPS).ceil() as usize;
        let (from, to) = ((x + 0.5, y + 0.5), (x + width - 0.5, y + height - 0.5));
        svg.begin("mark", "", &cell.about);
        svg.rectangle(from, to, "row");
        if step > 0 {
            let side = if level > 0.0 { "up" } else { "down" };
            svg.rectangle(from, to, &format!("heat-{side} heat-{step}"));
        } else {
            svg.rectangle(from, to, "heat-none");
        }
        if !cell.text.is_empty() {
            let at = (x + width / 2.0, y + height / 2.0 + 4.2);
            svg.text(at, Anchor::Middle, "number halo-thin", &cell.text);
        }
        if cell.is_marked {
            svg.rectangle((x + 1.5, y + 1.5), (x + width - 1.5, y + height - 1.5), "frame");
            svg.marker(Marker::Circle, (x + width - 5.0, y + 5.0), 2.2, "dot");
        }
        svg.end();
    }
}
