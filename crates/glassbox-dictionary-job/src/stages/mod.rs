//! The stages: one file per stage.

pub(crate) mod census;
pub(crate) mod evaluation;
pub(crate) mod extraction;
mod one_by_one;
pub(crate) mod training;
