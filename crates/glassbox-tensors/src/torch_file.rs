//! What `torch.save` writes: a tree of Python values with tensors in it.
//!
//! Since version 1.6 the file is a zip archive: `NAME/data.pkl` is the tree, `NAME/data/KEY` are the storages.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use glassbox_kernels::MappedFile;

use crate::error::{Result, TensorFileError};
use crate::pickle::{Pickle, PickleError, PickledValue, StorageReference, TensorReference, interpret};
use crate::safetensors_header::looks_like_safetensors;
use crate::stored_tensor::{Packing, Run, StoredTensor};
use crate::tensor_file::{Container, TensorFile, Tensors};
use crate::torch_legacy::read_legacy;
use crate::zip_directory::{ZipEntry, read_directory};

/// The longest tree that is read from an archive; tensors lie outside of it.
const LONGEST_TREE: u64 = 1 << 26;

/// Where the bytes of a storage lie.
#[derive(Clone, Debug)]
pub(crate) struct StoragePlace {
    pub(crate) range: std::ops::Range<usize>,
    pub(crate) packing: Packing,
}

/// A file of `torch.save`, with everything that lies beside its tensors. Nothing in it is executed.
#[derive(Debug)]
pub struct TorchFile {
    file: Arc<MappedFile>,
    pickle: Pickle,
    storages: HashMap<String, StoragePlace>,
    big_endian: bool,
}

impl TorchFile {
    /// Whether a file begins as one of `torch.save` does: as a zip archive or a pickle.
    #[must_use]
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04")
            || (matches!(bytes, [0x80, 2..=5, ..]) && !looks_like_safetensors(bytes))
    }

    /// Opens a file and reads its tree.
    ///
    /// # Errors
    /// [`TensorFileError::Damaged`]; [`TensorFileError::Refused`] for a file that only running Python code could read,
    /// with the name it asks for and its place.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path)?);
        let bytes = file.as_bytes();
        let damaged = |what: String| TensorFileError::Damaged {
            path: path.to_path_buf(),
            container: Container::Torch.name(),
            what,
        };
        if !Self::recognises(bytes) {
            return Err(damaged(
                "it begins neither as a zip archive nor as a pickle does".into(),
            ));
        }
        let failed = |error: PickleError| match error {
            PickleError::Refused { .. } => refused(path, &error),
            PickleError::Damaged { .. } => damaged(error.to_string()),
        };
        let (pickle, storages, big_endian) = if bytes.starts_with(b"PK") {
            let entries = read_directory(bytes).map_err(damaged)?;
            let archive = Archive::new(bytes, entries).map_err(damaged)?;
            let pickle = interpret(archive.tree(bytes).map_err(damaged)?).map_err(failed)?;
            (pickle, archive.storages, archive.big_endian)
        } else {
            let (pickle, storages) = read_legacy(bytes).map_err(|error| match error {
                crate::torch_legacy::LegacyError::Pickle(error) => failed(error),
                crate::torch_legacy::LegacyError::Other(what) => damaged(what),
            })?;
            (pickle, storages, false)
        };
        Ok(Self {
            file,
            pickle,
            storages,
            big_endian,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The value that was saved.
    #[must_use]
    pub fn root(&self) -> PickledValue<'_> {
        self.pickle.root()
    }

    /// The tensors directly in a dict of this file, by their keys; a tensor by itself is named `tensor`. What else lies
    /// in the dict is passed over, and nothing of other tensors is read.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] for a tensor that doesn't lie within its storage.
    pub fn tensors(&self, of: PickledValue<'_>) -> Result<TensorFile> {
        let mut tensors = Tensors::default();
        let mut runs = HashMap::new();
        let alone = of.tensor().map(|_| ("tensor".to_owned(), of));
        for (name, value) in of.entries().chain(alone) {
            let Some(reference) = value.tensor() else {
                continue;
            };
            let wrong = |what: String| TensorFileError::Tensor {
                path: self.path().to_path_buf(),
                tensor: name.clone(),
                what,
            };
            let storage = self.pickle.storage(reference);
            let storage = storage.ok_or_else(|| wrong("it has no storage".into()))?;
            let place = self.place(storage).map_err(wrong)?;
            let number = *runs.entry(storage.key.clone()).or_insert_with(|| {
                tensors.runs.push(Run::new(place.range, place.packing));
                tensors.runs.len() - 1
            });
            let available = tensors.runs[number].length();
            let tensor = stored(reference, storage, number, available, self.big_endian).map_err(wrong)?;
            tensors.push(name.clone(), tensor).map_err(wrong)?;
        }
        Ok(TensorFile::new(self.file.clone(), Container::Torch, tensors))
    }

    fn place(&self, storage: &StorageReference) -> Result<StoragePlace, String> {
        let place = self
            .storages
            .get(&storage.key)
            .ok_or_else(|| format!("its storage `{}` is not in the file", storage.key.escape_debug()))?;
        Ok(place.clone())
    }
}

