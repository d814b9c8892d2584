//! A checkpoint in Hugging Face layout: one `model.safetensors`, or shards with `model.safetensors.index.json`.
//!
//! Files are mapped, not read: a tensor's bytes come into memory when they are used.

mod weight_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glassbox_kernels::MappedFile;
use glassbox_kernels::backend::{StoredType, StoredValues};
use safetensors::Dtype;
use serde_json::Value;

use crate::config_parse::read_json;
use crate::load_error::LoadError;
use weight_file::WeightFile;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Element types of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl ElementType {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.stored().bytes()
    }

    /// The kernels' word for it.
    #[must_use]
    pub fn stored(self) -> StoredType {
        match self {
            Self::F32 => StoredType::F32,
            Self::F16 => StoredType::F16,
            Self::Bf16 => StoredType::Bf16,
        }
    }

    /// The name in a safetensors header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

/// A tensor of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct StoredTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// The file in which it lies.
    pub path: &'a Path,
    /// Its element type.
    pub element_type: ElementType,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its elements, row-major, little endian.
    pub data: &'a [u8],
    /// The file's bytes.
    pub file: &'a Arc<MappedFile>,
    /// The byte of the file at which `data` begins.
    pub at: usize,
}

impl<'a> StoredTensor<'a> {
    /// The elements with their type.
    #[must_use]
    pub fn values(&self) -> StoredValues<'a> {
        self.element_type.stored().values(self.data)
    }
}

/// The weight files of a model folder, opened and checked.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<WeightFile>,
    /// Which file holds each tensor.
    tensors: BTreeMap<String, usize>,
}

impl Checkpoint {
    /// Opens the weight files of a folder. Headers and lengths are checked, values are not read.
    ///
    /// # Errors
    /// [`LoadError`] for missing, truncated and damaged files.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let mut checkpoint = Self {
            folder: folder.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for path in weight_paths(folder)? {
            checkpoint.add(WeightFile::open(&path)?)?;
        }
        let index = folder.join(INDEX);
        if !folder.join(SINGLE).is_file() {
            checkpoint.check_against_index(&read_index(&index)?)?;
        }
        Ok(checkpoint)
    }

    fn add(&mut self, file: WeightFile) -> Result<(), LoadError> {
        let number = self.files.len();
        for name in file.names() {
            if let Some(&other) = self.tensors.get(&name) {
                return Err(LoadError::DuplicateTensor {
                    tensor: name,
                    first: self.files[other].path().to_path_buf(),
                    second: file.path().to_path_buf(),
                });
            }
            self.tensors.insert(name, number);
        }
        self.files.push(file);
        Ok(())
    }

    /// Every tensor must lie in the file that the index names.
    fn check_against_index(&self, index: &BTreeMap<String, String>) -> Result<(), LoadError> {
        for file in &self.files {
            let lacking: Vec<String> = index
                .iter()
                .filter(|(_, shard)| file.path().ends_with(shard))
                .filter(|(tensor, _)| file.tensor(tensor).is_none())
                .map(|(tensor, _)| tensor.clone())
                .collect();
            if !lacking.is_empty() {
                return Err(LoadError::ShardLacksTensors {
                    shard: file.path().to_path_buf(),
                    tensors: lacking,
                });
            }
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The weight files with their bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.files.iter().map(|file| (file.path(), file.len()))
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor, or `None` if there is none of this name.
    ///
    /// # Errors
    /// [`LoadError::ElementType`] if its elements are not F32, F16 or BF16.
    pub fn tensor(&self, name: &str) -> Result<Option<StoredTensor<'_>>, LoadError> {
        let Some((name, &number)) = self.tensors.get_key_value(name) else {
            return Ok(None);
        };
        let file = &self.files[number];
        let Some((dtype, shape, at, data)) = file.tensor(name) else {
            return Ok(None);
        };
        let element_type = match dtype {
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::Bf16,
            other => {
                return Err(LoadError::ElementType {
                    path: file.path().to_path_buf(),
                    tensor: name.clone(),
                    found: other.to_string(),
                });
            }
        };
        Ok(Some(StoredTensor {
            name,
            path: file.path(),
            element_type,
            shape,
            data,
            file: file.bytes(),
            at,
        }))
    }
}

/// Paths of a model folder's weight files, in order. All of them are there.
///
/// # Errors
/// [`LoadError`] if there are none, or if shards are missing.
pub(crate) fn weight_paths(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        let other = [
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "tf_model.h5",
            "flax_model.msgpack",
        ]
        .into_iter()
        .find(|name| folder.join(name).is_file());
        return Err(LoadError::NoWeights {
            folder: folder.to_path_buf(),
            other: other.map(str::to_owned),
        });
    }
    let placed = read_index(&index)?;
    let shards: BTreeSet<&String> = placed.values().collect();
    let missing: Vec<String> = shards
        .iter()
        .filter(|shard| !folder.join(shard).is_file())
        .map(|shard| (*shard).clone())
        .collect();
    if !missing.is_empty() {
        let tensors = placed
            .iter()
            .filter(|(_, shard)| missing.contains(shard))
            .map(|(tensor, _)| tensor.clone())
            .collect();
        return Err(LoadError::MissingShards {
            index,
            shards: missing,
            tensors,
        });
    }
    Ok(shards.into_iter().map(|shard| folder.join(shard)).collect())
}

/// Reads which shard holds each tensor.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let structure = |what: String| LoadError::JsonStructure {
        path: path.to_path_buf(),
        what,
    };
    let json = read_json(path)?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| structure("expected an object `weight_map` of tensor names and file names".into()))?;
    if map.is_empty() {
        return Err(structure(
            "`weight_map` is empty; expected tensor names and file names".into(),
        ));
    }
    let mut placed = BTreeMap::new();
    for (tensor, shard) in map {
        // A name with a folder in it would lead out of the model's folder.
        let plain = |name: &&str| Path::new(name).file_name().is_some_and(|file| file == *name);
        let shard = shard.as_str().filter(plain).ok_or_else(|| {
            structure(format!(
                "`weight_map` places `{tensor}` in {shard}; expected the name of a file in this folder"
            ))
        })?;
        placed.insert(tensor.clone(), shard.to_owned());
    }
    Ok(placed)
}
