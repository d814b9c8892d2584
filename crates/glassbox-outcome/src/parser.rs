//! Reads outcomes.

use regex::{Captures, Regex};

use crate::region::Cutter;
use crate::{Choose, Outcome, ParserError, ParserSpec, Region, RequiredSpec, RuleSpec, UNKNOWN};

/// A compiled parser.
#[derive(Clone, Debug)]
pub struct Parser {
    spec: ParserSpec,
    hash: String,
    rules: Vec<Rule>,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Regex,
    /// Index of the region.
    region: usize,
    /// Index of what must match as well.
    requires: Option<usize>,
    captures_amount: bool,
}

/// What rules have in common: rules that follow one another mostly look at the same.
#[derive(Clone, Debug, Default)]
struct Shared {
    regions: Vec<(Region, Cutter)>,
    /// Expressions with the index of their region.
    required: Vec<(RequiredSpec, Regex, usize)>,
}

impl Shared {
    /// The index of a region; it is added if no rule before has it.
    fn region(&mut self, region: &Region) -> Result<usize, String> {
        if let Some(found) = self.regions.iter().position(|(known, _)| known == region) {
            return Ok(found);
        }
        self.regions.push((region.clone(), Cutter::new(region)?));
        Ok(self.regions.len() - 1)
    }

    fn required(&mut self, spec: &RequiredSpec) -> Result<usize, String> {
        if let Some(found) = self.required.iter().position(|(known, _, _)| known == spec) {
            return Ok(found);
        }
        let pattern = Regex::new(&spec.pattern).map_err(|error| error.to_string())?;
        let region = self.region(&spec.region)?;
        self.required.push((spec.clone(), pattern, region));
        Ok(self.required.len() - 1)
    }
}

/// Answers that are kept while one text is read; further ones are found anew for every rule.
const KEPT: usize = 8;

/// One text: each region is cut, and each requirement tested, when it is first needed.
struct Text<'p, 't> {
    text: &'t str,
    shared: &'p Shared,
    regions: [Option<&'t str>; KEPT],
    required: [Option<bool>; KEPT],
}

impl<'t> Text<'_, 't> {
    fn region(&mut self, index: usize) -> &'t str {
        let (text, (_, cutter)) = (self.text, &self.shared.regions[index]);
        match self.regions.get_mut(index) {
            Some(kept) => kept.get_or_insert_with(|| cutter.cut(text)),
            None => cutter.cut(text),
        }
    }

    fn has_required(&mut self, index: usize) -> bool {
        if let Some(Some(known)) = self.required.get(index) {
            return *known;
        }
        let (_, pattern, region) = &self.shared.required[index];
        let found = pattern.is_match(self.region(*region));
        if let Some(kept) = self.required.get_mut(index) {
            *kept = Some(found);
        }
        found
    }
}

impl Parser {
    /// Compiles a parser for a closed list of outcomes.
    ///
    /// # Errors
    /// [`ParserError`] for a pattern that is no regular expression, an outcome outside `choices`, an empty rule list, a range
    /// upside down, or keys that contradict one another.
    pub fn new(spec: ParserSpec, choices: &[String]) -> Result<Self, ParserError> {
        let wrong = |rule: Option<usize>, what: String| ParserError {
            parser: spec.name.clone(),
            rule,
            what,
        };
        if spec.rules.is_empty() {
            return Err(wrong(
                None,
                "it has no rules; add a [[parser.rules]] table".into(),
            ));
        }
        let known = |outcome: &String| {
            if outcome == UNKNOWN || choices.contains(outcome) {
                return Ok(());
            }
            let choices = choices.join(", ");
            Err(format!(
                "outcome '{outcome}' is not among the outcomes: {choices}"
            ))
        };
        let mut rules = Vec::with_capacity(spec.rules.len());
        let mut shared = Shared::default();
        for (index, rule) in spec.rules.iter().enumerate() {
            let compiled = known(&rule.outcome).and_then(|()| Rule::new(rule, &mut shared));
            rules.push(compiled.map_err(|what| wrong(Some(index), what))?);
        }
        if let Some(default) = &spec.default {
            known(&default.outcome).map_err(|what| wrong(None, format!("its default: {what}")))?;
        }
        let canonical = serde_json::to_string(&spec).map_err(|error| wrong(None, error.to_string()))?;
        let hash = blake3::hash(canonical.as_bytes()).to_hex()[..16].to_string();
        Ok(Self {
            spec,
            hash,
            rules,
            shared,
        })
    }

