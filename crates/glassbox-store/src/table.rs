//! Tables: structs of documented columns, stored as Parquet.
//!
//! The same rows give the same bytes: the writer's name is fixed, nothing depends on the time or the machine, rows are written in
//! batches of a fixed size, and one thread writes them.

use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::atomic::WriteFailure;
use crate::column::same_type;
use crate::{AtomicFile, Column, ColumnReader, ColumnWriter, Storage, StoreError, WrittenFile};

/// Rows of a row group at most; groups of wide rows end earlier, at about 64 MiB.
pub const ROW_GROUP_ROWS: usize = 1 << 16;
/// Encoded bytes of a row group, about, so that wide rows do not pile up in memory.
const ROW_GROUP_BYTES: usize = 1 << 26;
/// Rows that are turned into columns at a time.
const BATCH_ROWS: usize = 1 << 10;
/// Name of the writer in the file. It has no program version, so that a table's bytes depend on its rows and schema only.
const CREATED_BY: &str = "glassbox-store version 1";
pub(crate) const TABLE_KEY: &str = "glassbox.table";
pub(crate) const VERSION_KEY: &str = "glassbox.schema_version";
pub(crate) const DESCRIPTION_KEY: &str = "glassbox.description";

/// A row of a table. Implement it with [`table!`](crate::table!).
pub trait Row: Sized {
    /// Name of the table.
    const TABLE: &'static str;
    /// Version of its schema; raise it with every change of a column.
    const VERSION: u32;
    /// What a row is.
    const DESCRIPTION: &'static str;

