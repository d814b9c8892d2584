//! The page that all reports have in common: title, navigation, sections, style and script in one file.

use askama::Template;

use crate::ReportError;
use crate::markup::Markup;

/// A section of the page.
pub(crate) struct Section {
    /// Anchor.
    pub(crate) id: &'static str,
    /// Title.
    pub(crate) title: &'static str,
    /// Short title for the navigation.
    pub(crate) short: &'static str,
    /// Whether there is something to show.
    pub(crate) is_there: bool,
    /// What it shows.
    pub(crate) body: Markup,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: &'a str,
    subtitle: &'a str,
    sections: &'a [Section],
    version: &'a str,
}

/// Puts a page together. Equal sections give equal bytes.
///
/// # Errors
/// [`ReportError::Template`].
pub(crate) fn page(
    title: &str,
    subtitle: &str,
    sections: &[Section],
    version: &str,
) -> Result<String, ReportError> {
    let page = Page {
        title,
        subtitle,
        sections,
        version,
    };
    // Templates escape markup, but neither control characters, which HTML does not allow, nor marks that turn the direction of all text
    // after them, which would let a response rewrite the sentence around it. Letters of any direction stay.
    let is_odd = |character: char| {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || character.is_control() && !matches!(character, '\n' | '\t')
    };
    Ok(page.render()?.replace(is_odd, "\u{fffd}"))
}
