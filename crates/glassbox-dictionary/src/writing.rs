//! Files that are either complete or absent.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use safetensors::{SafeTensorError, View};
use std::borrow::Cow;

use glassbox_kernels::Backend;
use half::{bf16, f16};

use crate::dictionary::Dictionary;
use crate::error::{DictionaryError, Result};

/// How the matrices of a dictionary are written. Vectors are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// IEEE single precision: exact.
    F32,
    /// bfloat16, rounded to nearest.
    Bf16,
    /// IEEE half precision, rounded to nearest.
    F16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    fn push(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
            Self::Bf16 => values
                .iter()
                .for_each(|value| bytes.extend(bf16::from_f32(*value).to_le_bytes())),
            Self::F16 => values
                .iter()
                .for_each(|value| bytes.extend(f16::from_f32(*value).to_le_bytes())),
        }
    }
}

/// A tensor to be written.
pub(crate) struct OwnedTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl OwnedTensor {
    pub(crate) fn new(values: &[f32], shape: &[usize], precision: Precision) -> Self {
        let mut bytes = Vec::with_capacity(values.len() * 4);
        precision.push(values, &mut bytes);
        Self {
            dtype: precision.dtype(),
            shape: shape.to_vec(),
            bytes,
        }
    }

    pub(crate) fn vector(values: &[f32]) -> Self {
        Self::new(values, &[values.len()], Precision::F32)
    }
}

impl View for OwnedTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Encoder [features, width], decoder [features, output_width] and, where there is one, the skip connection
/// [output_width, width] in some precision, without the dictionary's scales.
///
/// # Errors
/// [`DictionaryError::Parts`] if a value is too large for the precision.
pub(crate) fn matrices<B: Backend>(
    dictionary: &Dictionary<B>,
    precision: Precision,
) -> Result<Vec<(&'static str, OwnedTensor)>> {
    let features = dictionary.features();
    let push = |values: &[f32], bytes: &mut Vec<u8>| {
        if precision == Precision::F16
            && let Some(value) = values.iter().find(|value| f16::from_f32(**value).is_infinite())
        {
            return Err(DictionaryError::Parts {
                what: format!("weight {value} is too large for f16; write f32 or bf16"),
            });
        }
        precision.push(values, bytes);
        Ok(())
    };
    let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
    let ids: Vec<u32> = (0..features as u32).collect();
    // Rows are read back some at a time: only the result is as large as the dictionary.
    for ids in ids.chunks(1024) {
        let (encoder_rows, decoder_rows) = dictionary.stored_rows(ids)?;
        push(&encoder_rows, &mut encoder)?;
        push(&decoder_rows, &mut decoder)?;
    }
    let (width, output_width) = (dictionary.width(), dictionary.output_width());
    let mut matrices = vec![
        ("encoder", [features, width], encoder),
        ("decoder", [features, output_width], decoder),
    ];
    if let Some(values) = dictionary.skip_values()? {
        let mut bytes = Vec::new();
        push(&values, &mut bytes)?;
        matrices.push(("skip", [output_width, width], bytes));
    }
    Ok(matrices
        .into_iter()
        .map(|(name, shape, bytes)| {
            let dtype = precision.dtype();
            (
                name,
                OwnedTensor {
                    dtype,
                    shape: shape.to_vec(),
                    bytes,
                },
            )
        })
        .collect())
}

/// A name in the folder of `path` that marks an unfinished file.
fn temporary(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".tmp-{}-{name}", std::process::id()))
}

fn publish(temporary: &Path, path: &Path) -> std::io::Result<()> {
    File::open(temporary)?.sync_all()?;
    fs::rename(temporary, path)?;
    // The rename itself must survive a loss of power too.
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn finish(result: std::io::Result<()>, temporary: &Path, path: &Path) -> Result<()> {
    result.and_then(|()| publish(temporary, path)).map_err(|cause| {
        // The first error is the one to tell; the name marks what may be left as unfinished.
        let _ = fs::remove_file(temporary);
        DictionaryError::Io {
            action: "write the file",
            path: path.to_path_buf(),
            cause,
        }
    })
}

/// Writes a safetensors file under a temporary name, then renames it, and returns its BLAKE3 checksum.
pub(crate) fn write_tensors(path: &Path, tensors: Vec<(&'static str, OwnedTensor)>) -> Result<String> {
    let temporary = temporary(path);
    let written = safetensors::serialize_to_file(tensors, None, &temporary).map_err(|error| match error {
        // What the system said decides what can be done about it.
        SafeTensorError::IoError(cause) => cause,
        other => std::io::Error::other(other),
    });
    let hashed = written.and_then(|()| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(&temporary)?)?;
        Ok(hasher.finalize().to_hex().to_string())
    });
    match hashed {
        Ok(checksum) => finish(Ok(()), &temporary, path).map(|()| checksum),
        Err(cause) => finish(Err(cause), &temporary, path).map(|()| String::new()),
    }
}

/// Writes JSON, indented, under a temporary name, then renames it.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let temporary = temporary(path);
    let result =
        File::create(&temporary).and_then(|mut file| file.write_all(format!("{value:#}\n").as_bytes()));
    finish(result, &temporary, path)
}

/// Makes the folder where it is missing.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(DictionaryError::io("make the folder", folder))
}
