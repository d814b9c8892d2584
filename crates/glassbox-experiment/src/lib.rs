//! The science: scenarios, arms, sweeps, causal features, pathways, words, and the plan that runs them in order.
//!
//! Data flows one way, and every arrow is a table or a typed value that a person can inspect:
//!
//! ```text
//! scenario → prompts → select → plan → sweep (trials) → outcomes → causal → pathways, words → findings
//! ```
//!
//! **What lives here:** what an experiment means: which prompts, which arms, which contrasts, which controls, and the
//! rows of every table ([`tables`]). A behaviour is described by a scenario file and its parser rules alone; no
//! code here knows what any scenario is about.
//!
//! **What must not live here:** arithmetic of models (glassbox-model), of dictionaries (glassbox-dictionary), formulas
//! of tests (glassbox-stats), file mechanics (glassbox-store), pages (glassbox-report).

pub mod arm;
pub mod calibration;
pub mod capture;
pub mod causal;
pub mod chains;
pub mod continuation;
pub mod contrast;
pub mod decision;
pub mod decision_effects;
pub mod decision_stage;
pub mod edges;
pub mod error;
pub mod estimate;
pub mod events;
pub mod executor;
pub mod feature_name;
pub mod judgement;
pub mod merge;
pub mod metric;
pub mod patching;
pub mod pathways;
pub mod plan;
mod planning;
pub mod prompts;
pub mod readout;
pub mod recording;
pub mod run;
pub mod scenario;
pub mod screen;
pub mod screen_check;
pub mod screen_stage;
pub mod select;
pub mod session;
pub mod sharding;
pub mod sweep;
pub mod tables;
mod test_family;
pub mod trial_batch;
pub mod trial_index;
pub mod verdict;
pub mod words;

pub use arm::{Arm, Condition};
pub use error::ExperimentError;
pub use scenario::Scenario;
