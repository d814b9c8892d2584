//! What is in logs, and whether they support an analysis.

mod amount_checks;
mod analysis;
mod comparison;
mod criterion;
mod echo;
mod feature_checks;
mod finding;
mod outcome_checks;
mod plan_checks;
mod problem_tally;
mod report;
mod run;
mod settings;
mod support;
mod trial_checks;

pub use analysis::Analysis;
pub use comparison::{ComparedSet, ComparedTreatment, Flips, ParserComparison, ParserIdentity};
pub use criterion::Criterion;
pub use echo::Echo;
pub use finding::{Example, Finding, FindingKind, Severity, grouped};
pub use problem_tally::ProblemCount;
pub use report::{AuditReport, LayerCount, PlannedTrials, Support, Totals, TreatmentCount};
pub use run::{CriteriaOf, audit};
pub use settings::{AuditSettings, DictionaryFacts};
