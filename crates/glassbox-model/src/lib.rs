//! Decoder-only language models: families, checkpoints, tokenizers, sites, row programs, cache, generation and
//! gradients.
//!
//! **What lives here:** everything between text and logits. A model is read from a folder in Hugging Face layout
//! ([`checkpoint`]), its arithmetic is driven by its configuration ([`config`]), every point of the pass has a name
//! ([`site`]) and can be recorded and edited ([`edit`]).
//!
//! **What must not live here:** dictionaries and features (they compile to [`edit::RowEdit`]), experiments,
//! statistics, tables, and `unsafe` code.

pub mod config;
pub mod edit;
pub mod rotary;
pub mod site;
pub mod weights;
