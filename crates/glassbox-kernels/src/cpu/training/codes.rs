//! Codes in host memory: pairs by row, and where each feature's pairs stand.

use std::cmp::Reverse;

use super::super::memory::CpuBuffer;
use super::super::parallel::{for_each_index, map_indices};
use super::super::selection::rank;
use crate::training::{CodeTotals, SparseRows};

/// Pairs (row, feature) with pre-activation and value, by row and by feature.
#[derive(Clone, Debug, Default)]
pub struct CpuCodes {
    pub(super) rows: usize,
    pub(super) features: usize,
    /// [rows + 1].
    pub(super) row_offsets: Vec<usize>,
    /// Of every pair, row after row, rising within a row.
    pub(super) feature: Vec<u32>,
    /// Pre-activations z.
    pub(super) pre: Vec<f32>,
    /// Feature values f.
    pub(super) value: Vec<f32>,
    /// Where the pairs of each feature begin in the three vectors below [features + 1].
    pub(super) feature_offsets: Vec<usize>,
    /// Of every pair, feature after feature, rising within a feature.
    pub(super) row: Vec<u32>,
    /// Where the pair stands in `feature`, `pre` and `value`.
    pub(super) place: Vec<u32>,
    /// The gradient that is kept for it.
    pub(super) gradient: Vec<f32>,
    /// The encoder in panels, between two uses empty of meaning.
    pub(super) packed: Option<CpuBuffer>,
}

/// The pairs of some rows, as an encoder leaves them.
#[derive(Default)]
pub(super) struct RowPairs {
    /// Pairs of each row.
    pub counts: Vec<usize>,
    pub feature: Vec<u32>,
    pub pre: Vec<f32>,
}

/// Features whose pairs one thread takes at a time.
pub(super) const FEATURES: usize = 32;

impl CpuCodes {
    /// Pairs.
    pub(super) fn len(&self) -> usize {
        self.feature.len()
    }

    /// Becomes a copy of the pairs of `from`; its own working room stays.
    pub(super) fn copy_from(&mut self, from: &Self) {
        let packed = self.packed.take();
        self.rows = from.rows;
        self.features = from.features;
        self.row_offsets.clone_from(&from.row_offsets);
        self.feature.clone_from(&from.feature);
        self.pre.clone_from(&from.pre);
        self.value.clone_from(&from.value);
        self.feature_offsets.clone_from(&from.feature_offsets);
        self.row.clone_from(&from.row);
        self.place.clone_from(&from.place);
        self.gradient.clone_from(&from.gradient);
        self.packed = packed;
    }

    /// Takes over the pairs of blocks of rows, in order.
    pub(super) fn fill(&mut self, rows: usize, features: usize, blocks: &[RowPairs]) {
        self.rows = rows;
        self.features = features;
        self.row_offsets.clear();
        self.row_offsets.push(0);
        self.feature.clear();
        self.pre.clear();
        let mut end = 0;
        for block in blocks {
            for count in &block.counts {
                end += count;
                self.row_offsets.push(end);
            }
            self.feature.extend_from_slice(&block.feature);
            self.pre.extend_from_slice(&block.pre);
        }
        self.finish();
    }

    /// Sets the values to max(z, 0) and finds the pairs of each feature.
    fn finish(&mut self) {
        self.value.clear();
        self.value
            .extend(self.pre.iter().map(|&z| if z <= 0.0 { 0.0 } else { z }));
        let pairs = self.len();
        self.feature_offsets.clear();
        self.feature_offsets.resize(self.features + 1, 0);
        for &feature in &self.feature {
            self.feature_offsets[feature as usize + 1] += 1;
        }
        for feature in 0..self.features {
            self.feature_offsets[feature + 1] += self.feature_offsets[feature];
        }
        self.row.resize(pairs, 0);
        self.place.resize(pairs, 0);
        self.gradient.clear();
        self.gradient.resize(pairs, 0.0);
        let mut next = self.feature_offsets.clone();
        for row in 0..self.rows {
            for place in self.row_offsets[row]..self.row_offsets[row + 1] {
                let at = &mut next[self.feature[place] as usize];
                self.row[*at] = row as u32;
                self.place[*at] = place as u32;
                *at += 1;
            }
        }
    }

