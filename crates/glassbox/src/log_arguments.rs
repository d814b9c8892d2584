//! Flags of the verbs that read trial logs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use glassbox_log_effects::words::{WordForm, WordMethod, WordSettings};
use glassbox_log_effects::{
    Attempts, BaselinePolicy, CausalSettings, CountSettings, Limits, Measure, OutcomeSource, Repeats,
    StudyCriterion,
};
use glassbox_logs::{Logs, parser_named};
use glassbox_outcome::Parser;

use crate::error::CliError;

/// Which logs, and which of their rows count.
#[derive(Debug, Args)]
pub struct LogInput {
    /// Files or folders of logs: JSON, JSON lines, Parquet, also as .gz or .zst; counted cells and glassbox runs too.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which rows of a trial count that is there more than once: first, last, all, or refuse.
    #[arg(long, value_name = "CHOICE", default_value = "first")]
    pub duplicates: Repeats,
    /// Which attempts of a trial count, where the log keeps retries: first or all.
    #[arg(long, value_name = "CHOICE", default_value = "first")]
    pub attempts: Attempts,
    /// Read outcomes from the responses with this parser: a shipped one (scan, b-reparse, …) or a parser file. Without it, outcomes
    /// are as the log states them.
    #[arg(long, value_name = "NAME|FILE")]
    pub parser: Option<String>,
}

impl LogInput {
    /// The files.
    ///
    /// # Errors
    /// [`CliError::Logs`] if there are none.
    pub fn logs(&self) -> Result<Logs, CliError> {
        Ok(Logs::find(&self.paths)?)
    }

    /// The parser, if one was asked for.
    ///
    /// # Errors
    /// [`CliError::Logs`] naming the choices.
    pub fn parser(&self) -> Result<Option<Parser>, CliError> {
        Ok(self.parser.as_deref().map(parser_named).transpose()?)
    }

    /// How rows are counted.
    pub fn count_settings<'p>(&self, parser: Option<&'p Parser>) -> CountSettings<'p> {
        CountSettings {
            outcomes: parser.map_or(OutcomeSource::Recorded, OutcomeSource::Parser),
            repeats: self.duplicates,
            attempts: self.attempts,
        }
    }
}

/// Flags of `causal`.
#[derive(Debug, Args)]
pub struct CausalArguments {
    /// The logs.
    #[command(flatten)]
    pub input: LogInput,
    /// What of the outcome to compare: stop, bet, amount, bet>=20, bet>15, high_risk, bankruptcy, label:NAME. Repeatable; the first
    /// decides the verdict. By default what the logs have.
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Vec<Measure>,
    /// Whose baseline trials a feature is compared with: pooled (all of the prompt) or own.
    #[arg(long, value_name = "CHOICE", default_value = "pooled")]
    pub baseline: BaselinePolicy,
    /// Apply the slot-machine study's own criterion besides: study-scan or study-reparse.
    #[arg(long, value_name = "NAME")]
    pub criterion: Option<StudyCriterion>,
    /// Largest q value that counts.
    #[arg(long, value_name = "Q", default_value_t = Limits::default().alpha)]
    pub alpha: f64,
    /// Smallest difference of rates that matters: absence is claimed only where larger ones are excluded.
    #[arg(long, value_name = "DIFFERENCE", default_value_t = Limits::default().smallest_effect)]
    pub smallest_effect: f64,
    /// Smallest difference of amounts that matters, as Cohen's d.
    #[arg(long, value_name = "D", default_value_t = Limits::default().smallest_d)]
    pub smallest_d: f64,
    /// Features in the table on the terminal.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// File for a page with figures and tables (HTML, one file, works offline).
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Folder for the tables of all contrasts and trends (Parquet).
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print everything as JSON; the verdict is under `verdict`.
    #[arg(long)]
    pub json: bool,
}

impl CausalArguments {
    /// The settings of the analysis.
    ///
    /// # Errors
    /// [`CliError::Usage`] for a limit that is no share.
    pub fn settings(&self) -> Result<CausalSettings, CliError> {
        let limits = [
            ("--alpha", self.alpha, 1.0),
            ("--smallest-effect", self.smallest_effect, 1.0),
            ("--smallest-d", self.smallest_d, 10.0),
        ];
        if let Some((flag, value, most)) = limits
            .into_iter()
            .find(|(_, value, most)| !(*value > 0.0 && value < most))
        {
            return Err(CliError::usage(format!(
                "{flag} is {value}; it must be more than 0 and less than {most}"
            )));
        }
        Ok(CausalSettings {
            measures: self.outcome.clone(),
            limits: Limits {
                alpha: self.alpha,
                smallest_effect: self.smallest_effect,
                smallest_d: self.smallest_d,
                ..Limits::default()
            },
            baseline: self.baseline,
            criterion: self.criterion,
        })
    }
}

