//! Why an analysis of logs cannot be made.

use glassbox_logs::LogsError;
use glassbox_stats::StatsError;
use thiserror::Error;

/// Why an analysis of logs cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EffectsError {
    /// The logs cannot be read.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// Trials occur more than once, and the policy was to refuse that.
    #[error(
        "{repeats} rows repeat a trial that came before (feature, condition, dose, prompt and trial number are the same): {features}; \
         choose which to keep with --duplicates first, last or all"
    )]
    RepeatedTrials {
        /// Rows that repeat a trial.
        repeats: u64,
        /// The features with most of them.
        features: String,
    },
    /// There is nothing to analyse.
    #[error("{what}")]
    NoData {
        /// What is missing, and what would be needed.
        what: String,
    },
    /// A text that names no outcome.
    #[error(
        "'{text}' is no outcome; choose stop, bet, amount, bet>=20 or bet>15 (any number), high_risk, bankruptcy, or label:NAME for an \
         outcome of another experiment"
    )]
    Measure {
        /// The text.
        text: String,
    },
    /// A text that names no option.
    #[error("'{text}' is no {what}; choose {choices}")]
    Choice {
        /// What was to be chosen.
        what: &'static str,
        /// The text.
        text: String,
        /// The choices.
        choices: &'static str,
    },
    /// A pattern of words that is no regular expression.
    #[error("the pattern of words is no regular expression: {0}")]
    Pattern(#[from] Box<regex::Error>),
    /// A statistic refused its input.
    #[error("{what}: {cause}")]
    Stats {
        /// What was to be computed.
        what: String,
        /// Why it was refused.
        cause: StatsError,
    },
}

impl EffectsError {
    /// Says what was being computed.
    pub(crate) fn stats(what: impl Into<String>) -> impl FnOnce(StatsError) -> Self {
        let what = what.into();
        move |cause| Self::Stats { what, cause }
    }
}
