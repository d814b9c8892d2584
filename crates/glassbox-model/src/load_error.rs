//! Why a model can't be loaded.

use std::path::PathBuf;

use glassbox_kernels::{KernelError, MapError};
use thiserror::Error;

use crate::locate::LocateError;

/// A model folder that can't be used: which file, what is wrong, what was expected, what to do.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The model's folder was not found.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A file could not be read.
    #[error("{path}: can't {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: "read the file", for example.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A weight file could not be mapped into memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A folder lacks a file that every model has.
    #[error("{folder}: there is no {file} here; a model folder in Hugging Face layout has one")]
    MissingFile {
        /// The folder.
        folder: PathBuf,
        /// The file's name.
        file: &'static str,
    },
    /// A folder holds no weights that can be read.
    #[error(
        "{folder}: there is neither model.safetensors nor model.safetensors.index.json here{}; \
         save the weights as safetensors (in Python: model.save_pretrained(folder))",
        .other.as_ref().map(|name| format!(" (but {name}, a format that is not read)")).unwrap_or_default()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// A weight file of another format that lies there.
        other: Option<String>,
    },
    /// A JSON file doesn't parse.
    #[error("{path}: not valid JSON: {source}; the file may be cut off, fetch it again")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// A JSON file parses but has another structure.
    #[error("{path}: {what}")]
    JsonStructure {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        what: String,
    },

    /// A configuration lacks a key.
    #[error("{path}: key `{key}` is missing; expected {expected}")]
    ConfigKeyMissing {
        /// The file.
        path: PathBuf,
        /// The key, with the keys that enclose it.
        key: String,
        /// What it should hold.
        expected: String,
    },
    /// A configuration's key has a value that can't be used.
    #[error("{path}: key `{key}` is {found}; expected {expected}")]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// The key, with the keys that enclose it.
        key: String,
        /// The value found, as JSON.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A configuration names something that is not supported.
    #[error("{path}: {what} {found} (key `{key}`) is not supported; supported are {valid}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What kind of thing: "model type", "activation", "rope type".
        what: &'static str,
        /// The name found.
        found: String,
        /// The valid names.
        valid: String,
    },
    /// A configuration holds keys whose effect on the arithmetic is not known.
    #[error(
        "{path}: {} not known here, so the model might compute something else than its authors' program: {}; \
         if the key does not change what the model computes, remove it from a copy of the file; otherwise this \
         model is not supported",
        if keys.len() == 1 { "one key is" } else { "some keys are" },
        listing(keys)
    )]
    ConfigKeysUnknown {
        /// The file.
        path: PathBuf,
        /// The keys with their values, as JSON.
        keys: Vec<String>,
    },
    /// Two parts of a configuration contradict each other.
    #[error("{path}: keys `{first}` and `{second}` contradict each other: {what}")]
    ConfigContradiction {
        /// The file.
        path: PathBuf,
        /// One key.
        first: String,
        /// The other key.
        second: String,
        /// How.
        what: String,
    },

    /// Files that the index names are not there.
    #[error(
        "{index}: {} not in the folder: {}; tensors that lie there: {}; fetch the checkpoint again",
        if shards.len() == 1 { "one shard is" } else { "some shards are" },
        listing(shards),
        listing(tensors)
    )]
    MissingShards {
        /// The index file.
        index: PathBuf,
        /// The files that are missing.
        shards: Vec<String>,
        /// The tensors that the index places in them.
        tensors: Vec<String>,
    },
    /// A shard lacks tensors that the index places in it.
    #[error(
        "{shard}: the index places tensors here that the file doesn't hold: {}",
        listing(tensors)
    )]
    ShardLacksTensors {
        /// The shard.
        shard: PathBuf,
        /// The tensors.
        tensors: Vec<String>,
    },
    /// A tensor lies in two files.
    #[error("tensor `{tensor}` lies in {first} and in {second}; remove the file that doesn't belong here")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// A weight file has another length than its header says.
    #[error(
        "{path}: the header describes a file of {expected} bytes, but it has {found}{}",
        if found < expected { "; it is cut off, fetch it again" } else { "; bytes follow the last tensor" }
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Bytes that the header describes, itself included.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The header of a weight file can't be used.
    #[error("{path}: not a usable safetensors file: {what}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A tensor has an element type that is not read.
    #[error("{path}: tensor `{tensor}` has element type {found}; supported are F32, F16, BF16")]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type found.
        found: String,
    },
    /// Tensors that the configuration asks for are not in the checkpoint.
    #[error(
        "{folder}: the checkpoint lacks {} that config.json asks for: {}; a file is missing, or config.json \
         belongs to another checkpoint",
        if tensors.len() == 1 { "a tensor" } else { "tensors" },
        listing(tensors)
    )]
    MissingTensors {
        /// The model's folder.
        folder: PathBuf,
        /// The tensors with their expected shapes.
        tensors: Vec<String>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{path}: tensor `{tensor}` has shape {found:?}; config.json asks for {expected:?}")]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// The checkpoint holds tensors that the model would not use.
    #[error(
        "{folder}: the checkpoint holds tensors that a {family} model with this config.json has no use for: {}; \
         config.json belongs to another checkpoint, or the model has parts that are not supported",
        listing(tensors)
    )]
    ExtraTensors {
        /// The model's folder.
        folder: PathBuf,
        /// The family.
        family: &'static str,
        /// The tensors.
        tensors: Vec<String>,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{tensor}` holds {value} at index {index:?}; the checkpoint is damaged")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Index of the first such element, one number per axis.
        index: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// A weight does not fit the type that was asked for.
    #[error(
        "{path}: tensor `{tensor}` holds {value} at index {index:?}, which {element} can't hold; load the weights as \
         they are stored"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Index of the first such element, one number per axis.
        index: Vec<usize>,
        /// The value.
        value: f32,
        /// The type's name.
        element: &'static str,
    },
    /// A model with a tied head stores a head that differs from the embedding.
    #[error(
        "{path}: config.json ties the head to the embedding, but the stored `{head}` differs from `{embedding}`: \
         {what}; set `tie_word_embeddings` to false in a copy of config.json if the stored head is the right one, \
         or remove the tensor"
    )]
    TiedHeadDiffers {
        /// The file that holds the head.
        path: PathBuf,
        /// The head's tensor.
        head: String,
        /// The embedding's tensor.
        embedding: String,
        /// Where they differ.
        what: String,
    },
    /// The backend refused a tensor.
    #[error("tensor `{tensor}`: {source}")]
    Backend {
        /// The tensor.
        tensor: String,
        /// Why.
        source: KernelError,
    },
}

/// The first few names, and how many more there are.
pub(crate) fn listing<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_listings_are_cut_and_counted() {
        assert_eq!(listing(&["a", "b"]), "a, b");
        let many: Vec<String> = (0..10).map(|i| i.to_string()).collect();
        assert_eq!(listing(&many), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
