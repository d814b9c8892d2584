//! Tables of the page: capped, sortable by their heads where scripts run, with numbers aligned.

use askama::Template;

use crate::ReportError;
use crate::markup::{Markup, shortened};
use crate::number;

/// Rows of a table on the page; the rest is in the Parquet file.
pub(crate) const MOST_ROWS: usize = 200;
/// Characters of a text in a cell.
const MOST_CHARACTERS: usize = 600;

/// A head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    text: Markup,
    about: String,
    numeric: bool,
}

/// A head of a column of numbers; `about` is shown when it is pointed at.
pub(crate) fn numbers(text: impl Into<String>, about: impl Into<String>) -> Head {
    Head {
        numeric: true,
        ..texts(text, about)
    }
}

/// A head of a column of texts.
pub(crate) fn texts(text: impl Into<String>, about: impl Into<String>) -> Head {
    // Names with underscores may break after them.
    let text = Markup::text(&text.into()).to_string().replace('_', "_<wbr>");
    Head {
        text: Markup::assembled(text),
        about: about.into(),
        numeric: false,
    }
}

/// A cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    content: Markup,
    sort: String,
    key: String,
    class: &'static str,
}

const NUMERIC: &str = "num";

impl Cell {
    /// A number as written, sorted by its value.
    pub(crate) fn number(value: Option<f64>, write: impl Fn(f64) -> String) -> Self {
        Self {
            content: Markup::text(&number::or_missing(value, write)),
            sort: value
                .filter(|value| value.is_finite())
                .map_or_else(String::new, |value| value.to_string()),
            key: String::new(),
            class: NUMERIC,
        }
    }

    /// A count.
    pub(crate) fn count(value: u64) -> Self {
        Self::number(Some(value as f64), |_| number::count(value))
    }

    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self::markup(Markup::text(&shortened(text, MOST_CHARACTERS)))
    }

    /// One or more sentences.
    pub(crate) fn sentences(text: &str) -> Self {
        Self {
            class: "wide",
            ..Self::text(text)
        }
    }

    /// A text that stays on one line.
    pub(crate) fn line(text: &str) -> Self {
        Self {
            class: "line",
            ..Self::text(text)
        }
    }

    /// A text in the style of numbers, such as an interval, sorted by a value.
    pub(crate) fn figures(text: &str, sort: Option<f64>) -> Self {
        Self {
            content: Markup::text(text),
            ..Self::number(sort, |_| String::new())
        }
    }

    /// A feature's name, which lights up with its marks in the figures.
    pub(crate) fn feature(feature: crate::data::FeatureId) -> Self {
        let name = feature.to_string();
        Self {
            content: Markup::text(&name),
            sort: (f64::from(feature.layer) * 1e10 + f64::from(feature.feature)).to_string(),
            key: name,
            class: "",
        }
    }

    /// Markup.
    pub(crate) fn markup(content: Markup) -> Self {
        Self {
            content,
            sort: String::new(),
            key: String::new(),
            class: "",
        }
    }
}

/// A table.
#[derive(Clone, Debug, Template)]
#[template(path = "table.html")]
pub(crate) struct HtmlTable {
    heads: Vec<Head>,
    rows: Vec<Vec<Cell>>,
    rest: String,
    name: String,
}

impl HtmlTable {
    /// A table of the first rows. `total` counts all rows that the table could have, and `source` names the file that has them.
    pub(crate) fn new(
        name: &str,
        heads: Vec<Head>,
        rows: impl Iterator<Item = Vec<Cell>>,
        total: u64,
        source: &str,
    ) -> Self {
        let rows: Vec<Vec<Cell>> = rows.take(MOST_ROWS).collect();
        let more = total.saturating_sub(rows.len() as u64);
        let rest = match more {
            0 => String::new(),
            1 => format!("1 more row in {source}"),
            more => format!("{} more rows in {source}", number::count(more)),
        };
        Self {
            heads,
            rows,
            rest,
            name: name.to_owned(),
        }
    }

    /// As HTML.
    pub(crate) fn markup(&self) -> Result<Markup, ReportError> {
        Ok(Markup::assembled(self.render()?))
    }
}
