//! Which part of a text a rule looks at.

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Which part of the text a rule looks at: `"first_line"`, or a table such as `{ before = "Game over", lines = 6 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Region {
    /// One that has a name.
    Named(NamedRegion),
    /// One that is cut out.
    Cut(CutRegion),
}

impl Default for Region {
    fn default() -> Self {
        Self::Named(NamedRegion::Response)
    }
}

/// A region that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum NamedRegion {
    /// The whole text.
    #[default]
    Response,
    /// The first line that is not blank.
    FirstLine,
    /// The last line that is not blank.
    LastLine,
}

/// The text up to a marker, the first lines of it only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutRegion {
    /// Regular expression: the region ends where it first matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The region ends after so many lines that are not blank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<usize>,
}

/// A region whose expression is compiled.
#[derive(Clone, Debug)]
pub(crate) enum Cutter {
    Named(NamedRegion),
    Cut {
        before: Option<Regex>,
        lines: Option<usize>,
    },
}

impl Cutter {
    /// # Errors
    /// What is wrong with the region.
    pub(crate) fn new(region: &Region) -> Result<Self, String> {
        match region {
            Region::Named(name) => Ok(Self::Named(*name)),
            Region::Cut(CutRegion { before: None, lines: None }) => Err(
                "a region in braces needs `before` or `lines`; the named ones are response, first_line and last_line".into(),
            ),
            Region::Cut(CutRegion { lines: Some(0), .. }) => Err("a region of 0 lines is empty".into()),
            Region::Cut(cut) => Ok(Self::Cut {
                before: match &cut.before {
                    Some(pattern) => Some(Regex::new(pattern).map_err(|error| error.to_string())?),
                    None => None,
                },
                lines: cut.lines,
            }),
        }
    }

    /// The region of a text.
    pub(crate) fn cut<'t>(&self, text: &'t str) -> &'t str {
        let is_written = |line: &&str| !line.trim().is_empty();
        match self {
            Self::Named(NamedRegion::Response) => text,
            Self::Named(NamedRegion::FirstLine) => text.lines().find(is_written).unwrap_or(""),
            Self::Named(NamedRegion::LastLine) => text.lines().rfind(is_written).unwrap_or(""),
            Self::Cut { before, lines } => {
                let end = before.as_ref().and_then(|marker| marker.find(text));
                let text = end.map_or(text, |marker| &text[..marker.start()]);
                let Some(lines) = *lines else { return text };
                let last = text.lines().filter(is_written).nth(lines - 1);
                // A line is a part of the text, so its place is where its bytes are.
                last.map_or(text, |line| {
                    let end = line.as_ptr() as usize - text.as_ptr() as usize + line.len();
                    &text[..end]
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(before: Option<&str>, lines: Option<usize>, text: &str) -> String {
        let region = Region::Cut(CutRegion {
            before: before.map(str::to_owned),
            lines,
        });
        Cutter::new(&region).unwrap().cut(text).to_owned()
    }

    #[test]
    fn regions_end_at_markers_and_after_lines() {
        let text = "\n1\n\n  $20\nChoose:\n1) Bet\r\n2) Stop";
        assert_eq!(cut(Some("Choose:"), None, text), "\n1\n\n  $20\n");
        assert_eq!(cut(None, Some(2), text), "\n1\n\n  $20");
        assert_eq!(cut(None, Some(4), text), "\n1\n\n  $20\nChoose:\n1) Bet");
        assert_eq!(cut(Some("Choose:"), Some(9), text), "\n1\n\n  $20\n");
        assert_eq!(cut(Some("nothing"), Some(1), ""), "");
    }

    #[test]
    fn empty_regions_are_refused() {
        for region in [
            CutRegion {
                before: None,
                lines: None,
            },
            CutRegion {
                before: None,
                lines: Some(0),
            },
            CutRegion {
                before: Some("(".into()),
                lines: None,
            },
        ] {
            assert!(Cutter::new(&Region::Cut(region)).is_err());
        }
    }
}
