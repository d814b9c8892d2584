//! Reads all rows of all files, in constant memory, on all threads.
//!
//! One thread cuts the text into batches of rows; all threads parse batches and make of each what the caller wants; the results
//! are handed over one after another in the order of the files. Nothing depends on the number of threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use glassbox_store::preview_table;
use rayon::prelude::*;

use crate::json_row::read_row;
use crate::log_file::{Contents, FoundFiles, find_files, open_contents};
use crate::row_splitter::{RawBatch, RawRow, RowSplitter};
use crate::table_rows::{LogTable, TableBatch};
use crate::text_buffer::TextBuffer;
use crate::trial_row::LastNames;
use crate::{
    AggregateRecord, Batch, FeatureRecord, FileReport, LogFile, LogsError, Place, ProblemKind, ReadLimits,
    ReadReport, ReportedNumber, RowProblem, TextForm, TrialRecord,
};

/// Watches a reading, and may stop it.
pub trait ReadWatch: Sync {
    /// So many further bytes of the files were read.
    fn advanced(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether to stop.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Default)]
pub struct Unwatched;

impl ReadWatch for Unwatched {}

/// The files of some logs.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log.jsonl");
/// # std::fs::write(&path, r#"{"feature": "L9-456", "condition": "safe_baseline", "trial": 0, "response": "2"}"#)?;
/// use glassbox_logs::{Logs, Unwatched};
///
/// let logs = Logs::find(&[path])?;
/// let mut stops = 0;
/// let report = logs.read(
///     // On any thread: what is wanted of a batch.
///     |batch| batch.trials.iter().filter(|trial| trial.response.starts_with('2')).count(),
///     // On one thread at a time, in the order of the files.
///     |count| { stops += count; Ok(()) },
///     &Unwatched,
/// )?;
/// assert_eq!((stops, report.trials()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Logs {
    found: FoundFiles,
    limits: ReadLimits,
}

/// All records of logs that fit into memory.
#[derive(Debug, Default)]
pub struct Collected {
    /// Trials.
    pub trials: Vec<TrialRecord<'static>>,
    /// Features.
    pub features: Vec<FeatureRecord>,
    /// Counted cells.
    pub aggregates: Vec<AggregateRecord>,
    /// Numbers stated for features.
    pub reported: Vec<ReportedNumber>,
    /// Rows and files that cannot be used.
    pub problems: Vec<RowProblem>,
    /// What became of every file.
    pub report: ReadReport,
}

impl Logs {
    /// Finds the files of some paths. Folders are searched with all folders in them, in the order of names; of a glassbox run,
    /// the trials are read. Paths that are not there are reported by [`Logs::read`].
    ///
    /// # Errors
    /// [`LogsError::NoFiles`] if there is no file at all.
    pub fn find(paths: &[PathBuf]) -> Result<Self, LogsError> {
        let found = find_files(paths);
        if found.files.is_empty() {
            let mut what: Vec<String> = found
                .absent
                .iter()
                .map(|(path, reason)| format!("{}: {reason}", path.display()))
                .collect();
            if let Some(first) = found.passed_over.first() {
                what.push(format!("{} has no name of a log", first.display()));
            }
            if paths.is_empty() {
                what.push("no path was given".to_owned());
            }
            return Err(LogsError::NoFiles { what });
        }
        Ok(Self {
            found,
            limits: ReadLimits::default(),
        })
    }

