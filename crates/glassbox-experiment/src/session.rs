//! A model with its tokenizer and dictionaries, checked against one another, and the hashes that name them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use glassbox_dictionary::{Dictionary, DictionaryCache, DictionarySet, SparseFeatures, SparseSelection};
use glassbox_kernels::Backend;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::load_options::LoadOptions;
use glassbox_model::locate::HubEnvironment;
use glassbox_model::model::Model;
use glassbox_model::site::Site;
use glassbox_model::tokenizer::{Beginning, Tokenizer};

use crate::error::ExperimentError;
use crate::scenario::Scenario;

/// Everything that an experiment computes with.
#[derive(Debug)]
pub struct Session {
    backend: CpuBackend,
    model: Model<CpuBackend>,
    tokenizer: Tokenizer,
    dictionaries: DictionarySet,
    cache: DictionaryCache<CpuBackend>,
    layers: Vec<u32>,
    hashes: BTreeMap<String, String>,
    weights: Vec<WeightsFile>,
}

/// A file of the model as it was when it was loaded. Weights are used in place, so a file that is written over changes the
/// model under a running experiment.
#[derive(Debug)]
struct WeightsFile {
    /// Open, so that it stays the one that is mapped when another takes its name.
    file: File,
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl WeightsFile {
    fn all_in(folder: &Path) -> Result<Vec<Self>, ExperimentError> {
        let failed = |error: std::io::Error| ExperimentError::Data {
            stage: "load",
            what: format!("{} cannot be listed: {error}", folder.display()),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
            {
                let file = File::open(&path).map_err(failed)?;
                let found = file.metadata().map_err(failed)?;
                files.push(Self {
                    file,
                    bytes: found.len(),
                    modified: found.modified().ok(),
                    path,
                });
            }
        }
        Ok(files)
    }

    fn is_as_it_was(&self) -> bool {
        let found = self.file.metadata();
        found.is_ok_and(|found| found.len() == self.bytes && found.modified().ok() == self.modified)
    }
}

/// Weights up to this size count as small: one unit per thread.
const SMALL_MODEL_BYTES: u64 = 64 << 20;

/// Bytes that loaded dictionaries may hold.
pub const DICTIONARY_BUDGET_BYTES: u64 = 8 << 30;

impl Session {
    /// Loads what a scenario names, and checks that the dictionaries fit the model.
    ///
    /// # Errors
    /// Those of loading a model, a tokenizer or a dictionary; [`ExperimentError::Data`] if no dictionary reads a
    /// residual stream after a block.
    pub fn load(scenario: &Scenario) -> Result<Self, ExperimentError> {
        let folder = model_folder(scenario)?;
        let backend = CpuBackend;
        let options = LoadOptions {
            weights: scenario.weights,
        };
        let (config, weights) = glassbox_model::load::load_with(&backend, &folder, &options)?;
        let tokenizer = Tokenizer::open(&folder, &config)?;
        let model = Model::new(config, weights, backend)?;
        let mut hashes = BTreeMap::new();
        hashes.insert(
            "model".to_owned(),
            glassbox_model::model_hash::model_hash(&folder)?,
        );
        hashes.insert("tokenizer".to_owned(), tokenizer.hash().to_owned());
        let dictionaries = DictionarySet::open(&scenario.path(&scenario.dictionaries))?;
        dictionaries.check_model(model.config(), hashes.get("model").map(String::as_str))?;
        let mut layers = Vec::new();
        for (site, _) in dictionaries.members() {
            if let Site::ResidPost(layer) = site {
                layers.push(layer);
            }
        }
        if layers.is_empty() {
            return Err(ExperimentError::Data {
                stage: "select",
                what: format!(
                    "no dictionary in {} reads blocks.*.hook_resid_post; found: {}",
                    scenario.path(&scenario.dictionaries).display(),
                    dictionaries
                        .members()
                        .map(|(site, _)| site.to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            });
        }
        let cache = DictionaryCache::new(&backend, DICTIONARY_BUDGET_BYTES);
        let mut session = Self {
            weights: WeightsFile::all_in(&folder)?,
            backend,
            model,
            tokenizer,
            dictionaries,
            cache,
            layers,
            hashes,
        };
        for layer in session.layers() {
            let dictionary = session.dictionary(layer)?;
            let checksums: Vec<String> = dictionary
                .description()
                .provenance
                .checksums
                .iter()
                .map(|(file, hash)| format!("{file} {hash}"))
                .collect();
            session.hashes.insert(
                format!("dictionary {}", Site::ResidPost(layer)),
                checksums.join(", "),
            );
        }
        Ok(session)
    }

    /// The model.
    pub fn model(&self) -> &Model<CpuBackend> {
        &self.model
    }

    /// That nobody has written over the model's weights, which are used where they lie, since it was loaded.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] naming the file.
    pub fn check_weights_unchanged(&self) -> Result<(), ExperimentError> {
        match self.weights.iter().find(|file| !file.is_as_it_was()) {
            None => Ok(()),
            Some(file) => Err(ExperimentError::Data {
                stage: "sweep",
                what: format!(
                    "{} was written over while the model was in use, so trials after that are of no known model; put the \
                     file back and continue with --resume",
                    file.path.display()
                ),
            }),
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The blocks whose output has a dictionary, rising.
    pub fn layers(&self) -> Vec<u32> {
        self.layers.clone()
    }

    /// BLAKE3 hashes of the model, the tokenizer and every dictionary, by name.
    pub fn hashes(&self) -> &BTreeMap<String, String> {
        &self.hashes
    }

    /// What of the processor the results depend on.
    pub fn instruction_set(&self) -> String {
        self.backend.instruction_set()
    }

    /// The dictionary of a block's output.
    ///
    /// # Errors
    /// Those of the dictionary crate.
    pub fn dictionary(&self, layer: u32) -> Result<Arc<Dictionary<CpuBackend>>, ExperimentError> {
        Ok(self.dictionaries.load(Site::ResidPost(layer), &self.cache)?)
    }

    /// That a block's output has a dictionary.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] with the blocks that have one.
    pub fn check_layer(&self, layer: u32) -> Result<(), ExperimentError> {
        if self.layers.contains(&layer) {
            return Ok(());
        }
        let blocks: Vec<String> = self.layers.iter().map(u32::to_string).collect();
        Err(ExperimentError::Data {
            stage: "select",
            what: format!(
                "block {layer} has no dictionary; blocks with one: {}",
                blocks.join(", ")
            ),
        })
    }

    /// Token ids of a prompt, the beginning-of-sequence token first where the model's prompts begin with it.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ExperimentError> {
        Ok(self
            .tokenizer
            .encode(text, Beginning::of_prompts(self.model.config()))?)
    }

    /// The text of generated tokens, as it follows the prompt.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn response_text(&self, prompt: &[u32], tokens: &[u32]) -> Result<String, ExperimentError> {
        Ok(self.tokenizer.continuation(prompt, tokens)?)
    }

    /// Active features of residual rows [n, d_model] of a block's output.
    ///
    /// # Errors
    /// Those of the dictionary crate.
    pub fn encode_rows(
        &self,
        layer: u32,
        values: &[f32],
        n: usize,
    ) -> Result<SparseFeatures, ExperimentError> {
        self.encode_buffer(layer, &self.backend.upload(values), n)
    }

    /// Active features of residual rows [n, d_model] that are on the device.
    ///
    /// # Errors
    /// Those of the dictionary crate.
    pub fn encode_buffer(
        &self,
        layer: u32,
        x: &<CpuBackend as Backend>::Buffer,
        n: usize,
    ) -> Result<SparseFeatures, ExperimentError> {
        Ok(self
            .dictionary(layer)?
            .encode_sparse(x, n, &SparseSelection::default())?)
    }

    /// Bytes of the model's matrices in memory, as f32.
    pub fn model_bytes(&self) -> u64 {
        let config = self.model.config();
        let per_block = 2 * config.d_model * (config.n_heads + config.n_kv_heads) * config.d_head
            + 3 * config.d_model * config.d_mlp;
        let heads = if config.tied { 1 } else { 2 };
        4 * (config.n_layers * per_block + heads * config.vocab_size * config.d_model) as u64
    }

    /// How many units of work run at a time: one per thread where the model is small enough for a processor's cache,
    /// else one, with the threads inside its products.
    pub fn workers(&self) -> usize {
        if self.model_bytes() <= SMALL_MODEL_BYTES {
            rayon::current_num_threads()
        } else {
            1
        }
    }

    /// ‖d‖ of a feature in raw space: how far one unit of it moves the residual stream.
    ///
    /// # Errors
    /// Those of the dictionary crate, for a feature out of range.
    pub fn decoder_norm(&self, layer: u32, feature: u32) -> Result<f64, ExperimentError> {
        let dictionary = self.dictionary(layer)?;
        let row = dictionary.decoder_rows(&[feature])?;
        let mut values = vec![0.0; dictionary.width()];
        self.backend.read(&row, 0, &mut values)?;
        Ok(values
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt())
    }
}

fn model_folder(scenario: &Scenario) -> Result<PathBuf, ExperimentError> {
    let local = scenario.path(&scenario.model);
    if local.is_dir() {
        return Ok(local);
    }
    Ok(glassbox_model::locate::locate(
        &scenario.model,
        &HubEnvironment::of_process(),
    )?)
}
