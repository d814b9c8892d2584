//! The words of every cell, counted in one pass.
//!
//! A word counts once per trial, however often the response says it: the words of one response are not independent. How often it
//! was said is kept besides, for the views that count so.

use std::collections::BTreeMap;

use glassbox_logs::{Batch, Logs, LogsError, ReadReport, ReadWatch};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::cell::CellKey;
use crate::cells::{CellNumbers, CountSettings};
use crate::outcomes::SourceName;
use crate::repeats::{RepeatFilter, TrialIdentity};
use crate::tally::{Counted, Ordered};
use crate::unread::why_nothing;
use crate::{EffectsError, Measure, OutcomeSource, RepeatCounts, WordReader};

use super::raw_words::RawWords;
use super::word_reader::english_stemmer;

/// One word in one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordCount {
    /// Number of the word: index into [`WordCells::words`].
    pub word: u32,
    /// Trials whose response has it.
    pub responses: u32,
    /// How often it was said.
    pub tokens: u32,
}

/// A word and an outcome, over the trials of one condition of which the outcome is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Trials with the word.
    pub(crate) present: u64,
    /// Those of them that have the outcome.
    pub(crate) events: u64,
}

/// All words of one condition against an outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConditionPresence {
    /// Trials whose outcome is known.
    pub(crate) known: u64,
    /// Those of them that have the outcome.
    pub(crate) events: u64,
    /// By word; words beyond the end were not seen.
    pub(crate) words: Vec<Presence>,
}

/// A condition: prompt, arm, dose.
pub(crate) type ConditionKey = (String, String, Option<Ordered>);

/// The words of one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordCell {
    /// Trials.
    pub responses: u64,
    /// All words said.
    pub tokens: u64,
    /// Counts by word, each word once, rising.
    pub counts: Vec<WordCount>,
}

/// The words of all cells of some logs.
#[derive(Debug)]
pub struct WordCells {
    /// The words, in alphabetical order.
    pub words: Vec<String>,
    /// The cells.
    pub cells: BTreeMap<CellKey, WordCell>,
    /// Every condition's words against an outcome.
    pub(crate) presence: BTreeMap<ConditionKey, ConditionPresence>,
    /// What became of repeated trials.
    pub repeats: RepeatCounts,
    /// Where outcomes came from.
    pub source: SourceName,
    /// What became of every file.
    pub report: ReadReport,
}

/// The words of one batch, before repeats are taken out.
struct BatchWords {
    cells: Vec<CellKey>,
    /// Words of the batch in their counted form.
    words: Vec<String>,
    trials: Vec<BatchTrial>,
    /// Words of all trials one after another: number in `words`, and how often.
    said: Vec<(u32, u32)>,
}

struct BatchTrial {
    identity: TrialIdentity,
    cell: u32,
    /// End of the trial's words in `said`.
    end: u32,
    tokens: u32,
    /// Whether the trial has the outcome; `None` if that is not known.
    event: Option<bool>,
}

/// Whether a trial has the outcome that presence is set against.
fn event(
    outcomes: OutcomeSource<'_>,
    measure: &Measure,
    trial: &glassbox_logs::TrialRecord<'_>,
) -> Option<bool> {
    let amount = |holds: &dyn Fn(f64) -> bool| match outcomes.read(trial) {
        Counted::Unknown => None,
        Counted::Bet(amount) => amount.map(holds),
        Counted::Stop | Counted::Label(_) => Some(false),
    };
    match measure {
        Measure::BetAtLeast(least) => amount(&|bet| bet >= *least),
        Measure::BetAbove(above) => amount(&|bet| bet > *above),
        _ => match (outcomes.read(trial), measure) {
            (Counted::Unknown, _) => None,
            (Counted::Stop, Measure::Stop) | (Counted::Bet(_), Measure::Bet) => Some(true),
            (Counted::Label(label), Measure::Label(wanted)) => Some(label == wanted),
            _ => Some(false),
        },
    }
}

