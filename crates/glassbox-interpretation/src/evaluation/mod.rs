//! What a dictionary is worth: reconstruction, sparsity, and the model's loss with the dictionary in its place.

mod clusters;
mod distribution_check;
mod evaluate;
mod evaluate_activations;
mod evaluation_report;
mod loss_sums;
mod reconstruction_sums;
mod sparsity_sums;
mod subject_sums;

pub use distribution_check::{DistributionCheck, Evidence, TrainingFigures};
pub use evaluate::{EvaluationSettings, EvaluationSubject, evaluate};
pub use evaluate_activations::evaluate_activations;
pub use evaluation_report::{Evaluation, Figure, LossFigures, PositionZeroFigures};
pub use loss_sums::{LossSums, TokenLoss, token_losses};
pub use reconstruction_sums::{ReconstructionFigures, ReconstructionSums};
pub use sparsity_sums::{DensityBin, L0Quantiles, SparsityFigures, SparsitySums};
