//! The progress of a training run: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use glassbox_training::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::tell;

/// Seconds between lines where stderr is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows steps on stderr.
pub struct TrainProgress {
    quiet: bool,
    terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl TrainProgress {
    /// Nothing is shown when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            bar: None,
            last_line: Instant::now(),
        }
    }

    /// Shows a step.
    pub fn show(&mut self, progress: &Progress<'_>) {
        if self.quiet {
            return;
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(progress.steps), ProgressDrawTarget::stderr());
                if let Ok(style) =
                    ProgressStyle::with_template("train {wide_bar} {pos}/{len}, {eta} left\n{msg}")
                {
                    bar.set_style(style.progress_chars("━━ "));
                }
                bar.set_position(progress.step);
                bar.reset_eta();
                bar
            });
            bar.set_position(progress.step);
            bar.set_message(figures(progress));
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let share = 100.0 * progress.step as f64 / progress.steps.max(1) as f64;
            tell(&format!(
                "train: {} of {} steps ({share:.0} %), {}",
                progress.step,
                progress.steps,
                figures(progress)
            ));
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Means over the dictionaries that are still trained.
fn figures(progress: &Progress<'_>) -> String {
    let reports: Vec<_> = (progress.dictionaries.iter())
        .filter_map(|(_, features, report)| report.map(|report| (*features, report)))
        .collect();
    let mean = |of: &dyn Fn(&(usize, glassbox_training::StepReport)) -> f64| {
        reports.iter().map(of).sum::<f64>() / reports.len().max(1) as f64
    };
    let several = match progress.dictionaries.len() {
        1 => String::new(),
        all => format!("{} of {all} dictionaries, mean ", reports.len()),
    };
    format!(
        "{several}loss {:.4}, explained variance {:.4}, L0 {:.1}, dead {:.1} %, {:.0} tokens/s",
        mean(&|(_, report)| report.loss),
        mean(&|(_, report)| 1.0 - report.squared_error),
        mean(&|(_, report)| report.l0),
        mean(&|(features, report)| 100.0 * report.dead as f64 / *features as f64),
        progress.tokens_per_second
    )
}
