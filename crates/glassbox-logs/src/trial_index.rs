//! All trials of logs without their text: cells, outcomes, and which trials are there more than once.
//!
//! 56 bytes per trial and 16 per outcome read of it; the text streams past.

use std::ops::Range;

use glassbox_outcome::Parser;

use crate::{Cell, IndexBuilder, IndexPart, Logs, LogsError, Place, ReadReport, ReadWatch};

/// Where outcomes come from.
#[derive(Clone, Debug)]
pub enum OutcomeSource {
    /// What the log states.
    Recorded,
    /// What a parser reads from the response.
    Parsed(Box<Parser>),
}

/// Which rows count where a trial is there more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeats {
    /// The first in the order of files and rows.
    #[default]
    First,
    /// The last.
    Last,
    /// All, as if they were different trials.
    All,
}

/// An outcome of one trial, its label as a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IndexedOutcome {
    pub(crate) amount: f64,
    pub(crate) label: u16,
    pub(crate) valid: u8,
}

/// The label of what no parser could read, and of a log that states none.
pub const UNKNOWN_LABEL: u16 = 0;
/// The label of a stop.
pub const STOP_LABEL: u16 = 1;
/// The label of a bet.
pub const BET_LABEL: u16 = 2;

pub(crate) const ABSENT: u8 = 3;

impl IndexedOutcome {
    /// Number of the label, see [`TrialIndex::labels`].
    pub fn label(self) -> u16 {
        self.label
    }

    /// The amount, where one is known.
    pub fn amount(self) -> Option<f64> {
        (!self.amount.is_nan()).then_some(self.amount)
    }

