//! Fixtures and tiny random models for the tests of this crate.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod fixture;
pub mod random_model;
