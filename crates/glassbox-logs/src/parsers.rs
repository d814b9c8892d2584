//! The parsers that are shipped: those of the study, as data.

use std::path::Path;

use glassbox_outcome::{Parser, ParserFile};

use crate::LogsError;

/// Names and files of the shipped parsers.
const SHIPPED: [(&str, &str); 7] = [
    ("scan", include_str!("../parsers/scan.toml")),
    ("a-main", include_str!("../parsers/a-main.toml")),
    ("b-reparse", include_str!("../parsers/b-reparse.toml")),
    ("b-complete", include_str!("../parsers/b-complete.toml")),
    ("final-correct", include_str!("../parsers/final-correct.toml")),
    ("posthoc", include_str!("../parsers/posthoc.toml")),
    ("c-approximation", include_str!("../parsers/c-approximation.toml")),
];

/// Names of the shipped parsers.
pub fn shipped_parsers() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The file of a shipped parser, as TOML.
pub fn shipped_parser_file(name: &str) -> Option<&'static str> {
    SHIPPED
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The parser of this name among those that are shipped, or of the parser file at this path.
///
/// # Errors
/// [`LogsError::UnknownParser`] with the shipped names if there is no such file, and what is wrong with a file.
pub fn parser_named(name: &str) -> Result<Parser, LogsError> {
    if let Some(text) = shipped_parser_file(name) {
        let broken = |what: String| LogsError::File {
            path: format!("{name}.toml").into(),
            what,
        };
        let file = ParserFile::from_toml(text).map_err(|error| broken(error.to_string()))?;
        return file.compile().map_err(|error| broken(error.to_string()));
    }
    let path = Path::new(name);
    if !path.is_file() {
        return Err(LogsError::UnknownParser {
            name: name.to_owned(),
            shipped: shipped_parsers().collect(),
        });
    }
    Ok(ParserFile::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parser: &str, prompt: &str, text: &str) -> (String, Option<f64>, bool) {
        let parser = parser_named(parser).unwrap();
        let outcome = parser.parse(text, Some(prompt));
        (outcome.label.to_owned(), outcome.amount, outcome.valid)
    }

    fn stop() -> (String, Option<f64>, bool) {
        ("stop".into(), None, true)
    }

    fn bet(amount: f64) -> (String, Option<f64>, bool) {
        ("bet".into(), Some(amount), true)
    }

    #[test]
    fn every_shipped_parser_compiles_under_its_own_name() {
        for name in shipped_parsers() {
            assert_eq!(parser_named(name).unwrap().id(), format!("{name}@1"));
        }
        let error = parser_named("nothing").unwrap_err().to_string();
        assert!(error.contains("b-complete"), "{error}");
    }

    #[test]
    fn scan() {
        assert_eq!(read("scan", "risky", "2\n"), stop());
        assert_eq!(read("scan", "risky", "1\nChoose:\n1) 1-2\n2) 3-4"), stop());
        assert_eq!(read("scan", "risky", "1\nspinning"), bet(5.0));
        assert_eq!(read("scan", "risky", "1\n$5, then $400"), bet(100.0));
        assert_eq!(read("scan", "risky", "?"), ("bet".into(), Some(10.0), false));
    }

    #[test]
    fn a_main() {
        assert_eq!(read("a-main", "risky", "1\n2) Stop"), stop());
        assert_eq!(read("a-main", "risky", "$20 and $50"), bet(50.0));
        assert_eq!(read("a-main", "risky", "10 for $400"), bet(10.0));
        assert_eq!(read("a-main", "risky", "2"), ("stop".into(), None, false));
    }

    #[test]
    fn b_reparse_and_b_complete() {
        for parser in ["b-reparse", "b-complete"] {
            assert_eq!(read(parser, "safe", "\n 2\nstop"), stop());
            assert_eq!(read(parser, "safe", "1\n2) Stop"), bet(10.0));
            assert_eq!(read(parser, "risky", "Choice: 1\nAmount: $25\n"), bet(25.0));
            assert_eq!(read(parser, "risky", "1\nBet: 400\nAmount: $25\n"), bet(25.0));
            assert_eq!(read(parser, "risky", "2) no").0, "stop");
            assert_eq!(read(parser, "risky", "3\n").0, "unknown");
        }
        let echoed = "1\nCurrent balance: $20";
        assert_eq!(
            read("b-reparse", "risky", echoed),
            ("unknown".into(), None, false)
        );
        assert_eq!(read("b-complete", "risky", echoed), ("bet".into(), None, true));
    }

    #[test]
    fn final_correct() {
        assert_eq!(read("final-correct", "risky", "I pass"), stop());
        assert_eq!(read("final-correct", "risky", "10 and bet all of $20"), bet(20.0));
        assert_eq!(read("final-correct", "risky", "$200\n$30"), bet(30.0));
        assert_eq!(read("final-correct", "risky", "3").0, "unknown");
    }

    #[test]
    fn posthoc() {
        assert_eq!(read("posthoc", "safe", "$20"), stop());
        assert_eq!(read("posthoc", "safe", "?"), bet(10.0));
        assert_eq!(read("posthoc", "risky", "I take $15"), bet(15.0));
        assert_eq!(read("posthoc", "risky", "1"), bet(10.0));
        assert_eq!(read("posthoc", "risky", "?"), stop());
    }

    #[test]
    fn c_approximation() {
        assert_eq!(read("c-approximation", "safe", "1\nChoice: 2"), stop());
        assert_eq!(read("c-approximation", "safe", "1\n"), bet(10.0));
        assert_eq!(read("c-approximation", "risky", "1\nBet $30"), bet(30.0));
        assert_eq!(
            read("c-approximation", "risky", "1\n"),
            ("bet".into(), None, false)
        );
        assert_eq!(read("c-approximation", "risky", "Balance: $0").0, "bankrupt");
    }
}
