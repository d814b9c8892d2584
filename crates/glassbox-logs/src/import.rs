//! Logs to glassbox's own tables.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use glassbox_outcome::Parser;
use glassbox_store::{Row, Storage, StoreError, TableWriter, write_json};
use serde::Serialize;

use crate::{
    AggregateRecord, Batch, Cell, FeatureRecord, LogAggregateRow, LogFeatureRow, LogNumberRow, LogProblemRow,
    LogTrialRow, Logs, LogsError, Place, ReadReport, ReadWatch, ReportedNumber, RowProblem, TrialRecord,
};

/// What an import did, as JSON in the folder of its tables.
pub const IMPORT_FILE: &str = "import.json";
const TRIALS_TABLE: &str = "trials.parquet";
const FEATURES_TABLE: &str = "features.parquet";
const AGGREGATES_TABLE: &str = "aggregates.parquet";
const NUMBERS_TABLE: &str = "numbers.parquet";
pub(crate) const PROBLEMS_TABLE: &str = "problems.parquet";

/// What an import wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportSummary {
    /// The folder.
    pub out: PathBuf,
    /// Trials, repeats included.
    pub trials: u64,
    /// Of these, trials that came before.
    pub repeats: u64,
    /// Features of lists.
    pub features: u64,
    /// Counted cells.
    pub aggregates: u64,
    /// Numbers stated for features.
    pub numbers: u64,
    /// Rows and files that cannot be used; `problems.parquet` lists them.
    pub problems: u64,
    /// Parser of the outcomes as name@version; `None`: as the log states them.
    pub parser: Option<String>,
    /// Hash of that parser's rules.
    pub parser_hash: Option<String>,
    /// The tables that were written.
    pub tables: Vec<String>,
    /// What became of every file.
    pub read: ReadReport,
}

/// Writes everything that logs hold as tables into a new or empty folder; a table without rows is not written. With a parser the
/// outcomes are read from the responses, else they are what the log states. Repeats are kept and marked.
///
/// # Errors
/// [`LogsError::NotEmpty`], those of [`Logs::read`], and those of the store. No table appears unless it is whole.
pub fn import(
    logs: &Logs,
    out: &Path,
    parser: Option<&Parser>,
    storage: &Storage,
    watch: &dyn ReadWatch,
) -> Result<ImportSummary, LogsError> {
    make_folder(out)?;
    let names: Vec<String> = logs
        .files()
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    let mut tables = Tables {
        out,
        storage,
        names: &names,
        trials: None,
        features: None,
        aggregates: None,
        numbers: None,
        problems: None,
        cells: HashMap::new(),
        seen: HashSet::new(),
        repeats: 0,
    };
    let read = logs.read(
        |batch| Part::new(batch, parser, &names),
        |part| tables.add(part),
        watch,
    )?;
    for (path, reason) in &read.absent {
        tables.problem(LogProblemRow {
            file: path.display().to_string(),
            row: 0,
            offset: None,
            kind: crate::ProblemKind::Absent.name().to_owned(),
            what: reason.clone(),
        })?;
    }
    let summary = tables.finish(read, parser)?;
    write_json(storage, &out.join(IMPORT_FILE), &summary)?;
    Ok(summary)
}

fn make_folder(out: &Path) -> Result<(), LogsError> {
    let failed = |cause| LogsError::Store(StoreError::from_write(out, cause));
    std::fs::create_dir_all(out).map_err(failed)?;
    if std::fs::read_dir(out).map_err(failed)?.next().is_some() {
        return Err(LogsError::NotEmpty {
            path: out.to_path_buf(),
        });
    }
    Ok(())
}

/// The rows of one batch.
struct Part {
    trials: Vec<(LogTrialRow, Cell)>,
    features: Vec<LogFeatureRow>,
    aggregates: Vec<LogAggregateRow>,
    numbers: Vec<LogNumberRow>,
    problems: Vec<RowProblem>,
}

