//! Signals that ask the program to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::error::CliError;
use crate::exit_code;

/// Becomes true with the first SIGINT or SIGTERM; a second one ends the process at once.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. Before, a signal ends the process at once, as usual.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the system refuses a handler.
    pub fn listen() -> Result<Self, CliError> {
        let flag = Arc::new(AtomicBool::new(false));
        register(&flag).map_err(|cause| CliError::usage(format!("cannot listen to signals: {cause}")))?;
        Ok(Self(flag))
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a reporter.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Lets a write beyond the limit of the file size (`ulimit -f`) fail with an error that names the file, instead of ending
/// the process. If the system refuses, it stays as it was.
pub fn survive_file_size_limit() {
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

fn register(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in this order: the second signal finds the flag set by the first.
        flag::register_conditional_shutdown(signal, i32::from(exit_code::PARTIAL), Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}
