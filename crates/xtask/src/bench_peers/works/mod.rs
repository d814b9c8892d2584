//! Each work in both programs: one file per work.

mod decode;
mod gradient;
mod patched_sweep;
mod prefill;
mod record_overhead;
mod sweep_vs_batched;
mod sweep_vs_loop;

pub use decode::Decode;
pub use gradient::Gradient;
pub use prefill::Prefill;
pub use record_overhead::RecordOverhead;
pub use sweep_vs_batched::SweepVsBatched;
pub use sweep_vs_loop::SweepVsLoop;

use std::time::Instant;

use anyhow::Result;

/// Seconds that some work takes.
fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}
