//! Gradients with respect to activations, by one pass back over what a forward pass has kept.

mod edit_log;

pub(crate) use edit_log::EditLog;