fn stored(
    reference: &TensorReference,
    storage: &StorageReference,
    run: usize,
    available: u64,
    big_endian: bool,
) -> Result<StoredTensor, String> {
    let size = storage.element_type.bytes();
    let at = reference
        .offset
        .checked_mul(size)
        .ok_or("its offset is too large")?;
    let stated = storage.count.saturating_mul(size as u64);
    if stated > available {
        return Err(format!(
            "its storage `{}` should have {stated} bytes and has {available}",
            storage.key.escape_debug()
        ));
    }
    StoredTensor::strided(
        storage.element_type,
        reference.shape.clone(),
        reference.strides.clone(),
        run,
        at,
        stated,
        big_endian,
    )
}

/// The parts of an archive that are read.
struct Archive {
    tree: ZipEntry,
    storages: HashMap<String, StoragePlace>,
    big_endian: bool,
}

impl Archive {
    fn new(bytes: &[u8], entries: Vec<ZipEntry>) -> Result<Self, String> {
        let tree = |entry: &ZipEntry| entry.name == "data.pkl" || entry.name.ends_with("/data.pkl");
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let Some(found) = entries.iter().position(tree) else {
            let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
            return Err(format!("the archive has no data.pkl; it holds {shown}"));
        };
        let prefix = names[found]
            .strip_suffix("data.pkl")
            .unwrap_or_default()
            .to_owned();
        let data = format!("{prefix}data/");
        let order = format!("{prefix}byteorder");
        let mut storages = HashMap::new();
        let mut big_endian = false;
        let mut tree = None;
        for (number, entry) in entries.into_iter().enumerate() {
            if number == found {
                tree = Some(entry);
            } else if entry.name == order {
                big_endian = entry.run.beginning(bytes, 3)?.starts_with(b"big");
            } else if let Some(key) = entry.name.strip_prefix(&data) {
                let place = StoragePlace {
                    range: entry.run.range.clone(),
                    packing: entry.run.packing,
                };
                storages.insert(key.to_owned(), place);
            }
        }
        Ok(Self {
            tree: tree.ok_or("the archive has no data.pkl")?,
            storages,
            big_endian,
        })
    }

    fn tree<'a>(&'a self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        if self.tree.run.length() > LONGEST_TREE {
            return Err(format!(
                "`{}` has {} bytes; at most {LONGEST_TREE} are read",
                self.tree.name,
                self.tree.run.length()
            ));
        }
        self.tree
            .run
            .bytes(bytes)
            .map_err(|what| format!("`{}`: {what}", self.tree.name))
    }
}

/// The error about something that is not on the list.
fn refused(path: &Path, error: &PickleError) -> TensorFileError {
    TensorFileError::Refused {
        path: path.to_path_buf(),
        what: error.to_string(),
        remedy: format!(
            "Files are read without executing anything, so only plain data can be in them: {}. In Python, save the \
             state dict alone: torch.save(model.state_dict(), path)",
            crate::pickle::LIST
        ),
    }
}
