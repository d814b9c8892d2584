//! All cells of some logs, counted in one pass.

use std::collections::BTreeMap;

use glassbox_logs::{
    AggregateRecord, Arm, BET_LABEL, Batch, FeatureId, Logs, LogsError, ReadReport, ReadWatch,
    ReportedNumber, STOP_LABEL, TrialIndex, UNKNOWN_LABEL,
};
use rustc_hash::FxHashMap;

use crate::cell::CellKey;
use crate::outcomes::SourceName;
use crate::repeats::{RepeatFilter, TrialIdentity};
use crate::tally::Counted;
use crate::unread::why_nothing;
use crate::{Attempts, EffectsError, OutcomeSource, RepeatCounts, Repeats, Tally};

/// How trials are read and counted.
#[derive(Clone, Copy, Debug)]
pub struct CountSettings<'p> {
    /// Where outcomes come from.
    pub outcomes: OutcomeSource<'p>,
    /// Which rows of repeated trials count.
    pub repeats: Repeats,
    /// Which attempts count.
    pub attempts: Attempts,
}

/// All cells of some logs.
#[derive(Debug)]
pub struct Cells {
    /// The outcomes of every cell.
    pub tallies: BTreeMap<CellKey, Tally>,
    /// Numbers that files state for features, without counts.
    pub reported: Vec<ReportedNumber>,
    /// What became of repeated trials.
    pub repeats: RepeatCounts,
    /// Where outcomes came from.
    pub source: SourceName,
    /// Cells that came counted.
    pub aggregates: u64,
    /// What became of every file.
    pub report: ReadReport,
}

/// What one batch holds, before repeats are taken out.
struct BatchTrials {
    cells: Vec<CellKey>,
    labels: Vec<String>,
    trials: Vec<BatchTrial>,
    aggregates: Vec<AggregateRecord>,
    reported: Vec<ReportedNumber>,
}

struct BatchTrial {
    cell: u32,
    identity: TrialIdentity,
    outcome: BatchOutcome,
}

/// [`Counted`] with labels by number.
#[derive(Clone, Copy)]
enum BatchOutcome {
    Stop,
    Bet(Option<f64>),
    Label(u32),
    Unknown,
}

/// Numbers the cells of a batch. Trials of one cell mostly follow one another.
#[derive(Default)]
pub(crate) struct CellNumbers {
    pub(crate) keys: Vec<CellKey>,
    numbers: FxHashMap<(Option<FeatureId>, u64), Vec<u32>>,
    last: Option<u32>,
}

impl CellNumbers {
    pub(crate) fn number(&mut self, trial: &glassbox_logs::TrialRecord<'_>) -> u32 {
        if let Some(last) = self.last
            && self.keys[last as usize].holds(trial)
        {
            return last;
        }
        let dose = trial.scale.unwrap_or(-1.0).to_bits();
        let candidates = self.numbers.entry((trial.feature, dose)).or_default();
        let found = candidates
            .iter()
            .copied()
            .find(|&number| self.keys[number as usize].holds(trial));
        let number = found.unwrap_or_else(|| {
            let number = self.keys.len() as u32;
            self.keys.push(CellKey::of(trial));
            candidates.push(number);
            number
        });
        self.last = Some(number);
        number
    }
}

fn read_batch(batch: &Batch<'_>, outcomes: OutcomeSource<'_>) -> BatchTrials {
    let mut numbers = CellNumbers::default();
    let mut labels: Vec<String> = Vec::new();
    let trials = batch
        .trials
        .iter()
        .map(|trial| {
            let outcome = match outcomes.read(trial) {
                Counted::Stop => BatchOutcome::Stop,
                Counted::Bet(amount) => BatchOutcome::Bet(amount),
                Counted::Unknown => BatchOutcome::Unknown,
                Counted::Label(label) => {
                    let found = labels.iter().position(|known| known == label);
                    BatchOutcome::Label(found.unwrap_or_else(|| {
                        labels.push(label.to_owned());
                        labels.len() - 1
                    }) as u32)
                }
            };
            BatchTrial {
                cell: numbers.number(trial),
                identity: TrialIdentity::of(trial),
                outcome,
            }
        })
        .collect();
    BatchTrials {
        cells: numbers.keys,
        labels,
        trials,
        aggregates: batch.aggregates.clone(),
        reported: batch.reported.clone(),
    }
}