    /// The same files, read with other limits.
    pub fn with_limits(mut self, limits: ReadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The files, in the order of reading. [`Place::file`] is an index into them.
    pub fn files(&self) -> &[LogFile] {
        &self.found.files
    }

    /// Bytes of all files on disk.
    pub fn bytes(&self) -> u64 {
        self.found.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads everything. `map` makes of each batch what is wanted, on any thread; `fold` takes what it made, one after another in
    /// the order of the files and rows. How rows are divided into batches is not fixed; their order is.
    ///
    /// Rows and files that cannot be used are problems of a batch and do not end the reading.
    ///
    /// # Errors
    /// [`LogsError::Stopped`] if the watch asks for it, and the errors of `fold`.
    pub fn read<T: Send>(
        &self,
        map: impl Fn(&Batch<'_>) -> T + Sync,
        mut fold: impl FnMut(T) -> Result<(), LogsError> + Send,
        watch: &dyn ReadWatch,
    ) -> Result<ReadReport, LogsError> {
        let read = Arc::new(AtomicU64::new(0));
        let mut feed = Feed {
            files: &self.found.files,
            next: 0,
            current: None,
            limits: self.limits,
            read: read.clone(),
            spares: Vec::new(),
        };
        let mut report = ReadReport {
            files: self
                .found
                .files
                .iter()
                .map(|file| FileReport {
                    path: file.path.clone(),
                    bytes: file.bytes,
                    ..FileReport::default()
                })
                .collect(),
            absent: self.found.absent.clone(),
            passed_over: self.found.passed_over.clone(),
        };
        let group = 2 * rayon::current_num_threads();
        let mut work = feed.next_group(group);
        let mut done: Vec<(FileReport, u32, T)> = Vec::new();
        let mut told = 0;
        while !work.is_empty() || !done.is_empty() {
            if watch.should_stop() {
                return Err(LogsError::Stopped {
                    read: told,
                    total: self.bytes(),
                });
            }
            let ((folded, next), mapped) = rayon::join(
                || {
                    let mut folded = Ok(());
                    for (counts, file, part) in done.drain(..) {
                        if let Some(total) = report.files.get_mut(file as usize) {
                            total.add(&counts);
                        }
                        folded = folded.and_then(|()| fold(part));
                    }
                    (folded, feed.next_group(group))
                },
                || {
                    work.par_iter()
                        .map(|unit| {
                            let batch = unit.batch();
                            (unit.counts(&batch), unit.file, map(&batch))
                        })
                        .collect::<Vec<_>>()
                },
            );
            folded?;
            done = mapped;
            feed.reuse(std::mem::replace(&mut work, next));
            let now = read.load(Ordering::Relaxed);
            watch.advanced(now - told);
            told = now;
        }
        Ok(report)
    }

    /// Reads everything into memory: for small logs.
    ///
    /// # Errors
    /// As [`Logs::read`].
    pub fn collect(&self) -> Result<Collected, LogsError> {
        let mut all = Collected::default();
        let report = self.read(
            |batch| Collected {
                trials: batch
                    .trials
                    .iter()
                    .map(|trial| trial.clone().into_owned())
                    .collect(),
                features: batch.features.clone(),
                aggregates: batch.aggregates.clone(),
                reported: batch.reported.clone(),
                problems: batch.problems.clone(),
                report: ReadReport::default(),
            },
            |part| {
                all.trials.extend(part.trials);
                all.features.extend(part.features);
                all.aggregates.extend(part.aggregates);
                all.reported.extend(part.reported);
                all.problems.extend(part.problems);
                Ok(())
            },
            &Unwatched,
        )?;
        all.report = report;
        Ok(all)
    }
}

impl FileReport {
    fn add(&mut self, more: &Self) {
        self.form = more.form.or(self.form);
        self.rows += more.rows;
        self.trials += more.trials;
        self.features += more.features;
        self.aggregates += more.aggregates;
        self.unusable += more.unusable;
        let room = Self::KEPT_PROBLEMS.saturating_sub(self.first_problems.len());
        self.first_problems
            .extend(more.first_problems.iter().take(room).cloned());
        self.repaired += more.repaired;
        for (layout, rows) in &more.layouts {
            *self.layouts.entry(*layout).or_default() += rows;
        }
    }
}

/// Rows that wait to be parsed.
struct Unit {
    file: u32,
    form: Option<TextForm>,
    rows: UnitRows,
}

enum UnitRows {
    Text(RawBatch),
    Table { first: u64, rows: TableBatch },
    Problem(RowProblem),
}

impl Unit {
    fn batch(&self) -> Batch<'_> {
        let mut batch = Batch {
            file: self.file,
            ..Batch::default()
        };
        match &self.rows {
            UnitRows::Problem(problem) => batch.problems.push(problem.clone()),
            UnitRows::Table { first, rows } => {
                batch.rows = rows.len() as u64;
                rows.read(self.file, *first, &mut batch);
            }
            UnitRows::Text(raw) => {
                // Checked at once for all rows, of which nearly all are good.
                let text = std::str::from_utf8(&raw.bytes).ok();
                let mut names = LastNames::default();
                batch.trials.reserve(raw.rows.len());
                for row in &raw.rows {
                    batch.rows += 1;
                    match row {
                        RawRow::Problem(problem) => batch.problems.push(problem.clone()),
                        RawRow::Text { row, start, end } => {
                            let place = Place {
                                file: self.file,
                                row: *row,
                                offset: Some(raw.offset + *start as u64),
                            };
                            let text = text.and_then(|text| text.get(*start..*end));
                            read_row(&raw.bytes[*start..*end], text, place, &mut names, &mut batch);
                        }
                    }
                }
            }
        }
        batch
    }

    fn counts(&self, batch: &Batch<'_>) -> FileReport {
        FileReport {
            path: PathBuf::new(),
            bytes: 0,
            form: self.form,
            rows: batch.rows,
            layouts: batch.layouts.clone(),
            trials: batch.trials.len() as u64,
            features: batch.features.len() as u64,
            aggregates: batch.aggregates.len() as u64,
            unusable: batch.problems.len() as u64,
            first_problems: batch
                .problems
                .iter()
                .take(FileReport::KEPT_PROBLEMS)
                .cloned()
                .collect(),
            repaired: batch.repaired,
        }
    }
}

/// Gives the rows of one file after another.
struct Feed<'a> {
    files: &'a [LogFile],
    next: usize,
    current: Option<Open>,
    limits: ReadLimits,
    read: Arc<AtomicU64>,
    /// Memory of rows that are done.
    spares: Vec<Vec<u8>>,
}

enum Open {
    Text(Box<RowSplitter>),
    Table { table: LogTable, rows: u64 },
}

impl Feed<'_> {
    /// Keeps the memory of rows that are done: fresh memory would be cleared first.
    fn reuse(&mut self, done: Vec<Unit>) {
        for unit in done {
            if let UnitRows::Text(raw) = unit.rows {
                let room = raw.bytes.into_room();
                match &mut self.current {
                    Some(Open::Text(splitter)) => splitter.spare(room),
                    _ => self.spares.push(room),
                }
            }
        }
    }

