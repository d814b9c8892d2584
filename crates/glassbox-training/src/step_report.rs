//! What one step did.

/// Figures of one batch, before the step was made. Errors are in unit scale, where the variance to be explained is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// The step, counted from 0.
    pub step: u64,
    /// Everything that was descended on.
    pub loss: f64,
    /// Mean of ‖x − x̂‖²: the fraction of variance unexplained.
    pub squared_error: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Mean of Σ f.
    pub l1: f64,
    /// The auxiliary loss, with its coefficient.
    pub auxiliary_loss: f64,
    /// Length of the gradient over all weights, before clipping.
    pub gradient_norm: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Features that count as dead after it.
    pub dead: usize,
}