/// What `words` shows on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WordViewArgument {
    /// Words that comparisons add or remove, and words against the outcome.
    LogOdds,
    /// The most frequent words of every condition.
    Frequency,
    /// The words of the largest TF-IDF of every condition.
    TfIdf,
}

/// Flags of `words`.
#[derive(Debug, Args)]
pub struct WordsArguments {
    /// The logs.
    #[command(flatten)]
    pub input: LogInput,
    /// What counts as a word: study (numbers, dollar amounts, Latin letters), study-hangul (its later pattern), or a regular expression.
    #[arg(long, value_name = "NAME|REGEX", default_value = "study")]
    pub pattern: String,
    /// Take the tokens of this tokenizer.json (or model folder) as words.
    #[arg(long, value_name = "FILE", conflicts_with = "pattern")]
    pub tokenizer: Option<PathBuf>,
    /// Keep capital letters.
    #[arg(long)]
    pub keep_case: bool,
    /// Bring English words to their stem: bet, bets and betting are one word.
    #[arg(long, conflicts_with = "keep_case")]
    pub stem: bool,
    /// How words are compared: log-odds, or study (its own log ratio and χ²).
    #[arg(long, value_name = "NAME", default_value = "log-odds")]
    pub method: WordMethod,
    /// Whose baseline trials a feature is compared with: pooled (all of the prompt) or own.
    #[arg(long, value_name = "CHOICE", default_value = "pooled")]
    pub baseline: BaselinePolicy,
    /// The outcome that the presence of words is set against: stop, bet, bet>=20, bet>15 or label:NAME.
    #[arg(long, value_name = "OUTCOME", default_value = "stop")]
    pub outcome: Measure,
    /// Largest q value that counts.
    #[arg(long, value_name = "Q", default_value_t = WordSettings::default().alpha)]
    pub alpha: f64,
    /// Responses, of both sides together, that must have a word for it to be tested.
    #[arg(long, value_name = "N", default_value_t = WordSettings::default().fewest_responses)]
    pub min_responses: u64,
    /// How many responses the prior of the log odds is worth.
    #[arg(long, value_name = "N", default_value_t = WordSettings::default().prior_responses)]
    pub prior: f64,
    /// What to show: log-odds, frequency or tf-idf.
    #[arg(long, value_enum, default_value_t = WordViewArgument::LogOdds)]
    pub view: WordViewArgument,
    /// Words per list.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// File for a page with figures and tables (HTML, one file, works offline).
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// File for the table of words (Parquet): those found, and the most distinct of every feature.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print everything as JSON; the verdict is under `verdict`.
    #[arg(long)]
    pub json: bool,
}

impl WordsArguments {
    /// The form under which words are counted.
    pub fn form(&self) -> WordForm {
        WordForm {
            lower: !self.keep_case,
            stem: self.stem,
        }
    }

    /// How words are compared.
    ///
    /// # Errors
    /// [`CliError::Usage`] for a limit out of range, or an outcome that no single response has.
    pub fn settings(&self) -> Result<WordSettings, CliError> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            let what = format!(
                "--alpha is {}; it must be more than 0 and less than 1",
                self.alpha
            );
            return Err(CliError::usage(what));
        }
        if !(self.prior > 0.0 && self.prior.is_finite()) {
            let what = format!(
                "--prior is {}; it must be a positive number of responses",
                self.prior
            );
            return Err(CliError::usage(what));
        }
        if matches!(
            self.outcome,
            Measure::Amount | Measure::HighRisk | Measure::Bankruptcy
        ) {
            return Err(CliError::usage(format!(
                "--outcome is {}; words are set against what one response has or has not: stop, bet, bet>=20, bet>15 or label:NAME",
                self.outcome
            )));
        }
        Ok(WordSettings {
            method: self.method,
            baseline: self.baseline,
            alpha: self.alpha,
            fewest_responses: self.min_responses,
            prior_responses: self.prior,
        })
    }
}