impl Cells {
    /// Reads logs and counts the outcomes of every cell, in one pass (two for [`Repeats::Last`]). Memory grows with the cells
    /// and with a bit for every trial.
    ///
    /// # Errors
    /// [`EffectsError::Logs`], [`EffectsError::RepeatedTrials`] by the policy, and [`EffectsError::NoData`] if no row holds a trial,
    /// a count or a number of a feature.
    pub fn read(
        logs: &Logs,
        settings: CountSettings<'_>,
        watch: &dyn ReadWatch,
    ) -> Result<Self, EffectsError> {
        let mut filter = RepeatFilter::new(settings.repeats, settings.attempts, logs, watch)?;
        let mut tallies: BTreeMap<CellKey, Tally> = BTreeMap::new();
        let mut reported = Vec::new();
        let mut aggregates = 0;
        let report = logs.read(
            |batch| read_batch(batch, settings.outcomes),
            |part: BatchTrials| -> Result<(), LogsError> {
                let mut counted: Vec<Tally> = vec![Tally::default(); part.cells.len()];
                let numbers = filter.numbers_of(&part.cells);
                for trial in &part.trials {
                    if !filter.keep(numbers[trial.cell as usize], &trial.identity) {
                        continue;
                    }
                    counted[trial.cell as usize].add(match trial.outcome {
                        BatchOutcome::Stop => Counted::Stop,
                        BatchOutcome::Bet(amount) => Counted::Bet(amount),
                        BatchOutcome::Unknown => Counted::Unknown,
                        BatchOutcome::Label(label) => Counted::Label(&part.labels[label as usize]),
                    });
                }
                for (key, tally) in part.cells.into_iter().zip(counted) {
                    tallies.entry(key).or_default().merge(&tally);
                }
                for record in &part.aggregates {
                    tallies
                        .entry(CellKey::of_aggregate(record))
                        .or_default()
                        .add_aggregate(record);
                }
                aggregates += part.aggregates.len() as u64;
                reported.extend(part.reported);
                Ok(())
            },
            watch,
        )?;
        let cells = Self {
            tallies,
            reported,
            repeats: filter.finish()?,
            source: settings.outcomes.name(),
            aggregates,
            report,
        };
        if cells.tallies.is_empty() && cells.reported.is_empty() {
            return Err(EffectsError::NoData {
                what: format!(
                    "no row holds a trial, a counted cell or an effect of a feature{}",
                    why_nothing(&cells.report)
                ),
            });
        }
        Ok(cells)
    }

    /// The cells of an index, by the outcomes of one of its sources.
    pub(crate) fn of_index(index: &TrialIndex, source: usize, repeats: glassbox_logs::Repeats) -> Self {
        let mut tallies: BTreeMap<CellKey, Tally> = BTreeMap::new();
        for (number, cell) in index.cells().iter().enumerate() {
            let tally = tallies.entry(CellKey::of_indexed(cell)).or_default();
            for (_, outcome) in index.counted(number, source, repeats) {
                tally.add(match outcome.label() {
                    UNKNOWN_LABEL => Counted::Unknown,
                    STOP_LABEL => Counted::Stop,
                    BET_LABEL => Counted::Bet(outcome.amount()),
                    other => {
                        Counted::Label(index.labels().get(usize::from(other)).map_or("", String::as_str))
                    }
                });
            }
        }
        Self {
            tallies,
            reported: Vec::new(),
            repeats: RepeatCounts::default(),
            source: SourceName {
                name: "indexed".to_owned(),
                hash: None,
            },
            aggregates: 0,
            report: ReadReport::default(),
        }
    }

    /// All features, in order.
    pub fn features(&self) -> Vec<FeatureId> {
        let mut features: Vec<FeatureId> = self.tallies.keys().filter_map(|key| key.feature).collect();
        features.dedup();
        features
    }

    /// All trials that count.
    pub fn trials(&self) -> u64 {
        self.tallies.values().map(Tally::trials).sum()
    }

    /// Whether some trial was made under an arm.
    pub fn has_arm(&self, arm: &Arm<'_>) -> bool {
        self.tallies.keys().any(|key| key.arm == *arm)
    }
}
