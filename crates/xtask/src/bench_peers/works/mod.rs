//! Each work in both programs: one file per work.

mod decode;
mod extraction;
mod gradient;
mod patch_cells;
mod patched_sweep;
mod prefill;
mod record_overhead;
mod sweep_vs_batched;
mod sweep_vs_loop;
mod training_step;
mod whole_job;

pub use decode::Decode;
pub use extraction::Extraction;
pub use gradient::Gradient;
pub use patch_cells::PatchCells;
pub use prefill::Prefill;
pub use record_overhead::RecordOverhead;
pub use sweep_vs_batched::SweepVsBatched;
pub use sweep_vs_loop::SweepVsLoop;
pub use training_step::TrainStep;
pub use whole_job::WholeJob;

use std::time::Instant;

use anyhow::Result;

/// Seconds that some work takes.
fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}