impl Part {
    fn new(batch: &Batch<'_>, parser: Option<&Parser>, names: &[String]) -> Self {
        let name = |place: Place| names.get(place.file as usize).cloned().unwrap_or_default();
        Self {
            trials: batch
                .trials
                .iter()
                .map(|trial| (trial_row(trial, parser, name(trial.place)), Cell::of(trial)))
                .collect(),
            features: batch
                .features
                .iter()
                .map(|record| feature_row(record, name(record.place)))
                .collect(),
            aggregates: batch
                .aggregates
                .iter()
                .map(|record| aggregate_row(record, name(record.place)))
                .collect(),
            numbers: batch
                .reported
                .iter()
                .map(|record| number_row(record, name(record.place)))
                .collect(),
            problems: batch.problems.clone(),
        }
    }
}

struct Tables<'a> {
    out: &'a Path,
    storage: &'a Storage,
    names: &'a [String],
    trials: Option<TableWriter<LogTrialRow>>,
    features: Option<TableWriter<LogFeatureRow>>,
    aggregates: Option<TableWriter<LogAggregateRow>>,
    numbers: Option<TableWriter<LogNumberRow>>,
    problems: Option<TableWriter<LogProblemRow>>,
    cells: HashMap<Cell, u32>,
    seen: HashSet<(u32, u64, Option<u64>)>,
    repeats: u64,
}

impl Tables<'_> {
    fn add(&mut self, part: Part) -> Result<(), LogsError> {
        for (mut row, cell) in part.trials {
            if let Some(trial) = row.trial {
                let next = self.cells.len() as u32;
                let cell = *self.cells.entry(cell).or_insert(next);
                row.is_repeat = !self.seen.insert((cell, trial, row.attempt));
                self.repeats += u64::from(row.is_repeat);
            }
            push(&mut self.trials, row, self.storage, self.out, TRIALS_TABLE)?;
        }
        for row in part.features {
            push(&mut self.features, row, self.storage, self.out, FEATURES_TABLE)?;
        }
        for row in part.aggregates {
            push(
                &mut self.aggregates,
                row,
                self.storage,
                self.out,
                AGGREGATES_TABLE,
            )?;
        }
        for row in part.numbers {
            push(&mut self.numbers, row, self.storage, self.out, NUMBERS_TABLE)?;
        }
        for problem in part.problems {
            let file = self
                .names
                .get(problem.place.file as usize)
                .cloned()
                .unwrap_or_default();
            self.problem(LogProblemRow {
                file,
                row: problem.place.row,
                offset: problem.place.offset,
                kind: problem.kind.name().to_owned(),
                what: problem.what,
            })?;
        }
        Ok(())
    }

    fn problem(&mut self, row: LogProblemRow) -> Result<(), LogsError> {
        push(&mut self.problems, row, self.storage, self.out, PROBLEMS_TABLE)
    }

    fn finish(self, read: ReadReport, parser: Option<&Parser>) -> Result<ImportSummary, LogsError> {
        let mut tables = Vec::new();
        let mut finish = |rows: Result<Option<u64>, StoreError>, name: &str| {
            rows.map(|rows| {
                if rows.is_some() {
                    tables.push(name.to_owned());
                }
                rows.unwrap_or(0)
            })
        };
        Ok(ImportSummary {
            out: self.out.to_path_buf(),
            trials: finish(rows_of(self.trials), TRIALS_TABLE)?,
            repeats: self.repeats,
            features: finish(rows_of(self.features), FEATURES_TABLE)?,
            aggregates: finish(rows_of(self.aggregates), AGGREGATES_TABLE)?,
            numbers: finish(rows_of(self.numbers), NUMBERS_TABLE)?,
            problems: finish(rows_of(self.problems), PROBLEMS_TABLE)?,
            parser: parser.map(Parser::id),
            parser_hash: parser.map(|parser| parser.hash().to_owned()),
            tables,
            read,
        })
    }
}

