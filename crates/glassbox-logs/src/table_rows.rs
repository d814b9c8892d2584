//! Rows of glassbox's own tables to records.

use std::borrow::Cow;
use std::path::Path;

use glassbox_store::{Row, StoreError, TableReader};

use crate::tables::{LogTrialRow, RunTrialRow};
use crate::{Arm, Batch, Condition, FeatureId, Layout, Outcome, Place, RecordedOutcome, TrialRecord};

/// A table of trials, read in batches.
pub(crate) enum TrialTable {
    Run(TableReader<RunTrialRow>),
    Imported(TableReader<LogTrialRow>),
}

/// Rows of a table that are not records yet.
#[derive(Debug)]
pub(crate) enum TableBatch {
    Run(Vec<RunTrialRow>),
    Imported(Vec<LogTrialRow>),
}

impl TrialTable {
    /// Opens a table of trials; `None` for a table of another kind.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Option<Self>, StoreError> {
        Ok(if name == RunTrialRow::TABLE {
            Some(Self::Run(TableReader::open(path)?))
        } else if name == LogTrialRow::TABLE {
            Some(Self::Imported(TableReader::open(path)?))
        } else {
            None
        })
    }

    pub(crate) fn next_rows(&mut self) -> Option<Result<TableBatch, StoreError>> {
        match self {
            Self::Run(reader) => Some(reader.next()?.map(TableBatch::Run)),
            Self::Imported(reader) => Some(reader.next()?.map(TableBatch::Imported)),
        }
    }
}

impl TableBatch {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Run(rows) => rows.len(),
            Self::Imported(rows) => rows.len(),
        }
    }

    /// The records, borrowing the rows' text. `first` is the number of the first row.
    pub(crate) fn read<'a>(&'a self, file: u32, first: u64, batch: &mut Batch<'a>) {
        let place = |row: usize| Place {
            file,
            row: first + row as u64,
            offset: None,
        };
        let layout = match self {
            Self::Run(rows) => {
                let records = rows
                    .iter()
                    .enumerate()
                    .map(|(row, trial)| run_trial(trial, place(row)));
                batch.trials.extend(records);
                Layout::RunTrials
            }
            Self::Imported(rows) => {
                let records = rows
                    .iter()
                    .enumerate()
                    .map(|(row, trial)| imported_trial(trial, place(row)));
                batch.trials.extend(records);
                Layout::ImportedTrials
            }
        };
        *batch.layouts.entry(layout).or_default() += self.len() as u64;
    }
}

fn feature(layer: Option<u32>, feature: Option<u32>) -> Option<FeatureId> {
    Some(FeatureId {
        layer: layer?,
        feature: feature?,
    })
}

fn run_trial(row: &RunTrialRow, place: Place) -> TrialRecord<'_> {
    TrialRecord {
        feature: feature(row.layer, row.feature),
        condition: Condition {
            prompt_type: Some(Cow::Borrowed(&row.family)),
            arm: Arm::parse(Cow::Borrowed(&row.arm)),
        },
        condition_name: None,
        scale: None,
        prompt_id: Some(Cow::Borrowed(&row.prompt_id)),
        trial: Some(u64::from(row.trial)),
        attempt: None,
        matched_feature: feature(row.layer, row.matched_feature),
        response: Cow::Borrowed(&row.text),
        recorded: Some(RecordedOutcome {
            outcome: Outcome::from_label(Cow::Borrowed(&row.outcome), row.amount),
            valid: None,
            method: None,
        }),
        place,
    }
}

fn imported_trial(row: &LogTrialRow, place: Place) -> TrialRecord<'_> {
    TrialRecord {
        feature: feature(row.layer, row.feature),
        condition: Condition {
            prompt_type: row.prompt_type.as_deref().map(Cow::Borrowed),
            arm: Arm::parse(Cow::Borrowed(&row.arm)),
        },
        condition_name: row.condition.as_deref().map(Cow::Borrowed),
        scale: row.scale,
        prompt_id: row.prompt_id.as_deref().map(Cow::Borrowed),
        trial: row.trial,
        attempt: row.attempt,
        matched_feature: feature(row.matched_layer, row.matched_feature),
        response: Cow::Borrowed(&row.text),
        recorded: row.outcome.as_deref().map(|label| RecordedOutcome {
            outcome: Outcome::from_label(Cow::Borrowed(label), row.amount),
            valid: row.valid,
            method: row.method.as_deref().map(Cow::Borrowed),
        }),
        place,
    }
}
