//! Decoder-only language models: families, checkpoints, tokenizers, sites, row programs, cache, generation and
//! gradients.
//!
//! **What lives here:** everything between text and logits. A model is read from a folder in Hugging Face layout
//! ([`checkpoint`]), its arithmetic is driven by its configuration ([`config`]), every point of the pass has a name
//! ([`site`]) and can be recorded and edited ([`edit`]).
//!
//! **What must not live here:** dictionaries and features (they compile to [`edit::RowEdit`]), experiments,
//! statistics, tables, and `unsafe` code.

pub mod batch;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod config_parse;
pub mod edit;
pub mod edits;
pub mod families;
pub mod forward;
pub mod forward_error;
pub mod generate;
pub mod gradient;
pub mod inspect;
pub mod load;
pub mod load_error;
pub mod load_options;
pub mod locate;
pub mod model;
pub mod model_hash;
mod nearest;
pub mod program;
pub mod random;
pub mod record;
pub mod rotary;
pub mod sampling;
pub mod site;
pub mod tokenizer;
mod weight_values;
pub mod weights;
