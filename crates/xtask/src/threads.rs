//! Two jobs at a time, each on one thread.
//!
//! The work here falls into independent halves (documents of a batch, layers). One thread per half is faster
//! than two threads inside every product, and the sums do not depend on timing.

use anyhow::{Context as _, Result, anyhow};
use rayon::ThreadPoolBuilder;

/// Runs `work` on every job, at most two at the same time: even jobs on one thread, odd jobs on another, each
/// thread in order. Results in the order of the jobs.
///
/// # Errors
/// The first error of a job, or a thread that could not be started or panicked.
pub fn in_two_threads<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> Result<R> + Sync) -> Result<Vec<R>> {
    let work = &work;
    let lane = |parity: usize| -> Result<Vec<R>> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .context("a worker thread")?;
        pool.install(|| jobs.iter().skip(parity).step_by(2).map(work).collect())
    };
    let (even, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| lane(1));
        (lane(0), odd.join())
    });
    let (even, odd) = (even?, odd.map_err(|_| anyhow!("a worker thread panicked"))??);
    let mut results = Vec::with_capacity(jobs.len());
    let mut odd = odd.into_iter();
    for result in even {
        results.push(result);
        results.extend(odd.next());
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        let jobs: Vec<usize> = (0..7).collect();
        assert_eq!(
            in_two_threads(&jobs, |&job| Ok(job * 2)).unwrap(),
            vec![0, 2, 4, 6, 8, 10, 12]
        );
        let failed = in_two_threads(
            &jobs,
            |&job| if job == 3 { Err(anyhow!("three")) } else { Ok(job) },
        );
        assert_eq!(failed.unwrap_err().to_string(), "three");
    }
}
