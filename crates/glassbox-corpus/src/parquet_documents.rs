//! Documents in a column of a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::CorpusError;
use crate::document::PlaceInFile;
use crate::document_reader::{FileDocuments, FilePosition, FoundDocument};

/// Rows decoded at a time.
const ROWS: usize = 128;

/// A Parquet file, read row group by row group; only the pages of one column are ever decoded.
pub(crate) struct ParquetDocuments {
    file: File,
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// The text column, by its place among the columns.
    column: usize,
    /// The row group being read.
    group: usize,
    reader: Option<ParquetRecordBatchReader>,
    batch: Option<RecordBatch>,
    /// The next row of `batch`.
    in_batch: usize,
    /// Row of the whole file that comes next.
    row: u64,
    /// Row of the row group from which `reader` is to begin.
    skip: usize,
}

impl ParquetDocuments {
    /// Opens a file at a row.
    ///
    /// # Errors
    /// [`CorpusError::Read`], [`CorpusError::Parquet`], [`CorpusError::ParquetColumn`].
    pub(crate) fn open(path: &Path, column: &str, row: u64) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|cause| CorpusError::read(path, cause))?;
        // The writer's own types are left aside: a column of dictionary-encoded or long strings is then one of plain strings.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(path, None, || ArrowReaderMetadata::load(&file, options))?;
        let fields = metadata.schema().fields();
        let place = fields.iter().position(|field| field.name() == column);
        let refuse = |found: String| CorpusError::ParquetColumn {
            path: path.to_path_buf(),
            column: column.to_owned(),
            found,
        };
        let Some(place) = place else {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            return Err(refuse(format!(
                "does not exist; the columns are {}",
                names.join(", ")
            )));
        };
        if !matches!(fields[place].data_type(), DataType::Utf8 | DataType::Binary) {
            return Err(refuse(format!(
                "holds {}, not strings",
                fields[place].data_type()
            )));
        }
        let mut documents = Self {
            file,
            path: path.to_path_buf(),
            metadata,
            column: place,
            group: 0,
            reader: None,
            batch: None,
            in_batch: 0,
            row,
            skip: 0,
        };
        documents.seek(row);
        Ok(documents)
    }

    fn seek(&mut self, row: u64) {
        let mut left = row;
        for group in self.metadata.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if left < rows {
                break;
            }
            left -= rows;
            self.group += 1;
        }
        self.skip = usize::try_from(left).unwrap_or(usize::MAX);
    }

    /// Decodes the next rows into `batch`; `false` at the end of the file.
    fn decode(&mut self) -> Result<bool, CorpusError> {
        while self.group < self.metadata.metadata().num_row_groups() {
            let group = Some(self.group);
            if self.reader.is_none() {
                let file = self
                    .file
                    .try_clone()
                    .map_err(|cause| CorpusError::read(&self.path, cause))?;
                let mask = ProjectionMask::roots(self.metadata.parquet_schema(), [self.column]);
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                    .with_row_groups(vec![self.group])
                    .with_projection(mask)
                    .with_offset(std::mem::take(&mut self.skip))
                    .with_batch_size(ROWS);
                self.reader = Some(guarded(&self.path, group, || builder.build())?);
            }
            let reader = self.reader.as_mut();
            let next = guarded(&self.path, group, || reader.and_then(Iterator::next).transpose())?;
            if let Some(batch) = next {
                (self.batch, self.in_batch) = (Some(batch), 0);
                return Ok(true);
            }
            self.reader = None;
            self.group += 1;
        }
        Ok(false)
    }
}

impl FileDocuments for ParquetDocuments {
    fn next(&mut self) -> Result<Option<FoundDocument>, CorpusError> {
        loop {
            if let Some(batch) = &self.batch
                && self.in_batch < batch.num_rows()
            {
                let (group, row) = (self.group, self.row);
                let text = text(batch.column(0), self.in_batch).map_err(|problem| CorpusError::Parquet {
                    path: self.path.clone(),
                    group: Some(group),
                    problem: format!("row {row}: {problem}"),
                })?;
                self.in_batch += 1;
                self.row += 1;
                return Ok(Some(FoundDocument {
                    text,
                    within: PlaceInFile::Row { group, row },
                    after: FilePosition {
                        offset: self.row,
                        line: 0,
                    },
                }));
            }
            if !self.decode()? {
                return Ok(None);
            }
        }
    }
}

/// The text of one row.
fn text(column: &dyn Array, row: usize) -> Result<Option<String>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    if let Some(strings) = column.as_string_opt::<i32>() {
        return Ok(Some(strings.value(row).to_owned()));
    }
    let bytes = column
        .as_binary_opt::<i32>()
        .ok_or_else(|| format!("{} instead of strings", column.data_type()))?
        .value(row);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(error) => Err(format!("the text is not UTF-8 at byte {}", error.valid_up_to())),
    }
}

/// Runs a step of the Parquet reader, which panics on some damaged files; here that is an error like any other. Nothing that the step
/// has touched is used after an error.
fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    group: Option<usize>,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, CorpusError> {
    let problem = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(cause)) => cause.to_string(),
        Err(_) => "its pages contradict one another".to_owned(),
    };
    Err(CorpusError::Parquet {
        path: path.to_path_buf(),
        group,
        problem,
    })
}
