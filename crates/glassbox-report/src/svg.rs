//! The few shapes that all figures are made of. Colours are classes, so that one style sheet serves light, dark and print.

use std::fmt::Write as _;

use crate::markup::{Markup, escape_into};

/// A drawing in progress. Places are in pixels of the drawing, y downwards.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// Where a text stands relative to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// Begins there.
    Start,
    /// Is centred there.
    Middle,
    /// Ends there.
    End,
}

/// A marker. Shapes tell apart what colours also tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// A circle.
    Circle,
    /// A square.
    Square,
    /// A square on its corner.
    Diamond,
    /// A triangle pointing up.
    Up,
    /// A triangle pointing down.
    Down,
}

impl Svg {
    /// A drawing with a text for those who cannot see it.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        Self {
            width,
            height,
            label: label.to_owned(),
            body: String::new(),
        }
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let (x1, y1, x2, y2) = (place(from.0), place(from.1), place(to.0), place(to.1));
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        ));
    }

    /// A rectangle between two corners.
    pub(crate) fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.rounded_rectangle(from, to, 0.0, class);
    }

    /// A rectangle with round corners.
    pub(crate) fn rounded_rectangle(&mut self, from: (f64, f64), to: (f64, f64), radius: f64, class: &str) {
        let (x, y) = (place(from.0.min(to.0)), place(from.1.min(to.1)));
        let (width, height) = (place((to.0 - from.0).abs()), place((to.1 - from.1).abs()));
        let round = if radius > 0.0 {
            format!(" rx=\"{}\"", place(radius))
        } else {
            String::new()
        };
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{round}/>"
        ));
    }

    /// A path in SVG's own language, made of numbers only, drawn `width` pixels wide.
    pub(crate) fn path(&mut self, path: &str, width: f64, class: &str) {
        self.push(format_args!(
            "<path class=\"{class}\" d=\"{path}\" stroke-width=\"{}\"/>",
            place(width)
        ));
    }

    /// A marker of a radius.
    pub(crate) fn marker(&mut self, marker: Marker, at: (f64, f64), radius: f64, class: &str) {
        let (x, y) = at;
        let corners: &[(f64, f64)] = match marker {
            Marker::Circle => {
                self.push(format_args!(
                    "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
                    place(x),
                    place(y),
                    place(radius)
                ));
                return;
            }
            Marker::Square => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
            Marker::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
            Marker::Up => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
            Marker::Down => &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)],
        };
        let points: Vec<String> = corners
            .iter()
            .map(|(right, down)| format!("{},{}", place(x + right * radius), place(y + down * radius)))
            .collect();
        self.push(format_args!(
            "<polygon class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        ));
    }

    /// A line of text.
    pub(crate) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        self.open_text(at, anchor, class, "");
        self.close_text(text);
    }

    /// A line of text turned to read upwards.
    pub(crate) fn upward_text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let turn = format!(" transform=\"rotate(-90 {} {})\"", place(at.0), place(at.1));
        self.open_text(at, anchor, class, &turn);
        self.close_text(text);
    }

    fn open_text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, attributes: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (place(at.0), place(at.1));
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\"{attributes}>"
        ));
    }

    fn close_text(&mut self, text: &str) {
        escape_into(&mut self.body, text);
        self.body.push_str("</text>");
    }

    /// Begins a group that stands for something: `about` is shown when it is pointed at, and groups with the same `key` light up together.
    pub(crate) fn begin(&mut self, class: &str, key: &str, about: &str) {
        self.push(format_args!("<g class=\"{class}\""));
        if !key.is_empty() {
            self.body.push_str(" data-key=\"");
            escape_into(&mut self.body, key);
            self.body.push('"');
        }
        self.body.push('>');
        if !about.is_empty() {
            self.body.push_str("<title>");
            escape_into(&mut self.body, about);
            self.body.push_str("</title>");
        }
    }

    /// Ends the group begun last.
    pub(crate) fn end(&mut self) {
        self.body.push_str("</g>");
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.body.write_fmt(arguments);
    }

    /// The drawing as an element of the page, at its own size where there is room for it.
    pub(crate) fn finish(self) -> Markup {
        let (width, height) = (place(self.width), place(self.height));
        // On a narrow page a drawing shrinks as far as its texts can be read, then it scrolls.
        let least = place((self.width * 0.7).round());
        let mut markup = format!(
            "<svg role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" style=\"min-width:{least}px\" aria-label=\""
        );
        escape_into(&mut markup, &self.label);
        markup.push_str("\">");
        markup.push_str(&self.body);
        markup.push_str("</svg>");
        Markup::assembled(markup)
    }
}

/// A coordinate with one decimal.
pub(crate) fn place(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Adding zero turns −0 into 0.
    format!("{}", if rounded.is_finite() { rounded + 0.0 } else { 0.0 })
}

/// About how wide a text is in the page's font, in pixels, on the safe side.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|character| match character {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '(' | ')' | '['
            | ']' => 0.34,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
            'A'..='Z' | '+' | '\u{2212}' | '=' | '<' | '>' => 0.7,
            wide if wide as u32 >= 0x2e80 => 1.05,
            _ => 0.6,
        })
        .sum();
    ems * size
}

/// A text cut so that it fits into a width.
pub(crate) fn fitted(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if text_width(&short, size) + size > width {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_everywhere() {
        let mut svg = Svg::new(10.0, 10.0, "a \"label\"");
        svg.begin("mark", "<key>", "</title><script>");
        svg.text((1.0, 2.0), Anchor::Middle, "t", "<word>");
        svg.end();
        let markup = svg.finish();
        for raw in ["<key>", "<script>", "<word>", "a \"label\""] {
            assert!(!markup.to_string().contains(raw), "{markup}");
        }
    }

    #[test]
    fn places_are_short_and_finite() {
        assert_eq!(place(1.04), "1");
        assert_eq!(place(-0.01), "0");
        assert_eq!(place(f64::NAN), "0");
    }

    #[test]
    fn long_texts_are_cut_to_fit() {
        assert_eq!(fitted("short", 12.0, 100.0), "short");
        let cut = fitted("an extraordinarily long word", 12.0, 60.0);
        assert!(cut.ends_with('…') && text_width(&cut, 12.0) <= 66.0);
    }
}
