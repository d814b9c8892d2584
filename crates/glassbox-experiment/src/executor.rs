//! Runs independent units of work on all processors, and hands the results to one place.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use crate::error::ExperimentError;

/// Runs `work` on every unit, several at a time, and gives each result to `deliver` in the order of completion. Returns
/// whether every unit was done; `stop` is asked before each.
///
/// With more than one worker each computes in a thread of its own, without further threads inside: for small models one
/// unit per processor beats splitting every product. Results do not depend on the number of workers, since a unit's
/// numbers depend on nothing outside it.
///
/// # Errors
/// The first error of `work` or `deliver`; units under way are finished first, their results dropped.
pub fn run_units<Result_: Send, State: Send>(
    units: &[u32],
    workers: usize,
    state: impl Fn() -> State + Sync,
    work: impl Fn(&mut State, u32) -> Result<Result_, ExperimentError> + Sync,
    mut deliver: impl FnMut(u32, Result_) -> Result<(), ExperimentError>,
    stop: impl Fn() -> bool + Sync,
) -> Result<bool, ExperimentError> {
    if workers <= 1 {
        let mut state = state();
        for &unit in units {
            if stop() {
                return Ok(false);
            }
            deliver(unit, work(&mut state, unit)?)?;
        }
        return Ok(true);
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let mut delivered = 0;
    let mut first_error = None;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(workers);
        for _ in 0..workers {
            let sender = sender.clone();
            let (next, failed, state, work, stop) = (&next, &failed, &state, &work, &stop);
            scope.spawn(move || {
                // Products inside a unit stay on this thread.
                let pool = match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                    Ok(pool) => pool,
                    Err(error) => {
                        let what = format!("cannot start a worker thread: {error}");
                        let _ = sender.send((0, Err(ExperimentError::Data { stage: "sweep", what })));
                        return;
                    }
                };
                let mut state = state();
                while !failed.load(Ordering::Relaxed) && !stop() {
                    let Some(&unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let result = pool.install(|| work(&mut state, unit));
                    // A closed channel means that the receiver has failed: nothing is left to do.
                    if sender.send((unit, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (unit, result) in receiver {
            if first_error.is_some() {
                continue;
            }
            match result.and_then(|result| deliver(unit, result)) {
                Ok(()) => delivered += 1,
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    first_error = Some(error);
                }
            }
        }
    });
    match first_error {
        Some(error) => Err(error),
        None => Ok(delivered == units.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(workers: usize, stop_after: usize) -> (bool, Vec<(u32, u64)>) {
        let units: Vec<u32> = (0..50).collect();
        let started = AtomicUsize::new(0);
        let mut results = Vec::new();
        let all = run_units(
            &units,
            workers,
            || (),
            |(), unit| Ok(u64::from(unit).pow(2)),
            |unit, square| {
                results.push((unit, square));
                Ok(())
            },
            || started.fetch_add(1, Ordering::Relaxed) >= stop_after,
        )
        .unwrap();
        results.sort_unstable();
        (all, results)
    }

    #[test]
    fn every_unit_is_done_once_by_any_number_of_workers() {
        let expected: Vec<(u32, u64)> = (0..50).map(|unit| (unit, u64::from(unit).pow(2))).collect();
        for workers in [1, 2, 5] {
            assert_eq!(squares(workers, usize::MAX), (true, expected.clone()));
        }
    }

    #[test]
    fn a_stop_leaves_whole_units() {
        for workers in [1, 3] {
            let (all, results) = squares(workers, 10);
            assert!(!all && results.len() == 10, "{results:?}");
        }
    }

    #[test]
    fn the_first_error_ends_the_run() {
        for workers in [1, 2] {
            let error = run_units(
                &[1, 2, 3],
                workers,
                || (),
                |(), unit| {
                    if unit == 2 {
                        return Err(ExperimentError::Data {
                            stage: "sweep",
                            what: "bad".into(),
                        });
                    }
                    Ok(())
                },
                |_, ()| Ok(()),
                || false,
            );
            assert!(error.is_err());
        }
    }
}