    /// Keeps the `count` largest pre-activations of all rows together.
    pub(super) fn keep_largest(&mut self, count: usize) -> Option<f32> {
        let keys: Vec<u64> = (0..).zip(&self.pre).map(|(place, &z)| rank(z, place)).collect();
        let least = if count == 0 {
            u64::MAX
        } else if count >= keys.len() {
            0
        } else {
            let mut keys = keys.clone();
            *keys.select_nth_unstable_by_key(count - 1, |&key| Reverse(key)).1
        };
        let stays = |place: usize| count > 0 && keys[place] >= least;
        let mut kept = 0;
        let mut smallest: Option<f32> = None;
        for row in 0..self.rows {
            let pairs = self.row_offsets[row]..self.row_offsets[row + 1];
            self.row_offsets[row] = kept;
            for place in pairs.filter(|&place| stays(place)) {
                self.feature[kept] = self.feature[place];
                self.pre[kept] = self.pre[place];
                smallest = Some(smallest.map_or(self.pre[kept], |least| least.min(self.pre[kept])));
                kept += 1;
            }
        }
        if let Some(last) = self.row_offsets.last_mut() {
            *last = kept;
        }
        self.feature.truncate(kept);
        self.pre.truncate(kept);
        self.finish();
        smallest
    }

    /// Adds the rows in which each feature is active.
    pub(super) fn count(&self, counts: &mut [u32]) -> CodeTotals {
        let blocks = self.rows.div_ceil(1024);
        let sums = map_indices(blocks, self.len() > 1 << 16, |block| {
            let rows = block * 1024..((block + 1) * 1024).min(self.rows);
            let values = &self.value[self.row_offsets[rows.start]..self.row_offsets[rows.end]];
            let active = values.iter().filter(|&&value| value != 0.0).count();
            (
                active as u64,
                values.iter().map(|&value| f64::from(value)).sum::<f64>(),
            )
        });
        for (&feature, _) in self
            .feature
            .iter()
            .zip(&self.value)
            .filter(|(_, value)| **value != 0.0)
        {
            counts[feature as usize] += 1;
        }
        sums.into_iter()
            .fold(CodeTotals::default(), |totals, (active, sum)| CodeTotals {
                active: totals.active + active,
                sum: totals.sum + sum,
            })
    }

    /// Sets every value to `of(feature, z)`.
    pub(super) fn set_values(&mut self, of: impl Fn(usize, f32) -> f32) {
        for ((value, &feature), &z) in self.value.iter_mut().zip(&self.feature).zip(&self.pre) {
            *value = of(feature as usize, z);
        }
    }

    /// The active pairs.
    pub(super) fn read(&self) -> SparseRows {
        let mut rows = SparseRows {
            row_offsets: vec![0],
            ..SparseRows::default()
        };
        for row in 0..self.rows {
            for place in self.row_offsets[row]..self.row_offsets[row + 1] {
                if self.value[place] != 0.0 {
                    rows.features.push(self.feature[place]);
                    rows.values.push(self.value[place]);
                }
            }
            rows.row_offsets.push(rows.features.len());
        }
        rows
    }

    /// Calls `each` with every feature, its z and values by place, and its gradients.
    pub(super) fn for_each_feature(
        &mut self,
        each: impl Fn(usize, &FeaturePairs<'_>, &mut [f32]) + Sync + Send,
    ) {
        let several_threads = self.len() > 1 << 14;
        let Self {
            features,
            pre,
            value,
            feature_offsets,
            row,
            place,
            gradient,
            ..
        } = self;
        let gradients = Parts {
            start: gradient.as_mut_ptr(),
        };
        for_each_index(features.div_ceil(FEATURES), several_threads, |block| {
            // The whole struct, not its pointer alone, is what may be shared.
            let gradients = &gradients;
            for feature in block * FEATURES..((block + 1) * FEATURES).min(*features) {
                let range = feature_offsets[feature]..feature_offsets[feature + 1];
                let pairs = FeaturePairs {
                    rows: &row[range.clone()],
                    places: &place[range.clone()],
                    pre,
                    value,
                };
                // SAFETY: the ranges of features do not overlap and lie within the gradients; every feature comes once.
                let gradient =
                    unsafe { std::slice::from_raw_parts_mut(gradients.start.add(range.start), range.len()) };
                each(feature, &pairs, gradient);
            }
        });
    }
}

/// Gradients that threads take feature by feature.
struct Parts {
    start: *mut f32,
}

// SAFETY: every thread makes slices of its own features' range only.
unsafe impl Sync for Parts {}
// SAFETY: as above.
unsafe impl Send for Parts {}

/// The pairs of one feature.
pub(super) struct FeaturePairs<'a> {
    pub rows: &'a [u32],
    pub places: &'a [u32],
    pre: &'a [f32],
    value: &'a [f32],
}

impl FeaturePairs<'_> {
    /// z of the i-th pair.
    pub(super) fn pre(&self, i: usize) -> f32 {
        self.pre[self.places[i] as usize]
    }

    /// f of the i-th pair.
    pub(super) fn value(&self, i: usize) -> f32 {
        self.value[self.places[i] as usize]
    }
}
