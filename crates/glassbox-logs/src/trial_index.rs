//! All trials of logs without their text: cells, outcomes, and which trials are there more than once.
//!
//! 56 bytes per trial and 16 per outcome read of it; the text streams past.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use glassbox_outcome::Parser;
use rayon::prelude::*;

use crate::{Batch, Cell, Logs, LogsError, Place, ReadReport, ReadWatch, TrialRecord};

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
    amount: f64,
    label: u16,
    valid: u8,
}

/// The label of what no parser could read, and of a log that states none.
pub const UNKNOWN_LABEL: u16 = 0;
/// The label of a stop.
pub const STOP_LABEL: u16 = 1;
/// The label of a bet.
pub const BET_LABEL: u16 = 2;

const ABSENT: u8 = 3;

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
    marks: u8,
}

const EMPTY: u8 = 1;
const ECHO: u8 = 2;
const REPEAT: u8 = 4;
const REPEATED_LATER: u8 = 8;
const LATER_ATTEMPT: u8 = 16;

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
    cells: Vec<Cell>,
    starts: Vec<usize>,
    labels: Vec<String>,
    trials: Vec<IndexedTrial>,
    outcomes: Vec<IndexedOutcome>,
    sources: usize,
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

/// The trials of one batch.
#[derive(Debug)]
pub struct IndexPart {
    cells: Vec<Cell>,
    labels: Vec<String>,
    trials: Vec<IndexedTrial>,
    outcomes: Vec<IndexedOutcome>,
}

impl IndexPart {
    /// Takes what is needed of a batch.
    pub fn new(batch: &Batch<'_>, sources: &[OutcomeSource], is_echo: impl Fn(&str) -> bool) -> Self {
        let mut part = Self {
            cells: Vec::new(),
            labels: first_labels(),
            trials: Vec::with_capacity(batch.trials.len()),
            outcomes: Vec::with_capacity(batch.trials.len() * sources.len()),
        };
        let mut known: HashMap<Cell, u32> = HashMap::new();
        let mut last = 0;
        for trial in &batch.trials {
            // Logs are written cell by cell, so the last cell is nearly always the right one.
            if part
                .cells
                .get(last as usize)
                .is_none_or(|cell| !cell.holds(trial))
            {
                let cell = Cell::of(trial);
                last = match known.get(&cell) {
                    Some(number) => *number,
                    None => {
                        let number = part.cells.len() as u32;
                        part.cells.push(cell.clone());
                        known.insert(cell, number);
                        number
                    }
                };
            }
            let mut marks = 0;
            if trial.response.trim().is_empty() {
                marks |= EMPTY;
            }
            if is_echo(&trial.response) {
                marks |= ECHO;
            }
            part.trials.push(IndexedTrial {
                cell: last,
                trial: trial.trial,
                attempt: trial
                    .attempt
                    .map_or(0, |attempt| u32::try_from(attempt).unwrap_or(u32::MAX)),
                response_hash: hash(&trial.response),
                place: trial.place,
                marks,
            });
            for source in sources {
                let outcome = part.read(trial, source);
                part.outcomes.push(outcome);
            }
        }
        part
    }

    fn read(&mut self, trial: &TrialRecord<'_>, source: &OutcomeSource) -> IndexedOutcome {
        match source {
            OutcomeSource::Recorded => match &trial.recorded {
                None => IndexedOutcome {
                    amount: f64::NAN,
                    label: UNKNOWN_LABEL,
                    valid: ABSENT,
                },
                Some(recorded) => IndexedOutcome {
                    amount: recorded.outcome.amount().unwrap_or(f64::NAN),
                    label: label_of(&mut self.labels, recorded.outcome.label()),
                    valid: recorded.valid.map_or(2, u8::from),
                },
            },
            OutcomeSource::Parsed(parser) => {
                let outcome = parser.parse(&trial.response, trial.condition.prompt_type.as_deref());
                IndexedOutcome {
                    amount: outcome.amount.unwrap_or(f64::NAN),
                    label: label_of(&mut self.labels, outcome.label),
                    valid: u8::from(outcome.valid),
                }
            }
        }
    }
}

fn first_labels() -> Vec<String> {
    ["unknown", "stop", "bet"].map(str::to_owned).to_vec()
}

