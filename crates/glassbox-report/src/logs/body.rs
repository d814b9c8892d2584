//! The body of a section, put together from text that is escaped and drawings that are markup already.

use std::fmt::Write as _;

use crate::markup::{Markup, escape_into};
use crate::svg::{Marker, Svg};

/// A body in progress.
#[derive(Debug, Default)]
pub(super) struct Body(String);

/// What stands above a figure.
pub(super) struct Caption<'c> {
    /// What it shows, in a few words.
    pub(super) title: &'c str,
    /// How to read it.
    pub(super) rest: &'c str,
    /// Marks and what they stand for.
    pub(super) legend: Vec<(Markup, String)>,
}

/// A figure of a page's head.
pub(super) struct Tile {
    /// The figure.
    pub(super) figure: String,
    /// What it counts.
    pub(super) text: &'static str,
    /// Whether it needs attention.
    pub(super) is_bad: bool,
}

impl Tile {
    /// A figure that is neither good nor bad.
    pub(super) fn plain(figure: String, text: &'static str) -> Self {
        Self {
            figure,
            text,
            is_bad: false,
        }
    }
}

impl Body {
    fn element(&mut self, open: &str, text: &str, close: &str) {
        self.0.push_str(open);
        escape_into(&mut self.0, text);
        self.0.push_str(close);
        self.0.push('\n');
    }

    /// The page's one sentence.
    pub(super) fn headline(&mut self, text: &str) {
        self.element("<p class=\"headline\">", text, "</p>");
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.element("<p>", text, "</p>");
    }

    /// A remark in small letters.
    pub(super) fn hint(&mut self, text: &str) {
        self.element("<p class=\"hint\">", text, "</p>");
    }

    /// Why there is nothing to show.
    pub(super) fn absent(&mut self, text: &str) {
        self.element("<p class=\"absent\">", text, "</p>");
    }

    /// What must be known first.
    pub(super) fn warning(&mut self, text: &str) {
        self.element("<p class=\"warning\">", text, "</p>");
    }

    /// A heading within the section.
    pub(super) fn heading(&mut self, text: &str) {
        self.element("<h3>", text, "</h3>");
    }

    /// Figures of the page's head.
    pub(super) fn tiles(&mut self, tiles: &[Tile]) {
        self.0.push_str("<ul class=\"tiles\">");
        for tile in tiles {
            self.0.push_str(if tile.is_bad {
                "<li class=\"bad\"><b>"
            } else {
                "<li><b>"
            });
            escape_into(&mut self.0, &tile.figure);
            self.0.push_str("</b><span>");
            escape_into(&mut self.0, tile.text);
            self.0.push_str("</span></li>");
        }
        self.0.push_str("</ul>\n");
    }

    /// Names with what is to be said of them.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.0.push_str("<dl class=\"facts\">");
        for (name, text) in facts {
            self.0.push_str("<div><dt>");
            escape_into(&mut self.0, name);
            self.0.push_str("</dt><dd>");
            escape_into(&mut self.0, text);
            self.0.push_str("</dd></div>");
        }
        self.0.push_str("</dl>\n");
    }

    /// A list of results: class (`passed`, `failed` or empty), the word at the left, a title, and sentences below it.
    pub(super) fn checks(&mut self, checks: &[(&str, &str, &str, Vec<String>)]) {
        self.0.push_str("<ul class=\"checks\">");
        for (class, result, title, sentences) in checks {
            // Writing into a String cannot fail.
            let _ = write!(self.0, "<li class=\"{class}\"><span class=\"result\">");
            escape_into(&mut self.0, result);
            self.0.push_str("</span><div><b>");
            escape_into(&mut self.0, title);
            self.0.push_str("</b>");
            for sentence in sentences {
                self.0.push_str("<br>");
                escape_into(&mut self.0, sentence);
            }
            self.0.push_str("</div></li>\n");
        }
        self.0.push_str("</ul>\n");
    }

    /// A table, or other markup.
    pub(super) fn markup(&mut self, markup: &Markup) {
        let _ = writeln!(self.0, "{markup}");
    }

    fn caption(&mut self, caption: &Caption<'_>) {
        self.0.push_str("<figcaption><b>");
        escape_into(&mut self.0, caption.title);
        self.0.push_str("</b> ");
        escape_into(&mut self.0, caption.rest);
        self.0.push_str("</figcaption>\n");
        if !caption.legend.is_empty() {
            self.0.push_str("<p class=\"legend\">");
            for (mark, text) in &caption.legend {
                let _ = write!(self.0, "<span class=\"key\">{mark} ");
                escape_into(&mut self.0, text);
                self.0.push_str("</span> ");
            }
            self.0.push_str("</p>\n");
        }
    }

    /// A figure.
    pub(super) fn figure(&mut self, caption: &Caption<'_>, drawing: &Markup) {
        self.0.push_str("<figure>");
        self.caption(caption);
        let _ = writeln!(self.0, "<div class=\"drawing\">{drawing}</div></figure>");
    }

    /// Figures side by side, where there is room.
    pub(super) fn row(&mut self, figures: impl FnOnce(&mut Self)) {
        self.0.push_str("<div class=\"row-of-figures\">");
        figures(self);
        self.0.push_str("</div>\n");
    }

    /// A figure of several small drawings, each with a name and a remark.
    pub(super) fn panels(&mut self, caption: &Caption<'_>, panels: &[(String, String, Markup)]) {
        self.0.push_str("<figure>");
        self.caption(caption);
        self.0.push_str("<div class=\"panels\">");
        for (name, remark, drawing) in panels {
            self.0.push_str("<div class=\"panel\"><h4>");
            escape_into(&mut self.0, name);
            self.0.push_str(" <small>");
            escape_into(&mut self.0, remark);
            let _ = write!(
                self.0,
                "</small></h4><div class=\"drawing\">{drawing}</div></div>"
            );
        }
        self.0.push_str("</div></figure>\n");
    }

    /// The body as markup.
    pub(super) fn finish(self) -> Markup {
        Markup::assembled(self.0)
    }
}

/// A mark for a legend.
pub(super) fn legend_mark(marker: Marker, class: &str, text: &str) -> (Markup, String) {
    let mut svg = Svg::new(16.0, 14.0, text);
    svg.marker(marker, (8.0, 7.0), 4.4, class);
    (svg.finish(), text.to_owned())
}

/// A filled square for a legend.
pub(super) fn legend_swatch(class: &str, text: &str) -> (Markup, String) {
    let mut svg = Svg::new(16.0, 14.0, text);
    svg.rectangle((2.0, 1.0), (14.0, 13.0), class);
    (svg.finish(), text.to_owned())
}
