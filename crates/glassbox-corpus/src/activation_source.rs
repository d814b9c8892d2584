//! Where activations come from.

use glassbox_model::site::Site;
use glassbox_store::Checksum;
use serde::{Deserialize, Serialize};

use crate::{ActivationBatch, CorpusError, DocumentSource, RowBatchesState, RowOptions};

/// A site of a source, and how wide its rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSite {
    /// The site. For sites with heads a row is all heads of a position, one after the other.
    #[serde(with = "site_name")]
    pub site: Site,
    /// Values per token.
    pub width: usize,
}

/// Sites as their TransformerLens names.
mod site_name {
    use glassbox_model::site::Site;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(site: &Site, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(site)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Site, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What made the activations, for the record. Absent where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationOrigin {
    /// BLAKE3 of the model's configuration and weights.
    pub model: Option<String>,
    /// BLAKE3 of the tokenizer's file.
    pub tokenizer: Option<String>,
    /// The documents, as they were asked for.
    #[serde(default)]
    pub documents: Option<DocumentSource>,
    /// Checksum of what they were read from; see [`crate::DocumentReader::fingerprint`].
    #[serde(default)]
    pub content: Option<Checksum>,
    /// How documents became rows, with every default resolved.
    pub rows: Option<RowOptions>,
    /// Tokens of one forward pass at most, where the passes are made as they are needed: their sums are rounded by it.
    #[serde(default)]
    pub batch_tokens: Option<usize>,
}

/// Where a source stands: small, and of no use to any other source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceState {
    /// Of a [`crate::MemoryActivations`].
    Memory {
        /// Tokens of this pass that were given.
        given: u64,
    },
    /// Of a [`crate::LegacyStates`].
    LegacyStates {
        /// The state that comes next.
        given: u64,
    },
    /// Of a [`crate::ModelActivations`].
    Model {
        /// Where the rows of the corpus stand.
        batches: Box<RowBatchesState>,
    },
    /// Of a [`crate::StoredActivations`].
    Stored {
        /// A checksum over the shards, the sites, the split and the order.
        identity: String,
        /// Passes that were begun before this one.
        pass: u64,
        /// Blocks of this pass that were given.
        block: u64,
    },
}

impl SourceState {
    /// What it is a state of, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "of activations in memory",
            Self::LegacyStates { .. } => "of a file of extracted states",
            Self::Model { .. } => "of a model's forward pass",
            Self::Stored { .. } => "of stored activations",
        }
    }
}

/// Activations in a fixed order, batch by batch.
///
/// A pass gives every token once. The order and the division into batches depend on the source alone, never on the number of threads.
pub trait ActivationSource: Send {
    /// The sites of every batch, in this order.
    fn sites(&self) -> &[SourceSite];

    /// What made the activations.
    fn origin(&self) -> ActivationOrigin;

    /// Tokens of one pass, if that is known beforehand.
    fn tokens_per_pass(&self) -> Option<u64> {
        None
    }

    /// Replaces the batch by the next one of this pass, as large as the source finds convenient and never empty. `false` at the end
    /// of the pass; the batch is empty then.
    ///
    /// # Errors
    /// A [`CorpusError`], which names the place of what is wrong. The source is not to be used then until it is restored or rewound.
    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError>;

    /// Where the source stands: before the batch that comes next.
    fn state(&self) -> SourceState;

    /// Continues where a source of the same data stood.
    ///
    /// # Errors
    /// [`CorpusError::StateMismatch`] if the state is another source's, and those of reading.
    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError>;

    /// Begins the next pass.
    ///
    /// # Errors
    /// Those of reading.
    fn rewind(&mut self) -> Result<(), CorpusError>;
}

impl<S: ActivationSource + ?Sized> ActivationSource for Box<S> {
    fn sites(&self) -> &[SourceSite] {
        (**self).sites()
    }

    fn origin(&self) -> ActivationOrigin {
        (**self).origin()
    }

    fn tokens_per_pass(&self) -> Option<u64> {
        (**self).tokens_per_pass()
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        (**self).next(batch)
    }

    fn state(&self) -> SourceState {
        (**self).state()
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        (**self).restore(state)
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        (**self).rewind()
    }
}
