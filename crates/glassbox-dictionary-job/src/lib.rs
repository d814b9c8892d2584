//! One job: from a corpus to dictionaries that are trained, evaluated and explained.
//!
//! **What lives here:** the file of a job ([`JobSettings`]), its stages in order ([`run`]), its folder, and the checklist
//! that it ends with ([`checklist`]).
//!
//! **What must not live here:** how any stage works (that is in glassbox-corpus, glassbox-training and
//! glassbox-interpretation), and anything that prints.

mod checklist;
mod error;
mod folder;
mod job;
mod measured;
mod settings;
mod stage;
mod stages;
mod targets;
mod watch;

pub use checklist::{Check, Measured, Verdict, checklist};
pub use error::{JobError, Result};
pub use folder::{CHECKLIST_FILE, Failure, JOB_FILE};
pub use job::{DictionaryOutcome, JobOutcome, JobRequest, run};
pub use settings::{
    CompareSettings, EvaluateSettings, ExtractSettings, FeatureSettings, JobSettings, Layers,
};
pub use stage::Stage;
pub use targets::Targets;
pub use watch::JobWatch;