    /// Reads the outcome of a response to a prompt of this kind. Rules for other kinds of prompts are passed over; with `None`
    /// all rules that name a kind are.
    pub fn parse(&self, response: &str, prompt: Option<&str>) -> Outcome<'_> {
        let mut text = Text {
            text: response,
            shared: &self.shared,
            regions: [None; KEPT],
            required: [None; KEPT],
        };
        for (index, (spec, rule)) in self.spec.rules.iter().zip(&self.rules).enumerate() {
            if spec
                .prompt
                .as_deref()
                .is_some_and(|wanted| prompt != Some(wanted))
            {
                continue;
            }
            if let Some(amount) = rule.amount_in(spec, &mut text) {
                return Outcome {
                    label: &spec.outcome,
                    amount,
                    valid: spec.valid.unwrap_or(spec.outcome != UNKNOWN),
                    rule: Some(index),
                };
            }
        }
        match &self.spec.default {
            Some(default) => Outcome {
                label: &default.outcome,
                amount: default.amount,
                valid: default.valid.unwrap_or(false),
                rule: None,
            },
            None => Outcome {
                label: UNKNOWN,
                amount: None,
                valid: false,
                rule: None,
            },
        }
    }

    /// The parser as it was stated.
    pub fn spec(&self) -> &ParserSpec {
        &self.spec
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

impl Rule {
    /// Compiles a rule; what no rule before it has is added to what they share.
    fn new(spec: &RuleSpec, shared: &mut Shared) -> Result<Self, String> {
        for (key, range) in [("amount_range", spec.amount_range), ("clamp", spec.clamp)] {
            if let Some([low, high]) = range
                && (low > high || low.is_nan() || high.is_nan())
            {
                return Err(format!("{key} [{low}, {high}] is upside down"));
            }
        }
        let pattern = Regex::new(&spec.pattern).map_err(|error| error.to_string())?;
        let captures_amount = pattern.capture_names().any(|name| name == Some("amount"));
        let needs_group = [
            ("amount_range", spec.amount_range.is_some()),
            ("clamp", spec.clamp.is_some()),
            ("choose", spec.choose != Choose::First),
        ];
        if let Some((key, _)) = needs_group.iter().find(|(_, stated)| *stated && !captures_amount) {
            return Err(format!("{key} needs a group named amount: (?<amount>…)"));
        }
        if captures_amount && spec.amount.is_some() {
            return Err("either the pattern has a group named amount, or the rule states the amount".into());
        }
        if matches!(spec.choose, Choose::FirstInRange | Choose::LastInRange) && spec.amount_range.is_none() {
            return Err("choose in range needs amount_range".into());
        }
        let requires = match &spec.requires {
            Some(required) => Some(shared.required(required)?),
            None => None,
        };
        Ok(Self {
            pattern,
            region: shared.region(&spec.region)?,
            requires,
            captures_amount,
        })
    }

    /// Whether the rule matches, and with which amount.
    fn amount_in(&self, spec: &RuleSpec, text: &mut Text<'_, '_>) -> Option<Option<f64>> {
        if self.requires.is_some_and(|required| !text.has_required(required)) {
            return None;
        }
        let text = text.region(self.region);
        if !self.captures_amount {
            return self.pattern.is_match(text).then_some(spec.amount);
        }
        let in_range = |amount: &Option<f64>| match spec.amount_range {
            None => true,
            Some([low, high]) => amount.is_some_and(|amount| (low..=high).contains(&amount)),
        };
        let mut amounts = self
            .pattern
            .captures_iter(text)
            .map(|captures| amount_of(&captures));
        let amount = match spec.choose {
            Choose::First => amounts.next().filter(in_range),
            Choose::Last => amounts.last().filter(in_range),
            Choose::FirstInRange => amounts.find(in_range),
            Choose::LastInRange => amounts.filter(in_range).last(),
        }?;
        Some(match spec.clamp {
            Some([low, high]) => amount.map(|amount| amount.clamp(low, high)),
            None => amount,
        })
    }
}

fn amount_of(captures: &Captures<'_>) -> Option<f64> {
    let text = captures.name("amount")?.as_str();
    let amount = text.replace(',', "").parse::<f64>().ok()?;
    amount.is_finite().then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DefaultSpec, NamedRegion};

    fn choices() -> [String; 2] {
        ["leave".into(), "take".into()]
    }

    fn spec() -> ParserSpec {
        let last_line = Region::Named(NamedRegion::LastLine);
        ParserSpec {
            name: "demo".into(),
            version: 2,
            rules: vec![
                RuleSpec {
                    pattern: r"^Verdict: leave$".into(),
                    outcome: "leave".into(),
                    region: last_line.clone(),
                    ..RuleSpec::default()
                },
                RuleSpec {
                    pattern: r"^Verdict: take (?<amount>[\d,]+)$".into(),
                    outcome: "take".into(),
                    region: last_line,
                    amount_range: Some([1.0, 5000.0]),
                    ..RuleSpec::default()
                },
            ],
            default: None,
        }
    }

    fn parser() -> Parser {
        Parser::new(spec(), &choices()).unwrap()
    }

    fn rule(pattern: &str) -> RuleSpec {
        RuleSpec {
            pattern: pattern.into(),
            outcome: "take".into(),
            ..RuleSpec::default()
        }
    }

    /// The outcome of a parser with one rule.
    fn read(rule: RuleSpec, text: &str) -> Option<Option<f64>> {
        let spec = ParserSpec {
            rules: vec![rule],
            ..spec()
        };
        let parser = Parser::new(spec, &choices()).unwrap();
        let outcome = parser.parse(text, Some("safe"));
        (outcome.label != UNKNOWN).then_some(outcome.amount)
    }

    #[test]
    fn the_first_matching_rule_decides_and_amounts_are_read() {
        let parser = parser();
        let leave = parser.parse("I go.\nVerdict: leave\n", None);
        assert_eq!((leave.label, leave.amount, leave.rule), ("leave", None, Some(0)));
        let take = parser.parse("Hm.\nVerdict: take 1,200", None);
        assert_eq!(
            (take.label, take.amount, take.valid),
            ("take", Some(1200.0), true)
        );
    }

    #[test]
    fn what_no_rule_matches_is_unknown_and_amounts_are_not_clamped() {
        for text in [
            "",
            "Verdict: leave\nor not",
            "Verdict: take 9000",
            "Verdict: take much",
        ] {
            let parser = parser();
            let outcome = parser.parse(text, None);
            assert_eq!(
                (outcome.label, outcome.amount, outcome.valid),
                (UNKNOWN, None, false),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_stated_default_is_not_valid_unless_it_says_so() {
        let mut spec = spec();
        spec.default = Some(DefaultSpec {
            outcome: "take".into(),
            amount: Some(10.0),
            valid: None,
        });
        let parser = Parser::new(spec, &choices()).unwrap();
        let outcome = parser.parse("?", None);
        assert_eq!(
            (outcome.label, outcome.amount, outcome.valid),
            ("take", Some(10.0), false)
        );
    }

    #[test]
    fn the_match_that_counts_is_stated() {
        let text = "$200 then $20, $30 and $1";
        let of = |choose, amount_range| {
            let rule = RuleSpec {
                choose,
                amount_range,
                ..rule(r"\$(?<amount>\d+)")
            };
            read(rule, text)
        };
        let range = Some([5.0, 100.0]);
        assert_eq!(of(Choose::First, None), Some(Some(200.0)));
        assert_eq!(of(Choose::First, range), None);
        assert_eq!(of(Choose::Last, None), Some(Some(1.0)));
        assert_eq!(of(Choose::Last, range), None);
        assert_eq!(of(Choose::FirstInRange, range), Some(Some(20.0)));
        assert_eq!(of(Choose::LastInRange, range), Some(Some(30.0)));
    }

    #[test]
    fn clamps_prompts_and_requirements() {
        let clamped = RuleSpec {
            clamp: Some([5.0, 100.0]),
            ..rule(r"(?<amount>\d+)")
        };
        assert_eq!(read(clamped, "1"), Some(Some(5.0)));
        let stated = RuleSpec {
            amount: Some(10.0),
            prompt: Some("safe".into()),
            ..rule("^1")
        };
        assert_eq!(read(stated.clone(), "1"), Some(Some(10.0)));
        let elsewhere = RuleSpec {
            prompt: Some("risky".into()),
            ..stated
        };
        assert_eq!(read(elsewhere, "1"), None);
        let required = RuleSpec {
            requires: Some(RequiredSpec {
                pattern: "^1".into(),
                region: Region::Named(NamedRegion::FirstLine),
            }),
            ..rule(r"\$(?<amount>\d+)")
        };
        assert_eq!(read(required.clone(), "1\n$20"), Some(Some(20.0)));
        assert_eq!(read(required, "2\n$20"), None);
    }

    #[test]
    fn the_hash_follows_the_rules_and_new_keys_leave_old_hashes() {
        let old = parser().hash;
        let mut changed = spec();
        changed.rules[0].pattern.push('?');
        assert_ne!(Parser::new(changed, &choices()).unwrap().hash, old);
        let canonical = serde_json::to_string(&spec()).unwrap();
        let keys: Vec<&str> = ["choose", "clamp", "default", "valid", "prompt", "requires"]
            .into_iter()
            .filter(|key| canonical.contains(key))
            .collect();
        assert!(keys.is_empty(), "{keys:?}");
        assert!(
            canonical.contains(r#""region":"last_line","amount_range":null"#),
            "{canonical}"
        );
    }

    #[test]
    fn bad_rules_are_refused_with_their_number() {
        let group = r"(?<amount>\d+)";
        let upside_down = Some([9.0, 1.0]);
        for (bad, expected) in [
            (rule("("), "rule 1"),
            (
                RuleSpec {
                    outcome: "run".into(),
                    ..rule("a")
                },
                "'run'",
            ),
            (
                RuleSpec {
                    clamp: upside_down,
                    ..rule(group)
                },
                "upside down",
            ),
            (
                RuleSpec {
                    amount_range: upside_down,
                    ..rule(group)
                },
                "upside down",
            ),
            (
                RuleSpec {
                    clamp: Some([1.0, 2.0]),
                    ..rule("a")
                },
                "clamp needs a group",
            ),
            (
                RuleSpec {
                    choose: Choose::Last,
                    ..rule("a")
                },
                "choose needs a group",
            ),
            (
                RuleSpec {
                    choose: Choose::LastInRange,
                    ..rule(group)
                },
                "amount_range",
            ),
            (
                RuleSpec {
                    amount: Some(1.0),
                    ..rule(group)
                },
                "either",
            ),
        ] {
            let spec = ParserSpec {
                rules: vec![bad],
                ..spec()
            };
            let error = Parser::new(spec, &choices()).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let none = ParserSpec {
            rules: Vec::new(),
            ..spec()
        };
        assert!(
            Parser::new(none, &choices())
                .unwrap_err()
                .to_string()
                .contains("no rules")
        );
    }
}