fn read_batch(
    batch: &Batch<'_>,
    reader: &WordReader,
    outcomes: OutcomeSource<'_>,
    measure: &Measure,
) -> BatchWords {
    let stemmer = english_stemmer();
    let mut cells = CellNumbers::default();
    let mut words: Vec<String> = Vec::new();
    let mut forms: FxHashMap<String, u32> = FxHashMap::default();
    // A word is lower-cased and stemmed once per batch.
    let mut raws = RawWords::default();
    // A response has some twenty different words.
    let mut said: Vec<(u32, u32)> = Vec::with_capacity(24 * batch.trials.len());
    // Where each word stands in `said`, if it does since `begin`.
    let mut places: Vec<u32> = Vec::new();
    let mut trials = Vec::with_capacity(batch.trials.len());
    for trial in &batch.trials {
        let begin = said.len();
        let mut tokens = 0;
        reader.each_raw(&trial.response, |raw| {
            tokens += 1;
            let form = match raws.get(raw) {
                Some(form) => form,
                None => {
                    let word = reader.formed(raw, &stemmer);
                    let form = match forms.get(&word) {
                        Some(&form) => form,
                        None => {
                            let form = words.len() as u32;
                            words.push(word.clone());
                            forms.insert(word, form);
                            places.push(u32::MAX);
                            form
                        }
                    };
                    raws.insert(raw, form);
                    form
                }
            };
            let place = places[form as usize] as usize;
            match said.get_mut(place) {
                Some((word, count)) if place >= begin && *word == form => *count += 1,
                _ => {
                    places[form as usize] = said.len() as u32;
                    said.push((form, 1));
                }
            }
        });
        trials.push(BatchTrial {
            identity: TrialIdentity::of(trial),
            cell: cells.number(trial),
            end: said.len() as u32,
            tokens,
            event: event(outcomes, measure, trial),
        });
    }
    BatchWords {
        cells: cells.keys,
        words,
        trials,
        said,
    }
}

/// Takes batches in order and adds up what counts.
struct Builder {
    filter: RepeatFilter,
    ids: FxHashMap<String, u32>,
    words: Vec<String>,
    cells: BTreeMap<CellKey, WordCell>,
    presence: BTreeMap<ConditionKey, ConditionPresence>,
}

/// What was counted of the current cell of a batch.
struct CellSums {
    cell: WordCell,
    known: u64,
    events: u64,
    /// By word of the batch.
    counts: Vec<(WordCount, Presence)>,
    /// Words that were seen.
    touched: Vec<u32>,
}

impl Builder {
    fn add(&mut self, batch: BatchWords) {
        let numbers = self.filter.numbers_of(&batch.cells);
        let ids: Vec<u32> = batch
            .words
            .into_iter()
            .map(|word| match self.ids.get(&word) {
                Some(&id) => id,
                None => {
                    let id = self.words.len() as u32;
                    self.words.push(word.clone());
                    self.ids.insert(word, id);
                    id
                }
            })
            .collect();
        let mut sums = CellSums {
            cell: WordCell::default(),
            known: 0,
            events: 0,
            counts: vec![Default::default(); ids.len()],
            touched: Vec::new(),
        };
        let mut current: Option<u32> = None;
        let mut begin = 0;
        for trial in &batch.trials {
            let said = &batch.said[begin..trial.end as usize];
            begin = trial.end as usize;
            if !self.filter.keep(numbers[trial.cell as usize], &trial.identity) {
                continue;
            }
            if current != Some(trial.cell) {
                if let Some(cell) = current {
                    self.flush(&batch.cells[cell as usize], &mut sums, &ids);
                }
                current = Some(trial.cell);
            }
            sums.add(trial, said);
        }
        if let Some(cell) = current {
            self.flush(&batch.cells[cell as usize], &mut sums, &ids);
        }
    }

    /// Adds what was counted of one cell, and begins anew.
    fn flush(&mut self, key: &CellKey, sums: &mut CellSums, ids: &[u32]) {
        let cell = match self.cells.get_mut(key) {
            Some(cell) => cell,
            None => self.cells.entry(key.clone()).or_default(),
        };
        let counted = std::mem::take(&mut sums.cell);
        cell.responses += counted.responses;
        cell.tokens += counted.tokens;
        let condition = (
            key.prompt.clone(),
            key.arm.name().to_owned(),
            key.scale().map(Ordered),
        );
        let presence = self.presence.entry(condition).or_default();
        presence.known += std::mem::take(&mut sums.known);
        presence.events += std::mem::take(&mut sums.events);
        presence.words.resize(self.words.len(), Presence::default());
        for word in sums.touched.drain(..) {
            let (mut count, seen) = std::mem::take(&mut sums.counts[word as usize]);
            count.word = ids[word as usize];
            let total = &mut presence.words[count.word as usize];
            total.present += seen.present;
            total.events += seen.events;
            cell.counts.push(count);
        }
    }
}

