//! The selection table by layer: counts, the spread of effect sizes, and the selected features.

use std::path::Path;

use glassbox_experiment::tables::SelectionRow;
use glassbox_store::TableReader;

use crate::ReportError;

/// Width of a bin of Cohen's d.
pub const D_BIN_WIDTH: f64 = 0.1;
/// Bins of d on each side of zero; the outermost also hold what lies beyond them.
pub const D_BINS: usize = 200;

/// What *select* found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelectionData {
    /// The layers in order.
    pub layers: Vec<LayerSelection>,
    /// The selected features by layer and rank.
    pub selected: Vec<SelectionRow>,
    /// False discovery rate that `higher_a` and `higher_b` refer to, if the scenario is known.
    pub alpha: Option<f64>,
}

/// What *select* found in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSelection {
    /// Block index.
    pub layer: u32,
    /// Features of the dictionary.
    pub features: u64,
    /// Features with a p value.
    pub tested: u64,
    /// Features with q below alpha that are more active on family A's prompts.
    pub higher_a: u64,
    /// Features with q below alpha that are more active on family B's prompts.
    pub higher_b: u64,
    /// Features of `higher_a` and `higher_b` that the sweep tests.
    pub selected: u64,
    /// Number of tested features by d, from −[`D_BINS`] to [`D_BINS`] bins.
    pub d_bins: Vec<u64>,
}

impl LayerSelection {
    fn new(layer: u32) -> Self {
        Self {
            layer,
            features: 0,
            tested: 0,
            higher_a: 0,
            higher_b: 0,
            selected: 0,
            d_bins: vec![0; 2 * D_BINS],
        }
    }
}

impl SelectionData {
    /// Adds one row.
    pub fn add(&mut self, row: SelectionRow) {
        let place = match self.layers.binary_search_by_key(&row.layer, |layer| layer.layer) {
            Ok(place) => place,
            Err(place) => {
                self.layers.insert(place, LayerSelection::new(row.layer));
                place
            }
        };
        let layer = &mut self.layers[place];
        layer.features += 1;
        layer.tested += u64::from(row.p.is_some());
        if row.q.is_some_and(|q| self.alpha.is_some_and(|alpha| q < alpha)) {
            if row.mean_b > row.mean_a {
                layer.higher_b += 1;
            } else {
                layer.higher_a += 1;
            }
        }
        if let Some(d) = row.cohen_d.filter(|d| d.is_finite()) {
            let bins = D_BINS as f64;
            let bin = (d / D_BIN_WIDTH).floor().clamp(-bins, bins - 1.0) + bins;
            layer.d_bins[bin as usize] += 1;
        }
        if row.selected {
            layer.selected += 1;
            self.selected.push(row);
        }
    }

    /// Sum over the layers.
    pub fn total(&self, of: impl Fn(&LayerSelection) -> u64) -> u64 {
        self.layers.iter().map(of).sum()
    }
}

pub(super) fn read_selection(path: &Path, alpha: Option<f64>) -> Result<SelectionData, ReportError> {
    let mut data = SelectionData {
        alpha,
        ..SelectionData::default()
    };
    for batch in TableReader::<SelectionRow>::open(path)? {
        batch?.into_iter().for_each(|row| data.add(row));
    }
    data.selected
        .sort_by_key(|row| (row.layer, row.rank_in_layer, row.feature));
    Ok(data)
}
