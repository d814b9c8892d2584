//! Writing: shapes first, then the values of each tensor in turn.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use glassbox_store::{AtomicFile, Storage, TEMPORARY_PREFIX, WrittenFile};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::error::{CliError, one_file};
use crate::output::refuse_other_kinds;

/// A safetensors file being written, which appears under its name when [`TensorWriter::commit`] succeeds.
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    file: BufWriter<AtomicFile>,
    /// Bytes of values that the header promises and that were not written yet.
    missing: usize,
}

impl TensorWriter {
    /// Begins a file that will hold tensors of these names, types and shapes, whose values follow in this order.
    ///
    /// # Errors
    /// [`CliError::Write`] or [`CliError::DiskFull`] if the file cannot be written.
    pub fn create(
        storage: &Storage,
        path: &Path,
        tensors: &[(&str, Dtype, &[usize])],
    ) -> Result<Self, CliError> {
        let mut header = Map::new();
        let mut end = 0;
        for (name, dtype, shape) in tensors {
            let begin = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            header.insert(
                (*name).to_owned(),
                json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": [begin, end] }),
            );
        }
        let mut header = Value::Object(header).to_string();
        // The values begin at a multiple of eight bytes, so that they can be mapped.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        refuse_other_kinds(path)?;
        let file = AtomicFile::create(storage, path).map_err(one_file)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 16, file),
            missing: end,
        };
        writer.raw(&(header.len() as u64).to_le_bytes())?;
        writer.raw(header.as_bytes())?;
        Ok(writer)
    }

    /// Writes the next values of an F32 tensor.
    ///
    /// # Errors
    /// As [`TensorWriter::create`].
    pub fn floats(&mut self, values: &[f32]) -> Result<(), CliError> {
        values
            .iter()
            .try_for_each(|value| self.data(&value.to_le_bytes()))
    }

    /// Writes the next values of an I64 tensor.
    ///
    /// # Errors
    /// As [`TensorWriter::create`].
    pub fn integers(&mut self, values: impl Iterator<Item = i64>) -> Result<(), CliError> {
        values
            .into_iter()
            .try_for_each(|value| self.data(&value.to_le_bytes()))
    }

    /// Writes everything that a spool holds.
    ///
    /// # Errors
    /// As [`TensorWriter::create`].
    pub fn spooled(&mut self, spool: Spool) -> Result<(), CliError> {
        spool.drain(|bytes| self.data(bytes))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// As [`TensorWriter::create`].
    pub fn commit(self) -> Result<WrittenFile, CliError> {
        if self.missing != 0 {
            let cause = io::Error::other(format!("{} bytes of its tensors were not written", self.missing));
            return Err(self.failed(cause));
        }
        let path = self.path;
        match self.file.into_inner() {
            Ok(file) => file.commit().map_err(one_file),
            Err(error) => Err(CliError::write(&path, error.into_error())),
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.missing = self
            .missing
            .checked_sub(bytes.len())
            .ok_or_else(|| self.failed(io::Error::other("more values than its header describes")))?;
        self.raw(bytes)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> CliError {
        CliError::write(&self.path, cause)
    }
}

/// Floats put aside on disk beside the file that they will become part of.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Spool {
    /// An empty spool in the folder of `destination`.
    ///
    /// # Errors
    /// [`CliError::Write`] or [`CliError::DiskFull`].
    pub fn create(destination: &Path) -> Result<Self, CliError> {
        let name = destination.file_name().unwrap_or_default().to_string_lossy();
        let path =
            destination.with_file_name(format!("{TEMPORARY_PREFIX}{}-spool-{name}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = BufWriter::with_capacity(
            1 << 16,
            file.map_err(|cause| CliError::write(destination, cause))?,
        );
        Ok(Self { path, file })
    }

    /// Adds values.
    ///
    /// # Errors
    /// As [`Spool::create`].
    pub fn floats(&mut self, values: &[f32]) -> Result<(), CliError> {
        values
            .iter()
            .try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
            .map_err(|cause| CliError::write(&self.path, cause))
    }

    /// Calls `take` with the content, a piece at a time.
    fn drain(mut self, mut take: impl FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError> {
        let path = self.path.clone();
        let failed = |cause| CliError::write(&path, cause);
        self.file.flush().map_err(failed)?;
        let file = self.file.get_mut();
        file.rewind().map_err(failed)?;
        let mut chunk = vec![0; 1 << 16];
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => return Ok(()),
                read => take(&chunk[..read])?,
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // If this fails there is nobody to tell; the name marks the file as temporary.
        let _ = fs::remove_file(&self.path);
    }
}
