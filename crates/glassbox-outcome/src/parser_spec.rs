//! A parser as a file states it.

use serde::{Deserialize, Serialize};

use crate::Region;

/// A parser, as a file states it. Keys that a file leaves out take no part in the hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParserSpec {
    /// Name, kept in every table of trials.
    pub name: String,
    /// Version, kept in every table of trials.
    pub version: u32,
    /// Rules, tried in order; the first that matches decides.
    pub rules: Vec<RuleSpec>,
    /// The outcome of a text that no rule matches; `unknown` if it is not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<DefaultSpec>,
}

/// One rule of a parser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Regular expression; a group named `amount` captures the amount.
    pub pattern: String,
    /// The outcome when the pattern matches; `unknown` keeps later rules from reading one.
    pub outcome: String,
    /// Where to look.
    #[serde(default)]
    pub region: Region,
    /// Lowest and highest amount that the rule accepts, ends included; outside, the rule does not match.
    #[serde(default)]
    pub amount_range: Option<[f64; 2]>,
    /// Which match counts, where there are several.
    #[serde(default, skip_serializing_if = "Choose::is_first")]
    pub choose: Choose,
    /// Lowest and highest amount: amounts outside are moved to the nearer end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// The amount, where the rule knows it without reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<f64>,
    /// Whether the outcome is called valid; true if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// The rule is for texts that answer this kind of prompt only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What must match as well, elsewhere in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<RequiredSpec>,
}

/// What must match besides a rule's own pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredSpec {
    /// Regular expression.
    pub pattern: String,
    /// Where to look.
    #[serde(default)]
    pub region: Region,
}

/// Which match of a pattern gives the amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// The first. With `amount_range`, the rule does not match if the first is outside.
    #[default]
    First,
    /// The last.
    Last,
    /// The first whose amount is in `amount_range`.
    FirstInRange,
    /// The last whose amount is in `amount_range`.
    LastInRange,
}

impl Choose {
    fn is_first(&self) -> bool {
        *self == Self::First
    }
}

/// The outcome of texts that no rule matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultSpec {
    /// The outcome.
    pub outcome: String,
    /// Its amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<f64>,
    /// Whether it is called valid; false if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
}
