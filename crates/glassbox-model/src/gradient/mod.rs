//! Gradients with respect to activations, by one pass back over what a forward pass has kept.
//!
//! Weights are frozen, so the way back needs only the values at which the pass is not linear: the inputs of the norms,
//! queries, keys and values, and the arguments of the activations. Attention patterns are computed again.

mod backward;
mod buffers;
mod edit_log;
mod seeds;
mod tape;

pub(crate) use edit_log::EditLog;
pub use seeds::Seeds;
pub use tape::Tape;
