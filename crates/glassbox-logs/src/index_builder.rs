//! Trials of all batches, put together and sorted into an index.

use std::collections::HashMap;
use std::hash::Hasher as _;

use rayon::prelude::*;
use rustc_hash::FxHasher;

use crate::trial_index::{ABSENT, ECHO, EMPTY, LATER_ATTEMPT, REPEAT, REPEATED_LATER};
use crate::{
    Batch, Cell, IndexedOutcome, IndexedTrial, OutcomeSource, TrialIndex, TrialRecord, UNKNOWN_LABEL,
};

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
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
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
        // Rows by cell in one pass, then each cell by itself: logs are written cell by cell, so this is nearly done already.
        let mut starts = vec![0_usize; cells.len() + 1];
        for trial in &self.trials {
            starts[rank[trial.cell as usize] as usize + 1] += 1;
        }
        for cell in 1..starts.len() {
            starts[cell] += starts[cell - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; self.trials.len()];
        for (row, trial) in self.trials.iter().enumerate() {
            let place = &mut next[rank[trial.cell as usize] as usize];
            order[*place] = row as u32;
            *place += 1;
        }
        starts.pop();
        let key = |row: &u32| {
            let trial = &self.trials[*row as usize];
            ((trial.trial.is_none(), trial.trial), trial.attempt, trial.place)
        };
        let mut rest = order.as_mut_slice();
        let mut of_cells = Vec::with_capacity(cells.len());
        for cell in 0..cells.len() {
            let (own, after) = rest.split_at_mut(next[cell] - starts[cell]);
            of_cells.push(own);
            rest = after;
        }
        of_cells
            .into_par_iter()
            .for_each(|rows| rows.sort_unstable_by_key(key));
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