    fn next_group(&mut self, count: usize) -> Vec<Unit> {
        let mut group = Vec::with_capacity(count);
        while group.len() < count {
            match self.next_unit() {
                Some(unit) => group.push(unit),
                None => break,
            }
        }
        group
    }

    fn next_unit(&mut self) -> Option<Unit> {
        loop {
            if self.current.is_none() {
                let number = u32::try_from(self.next).ok()?;
                let file = self.files.get(self.next)?;
                self.next += 1;
                let spares = std::mem::take(&mut self.spares);
                match open(file, number, self.limits, self.read.clone(), spares) {
                    Ok(open) => self.current = Some(open),
                    Err(problem) => {
                        return Some(Unit {
                            file: number,
                            form: None,
                            rows: UnitRows::Problem(problem),
                        });
                    }
                }
            }
            let file = u32::try_from(self.next.saturating_sub(1)).ok()?;
            match self.current.as_mut()? {
                Open::Text(splitter) => {
                    let form = Some(splitter.form());
                    if let Some(raw) = splitter.next_batch() {
                        let rows = UnitRows::Text(raw);
                        return Some(Unit { file, form, rows });
                    }
                }
                Open::Table { table, rows } => match table.next_rows() {
                    Some(Ok(batch)) => {
                        let first = *rows + 1;
                        *rows += batch.len() as u64;
                        let rows = UnitRows::Table { first, rows: batch };
                        return Some(Unit {
                            file,
                            form: None,
                            rows,
                        });
                    }
                    Some(Err(error)) => {
                        self.current = None;
                        let problem = RowProblem::of_file(file, ProblemKind::Unreadable, error.to_string());
                        let rows = UnitRows::Problem(problem);
                        return Some(Unit {
                            file,
                            form: None,
                            rows,
                        });
                    }
                    None => {}
                },
            }
            if let Some(Open::Text(splitter)) = self.current.take() {
                self.spares = splitter.into_spares();
            }
        }
    }
}

fn open(
    file: &LogFile,
    number: u32,
    limits: ReadLimits,
    read: Arc<AtomicU64>,
    spares: Vec<Vec<u8>>,
) -> Result<Open, RowProblem> {
    match open_contents(file, number, read.clone())? {
        Contents::Text(reader) => {
            let text = TextBuffer::new(reader, limits.batch_bytes, spares);
            RowSplitter::new(text, number, limits).map(|splitter| Open::Text(Box::new(splitter)))
        }
        Contents::Parquet => {
            let unreadable = |error: glassbox_store::StoreError| {
                RowProblem::of_file(number, ProblemKind::Unreadable, error.to_string())
            };
            read.fetch_add(file.bytes.saturating_sub(4), Ordering::Relaxed);
            let name = preview_table(&file.path, 0).map_err(unreadable)?.table;
            let table = match &name {
                Some(name) => LogTable::open(&file.path, name).map_err(unreadable)?,
                None => None,
            };
            table.map(|table| Open::Table { table, rows: 0 }).ok_or_else(|| {
                let name = name.map_or("of another program".to_owned(), |name| format!("`{name}`"));
                let what = format!("a Parquet table {name}; tables of trials and those that `glassbox import` writes can be read");
                RowProblem::of_file(number, ProblemKind::UnknownLayout, what)
            })
        }
    }
}
