//! One suite for every backend: each operation against [`ReferenceBackend`](crate::ReferenceBackend) on many
//! shapes, the definitions' gradients against finite differences, the treatment of NaN, and refused operands.
//!
//! A check panics with the operation, the shape, the element and both values. Inputs carry NaN behind the
//! elements that the shape needs and outputs a known value, so reading or writing too far is noticed too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attention;
mod compare;
mod edits;
mod gradients;
mod memory;
mod norms;
mod pointwise;
mod products;
mod refusals;
mod results;
mod selection;
mod training;

pub use attention::check_attention;
pub use compare::Tolerance;
pub use edits::check_edits;
pub use gradients::check_gradients_of_definitions;
pub use memory::check_memory;
pub use norms::check_norms;
pub use pointwise::check_pointwise;
pub use products::check_products;
pub use refusals::check_refusals;
pub use results::large_results;
pub use selection::check_selection;
pub use training::{check_training, large_training_results};

use crate::backend::Backend;

/// All checks of a backend.
pub fn check<B: Backend>(backend: &B) {
    check_memory(backend);
    check_pointwise(backend);
    check_products(backend);
    check_norms(backend);
    check_attention(backend);
    check_edits(backend);
    check_selection(backend);
    check_refusals(backend);
}
