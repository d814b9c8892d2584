//! Text to tokens to activations.
//!
//! **What lives here.** Documents read from files ([`DocumentReader`]), their rows of tokens ([`TokenRows`]), and the activations of
//! those rows, from wherever they come: every [`ActivationSource`] gives the same [`ActivationBatch`]es, one value row per token and site.
//! The [`ShuffleBuffer`] mixes any source for training.
//!
//! **What must not.** Dictionaries, training and evaluation (they read activations and know nothing of files), tables of results, and
//! `unsafe` code.
//!
//! Three promises hold throughout. Memory does not grow with the length of a corpus. Everything that is read in order can be
//! continued: a state is small, can be serialised, and what follows it is the same to the bit. And no NaN or infinity passes: it is
//! refused where it enters, with its place.

mod activation_batch;
mod activation_manifest;
mod activation_source;
mod activation_store;
mod activation_type;
mod corpus_files;
mod document;
mod document_reader;
mod document_source;
mod error;
mod extract;
mod extract_folder;
mod forward_rows;
mod json_lines;
mod legacy_layers;
mod legacy_states;
mod line_reader;
mod memory_activations;
mod model_activations;
mod parquet_documents;
mod row_batches;
mod row_options;
mod shard_buffer;
mod shard_file;
mod shard_writer;
mod shuffle_buffer;
mod shuffle_save;
mod site_encoder;
mod split;
mod stored_activations;
mod text_documents;
mod token_row;
mod token_rows;

pub use activation_batch::ActivationBatch;
pub use activation_manifest::{ACTIVATIONS_FILE, ActivationManifest, ExtractCounts, ShardEntry};
pub use activation_source::{ActivationOrigin, ActivationSource, SourceSite, SourceState};
pub use activation_store::{ActivationStore, Shard};
pub use activation_type::ActivationType;
pub use corpus_files::{CorpusFile, corpus_files};
pub use document::{Document, DocumentPlace, PlaceInFile};
pub use document_reader::{DocumentCounts, DocumentReader, ReaderState};
pub use document_source::{DocumentFormat, DocumentSource, TextUnit};
pub use error::CorpusError;
pub use extract::{ExtractPlan, ExtractRequest, ExtractSettings, ExtractWatch, extract, forward_only};
pub use legacy_layers::LegacyLayers;
pub use legacy_states::LegacyStates;
pub use memory_activations::MemoryActivations;
pub use model_activations::ModelActivations;
pub use row_batches::{RowBatch, RowBatches, RowBatchesState};
pub use row_options::{BeginningPolicy, FirstPosition, Packing, RowOptions};
pub use shuffle_buffer::{ShuffleBuffer, ShuffleSettings};
pub use split::Split;
pub use stored_activations::{StoredActivations, StoredOrder};
pub use token_row::TokenRow;
pub use token_rows::{RowCounts, RowsState, TokenRows};
