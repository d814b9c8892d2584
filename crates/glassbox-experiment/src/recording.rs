//! What is recorded of the features while trials run.

use std::collections::{BTreeMap, BTreeSet};

use glassbox_dictionary::FeatureSubset;
use glassbox_kernels::Backend;
use glassbox_kernels::cpu::CpuBackend;
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{ChosenToken, GenerationObserver};
use glassbox_model::site::Site;

use crate::edges::RecordedFeature;
use crate::error::ExperimentError;
use crate::session::Session;

/// Activations of one feature over one replay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FeatureSums {
    /// Sum over generated tokens.
    pub sum: f64,
    /// Largest value over generated tokens.
    pub max: f32,
    /// Generated tokens on which it was active.
    pub active_tokens: u32,
    /// Value at the last prompt position.
    pub at_prompt_end: f32,
}

/// What was recorded of one replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayRecord {
    /// Generated tokens that were fed back: all but the last.
    pub tokens: u32,
    /// Every feature that was active at least once.
    pub features: BTreeMap<RecordedFeature, FeatureSums>,
    /// Every activation, as (position from the first generated token with −1 for the last prompt position, layer, feature,
    /// value); only if asked for.
    pub activations: Vec<(i64, u32, u32, f32)>,
}

/// What a unit is asked to record besides its trials.
#[derive(Clone, Copy, Debug)]
pub enum Recording<'a> {
    /// Nothing.
    None,
    /// Sums per trial, of these features.
    Wanted(&'a WantedFeatures),
    /// Sums per trial, of all features.
    Sums,
    /// Sums per trial and every activation, of all features.
    Activations,
}

/// Features of which only their own encoder rows are computed, where the dictionary's rule allows it.
#[derive(Debug)]
pub struct WantedFeatures {
    /// By block.
    layers: BTreeMap<u32, WantedOfLayer>,
}

#[derive(Debug)]
struct WantedOfLayer {
    /// `None`: all features are encoded and these are picked.
    subset: Option<FeatureSubset<CpuBackend>>,
    /// Rising.
    ids: Vec<u32>,
}

impl WantedFeatures {
    /// These features; `alone` encodes them without the others.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] for a block without a dictionary; those of the dictionary for a feature out of range.
    pub fn new(
        session: &Session,
        features: impl IntoIterator<Item = RecordedFeature>,
        alone: bool,
    ) -> Result<Self, ExperimentError> {
        let mut by_layer: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (layer, feature) in features {
            by_layer.entry(layer).or_default().insert(feature);
        }
        let mut layers = BTreeMap::new();
        for (layer, ids) in by_layer {
            session.check_layer(layer)?;
            let ids: Vec<u32> = ids.into_iter().collect();
            let dictionary = session.dictionary(layer)?;
            let subset = dictionary.subset(&ids)?;
            let subset = alone.then_some(subset);
            layers.insert(layer, WantedOfLayer { subset, ids });
        }
        Ok(Self { layers })
    }
}

/// Records the features of every layer while trials run.
pub(crate) struct Recorder<'a> {
    session: &'a Session,
    layers: Vec<u32>,
    recording: Recording<'a>,
    records: Vec<ReplayRecord>,
    values: Vec<f32>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(session: &'a Session, rows: usize, recording: Recording<'a>) -> Self {
        let (rows, layers) = match recording {
            Recording::None => (0, Vec::new()),
            Recording::Wanted(wanted) => (rows, wanted.layers.keys().copied().collect()),
            Recording::Sums | Recording::Activations => (rows, session.layers()),
        };
        Self {
            session,
            layers,
            recording,
            records: vec![ReplayRecord::default(); rows],
            values: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Vec<ReplayRecord> {
        self.records
    }
}

impl SiteVisitor<CpuBackend> for Recorder<'_> {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPost(layer) if self.layers.contains(&layer))
    }

    fn visit(&mut self, backend: &CpuBackend, view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        let Site::ResidPost(layer) = view.site else {
            return Ok(());
        };
        let last = crate::capture::last_rows(backend, view)?;
        let rows = view.layout.batch();
        match self.recording {
            Recording::Wanted(WantedFeatures { layers }) => {
                let Some(wanted) = layers.get(&layer) else {
                    return Ok(());
                };
                match &wanted.subset {
                    Some(subset) => {
                        let values = subset.encode(&last, rows)?;
                        self.values.resize(rows * wanted.ids.len(), 0.0);
                        backend.read(&values, 0, &mut self.values)?;
                    }
                    None => {
                        let sparse = self.session.encode_buffer(layer, &last, rows)?;
                        self.values.clear();
                        for row in 0..rows {
                            let (features, values) = sparse.row(row);
                            self.values.extend(wanted.ids.iter().map(|id| {
                                let place = features.binary_search(id);
                                place.map_or(0.0, |place| values[place])
                            }));
                        }
                    }
                }
                let values = std::mem::take(&mut self.values);
                for (batch_row, values) in values.chunks_exact(wanted.ids.len()).enumerate() {
                    let active = wanted.ids.iter().zip(values).filter(|(_, value)| **value != 0.0);
                    self.record(view, layer, batch_row, active.map(|(&id, &value)| (id, value)));
                }
                self.values = values;
            }
            Recording::None | Recording::Sums | Recording::Activations => {
                let sparse = self.session.encode_buffer(layer, &last, rows)?;
                for batch_row in 0..rows {
                    let (features, values) = sparse.row(batch_row);
                    let active = features.iter().copied().zip(values.iter().copied());
                    self.record(view, layer, batch_row, active);
                }
            }
        }
        Ok(())
    }
}

impl Recorder<'_> {
    /// Adds the active features of a row, rising, to its trial's record.
    fn record(
        &mut self,
        view: &SiteView<'_, CpuBackend>,
        layer: u32,
        batch_row: usize,
        active: impl Iterator<Item = (u32, f32)>,
    ) {
        let record = &mut self.records[view.layout.row_id(batch_row) as usize];
        let prompt_length = i64::from(view.layout.prompt_length(batch_row));
        let position = view
            .layout
            .position(batch_row, view.layout.queries() - 1)
            .map_or(0, i64::from);
        let from_first_generated = position - prompt_length;
        // A prompt computed in pieces passes here at positions before its end.
        if from_first_generated < -1 {
            return;
        }
        let at_prompt_end = from_first_generated == -1;
        if self.layers.first() == Some(&layer) && !at_prompt_end {
            record.tokens += 1;
        }
        for (feature, value) in active {
            let sums = record.features.entry((layer, feature)).or_default();
            if at_prompt_end {
                sums.at_prompt_end = value;
            } else {
                sums.sum += f64::from(value);
                sums.max = sums.max.max(value);
                sums.active_tokens += 1;
            }
            if matches!(self.recording, Recording::Activations) {
                record
                    .activations
                    .push((from_first_generated, layer, feature, value));
            }
        }
    }
}

impl GenerationObserver<CpuBackend> for Recorder<'_> {
    fn chosen(&mut self, _step: usize, _tokens: &[ChosenToken]) -> Result<(), VisitError> {
        Ok(())
    }
}