/// The number of a label; a log with more than 65,535 labels has no outcomes, and the rest count as unknown.
fn label_of(labels: &mut Vec<String>, label: &str) -> u16 {
    if let Some(found) = labels.iter().position(|known| known == label) {
        return u16::try_from(found).unwrap_or(UNKNOWN_LABEL);
    }
    match u16::try_from(labels.len()) {
        Ok(number) => {
            labels.push(label.to_owned());
            number
        }
        Err(_) => UNKNOWN_LABEL,
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Puts the trials of all batches together.
#[derive(Debug)]
pub struct IndexBuilder {
    known: HashMap<Cell, u32>,
    labels: Vec<String>,
    trials: Vec<IndexedTrial>,
    outcomes: Vec<IndexedOutcome>,
    sources: usize,
}

impl IndexBuilder {
    /// For so many outcome sources.
    pub fn new(sources: usize) -> Self {
        Self {
            known: HashMap::new(),
            labels: first_labels(),
            trials: Vec::new(),
            outcomes: Vec::new(),
            sources,
        }
    }

    /// Adds the trials of one batch.
    pub fn add(&mut self, part: IndexPart) {
        let cells: Vec<u32> = part
            .cells
            .into_iter()
            .map(|cell| {
                let next = self.known.len() as u32;
                *self.known.entry(cell).or_insert(next)
            })
            .collect();
        let labels: Vec<u16> = part
            .labels
            .iter()
            .map(|label| label_of(&mut self.labels, label))
            .collect();
        self.trials.extend(part.trials.into_iter().map(|mut trial| {
            trial.cell = cells[trial.cell as usize];
            trial
        }));
        self.outcomes.extend(part.outcomes.into_iter().map(|mut outcome| {
            outcome.label = labels[usize::from(outcome.label)];
            outcome
        }));
    }

    /// Sorts the trials and finds those that are there more than once.
    pub fn finish(self) -> TrialIndex {
        let mut cells: Vec<(Cell, u32)> = self.known.into_iter().collect();
        cells.par_sort_unstable();
        let mut rank = vec![0_u32; cells.len()];
        for (place, (_, number)) in cells.iter().enumerate() {
            rank[*number as usize] = place as u32;
        }
        let mut order: Vec<u32> = (0..self.trials.len() as u32).collect();
        let key = |row: &u32| {
            let trial = &self.trials[*row as usize];
            let number = (trial.trial.is_none(), trial.trial);
            (rank[trial.cell as usize], number, trial.attempt, trial.place)
        };
        order.par_sort_unstable_by_key(key);
        let mut trials: Vec<IndexedTrial> = order
            .par_iter()
            .map(|row| {
                let mut trial = self.trials[*row as usize];
                trial.cell = rank[trial.cell as usize];
                trial
            })
            .collect();
        let sources = self.sources;
        let outcomes: Vec<IndexedOutcome> = order
            .iter()
            .flat_map(|row| &self.outcomes[*row as usize * sources..(*row as usize + 1) * sources])
            .copied()
            .collect();
        mark_repeats(&mut trials);
        let cells: Vec<Cell> = cells.into_iter().map(|(cell, _)| cell).collect();
        let mut starts = vec![0; cells.len()];
        for (row, trial) in trials.iter().enumerate().rev() {
            starts[trial.cell as usize] = row;
        }
        TrialIndex {
            cells,
            starts,
            labels: self.labels,
            trials,
            outcomes,
            sources,
        }
    }
}

/// Marks repeats and retried attempts among sorted trials.
fn mark_repeats(trials: &mut [IndexedTrial]) {
    let same_trial =
        |a: &IndexedTrial, b: &IndexedTrial| a.cell == b.cell && a.trial == b.trial && a.trial.is_some();
    for group in trials.chunk_by_mut(same_trial) {
        let first_attempt = group.first().map_or(0, |trial| trial.attempt);
        for trial in group.iter_mut() {
            if trial.attempt != first_attempt {
                trial.marks |= LATER_ATTEMPT;
            }
        }
        for attempt in group.chunk_by_mut(|a, b| a.attempt == b.attempt) {
            if attempt.first().is_some_and(|trial| trial.trial.is_none()) {
                continue;
            }
            let last = attempt.len() - 1;
            for (place, trial) in attempt.iter_mut().enumerate() {
                if place > 0 {
                    trial.marks |= REPEAT;
                }
                if place < last {
                    trial.marks |= REPEATED_LATER;
                }
            }
        }
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
