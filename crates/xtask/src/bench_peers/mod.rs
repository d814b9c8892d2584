//! `cargo xtask bench-peers`: the same work in glassbox and in the programs that researchers use today, in one go.
//!
//! **Fair:** same weights, same element type (where a row says otherwise, its note does too), same number of threads,
//! same machine, and one run: the two sides take turns, so that whatever else the machine does meets both. A peer is a
//! long-lived process, so that neither its start nor loading is timed. Before anything is timed both sides compute the
//! same thing and the results are compared; a difference is an error.

mod ablation;
mod arguments;
mod bench;
mod comparison;
mod environment;
mod inputs;
mod machine;
mod measurement;
mod outcome;
mod peer;
mod quality;
mod study;
mod table;
mod work;
mod works;

pub use arguments::Arguments;
pub use bench::run;
pub use machine::{glassbox_version, load, machine};
pub use measurement::median;
