//! What a dictionary is worth, and what its features mean.
//!
//! **What lives here:** the evaluation of dictionaries inside their model ([`evaluation`]); the census of all features of several
//! dictionaries in one pass over a corpus ([`census`]) and what is made of it: reports per feature, tables, a page to browse,
//! an export for Neuronpedia ([`exports`]); optional labels by a language model behind an endpoint ([`labels`]).
//!
//! **What must not live here:** reading of text and packing of rows (glassbox-corpus), training, formats of dictionaries, and `unsafe`
//! code.

pub mod census;
mod encoding;
mod error;
pub mod evaluation;
pub mod exports;
pub mod labels;
pub mod reports;
mod rows;
mod site_pass;
mod watch;

pub use encoding::{Encoding, encode_tokens};
pub use error::{InterpretationError, Result};
pub use rows::PassRows;
pub use site_pass::{SiteRequest, SiteValues, site_values};
pub use watch::{Unwatched, Watch};
