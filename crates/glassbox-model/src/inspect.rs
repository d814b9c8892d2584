//! What a model folder holds, and whether it is usable, without putting anything on a device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::config_parse::read_config;
use crate::load::matching_layout;
use crate::load_error::LoadError;
use crate::site::Site;

/// A file with its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSize {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// Memory that a model needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights in their stored element types.
    pub weights_stored: u64,
    /// Weights if a backend widens them to single precision.
    pub weights_f32: u64,
    /// Cached keys and values of one position of one row, in single precision.
    pub cache_per_position: u64,
}

/// What a model folder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSummary {
    /// The folder.
    pub folder: PathBuf,
    /// The configuration.
    pub config: ModelConfig,
    /// Weights, each counted once: a head tied to the embedding counts as the embedding.
    pub parameters: u64,
    /// Weights by stored element type.
    pub element_types: BTreeMap<&'static str, u64>,
    /// The weight files.
    pub files: Vec<FileSize>,
    /// Whether `tokenizer.json` is there; it is needed where text is read or written.
    pub has_tokenizer: bool,
    /// Sites that can be recorded and edited.
    pub sites: Vec<Site>,
    /// Memory needed.
    pub memory: MemoryEstimate,
}

/// Checks a model folder as loading does, but for the values of its weights, and says what it holds.
///
/// # Errors
/// [`LoadError`] as [`crate::load::load`], without [`LoadError::NotFinite`].
pub fn inspect(folder: &Path) -> Result<ModelSummary, LoadError> {
    let config = read_config(folder)?;
    let checkpoint = Checkpoint::open(folder)?;
    let layout = matching_layout(&config, &checkpoint)?;
    let mut element_types = BTreeMap::new();
    let mut weights_stored = 0;
    for source in layout.sources(&config) {
        if let Some(tensor) = checkpoint.tensor(&source.name)? {
            let elements = source.elements();
            *element_types.entry(tensor.element_type.name()).or_insert(0) += elements;
            weights_stored += elements * tensor.element_type.bytes() as u64;
        }
    }
    let parameters: u64 = element_types.values().sum();
    let cached = 2 * config.n_layers * config.n_kv_heads * config.d_head;
    let files = checkpoint.files().map(|(path, bytes)| FileSize {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        bytes,
    });
    Ok(ModelSummary {
        folder: folder.to_path_buf(),
        parameters,
        element_types,
        files: files.collect(),
        has_tokenizer: folder.join("tokenizer.json").is_file(),
        sites: Site::all(&config),
        memory: MemoryEstimate {
            weights_stored,
            weights_f32: 4 * parameters,
            cache_per_position: 4 * cached as u64,
        },
        config,
    })
}
