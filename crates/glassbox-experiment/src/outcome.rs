//! Outcomes and the parsers that read them from a trial's text.
//!
//! A parser is data: an ordered list of regular expressions over stated regions of the text, with a name, a version
//! and a hash. The text itself is kept, so parsing again never needs a new run. What no rule matches is
//! `unknown`: a value of its own, never a number and never one of the other outcomes.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::ExperimentError;

/// The outcome of a text that no rule matches.
pub const UNKNOWN: &str = "unknown";

/// What a parser reads from one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// One of the scenario's outcomes, or [`UNKNOWN`].
    pub label: String,
    /// The amount that the rule captured, in the scenario's unit.
    pub amount: Option<f64>,
}

/// Which part of the response a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The whole response.
    #[default]
    Response,
    /// The first line that is not blank.
    FirstLine,
    /// The last line that is not blank.
    LastLine,
}

/// One rule of a parser, as the scenario file states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Regular expression; a group named `amount` captures the amount.
    pub pattern: String,
    /// The outcome when the pattern matches.
    pub outcome: String,
    /// Where to look.
    #[serde(default)]
    pub region: Region,
    /// Lowest and highest amount that the rule accepts; outside, the rule does not match. Amounts are never clamped.
    #[serde(default)]
    pub amount_range: Option<[f64; 2]>,
}

/// A parser, as the scenario file states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParserSpec {
    /// Name, kept in every trial table.
    pub name: String,
    /// Version, kept in every trial table.
    pub version: u32,
    /// Rules, tried in order; the first that matches decides.
    pub rules: Vec<RuleSpec>,
}

/// A compiled parser.
#[derive(Debug, Clone)]
pub struct Parser {
    spec: ParserSpec,
    hash: String,
    rules: Vec<Regex>,
}

impl Parser {
    /// Compiles a parser for a closed list of outcomes.
    ///
    /// # Errors
    /// [`ExperimentError::Parser`] for a pattern that is no regular expression, an outcome outside `choices`, an
    /// empty rule list, or an amount range upside down.
    pub fn new(spec: ParserSpec, choices: &[String]) -> Result<Self, ExperimentError> {
        let wrong = |rule: usize, what: String| ExperimentError::Parser {
            parser: spec.name.clone(),
            rule,
            what,
        };
        if spec.rules.is_empty() {
            return Err(wrong(0, "it has no rules; add a [[parser.rules]] table".into()));
        }
        let mut rules = Vec::with_capacity(spec.rules.len());
        for (index, rule) in spec.rules.iter().enumerate() {
            if !choices.contains(&rule.outcome) {
                let what = format!(
                    "outcome '{}' is not among the scenario's outcomes: {}",
                    rule.outcome,
                    choices.join(", ")
                );
                return Err(wrong(index, what));
            }
            if let Some([low, high]) = rule.amount_range
                && (low > high || low.is_nan() || high.is_nan())
            {
                return Err(wrong(
                    index,
                    format!("amount_range [{low}, {high}] is upside down"),
                ));
            }
            let regex = Regex::new(&rule.pattern).map_err(|error| wrong(index, error.to_string()))?;
            if rule.amount_range.is_some() && !regex.capture_names().any(|name| name == Some("amount")) {
                return Err(wrong(
                    index,
                    "amount_range needs a group named amount: (?<amount>…)".into(),
                ));
            }
            rules.push(regex);
        }
        let canonical = serde_json::to_string(&spec).map_err(|error| wrong(0, error.to_string()))?;
        let hash = blake3::hash(canonical.as_bytes()).to_hex()[..16].to_string();
        Ok(Self { spec, hash, rules })
    }

    /// Reads the outcome of a response.
    pub fn parse(&self, response: &str) -> Outcome {
        for (rule, regex) in self.spec.rules.iter().zip(&self.rules) {
            let region = match rule.region {
                Region::Response => response,
                Region::FirstLine => response
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or(""),
                Region::LastLine => response
                    .lines()
                    .rfind(|line| !line.trim().is_empty())
                    .unwrap_or(""),
            };
            let Some(captures) = regex.captures(region) else {
                continue;
            };
            let amount = captures
                .name("amount")
                .and_then(|found| found.as_str().replace(',', "").parse::<f64>().ok())
                .filter(|amount| amount.is_finite());
            if let Some([low, high]) = rule.amount_range
                && !amount.is_some_and(|amount| (low..=high).contains(&amount))
            {
                continue;
            }
            return Outcome {
                label: rule.outcome.clone(),
                amount,
            };
        }
        Outcome {
            label: UNKNOWN.to_owned(),
            amount: None,
        }
    }

    /// Name and version, `final-decision@1` for example.
    pub fn id(&self) -> String {
        format!("{}@{}", self.spec.name, self.spec.version)
    }

    /// First 16 hexadecimal digits of the BLAKE3 hash of the rules.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser() -> Parser {
        let rule = |pattern: &str, outcome: &str, region, amount_range| RuleSpec {
            pattern: pattern.into(),
            outcome: outcome.into(),
            region,
            amount_range,
        };
        let spec = ParserSpec {
            name: "demo".into(),
            version: 2,
            rules: vec![
                rule(r"^Verdict: leave$", "leave", Region::LastLine, None),
                rule(
                    r"^Verdict: take (?<amount>[\d,]+)$",
                    "take",
                    Region::LastLine,
                    Some([1.0, 5000.0]),
                ),
            ],
        };
        Parser::new(spec, &["leave".into(), "take".into()]).unwrap()
    }

    #[test]
    fn the_first_matching_rule_decides_and_amounts_are_read() {
        assert_eq!(
            parser().parse("I go.\nVerdict: leave\n"),
            Outcome {
                label: "leave".into(),
                amount: None
            }
        );
        assert_eq!(
            parser().parse("Hm.\nVerdict: take 1,200"),
            Outcome {
                label: "take".into(),
                amount: Some(1200.0)
            }
        );
    }

    #[test]
    fn what_no_rule_matches_is_unknown_and_amounts_are_never_clamped() {
        for text in [
            "",
            "Verdict: leave\nor not",
            "Verdict: take 9000",
            "Verdict: take much",
        ] {
            assert_eq!(
                parser().parse(text),
                Outcome {
                    label: UNKNOWN.into(),
                    amount: None
                },
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_hash_follows_the_rules() {
        let mut spec = parser().spec;
        let old = parser().hash;
        spec.rules[0].pattern.push('?');
        assert_ne!(
            Parser::new(spec, &["leave".into(), "take".into()]).unwrap().hash,
            old
        );
    }

    #[test]
    fn bad_rules_are_refused_with_their_number() {
        let mut spec = parser().spec;
        spec.rules[1].pattern = "(".into();
        let error = Parser::new(spec.clone(), &["leave".into(), "take".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("rule 2"), "{error}");
        let error = Parser::new(parser().spec, &["take".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("'leave'") && error.contains("take"), "{error}");
    }
}
