//! Shows a run's events: bars with rate and time left on a terminal, plain lines elsewhere. All on stderr.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use std::sync::Arc;

use glassbox_experiment::events::{Event, Reporter};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::tell;

/// Seconds between lines where stderr is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The reporter of the command line.
pub struct Progress {
    quiet: bool,
    terminal: bool,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    unit: &'static str,
    done: u64,
    total: u64,
    tokens: u64,
    started: Option<Instant>,
    last_line: Option<Instant>,
    last_note: Option<Instant>,
}

impl Progress {
    /// A reporter that asks for a stop when `stop` becomes true.
    pub fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            stop,
            state: Mutex::default(),
        }
    }

    /// Says beside the bar how the stage stands; where stderr is no terminal, as a line every so often.
    pub fn note(&self, text: &str) {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = &state.bar {
            bar.set_message(text.to_owned());
        } else if !self.quiet && state.last_note.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            state.last_note = Some(Instant::now());
            tell(text);
        }
    }

    fn show(&self, state: &mut State, event: Event) {
        match event {
            Event::StageStarted {
                stage,
                unit,
                total,
                done,
            } => {
                *state = State {
                    unit,
                    done,
                    total,
                    started: Some(Instant::now()),
                    ..State::default()
                };
                if self.terminal {
                    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                    let template = "{prefix:<9} {wide_bar} {pos}/{len} {msg}, {eta} left";
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style.progress_chars("━━ "));
                    }
                    bar.set_prefix(stage);
                    bar.set_message(unit);
                    bar.set_position(done);
                    bar.reset_eta();
                    bar.enable_steady_tick(Duration::from_millis(250));
                    state.bar = Some(bar);
                } else if done > 0 {
                    tell(&format!(
                        "{stage}: {done} of {total} {unit} were complete already"
                    ));
                }
            }
            Event::Advanced { stage, units, tokens } => {
                state.done += units;
                state.tokens += tokens;
                let seconds = state
                    .started
                    .map_or(0.0, |started| started.elapsed().as_secs_f64());
                let rate = if seconds > 0.0 {
                    state.tokens as f64 / seconds
                } else {
                    0.0
                };
                if let Some(bar) = &state.bar {
                    bar.set_position(state.done);
                    if state.tokens > 0 {
                        bar.set_message(format!("{}, {rate:.0} tokens/s", state.unit));
                    }
                } else if state
                    .last_line
                    .or(state.started)
                    .is_some_and(|last| last.elapsed() >= LINE_INTERVAL)
                {
                    state.last_line = Some(Instant::now());
                    let share = 100.0 * state.done as f64 / state.total.max(1) as f64;
                    tell(&format!(
                        "{stage}: {} of {} ({share:.0} %), {rate:.0} tokens/s",
                        state.done, state.total
                    ));
                }
            }
            Event::StageFinished {
                stage,
                summary,
                seconds,
            } => {
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
                tell(&format!("{stage:<10} {seconds:>6.1} s  {summary}"));
            }
            Event::Warning(text) => match &state.bar {
                Some(bar) => bar.suspend(|| tell(&format!("warning: {text}"))),
                None => tell(&format!("warning: {text}")),
            },
        }
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        if self.quiet {
            return;
        }
        // A panic elsewhere must not silence the progress: the state is only for showing.
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.show(&mut state, event);
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
