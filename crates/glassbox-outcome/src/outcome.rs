//! What a parser reads.

/// The outcome of a text that no rule matches.
pub const UNKNOWN: &str = "unknown";

/// What a parser reads from one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'p> {
    /// One of the parser's outcomes, or [`UNKNOWN`].
    pub label: &'p str,
    /// The amount, where the rule states or captures one.
    pub amount: Option<f64>,
    /// Whether the parser calls it valid: what a rule reads is, unless the rule says otherwise; a default is not, unless it says
    /// so; unknown never is.
    pub valid: bool,
    /// Index of the rule that matched, from 0; `None` for the default and for unknown.
    pub rule: Option<usize>,
}
