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
    /// All of them, sorted.
    features: Vec<RecordedFeature>,
}

/// What a trial's row holds of the wanted features: lists that run in parallel, sorted by block and feature, of those
/// that were active at least once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WantedRecord {
    pub(crate) layers: Vec<u32>,
    pub(crate) features: Vec<u32>,
    /// Over the generated tokens that were fed back.
    pub(crate) means: Vec<f32>,
    pub(crate) maxima: Vec<f32>,
    pub(crate) at_prompt_end: Vec<f32>,
}

impl WantedRecord {
    fn of(features: &[RecordedFeature], sums: &[FeatureSums], tokens: u32) -> Self {
        let mut record = Self::default();
        for (&(layer, feature), sums) in features.iter().zip(sums) {
            if sums.active_tokens == 0 && sums.at_prompt_end == 0.0 {
                continue;
            }
            record.layers.push(layer);
            record.features.push(feature);
            record.means.push((sums.sum / f64::from(tokens.max(1))) as f32);
            record.maxima.push(sums.max);
            record.at_prompt_end.push(sums.at_prompt_end);
        }
        record
    }
}

#[derive(Debug)]
struct WantedOfLayer {
    /// `None`: all features are encoded and these are picked.
    subset: Option<FeatureSubset<CpuBackend>>,
    /// Rising.
    ids: Vec<u32>,
    /// Place of the first among all wanted features.
    first: usize,
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
        let mut features = Vec::new();
        for (layer, ids) in by_layer {
            session.check_layer(layer)?;
            let ids: Vec<u32> = ids.into_iter().collect();
            let dictionary = session.dictionary(layer)?;
            let subset = dictionary.subset(&ids)?;
            let subset = alone.then_some(subset);
            let first = features.len();
            features.extend(ids.iter().map(|&id| (layer, id)));
            layers.insert(layer, WantedOfLayer { subset, ids, first });
        }
        Ok(Self { layers, features })
    }
}

/// Gets told how many trials have ended and how many tokens were generated since it was last told.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Records features while trials run, and tells how far they are.
pub(crate) struct Recorder<'a> {
    session: &'a Session,
    layers: Vec<u32>,
    recording: Recording<'a>,
    progress: Progress<'a>,
    records: Vec<ReplayRecord>,
    /// Of wanted features, by row: sums while the row runs, [`WantedRecord`] once it has ended.
    sums: Vec<Vec<FeatureSums>>,
    wanted: Vec<WantedRecord>,
    values: Vec<f32>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        session: &'a Session,
        rows: usize,
        recording: Recording<'a>,
        progress: Progress<'a>,
    ) -> Self {
        let (rows, layers) = match recording {
            Recording::None => (0, Vec::new()),
            Recording::Wanted(wanted) => (rows, wanted.layers.keys().copied().collect()),
            Recording::Sums | Recording::Activations => (rows, session.layers()),
        };
        let wanted_rows = match recording {
            Recording::Wanted(_) => rows,
            Recording::None | Recording::Sums | Recording::Activations => 0,
        };
        Self {
            session,
            layers,
            recording,
            progress,
            records: vec![ReplayRecord::default(); rows],
            sums: vec![Vec::new(); wanted_rows],
            wanted: vec![WantedRecord::default(); wanted_rows],
            values: Vec::new(),
        }
    }

    /// Records of all features, and of wanted ones, by row; empty where not asked for.
    pub(crate) fn finish(self) -> (Vec<ReplayRecord>, Vec<WantedRecord>) {
        (self.records, self.wanted)
    }

    /// Values [rows, wanted features of the block] of residual rows, into `self.values`.
    fn encode_wanted(
        &mut self,
        backend: &CpuBackend,
        layer: u32,
        wanted: &WantedOfLayer,
        x: &<CpuBackend as Backend>::Buffer,
        rows: usize,
    ) -> Result<(), VisitError> {
        let Some(subset) = &wanted.subset else {
            let sparse = self.session.encode_buffer(layer, x, rows)?;
            self.values.clear();
            for row in 0..rows {
                let (features, values) = sparse.row(row);
                self.values.extend(wanted.ids.iter().map(|id| {
                    let place = features.binary_search(id);
                    place.map_or(0.0, |place| values[place])
                }));
            }
            return Ok(());
        };
        let values = subset.encode(x, rows)?;
        self.values.resize(rows * wanted.ids.len(), 0.0);
        backend.read(&values, 0, &mut self.values)?;
        Ok(())
    }
}

/// Position of the row's last slot, counted from the first generated token: −1 is the last prompt position.
fn from_first_generated(view: &SiteView<'_, CpuBackend>, batch_row: usize) -> Option<i64> {
    let position = view.layout.position(batch_row, view.layout.queries() - 1)?;
    let from = i64::from(position) - i64::from(view.layout.prompt_length(batch_row));
    // A prompt computed in pieces passes at positions before its end.
    (from >= -1).then_some(from)
}

impl FeatureSums {
    fn add(&mut self, value: f32, at_prompt_end: bool) {
        if at_prompt_end {
            self.at_prompt_end = value;
        } else {
            self.sum += f64::from(value);
            self.max = self.max.max(value);
            self.active_tokens += 1;
        }
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
        let last = view.last_rows(backend)?;
        let rows = view.layout.batch();
        let first_layer = self.layers.first() == Some(&layer);
        if let Recording::Wanted(features) = self.recording {
            let Some(wanted) = features.layers.get(&layer) else {
                return Ok(());
            };
            self.encode_wanted(backend, layer, wanted, &last, rows)?;
            for (batch_row, values) in self.values.chunks_exact(wanted.ids.len()).enumerate() {
                let Some(from) = from_first_generated(view, batch_row) else {
                    continue;
                };
                let row = view.layout.row_id(batch_row) as usize;
                self.records[row].tokens += u32::from(first_layer && from >= 0);
                let sums = &mut self.sums[row];
                sums.resize(features.features.len(), FeatureSums::default());
                for (sums, &value) in sums[wanted.first..].iter_mut().zip(values) {
                    if value != 0.0 {
                        sums.add(value, from < 0);
                    }
                }
            }
            return Ok(());
        }
        let sparse = self.session.encode_buffer(layer, &last, rows)?;
        for batch_row in 0..rows {
            let Some(from) = from_first_generated(view, batch_row) else {
                continue;
            };
            let record = &mut self.records[view.layout.row_id(batch_row) as usize];
            record.tokens += u32::from(first_layer && from >= 0);
            let (features, values) = sparse.row(batch_row);
            for (&feature, &value) in features.iter().zip(values) {
                record
                    .features
                    .entry((layer, feature))
                    .or_default()
                    .add(value, from < 0);
                if matches!(self.recording, Recording::Activations) {
                    record.activations.push((from, layer, feature, value));
                }
            }
        }
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Recorder<'_> {
    fn chosen(&mut self, _step: usize, tokens: &[ChosenToken]) -> Result<(), VisitError> {
        let ended = tokens.iter().filter(|token| token.stopped.is_some());
        let mut trials = 0;
        for row in ended.map(|token| token.row as usize) {
            trials += 1;
            if let Recording::Wanted(features) = self.recording {
                let sums = std::mem::take(&mut self.sums[row]);
                self.wanted[row] = WantedRecord::of(&features.features, &sums, self.records[row].tokens);
            }
        }
        (self.progress)(trials, tokens.len() as u64);
        Ok(())
    }
}