impl CellSums {
    fn add(&mut self, trial: &BatchTrial, said: &[(u32, u32)]) {
        self.cell.responses += 1;
        self.cell.tokens += u64::from(trial.tokens);
        let known = u64::from(trial.event.is_some());
        let event = u64::from(trial.event == Some(true));
        self.known += known;
        self.events += event;
        for &(word, times) in said {
            let (count, seen) = &mut self.counts[word as usize];
            if count.responses == 0 {
                self.touched.push(word);
            }
            count.responses += 1;
            count.tokens += times;
            seen.present += known;
            seen.events += event;
        }
    }
}

impl WordCell {
    /// Renumbers words, and puts counts of one word together.
    fn settle(&mut self, rank: &[u32]) {
        for count in &mut self.counts {
            count.word = rank[count.word as usize];
        }
        self.counts.sort_unstable_by_key(|count| count.word);
        self.counts.dedup_by(|more, kept| {
            let same = more.word == kept.word;
            if same {
                kept.responses += more.responses;
                kept.tokens += more.tokens;
            }
            same
        });
        self.counts.shrink_to_fit();
    }

    /// The counts of a word.
    pub fn count(&self, word: u32) -> WordCount {
        self.counts
            .binary_search_by_key(&word, |count| count.word)
            .map_or(
                WordCount {
                    word,
                    ..WordCount::default()
                },
                |place| self.counts[place],
            )
    }
}

impl WordCells {
    /// Reads logs and counts the words of every cell, in one pass (two for [`crate::Repeats::Last`]); `measure` is the outcome that
    /// presence is set against. Memory grows with the words of every cell, and with a bit for every trial.
    ///
    /// # Errors
    /// [`EffectsError::Logs`], [`EffectsError::RepeatedTrials`] by the policy, [`EffectsError::NoData`] if no row holds a response.
    pub fn read(
        logs: &Logs,
        settings: CountSettings<'_>,
        reader: &WordReader,
        measure: &Measure,
        watch: &dyn ReadWatch,
    ) -> Result<Self, EffectsError> {
        let mut builder = Builder {
            filter: RepeatFilter::new(settings.repeats, settings.attempts, logs, watch)?,
            ids: FxHashMap::default(),
            words: Vec::new(),
            cells: BTreeMap::new(),
            presence: BTreeMap::new(),
        };
        let report = logs.read(
            |batch| read_batch(batch, reader, settings.outcomes, measure),
            |part| -> Result<(), LogsError> {
                builder.add(part);
                Ok(())
            },
            watch,
        )?;
        let Builder {
            filter,
            words,
            mut cells,
            mut presence,
            ..
        } = builder;
        if cells.is_empty() {
            return Err(EffectsError::NoData {
                what: format!(
                    "no row holds a response to read words from{}",
                    why_nothing(&report)
                ),
            });
        }
        // Alphabetical numbers: nothing depends on how rows were divided into batches.
        let mut order: Vec<u32> = (0..words.len() as u32).collect();
        order.par_sort_unstable_by(|a, b| words[*a as usize].cmp(&words[*b as usize]));
        let mut rank = vec![0; words.len()];
        for (place, &word) in order.iter().enumerate() {
            rank[word as usize] = place as u32;
        }
        cells.par_iter_mut().for_each(|(_, cell)| cell.settle(&rank));
        for condition in presence.values_mut() {
            condition.words.resize(words.len(), Presence::default());
            condition.words = order.iter().map(|&word| condition.words[word as usize]).collect();
        }
        let mut texts: Vec<Option<String>> = words.into_iter().map(Some).collect();
        let words = order
            .iter()
            .map(|&word| texts[word as usize].take().unwrap_or_default())
            .collect();
        Ok(Self {
            words,
            cells,
            presence,
            repeats: filter.finish()?,
            source: settings.outcomes.name(),
            report,
        })
    }

    /// All trials that count.
    pub fn responses(&self) -> u64 {
        self.cells.values().map(|cell| cell.responses).sum()
    }
}
