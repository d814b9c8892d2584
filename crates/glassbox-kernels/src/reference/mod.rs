//! The reference backend: every operation written down from its definition, in f64, with plain loops on one
//! thread. It's slow and meant for checking other backends.

mod attention;
mod backend;
mod edits;
mod memory;
mod norms;
mod pointwise;
mod products;
mod selection;
mod training;

pub use backend::ReferenceBackend;
pub use memory::{ReferenceBuffer, ReferenceMatrix};
pub use training::ReferenceCodes;

/// The definitions themselves, on f64, for finite differences.
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod definitions {
    pub(crate) use super::attention::{
        attention, attention_mix, attention_mix_backward, attention_scores, attention_scores_backward,
        rotary, softmax, softmax_backward,
    };
    pub(crate) use super::edits::{Features, feature_delta, feature_delta_backward};
    pub(crate) use super::norms::{norm_apply, norm_apply_backward, norm_scale, norm_scale_backward};
    pub(crate) use super::pointwise::{slope, value};
    pub(crate) use super::products::{linear, linear_backward};
}
