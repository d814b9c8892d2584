//! Training of the shipped model: an explicit forward and backward pass with weight gradients, and AdamW.
//!
//! The rest of the project works with frozen weights; weight gradients live here alone.

mod attention;
mod backward;
mod batch;
mod forward;
mod norm;
mod optimizer;
mod parameters;
mod rotary;
mod schedule;
mod shape;

pub use batch::Batch;
pub use forward::Workspace;
pub use parameters::Parameters;
pub use schedule::{Recipe, evaluate, train};
pub use shape::Shape;
