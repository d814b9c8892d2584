//! Dictionaries from activations.
//!
//! **What lives here.** The objectives that a dictionary can be trained on ([`Objective`]), one training step with its
//! explicit gradients ([`TrainingStep`]), a whole run over shuffled activations with held-out figures, history and
//! checkpoints that resume to the bit ([`Trainer`]), and what comes out of it ([`TrainedDictionary`]).
//!
//! **What must not.** Where activations come from, formats of dictionaries, evaluation inside a model, kernels, and
//! `unsafe` code.
//!
//! Training happens in *unit scale*: activations are multiplied by one number so that E‖x − mean x‖² = 1. A squared error
//! is then the fraction of variance unexplained, and coefficients, thresholds and learning rates mean the same for every
//! site. What is written is folded back to raw activations. Decoder rows have length one after every step.

mod auxiliary;
mod checkpoint;
mod counters;
mod dense_pass;
mod error;
mod held_out;
mod history;
mod member;
mod objective;
mod passes;
mod preparation;
mod schedule;
mod settings;
mod step_report;
mod survey;
#[cfg(test)]
mod torch_fixtures;
mod trained_dictionary;
mod trainer;
mod training_step;
mod weights;

pub use error::{Result, TrainingError};
pub use held_out::HeldOutFigures;
pub use history::HistoryLine;
pub use objective::Objective;
pub use preparation::{BiasStart, Preparation};
pub use schedule::Schedule;
pub use settings::{Auxiliary, DictionarySettings, FeatureCount, TrainSettings};
pub use step_report::StepReport;
pub use trained_dictionary::{TrainedDictionary, WrittenFormat};
pub use trainer::{Outcome, OutcomeOfDictionary, Progress, TRAINING_SETTINGS, Trainer, TrainerFiles};
pub use training_step::{StepShape, TrainingStep};