    /// The columns in order.
    fn columns() -> Vec<Column>;
    /// Hands the columns of some rows to the writer.
    ///
    /// # Errors
    /// Those of [`ColumnWriter::push`].
    fn encode(rows: &[Self], columns: &mut ColumnWriter<'_>) -> Result<(), StoreError>;
    /// Builds rows from the columns of a reader.
    ///
    /// # Errors
    /// Those of [`ColumnReader::take`].
    fn decode(columns: &mut ColumnReader<'_>) -> Result<Vec<Self>, StoreError>;
}

/// Declares the row of a table: a struct whose fields are the columns. The doc comments are required and go into the file, where
/// `glassbox inspect` and other Parquet readers find them.
///
/// Field types: `u32`, `u64`, `i64`, `f32`, `f64`, `bool`, `String`, and `Option` or `Vec` of these. `Debug`, `Clone` and `PartialEq` are
/// derived; further derives may be written above the struct. A column is named as its field (`r#type` becomes `type`).
///
/// ```
/// glassbox_store::table! {
///     /// One generation under one arm.
///     #[derive(Default)]
///     pub struct Trial: "trials", version 1 {
///         /// Position of the prompt in the plan.
///         pub prompt: u32,
///         /// Amount bet in dollars; missing if the answer holds no bet.
///         pub bet_dollars: Option<f64>,
///         /// Token ids of the answer.
///         pub tokens: Vec<u32>,
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trials.parquet");
/// let rows = vec![Trial { prompt: 3, bet_dollars: Some(10.0), tokens: vec![5, 8] }, Trial::default()];
/// let written = glassbox_store::write_table(&glassbox_store::Storage::new(), &path, &rows)?;
/// assert_eq!(written.rows, 2);
/// assert_eq!(glassbox_store::read_table::<Trial>(&path)?, rows);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])+
        $(#[derive($($derive:path),* $(,)?)])*
        $visibility:vis struct $row:ident: $table:literal, version $version:literal {
            $(
                $(#[doc = $doc:literal])+
                $field_visibility:vis $field:ident: $type:ty
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Debug, Clone, PartialEq)]
        $(#[derive($($derive),*)])*
        $visibility struct $row {
            $(
                $(#[doc = $doc])+
                $field_visibility $field: $type,
            )+
        }

        impl $crate::Row for $row {
            const TABLE: &'static str = $table;
            const VERSION: u32 = $version;
            const DESCRIPTION: &'static str = concat!($($table_doc, "\n"),+);

            fn columns() -> ::std::vec::Vec<$crate::Column> {
                ::std::vec![$($crate::Column::of::<$type>(stringify!($field), concat!($($doc, "\n"),+)),)+]
            }

            fn encode(rows: &[Self], columns: &mut $crate::ColumnWriter<'_>) -> ::std::result::Result<(), $crate::StoreError> {
                $(columns.push::<$type>(rows.iter().map(|row| &row.$field))?;)+
                Ok(())
            }

            fn decode(
                columns: &mut $crate::ColumnReader<'_>,
            ) -> ::std::result::Result<::std::vec::Vec<Self>, $crate::StoreError> {
                $(let mut $field = columns.take::<$type>()?.into_iter();)+
                let mut rows = ::std::vec::Vec::new();
                while let ($(Some($field),)+) = ($($field.next(),)+) {
                    rows.push(Self { $($field),+ });
                }
                Ok(rows)
            }
        }
    };
}

/// A table that is now complete on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenTable {
    /// Number of rows.
    pub rows: u64,
    /// The file.
    pub file: WrittenFile,
}

/// Writes a table row by row; the file appears when [`TableWriter::finish`] succeeds. Memory does not grow with the number of rows.
pub struct TableWriter<R: Row> {
    writer: ArrowWriter<AtomicFile>,
    path: PathBuf,
    schema: SchemaRef,
    columns: Vec<Column>,
    pending: Vec<R>,
    rows: u64,
    failed: bool,
    failure: WriteFailure,
}

impl<R: Row> TableWriter<R> {
    /// Starts the table at `path`; its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] and [`StoreError::DiskFull`].
    pub fn create(storage: &Storage, path: &Path) -> Result<Self, StoreError> {
        let columns = R::columns();
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let description = R::DESCRIPTION.split_whitespace().collect::<Vec<_>>().join(" ");
        let properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_string())
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_key_value_metadata(Some(vec![
                KeyValue::new(TABLE_KEY.to_string(), R::TABLE.to_string()),
                KeyValue::new(VERSION_KEY.to_string(), R::VERSION.to_string()),
                KeyValue::new(DESCRIPTION_KEY.to_string(), description),
            ]))
            .build();
        let file = AtomicFile::create(storage, path)?;
        let failure = file.failure();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
            .map_err(|cause| write_error(path, &failure, cause))?;
        Ok(Self {
            writer,
            path: path.to_path_buf(),
            schema,
            columns,
            pending: Vec::with_capacity(BATCH_ROWS),
            rows: 0,
            failed: false,
            failure,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`StoreError::NonFinite`], [`StoreError::CellTooLarge`], [`StoreError::DiskFull`], [`StoreError::Io`]. After an error the table
    /// cannot be finished: drop the writer, which leaves no file.
    pub fn push(&mut self, row: R) -> Result<(), StoreError> {
        self.pending.push(row);
        if self.pending.len() == BATCH_ROWS {
            self.write_pending()
        } else {
            Ok(())
        }
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        let mut rows = std::mem::take(&mut self.pending);
        self.write_batch(&rows)?;
        rows.clear();
        self.pending = rows;
        Ok(())
    }

    fn write_batch(&mut self, rows: &[R]) -> Result<(), StoreError> {
        // Taken back only when the whole batch is written, so that a table with a gap can never be finished.
        self.failed = true;
        let mut columns = ColumnWriter::new(R::TABLE, &self.columns, self.rows);
        R::encode(rows, &mut columns)?;
        let failed = |cause| write_error(&self.path, &self.failure, cause);
        let batch = RecordBatch::try_new(self.schema.clone(), columns.finish())
            .map_err(|cause| failed(cause.into()))?;
        self.writer.write(&batch).map_err(failed)?;
        self.rows += rows.len() as u64;
        self.failed = false;
        Ok(())
    }

    /// Writes what is left and gives the file its final name.
    ///
    /// # Errors
    /// As [`TableWriter::push`] and [`AtomicFile::commit`].
    pub fn finish(mut self) -> Result<WrittenTable, StoreError> {
        if self.failed {
            let cause = std::io::Error::other("an earlier row could not be written");
            return Err(StoreError::from_write(&self.path, cause));
        }
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        let file = self
            .writer
            .into_inner()
            .map_err(|cause| write_error(&self.path, &self.failure, cause))?;
        Ok(WrittenTable {
            rows: self.rows,
            file: file.commit()?,
        })
    }
}

/// Writes a whole table at once, with the same bytes as [`TableWriter`].
///
/// # Errors
/// As [`TableWriter::push`] and [`AtomicFile::commit`]. Nothing appears under `path` then.
pub fn write_table<R: Row>(storage: &Storage, path: &Path, rows: &[R]) -> Result<WrittenTable, StoreError> {
    let mut writer = TableWriter::create(storage, path)?;
    for batch in rows.chunks(BATCH_ROWS) {
        writer.write_batch(batch)?;
    }
    writer.finish()
}

/// The cause of a failed write is the file's, if the disk refused something, and not what the Parquet writer makes of it.
fn write_error(path: &Path, failure: &WriteFailure, cause: ParquetError) -> StoreError {
    StoreError::from_write(
        path,
        failure.get().unwrap_or_else(|| std::io::Error::other(cause)),
    )
}

/// Reads a whole table.
///
/// # Errors
/// As [`TableReader::open`] and those of its items.
pub fn read_table<R: Row>(path: &Path) -> Result<Vec<R>, StoreError> {
    let mut rows = Vec::new();
    for batch in TableReader::open(path)? {
        rows.extend(batch?);
    }
    Ok(rows)
}

/// Reads a table in batches of rows, so that memory does not grow with its length.
pub struct TableReader<R: Row> {
    reader: ParquetRecordBatchReader,
    path: PathBuf,
    columns: Vec<Column>,
    total_rows: u64,
    rows: u64,
    failed: bool,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> TableReader<R> {
    /// Opens a table and checks its name, version and columns. Columns that the row does not have are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::NotParquet`], [`StoreError::WrongTable`], [`StoreError::WrongVersion`],
    /// [`StoreError::WrongColumn`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let builder = open_parquet(path)?;
        let value_of = |key| metadata_value(&builder, key);
        match value_of(TABLE_KEY) {
            Some(table) if table == R::TABLE => {}
            found => {
                let found = found.map_or("a Parquet file of another program".to_string(), |table| {
                    format!("the table `{table}`")
                });
                return Err(StoreError::WrongTable {
                    path: path.to_path_buf(),
                    expected: R::TABLE,
                    found,
                });
            }
        }
        let version = value_of(VERSION_KEY).unwrap_or_else(|| "(absent)".to_string());
        if version != R::VERSION.to_string() {
            return Err(StoreError::WrongVersion {
                path: path.to_path_buf(),
                table: R::TABLE,
                expected: R::VERSION,
                found: version,
            });
        }
        let columns = R::columns();
        let found = builder.schema();
        let mut places = Vec::with_capacity(columns.len());
        for column in &columns {
            let wrong = |found: String| StoreError::WrongColumn {
                path: path.to_path_buf(),
                table: R::TABLE,
                column: column.name.clone(),
                expected: column.data_type.to_string(),
                found,
            };
            let Some((place, field)) = found.fields().find(&column.name) else {
                let names: Vec<_> = found.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(wrong(format!(
                    "no such column (the file has {})",
                    names.join(", ")
                )));
            };
            if !same_type(&column.data_type, field.data_type()) {
                return Err(wrong(field.data_type().to_string()));
            }
            places.push(place);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let total_rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let reader = guarded(path, || {
            builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()
        })?;
        Ok(Self {
            reader,
            path: path.to_path_buf(),
            columns,
            total_rows,
            rows: 0,
            failed: false,
            row: PhantomData,
        })
    }

    /// Number of rows of the whole table, as the file states it.
    pub fn total_rows(&self) -> u64 {
        self.total_rows
    }

    fn next_rows(&mut self, batch: RecordBatch) -> Result<Vec<R>, StoreError> {
        let mut columns = ColumnReader::new(&self.path, R::TABLE, &self.columns, &batch, self.rows);
        let rows = R::decode(&mut columns)?;
        self.rows += rows.len() as u64;
        Ok(rows)
    }
}

impl<R: Row> Iterator for TableReader<R> {
    type Item = Result<Vec<R>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let rows = match guarded(&self.path, || self.reader.next().transpose()) {
            Ok(Some(batch)) => self.next_rows(batch),
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        self.failed = rows.is_err();
        Some(rows)
    }
}

pub(crate) fn open_parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, StoreError> {
    let file = File::open(path).map_err(|cause| StoreError::Io {
        action: "read",
        path: path.to_path_buf(),
        cause,
    })?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))
}

/// Runs a step of the Parquet reader. It panics on some damaged files (a page that refers to a dictionary that is not there, for one);
/// here that is an error like any other. Nothing that the step has touched may be used after an error.
pub(crate) fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, StoreError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|cause| not_parquet(path, cause)),
        Err(_) => Err(not_parquet(path, "its pages contradict one another")),
    }
}

fn not_parquet(path: &Path, cause: impl std::fmt::Display) -> StoreError {
    StoreError::NotParquet {
        path: path.to_path_buf(),
        detail: cause.to_string(),
    }
}

/// A value of the file's own metadata.
pub(crate) fn metadata_value(builder: &ParquetRecordBatchReaderBuilder<File>, key: &str) -> Option<String> {
    let entries = builder.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.clone()
}
