//! Text that may stand in the page as it is, and the one place where other text is made so.

use std::fmt;

use askama::filters::HtmlSafe;

/// HTML or SVG in which every piece of foreign text is escaped. Templates print it as it is; they escape everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    /// Takes over markup that this crate has put together from its own tags and escaped text.
    pub(crate) fn assembled(markup: String) -> Self {
        Self(markup)
    }

    /// Plain text, escaped.
    pub fn text(text: &str) -> Self {
        let mut markup = String::with_capacity(text.len());
        escape_into(&mut markup, text);
        Self(markup)
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// Appends text with everything escaped that HTML or SVG could read as markup, in elements and in quoted attributes. Control
/// characters, which neither allows, become the replacement character.
pub(crate) fn escape_into(markup: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            '\n' | '\t' => markup.push(character),
            '\r' => {}
            control if control.is_control() => markup.push('\u{fffd}'),
            other => markup.push(other),
        }
    }
}

/// The first `limit` characters of a text, with a note of how many were left out.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => {
            let rest = text[end..].chars().count();
            format!("{} … ({rest} more characters)", &text[..end])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_foreign_text_is_inert() {
        assert_eq!(
            Markup::text("<b a=\"1\" c='2'>&\0\u{1b}é\n").to_string(),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}\u{fffd}é\n"
        );
    }

    #[test]
    fn long_texts_say_what_is_left_out() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äöü … (1 more characters)");
    }
}
