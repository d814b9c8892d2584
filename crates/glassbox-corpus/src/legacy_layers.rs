//! GhostTrack's states of several layers as one source.

use std::path::{Path, PathBuf};

use glassbox_store::hash_bytes;

use crate::{
    ActivationBatch, ActivationOrigin, ActivationSource, CorpusError, LegacyStates, SourceSite, SourceState,
    Split,
};

/// Files of states of one extraction each, state i of all of them taken as the same token. The files do not say whether it is;
/// dictionaries of one layer each do not depend on it.
#[derive(Debug)]
pub struct LegacyLayers {
    layers: Vec<LegacyStates>,
    sites: Vec<SourceSite>,
    of_one: ActivationBatch,
}

impl LegacyLayers {
    /// Opens files of different layers with the same number of states, and gives one split of them.
    ///
    /// # Errors
    /// As [`LegacyStates::open`]; [`CorpusError::LegacyStates`] for a file whose layer is another's, or that has more or fewer states
    /// than the first.
    pub fn open(paths: &[PathBuf], split: Option<Split>) -> Result<Self, CorpusError> {
        let mut layers: Vec<LegacyStates> = Vec::new();
        for path in paths {
            let states = LegacyStates::open(path)?;
            let refuse = |problem: String| CorpusError::LegacyStates {
                path: path.clone(),
                problem,
            };
            if let Some(other) = layers.iter().find(|other| other.site() == states.site()) {
                return Err(refuse(format!(
                    "`layer_idx` is that of {}; name one file for each layer",
                    other.path().display()
                )));
            }
            if let Some(first) = layers.first().filter(|first| first.tokens() != states.tokens()) {
                return Err(refuse(format!(
                    "it has {} states, {} has {}; train them apart",
                    states.tokens(),
                    first.path().display(),
                    first.tokens()
                )));
            }
            layers.push(states);
        }
        let layers: Vec<LegacyStates> = layers.into_iter().map(|layer| layer.only(split)).collect();
        Ok(Self {
            sites: layers.iter().flat_map(|layer| layer.sites().to_vec()).collect(),
            layers,
            of_one: ActivationBatch::new(),
        })
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().map(LegacyStates::path)
    }
}

impl ActivationSource for LegacyLayers {
    fn sites(&self) -> &[SourceSite] {
        &self.sites
    }

    fn origin(&self) -> ActivationOrigin {
        let content = |layer: &LegacyStates| layer.origin().content.map(|content| content.to_string());
        let contents: Vec<String> = self.layers.iter().filter_map(content).collect();
        ActivationOrigin {
            content: Some(hash_bytes(contents.concat().as_bytes())),
            ..ActivationOrigin::default()
        }
    }

    fn tokens_per_pass(&self) -> Option<u64> {
        self.layers.first().and_then(ActivationSource::tokens_per_pass)
    }

    fn next(&mut self, batch: &mut ActivationBatch) -> Result<bool, CorpusError> {
        batch.reset(&self.sites);
        let mut is_more = false;
        for (place, layer) in self.layers.iter_mut().enumerate() {
            is_more = layer.next(&mut self.of_one)?;
            std::mem::swap(&mut batch.sites[place], &mut self.of_one.sites[0]);
        }
        // What is known of the tokens is the same in all of them.
        let sites = std::mem::take(&mut batch.sites);
        std::mem::swap(batch, &mut self.of_one);
        batch.sites = sites;
        Ok(is_more)
    }

    fn state(&self) -> SourceState {
        self.layers
            .first()
            .map_or(SourceState::LegacyStates { given: 0 }, ActivationSource::state)
    }

    fn restore(&mut self, state: &SourceState) -> Result<(), CorpusError> {
        self.layers.iter_mut().try_for_each(|layer| layer.restore(state))
    }

    fn rewind(&mut self) -> Result<(), CorpusError> {
        self.layers.iter_mut().try_for_each(ActivationSource::rewind)
    }
}
