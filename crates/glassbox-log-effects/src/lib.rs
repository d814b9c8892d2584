//! Causal effects and words, from trial logs alone.
//!
//! **What lives here:** counting the outcomes of every cell of a log in one pass ([`Cells`]), the contrasts and trends of every feature
//! with the families that adjust them ([`analyse`]), the verdict and its words, the slot-machine study's own criterion, and the words
//! that features add to responses or remove from them ([`words`]). Formulas
//! of tests are in glassbox-stats, readers in glassbox-logs, parsers in glassbox-outcome.
//!
//! **What must not live here:** models and dictionaries, the trials of glassbox's own runs as they are made (glassbox-experiment), pages
//! and terminals.

mod causal;
mod cautions;
mod cell;
mod cells;
mod comparison;
mod contrast;
mod dose_curve;
mod doses;
mod effect_row;
mod effects;
mod error;
mod family;
mod feature_arms;
mod judge;
mod measure;
mod outcomes;
mod parser_criteria;
mod repeats;
mod reported_deltas;
mod spread;
mod study_criterion;
mod summary_rows;
mod tally;
mod unread;
mod verdict;
pub mod words;

pub use causal::{CausalAnalysis, CausalSettings, MeasureResult, analyse, usual_measures};
pub use cell::CellKey;
pub use cells::{Cells, CountSettings};
pub use comparison::{Comparison, Reference};
pub use dose_curve::DoseCurve;
pub use effect_row::{LogDoseRow, LogEffectRow};
pub use error::EffectsError;
pub use family::Family;
pub use feature_arms::BaselinePolicy;
pub use measure::Measure;
pub use outcomes::{OutcomeSource, SourceName};
pub use parser_criteria::ParserCriterion;
pub use repeats::{Attempts, RepeatCounts, Repeats};
pub use reported_deltas::ReportedDeltas;
pub use spread::Spread;
pub use study_criterion::{DirectionClass, StudyCriterion, StudyFinding, StudyResult};
pub use summary_rows::{BaselineDrift, ConditionRow, LayerRow};
pub use tally::{Known, Tally};
pub use verdict::{Limits, Question, Verdict};
pub use words::WordReader;
