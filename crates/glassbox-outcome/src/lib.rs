//! Outcomes and the parsers that read them from a text.
//!
//! A parser is data: an ordered list of regular expressions over stated regions of a text, with a name, a version and a hash.
//! The text itself is kept wherever parsers are used, so parsing again never needs a new run. What no rule matches is `unknown`:
//! a value of its own, never a number and never one of the other outcomes, unless the parser states a default.
//!
//! **What lives here:** the rule language, for scenarios and for logs alike, and the file that holds one parser.
//!
//! **What must not live here:** what any outcome means, and the rules of any experiment.

mod error;
mod outcome;
mod parser;
mod parser_file;
mod parser_spec;
mod region;

pub use error::{ParserError, ParserFileError};
pub use outcome::{Outcome, UNKNOWN};
pub use parser::Parser;
pub use parser_file::{OutcomeChoices, ParserFile};
pub use parser_spec::{Choose, DefaultSpec, ParserSpec, RequiredSpec, RuleSpec};
pub use region::{CutRegion, NamedRegion, Region};