    /// Whether it is called valid, where that is said.
    pub fn valid(self) -> Option<bool> {
        match self.valid {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Whether the log states an outcome at all.
    pub fn is_stated(self) -> bool {
        self.valid != ABSENT
    }
}

/// One row of a log.
#[derive(Clone, Copy, Debug)]
pub struct IndexedTrial {
    /// Its cell: index into [`TrialIndex::cells`].
    pub cell: u32,
    /// Number of the trial.
    pub trial: Option<u64>,
    /// Number of the attempt, 0 where there is none.
    pub attempt: u32,
    /// A hash of the response: equal texts have equal hashes.
    pub response_hash: u64,
    /// Where the row is.
    pub place: Place,
    pub(crate) marks: u8,
}

pub(crate) const EMPTY: u8 = 1;
pub(crate) const ECHO: u8 = 2;
pub(crate) const REPEAT: u8 = 4;
pub(crate) const REPEATED_LATER: u8 = 8;
pub(crate) const LATER_ATTEMPT: u8 = 16;

impl IndexedTrial {
    /// Whether the response has nothing but white space.
    pub fn is_empty(&self) -> bool {
        self.marks & EMPTY != 0
    }

    /// Whether the response holds the echo that was looked for.
    pub fn is_echo(&self) -> bool {
        self.marks & ECHO != 0
    }

    /// Whether the same trial and attempt came before.
    pub fn is_repeat(&self) -> bool {
        self.marks & REPEAT != 0
    }

    /// Whether the same trial was attempted before. The first attempt is the trial: trying again until an answer can be read
    /// selects for answers that can.
    pub fn is_later_attempt(&self) -> bool {
        self.marks & LATER_ATTEMPT != 0
    }

    /// Whether the row counts.
    pub fn counts(&self, repeats: Repeats) -> bool {
        !self.is_later_attempt()
            && match repeats {
                Repeats::First => !self.is_repeat(),
                Repeats::Last => self.marks & REPEATED_LATER == 0,
                Repeats::All => true,
            }
    }
}

/// All trials of logs, sorted by cell, trial, attempt and place.
#[derive(Debug, Default)]
pub struct TrialIndex {
    pub(crate) cells: Vec<Cell>,
    pub(crate) starts: Vec<usize>,
    pub(crate) labels: Vec<String>,
    pub(crate) trials: Vec<IndexedTrial>,
    pub(crate) outcomes: Vec<IndexedOutcome>,
    pub(crate) sources: usize,
}

impl TrialIndex {
    /// Reads logs into an index; `outcomes` are read in this order for every trial. `is_echo` marks responses.
    ///
    /// # Errors
    /// Those of [`Logs::read`].
    pub fn read(
        logs: &Logs,
        outcomes: &[OutcomeSource],
        is_echo: impl Fn(&str) -> bool + Sync,
        watch: &dyn ReadWatch,
    ) -> Result<(Self, ReadReport), LogsError> {
        let mut builder = IndexBuilder::new(outcomes.len());
        let report = logs.read(
            |batch| IndexPart::new(batch, outcomes, &is_echo),
            |part| {
                builder.add(part);
                Ok(())
            },
            watch,
        )?;
        Ok((builder.finish(), report))
    }

    /// The cells, sorted.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Labels of outcomes by number; the first three are `unknown`, `stop` and `bet`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// All rows.
    pub fn trials(&self) -> &[IndexedTrial] {
        &self.trials
    }

    /// The rows of a cell.
    pub fn rows_of(&self, cell: usize) -> Range<usize> {
        let end = self.starts.get(cell + 1).copied().unwrap_or(self.trials.len());
        self.starts.get(cell).copied().unwrap_or(end)..end
    }

    /// What an outcome source read of a row.
    pub fn outcome(&self, row: usize, source: usize) -> IndexedOutcome {
        self.outcomes[row * self.sources + source]
    }

    /// The rows of a cell that count, with what a source read of them.
    pub fn counted(
        &self,
        cell: usize,
        source: usize,
        repeats: Repeats,
    ) -> impl Iterator<Item = (&IndexedTrial, IndexedOutcome)> {
        self.rows_of(cell).filter_map(move |row| {
            let trial = &self.trials[row];
            trial.counts(repeats).then(|| (trial, self.outcome(row, source)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(rows: &str) -> TrialIndex {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, rows).unwrap();
        let logs = Logs::find(&[path]).unwrap();
        let sources = [OutcomeSource::Recorded];
        TrialIndex::read(&logs, &sources, |text| text.contains("echo"), &crate::Unwatched)
            .unwrap()
            .0
    }

    fn row(condition: &str, trial: &str, action: &str) -> String {
        format!(
            r#"{{"feature": "L1-2", "condition": "{condition}", {trial} "response": "{action}", "parsed": {{"action": "{action}", "bet": 7}}}}"#
        ) + "\n"
    }

    fn labels(index: &TrialIndex, cell: usize, repeats: Repeats) -> Vec<&str> {
        index
            .counted(cell, 0, repeats)
            .map(|(_, outcome)| index.labels()[usize::from(outcome.label())].as_str())
            .collect()
    }

    #[test]
    fn repeats_count_as_asked() {
        let rows = [
            row("safe_with_safe_patch", r#""trial": 1,"#, "stop"),
            row("safe_amplification", r#""trial": 0,"#, "bet"),
            row("safe_amplification", r#""trial": 1,"#, "bet"),
            row("risky_baseline", r#""trial": 0,"#, "fold"),
        ]
        .concat();
        let index = index(&rows);
        assert_eq!(index.cells().len(), 2);
        assert_eq!(index.cells()[1].to_string(), "L1-2 safe/value_a");
        assert_eq!(labels(&index, 1, Repeats::First), ["bet", "stop"]);
        assert_eq!(labels(&index, 1, Repeats::Last), ["bet", "bet"]);
        assert_eq!(labels(&index, 1, Repeats::All), ["bet", "stop", "bet"]);
        assert_eq!(labels(&index, 0, Repeats::All), ["fold"]);
        assert_eq!(index.outcome(1, 0).amount(), Some(7.0));
    }

    #[test]
    fn the_first_attempt_is_the_trial() {
        let rows = [
            row("safe_baseline", r#""trial": 0, "attempt": 1,"#, "unknown"),
            row("safe_baseline", r#""trial": 0, "attempt": 2,"#, "bet"),
            row("safe_baseline", r#""trial": 0, "attempt": 1,"#, "stop"),
            row("safe_baseline", r#""trial": 1, "attempt": 1,"#, "stop"),
        ]
        .concat();
        let index = index(&rows);
        assert_eq!(labels(&index, 0, Repeats::First), ["unknown", "stop"]);
        assert_eq!(labels(&index, 0, Repeats::Last), ["stop", "stop"]);
        assert_eq!(index.trials().iter().filter(|trial| trial.is_repeat()).count(), 1);
        let later = index.trials().iter().filter(|trial| trial.is_later_attempt());
        assert_eq!(later.count(), 1);
    }

    #[test]
    fn rows_without_a_number_are_trials_of_their_own() {
        let index = index(&row("safe_baseline", "", "echo").repeat(3));
        assert_eq!(labels(&index, 0, Repeats::First).len(), 3);
        assert!(index.trials().iter().all(IndexedTrial::is_echo));
        let hashes: std::collections::HashSet<u64> =
            index.trials().iter().map(|trial| trial.response_hash).collect();
        assert_eq!(hashes.len(), 1);
    }
}
