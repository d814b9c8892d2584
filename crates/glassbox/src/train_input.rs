//! What `train` reads: a corpus through a model, activations that were extracted before, or a file of GhostTrack's states.

use std::path::Path;
use std::sync::Arc;

use glassbox_corpus::{
    ActivationSource, ActivationStore, LegacyLayers, ModelActivations, RowOptions, Split, StoredActivations,
    StoredOrder,
};
use glassbox_dictionary::ModelReference;
use glassbox_model::model_hash::model_hash;
use glassbox_model::site::{Site, SiteError};

use crate::arguments::TrainArguments;
use crate::error::CliError;
use crate::named_model::NamedModel;
use crate::site_list;

/// Where the activations come from.
pub enum TrainInput {
    /// Computed as they are needed.
    Corpus {
        /// The model, and what it was called.
        model: Box<NamedModel>,
        name: String,
        /// BLAKE3 of its configuration and weights.
        hash: String,
    },
    /// Of an extraction.
    Stored {
        /// Its folder.
        store: Arc<ActivationStore>,
        /// The model's name, if one was given.
        model: Option<String>,
    },
    /// Of one layer each, in files.
    States(LegacyLayers),
}

impl TrainInput {
    /// Opens what the flags name.
    ///
    /// # Errors
    /// [`CliError::Usage`] if they name nothing; those of the model, the folder or the file; if the activations are another model's.
    pub fn open(arguments: &TrainArguments) -> Result<Self, CliError> {
        if !arguments.states.is_empty() {
            return Ok(Self::States(LegacyLayers::open(&arguments.states, None)?));
        }
        if let Some(folder) = &arguments.activations {
            return Self::stored(arguments, folder);
        }
        let Some(name) = &arguments.model else {
            return Err(CliError::usage_with_hint(
                "neither a model nor activations were given",
                "glassbox train MODEL --corpus text.jsonl, --activations DIR (written by extract), or --states layer_12_states.pt",
            ));
        };
        let model = Box::new(NamedModel::open(name, arguments.weights)?);
        let hash = model_hash(&model.folder)?;
        Ok(Self::Corpus {
            model,
            name: name.clone(),
            hash,
        })
    }

    fn stored(arguments: &TrainArguments, folder: &Path) -> Result<Self, CliError> {
        let store = ActivationStore::open(folder)?;
        if let Some(name) = &arguments.model {
            let model = NamedModel::open(name, arguments.weights)?;
            store.ensure_model(&model_hash(&model.folder)?)?;
        }
        Ok(Self::Stored {
            store: Arc::new(store),
            model: arguments.model.clone(),
        })
    }

    /// What dictionaries say of the model that they belong to.
    pub fn model_reference(&self) -> ModelReference {
        let (name, hash) = match self {
            Self::Corpus { name, hash, .. } => (Some(name.clone()), Some(hash.clone())),
            Self::Stored { store, model } => (model.clone(), Some(store.manifest().model.clone())),
            Self::States(_) => (None, None),
        };
        ModelReference {
            name,
            hash,
            processing: Vec::new(),
        }
    }

    /// The sites that a list selects; of activations, all of them if there is no list.
    ///
    /// # Errors
    /// [`CliError::Usage`] if a corpus comes without a list; [`SiteError`] for an entry that selects nothing.
    pub fn select(&self, list: Option<&str>) -> Result<Vec<Site>, CliError> {
        Ok(match (self, list) {
            (Self::Corpus { model, .. }, Some(list)) => site_list::select(list, model.model.config())?,
            (Self::Corpus { .. }, None) => {
                return Err(CliError::usage_with_hint(
                    "neither --sites nor --config says what to train",
                    "name sites, --sites 'blocks.*.hook_resid_post' for example",
                ));
            }
            (_, Some(list)) => site_list::select_among(list, &self.stored_sites())?,
            (_, None) => self.stored_sites(),
        })
    }

    /// A site by its whole name.
    ///
    /// # Errors
    /// [`SiteError`] for a name that is none, or that the model does not have.
    pub fn site(&self, name: &str) -> Result<Site, SiteError> {
        match self {
            Self::Corpus { model, .. } => Site::parse(name, model.model.config()),
            _ => name.parse(),
        }
    }

    fn stored_sites(&self) -> Vec<Site> {
        match self {
            Self::Corpus { .. } => Vec::new(),
            Self::Stored { store, .. } => store.sites().iter().map(|site| site.site).collect(),
            Self::States(states) => states.sites().iter().map(|site| site.site).collect(),
        }
    }

    /// The activations of these sites; a split's alone, where they have not been extracted by somebody else.
    ///
    /// # Errors
    /// If the corpus, the tokenizer or a site can't be used.
    pub fn source<'a>(
        &'a self,
        arguments: &TrainArguments,
        sites: &[Site],
        split: Split,
        seed: u64,
    ) -> Result<Box<dyn ActivationSource + 'a>, CliError> {
        Ok(match self {
            Self::Corpus { model, hash, .. } => {
                let options = arguments.corpus.rows(RowOptions::default());
                let rows = arguments.corpus.open(model, &options, Some(split))?;
                Box::new(ModelActivations::new(
                    &model.model,
                    Some(hash.clone()),
                    rows,
                    sites,
                    arguments.forward_tokens,
                )?)
            }
            Self::Stored { store, .. } => Box::new(StoredActivations::new(
                Arc::clone(store),
                sites,
                Some(split),
                StoredOrder::Shuffled { seed },
            )?),
            Self::States(_) => Box::new(LegacyLayers::open(&arguments.states, Some(split))?),
        })
    }
}
