//! Threads that help the calling thread with the pieces of one operation.
//!
//! A pass is some hundred short operations one after the other. The helpers therefore wait for the next one awake for a
//! moment before they sleep, the caller works too, and it never waits for a helper that has not begun: where the
//! processor is busy with other programs, the caller does all of the work. What each piece computes does not depend on
//! who does it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

/// Looks at the next job before a helper sleeps: some fifty microseconds, the time between two operations of a pass.
const LOOKS_BEFORE_SLEEP: usize = 3_000;
/// Looks at the helpers before the caller lets others run.
const LOOKS_BEFORE_YIELD: usize = 1_000;

/// In [`Shared::state`]: the job is open. Below it stands how many helpers are inside, above it the job's number.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const NUMBER: u64 = OPEN << 1;

/// What helpers do: a piece by its index.
type Piece = dyn Fn(usize) + Sync;

struct Shared {
    /// Number of the job, whether it is open, helpers inside it.
    state: AtomicU64,
    /// The open job's pieces. Written only while no job is open and no helper inside.
    piece: UnsafeCell<Option<*const Piece>>,
    /// How many pieces it has.
    count: AtomicUsize,
    /// The next piece that nobody has begun.
    next: AtomicUsize,
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: Vec<AtomicBool>,
}

// SAFETY: `piece` is written by the owner of the team's lock while no helper is inside, and read by helpers inside
// only; the pointer is to a `Sync` function, which lives until the last helper has left.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Helper threads with at most one job at a time.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<Thread>,
    /// Whether a caller has a job under way.
    taken: AtomicBool,
}

impl Team {
    /// The team of this process: with the caller as many threads as rayon's pool had when it was first asked for.
    pub(crate) fn of_process() -> &'static Self {
        static TEAM: OnceLock<Team> = OnceLock::new();
        TEAM.get_or_init(|| Self::new(rayon::current_num_threads().saturating_sub(1)))
    }

    fn new(helpers: usize) -> Self {
        let helpers = helpers.min(INSIDE as usize);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            piece: UnsafeCell::new(None),
            count: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
        });
        // A helper that can't be started is done without.
        let helpers = (0..helpers)
            .map_while(|number| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("kernel helper {number}"))
                    .spawn(move || help(&shared, number))
                    .ok()
            })
            .map(|helper| helper.thread().clone())
            .collect();
        Self {
            shared,
            helpers,
            taken: AtomicBool::new(false),
        }
    }

    /// Calls `piece` with every index below `count`, each once, on this thread and the helpers. On this thread alone if
    /// the team is at work already, for this thread or another.
    pub(crate) fn run(&self, count: usize, piece: &(dyn Fn(usize) + Sync)) {
        let taken = (!self.helpers.is_empty() && count > 1)
            .then(|| self.take())
            .flatten();
        let Some(_taken) = taken else {
            (0..count).for_each(piece);
            return;
        };
        let shared = &*self.shared;
        shared.first_panic().take();
        // SAFETY: only the lifetime changes. The function is called by this thread and by helpers inside the job, and
        // `Job` keeps this call from returning, or unwinding, before the last of them has left.
        let erased: *const Piece =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Piece>(piece) };
        // SAFETY: this thread has the team, no job is open and no helper inside.
        unsafe { *shared.piece.get() = Some(erased) };
        shared.count.store(count, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        let job = Job { shared };
        // Everything above is seen by whoever sees the job open.
        shared.state.store(
            (shared.state.load(Ordering::Relaxed) & !(OPEN | INSIDE)).wrapping_add(NUMBER) | OPEN,
            Ordering::SeqCst,
        );
        for (helper, sleeping) in self.helpers.iter().zip(&shared.sleeping).take(count - 1) {
            if sleeping.load(Ordering::SeqCst) && sleeping.swap(false, Ordering::SeqCst) {
                helper.unpark();
            }
        }
        shared.work(piece);
        drop(job);
        let panic = shared.first_panic().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// The right to open a job, if nobody has it.
    fn take(&self) -> Option<Taken<'_>> {
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Taken { flag: &self.taken })
    }
}

/// The right to open a job; given back when dropped.
struct Taken<'a> {
    flag: &'a AtomicBool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.flag.store(false, Ordering::Release);
    }
}

/// An open job; closed when dropped, which waits for the helpers inside.
struct Job<'a> {
    shared: &'a Shared,
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let state = &self.shared.state;
        state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0;
        while state.load(Ordering::Acquire) & INSIDE != 0 {
            looks += 1;
            if looks < LOOKS_BEFORE_YIELD {
                spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Shared {
    /// Does pieces until all are begun.
    fn work(&self, piece: &(dyn Fn(usize) + Sync)) {
        let count = self.count.load(Ordering::Relaxed);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            piece(i);
        }
    }

    fn first_panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the open job, unless its number is `last` or it closes meanwhile. Gives its number.
    fn enter(&self, last: u64) -> Option<u64> {
        let mut state = self.state.load(Ordering::SeqCst);
        while state & OPEN != 0 && state / NUMBER != last {
            let entered =
                self.state
                    .compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire);
            match entered {
                Ok(_) => return Some(state / NUMBER),
                Err(now) => state = now,
            }
        }
        None
    }
}

/// The life of a helper.
fn help(shared: &Shared, number: usize) {
    let mut last = 0;
    let mut looks = 0;
    loop {
        let Some(job) = shared.enter(last) else {
            looks += 1;
            if looks < LOOKS_BEFORE_SLEEP {
                spin_loop();
                continue;
            }
            // Whoever opens a job from here on wakes this thread; one that was opened before is seen now.
            shared.sleeping[number].store(true, Ordering::SeqCst);
            let state = shared.state.load(Ordering::SeqCst);
            if state & OPEN == 0 || state / NUMBER == last {
                std::thread::park();
            }
            shared.sleeping[number].store(false, Ordering::SeqCst);
            looks = 0;
            continue;
        };
        // SAFETY: this thread is inside the job, so the pointer is set, and the function alive.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe {
            if let Some(piece) = *shared.piece.get() {
                shared.work(&*piece);
            }
        }));
        if let Err(panic) = outcome {
            // No further piece is begun; the caller goes on with the panic.
            shared
                .next
                .fetch_add(shared.count.load(Ordering::Relaxed), Ordering::Relaxed);
            shared.first_panic().get_or_insert(panic);
        }
        shared.state.fetch_sub(1, Ordering::Release);
        last = job;
        looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        for helpers in [0, 1, 3] {
            let team = Team::new(helpers);
            for count in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    team.run(count, &|i| {
                        done[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn sleeping_helpers_wake_and_callers_share_the_team() {
        let team = Team::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        team.run(10, &|i| {
                            // A job inside a job.
                            team.run(3, &|_| {
                                total.fetch_add(i, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 3 * 20 * 3 * 45);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2);
        for bad in 0..20 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.run(20, &|i| {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                    assert_ne!(i, bad, "the bad piece");
                });
            }));
            assert!(outcome.is_err());
            let done = AtomicUsize::new(0);
            team.run(9, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 9);
        }
    }
}