fn rows_of<R: Row>(writer: Option<TableWriter<R>>) -> Result<Option<u64>, StoreError> {
    writer
        .map(|writer| writer.finish().map(|written| written.rows))
        .transpose()
}

/// Adds a row, beginning the table with the first one.
fn push<R: Row>(
    writer: &mut Option<TableWriter<R>>,
    row: R,
    storage: &Storage,
    out: &Path,
    name: &str,
) -> Result<(), LogsError> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(TableWriter::create(storage, &out.join(name))?),
    };
    Ok(writer.push(row)?)
}

fn trial_row(trial: &TrialRecord<'_>, parser: Option<&Parser>, source_file: String) -> LogTrialRow {
    let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let recorded = trial.recorded.as_ref();
    let parsed = parser.map(|parser| parser.parse(&trial.response, trial.condition.prompt_type.as_deref()));
    let (outcome, amount, valid) = match &parsed {
        Some(read) => (Some(read.label.to_owned()), read.amount, Some(read.valid)),
        None => (
            recorded.map(|recorded| recorded.outcome.label().to_owned()),
            recorded.and_then(|recorded| recorded.outcome.amount()),
            recorded.and_then(|recorded| recorded.valid),
        ),
    };
    LogTrialRow {
        layer: trial.feature.map(|id| id.layer),
        feature: trial.feature.map(|id| id.feature),
        prompt_type: owned(&trial.condition.prompt_type),
        arm: trial.condition.arm.name().to_owned(),
        condition: owned(&trial.condition_name),
        scale: trial.scale,
        prompt_id: owned(&trial.prompt_id),
        trial: trial.trial,
        attempt: trial.attempt,
        matched_layer: trial.matched_feature.map(|id| id.layer),
        matched_feature: trial.matched_feature.map(|id| id.feature),
        text: trial.response.clone().into_owned(),
        outcome,
        amount,
        valid,
        method: recorded.and_then(|recorded| owned(&recorded.method)),
        parser: parser.map(Parser::id),
        parser_hash: parser.map(|parser| parser.hash().to_owned()),
        is_repeat: false,
        source_file,
        source_row: trial.place.row,
        source_offset: trial.place.offset,
    }
}

fn feature_row(record: &FeatureRecord, source_file: String) -> LogFeatureRow {
    let measures = &record.measures;
    LogFeatureRow {
        layer: record.feature.layer,
        feature: record.feature.feature,
        mean_a: measures.mean_a,
        mean_b: measures.mean_b,
        sd_a: measures.sd_a,
        sd_b: measures.sd_b,
        n_a: measures.n_a,
        n_b: measures.n_b,
        cohen_d: measures.cohen_d,
        p: measures.p,
        class: measures.class.clone(),
        causal: measures.causal,
        source_file,
        source_row: record.place.row,
    }
}

fn aggregate_row(record: &AggregateRecord, source_file: String) -> LogAggregateRow {
    LogAggregateRow {
        layer: record.feature.map(|id| id.layer),
        feature: record.feature.map(|id| id.feature),
        prompt_type: record.condition.prompt_type.as_deref().map(str::to_owned),
        arm: record.condition.arm.name().to_owned(),
        trials: record.trials,
        stop_count: record.stop.count,
        stop_rate: record.stop.rate,
        high_risk_count: record.high_risk.count,
        high_risk_rate: record.high_risk.rate,
        bankruptcy_count: record.bankruptcy.count,
        bankruptcy_rate: record.bankruptcy.rate,
        mean_amount: record.mean_amount,
        amounts: record.amounts.clone(),
        source_file,
        source_row: record.place.row,
    }
}

fn number_row(record: &ReportedNumber, source_file: String) -> LogNumberRow {
    LogNumberRow {
        layer: record.feature.layer,
        feature: record.feature.feature,
        measure: record.measure.clone(),
        value: record.value,
        source_file,
        source_row: record.place.row,
    }
}
