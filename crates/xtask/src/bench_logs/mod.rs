//! `cargo xtask bench-logs`: audit, causal effects and words of response logs of a study's size, here and in pandas and SciPy.
//!
//! **Fair:** the same log and the same work (`tools/logs_peer/peer.py` says what it does and what it leaves out), two processes or two
//! threads, the sides in turns. The peer's imports are not timed; glassbox's start is. The results are compared, figure by figure: a
//! difference is an error.

mod arguments;
mod bench;
mod comparison;
mod measured;
mod peer;
mod process;
mod table;

pub use arguments::Arguments;
pub use bench::run;
