//! Sparse dictionaries: their formats, encoding and decoding, and edits of their features.
//!
//! **What lives here:** the one internal form of a dictionary ([`Dictionary`]) with the gradients of encode and decode;
//! the compilation of feature interventions into the model's row edits ([`FeatureEdit`]); one file per on-disk format
//! behind a registry ([`formats`]); a cache with a budget of bytes ([`DictionaryCache`]) and folders with a dictionary
//! per site ([`DictionarySet`]).
//!
//! **What must not live here:** the forward pass, experiments, statistics, tables, and `unsafe` code.

mod cache;
mod config_file;
mod cross_layer;
mod cross_layer_formats;
mod cross_layer_weights;
mod delta_edit;
mod description;
mod dictionary;
mod error;
mod feature_edit;
mod feature_encoder;
pub mod formats;
mod ghosttrack_history;
mod hook_names;
mod normalisation;
mod parts;
mod reconstruction_edit;
mod set;
mod sparse;
mod stored_dictionary;
mod subset;
mod training_record;
mod weights_file;
mod writing;

pub use cache::{CacheStatistics, DictionaryCache};
pub use cross_layer::{CrossLayerDescription, CrossLayerTranscoder, inspect_cross_layer};
pub use description::{
    ActivationRule, DictionaryDescription, InputNormalisation, ModelReference, Provenance,
};
pub use dictionary::{Dictionary, Encoded};
pub use error::{DictionaryError, Result};
pub use feature_edit::FeatureEdit;
pub use ghosttrack_history::{GHOSTTRACK_TARGET_L0, GhostTrackEpoch, GhostTrackHistory};
pub use normalisation::RowStatistics;
pub use parts::{DictionaryParts, StoredMatrix};
pub use set::{DictionarySet, Member};
pub use sparse::{SparseFeatures, SparseSelection};
pub use stored_dictionary::{DictionarySummary, StoredDictionary, StoredFrequency};
pub use subset::FeatureSubset;
pub use training_record::{TRAINING_NOTE, TrainingRecord};
pub use writing::Precision;
