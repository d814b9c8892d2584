//! Rows of glassbox's own tables to records.

use std::borrow::Cow;
use std::path::Path;

use glassbox_store::{Row, StoreError, TableReader};

use crate::tables::{LogAggregateRow, LogFeatureRow, LogNumberRow, LogTrialRow, RunTrialRow};
use crate::{
    AggregateRecord, Arm, Batch, Condition, FeatureId, FeatureMeasures, FeatureRecord, Layout, Outcome,
    Place, RecordedOutcome, ReportedNumber, Share, TrialRecord,
};

/// A table of one of the kinds that logs are read from, in batches.
pub(crate) enum LogTable {
    Run(TableReader<RunTrialRow>),
    Trials(TableReader<LogTrialRow>),
    Features(TableReader<LogFeatureRow>),
    Aggregates(TableReader<LogAggregateRow>),
    Numbers(TableReader<LogNumberRow>),
}

/// Rows of a table that are not records yet.
#[derive(Debug)]
pub(crate) enum TableBatch {
    Run(Vec<RunTrialRow>),
    Trials(Vec<LogTrialRow>),
    Features(Vec<LogFeatureRow>),
    Aggregates(Vec<LogAggregateRow>),
    Numbers(Vec<LogNumberRow>),
}

impl LogTable {
    /// Opens a table by the name that it has in itself; `None` for a table of another kind.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Option<Self>, StoreError> {
        Ok(Some(match name {
            RunTrialRow::TABLE => Self::Run(TableReader::open(path)?),
            LogTrialRow::TABLE => Self::Trials(TableReader::open(path)?),
            LogFeatureRow::TABLE => Self::Features(TableReader::open(path)?),
            LogAggregateRow::TABLE => Self::Aggregates(TableReader::open(path)?),
            LogNumberRow::TABLE => Self::Numbers(TableReader::open(path)?),
            _ => return Ok(None),
        }))
    }

    pub(crate) fn next_rows(&mut self) -> Option<Result<TableBatch, StoreError>> {
        Some(match self {
            Self::Run(reader) => reader.next()?.map(TableBatch::Run),
            Self::Trials(reader) => reader.next()?.map(TableBatch::Trials),
            Self::Features(reader) => reader.next()?.map(TableBatch::Features),
            Self::Aggregates(reader) => reader.next()?.map(TableBatch::Aggregates),
            Self::Numbers(reader) => reader.next()?.map(TableBatch::Numbers),
        })
    }
}

impl TableBatch {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Run(rows) => rows.len(),
            Self::Trials(rows) => rows.len(),
            Self::Features(rows) => rows.len(),
            Self::Aggregates(rows) => rows.len(),
            Self::Numbers(rows) => rows.len(),
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
                batch.trials.extend(placed(rows, place).map(run_trial));
                Layout::RunTrials
            }
            Self::Trials(rows) => {
                batch.trials.extend(placed(rows, place).map(imported_trial));
                Layout::ImportedTrials
            }
            Self::Features(rows) => {
                batch.features.extend(placed(rows, place).map(imported_feature));
                Layout::FeatureRows
            }
            Self::Aggregates(rows) => {
                batch
                    .aggregates
                    .extend(placed(rows, place).map(imported_aggregate));
                Layout::ConditionMetrics
            }
            Self::Numbers(rows) => {
                batch.reported.extend(placed(rows, place).map(imported_number));
                Layout::FeatureNumbers
            }
        };
        *batch.layouts.entry(layout).or_default() += self.len() as u64;
    }
}

fn placed<R>(rows: &[R], place: impl Fn(usize) -> Place) -> impl Iterator<Item = (&R, Place)> {
    rows.iter()
        .enumerate()
        .map(move |(number, row)| (row, place(number)))
}

fn feature(layer: Option<u32>, feature: Option<u32>) -> Option<FeatureId> {
    Some(FeatureId {
        layer: layer?,
        feature: feature?,
    })
}

fn run_trial((row, place): (&RunTrialRow, Place)) -> TrialRecord<'_> {
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

fn imported_trial((row, place): (&LogTrialRow, Place)) -> TrialRecord<'_> {
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

fn imported_feature((row, place): (&LogFeatureRow, Place)) -> FeatureRecord {
    FeatureRecord {
        feature: FeatureId {
            layer: row.layer,
            feature: row.feature,
        },
        measures: FeatureMeasures {
            mean_a: row.mean_a,
            mean_b: row.mean_b,
            sd_a: row.sd_a,
            sd_b: row.sd_b,
            n_a: row.n_a,
            n_b: row.n_b,
            cohen_d: row.cohen_d,
            p: row.p,
            class: row.class.clone(),
            causal: row.causal,
        },
        place,
    }
}

fn imported_aggregate((row, place): (&LogAggregateRow, Place)) -> AggregateRecord {
    AggregateRecord {
        feature: feature(row.layer, row.feature),
        condition: Condition {
            prompt_type: row.prompt_type.clone().map(Cow::Owned),
            arm: Arm::parse(Cow::Owned(row.arm.clone())),
        },
        trials: row.trials,
        stop: share(row.stop_count, row.stop_rate),
        high_risk: share(row.high_risk_count, row.high_risk_rate),
        bankruptcy: share(row.bankruptcy_count, row.bankruptcy_rate),
        mean_amount: row.mean_amount,
        amounts: row.amounts.clone(),
        place,
    }
}

fn share(count: Option<u64>, rate: Option<f64>) -> Share {
    Share { count, rate }
}

fn imported_number((row, place): (&LogNumberRow, Place)) -> ReportedNumber {
    ReportedNumber {
        feature: FeatureId {
            layer: row.layer,
            feature: row.feature,
        },
        measure: row.measure.clone(),
        value: row.value,
        place,
    }
}
