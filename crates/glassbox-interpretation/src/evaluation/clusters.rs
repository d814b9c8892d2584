//! Sums per document, from which whole documents are resampled.

use std::collections::BTreeMap;

use glassbox_stats::{Confidence, ResampleKey, bootstrap_interval};

use crate::error::Result;
use crate::evaluation::evaluation_report::Figure;
use crate::evaluation::loss_sums::LossSums;

/// Clusters at most. Beyond that documents share one, which keeps memory flat and costs the interval nothing: what counts is
/// that a document is never split.
const MOST_CLUSTERS: usize = 2048;

/// Bootstrap replicates.
const REPLICATES: u64 = 2000;

/// Sums over the tokens of one document (or of a few).
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterSums {
    pub(super) tokens: u64,
    /// Σ‖x − x̂‖².
    pub(super) error: f64,
    /// Σ‖x − reference‖², for a reference that is the same for all clusters.
    pub(super) squared: f64,
    /// Σ (x − reference) [width].
    pub(super) sum: Vec<f64>,
    pub(super) loss: LossSums,
}

/// Clusters by document.
#[derive(Clone, Debug, Default)]
pub(super) struct Clusters {
    places: BTreeMap<u64, usize>,
    sums: Vec<ClusterSums>,
}

impl Clusters {
    /// The sums of a document.
    pub(super) fn of(&mut self, document: u64) -> &mut ClusterSums {
        let next = self.places.len() % MOST_CLUSTERS;
        let place = *self.places.entry(document).or_insert(next);
        if place == self.sums.len() {
            self.sums.push(ClusterSums::default());
        }
        // A place is at most the number of clusters: it was counted above.
        let place = place.min(self.sums.len() - 1);
        &mut self.sums[place]
    }

    /// Documents seen.
    pub(super) fn documents(&self) -> usize {
        self.places.len()
    }

    /// Explained variance with a bootstrap interval by document; the mean is that of all tokens, `shift` = mean − reference.
    pub(super) fn explained_variance(&self, shift: &[f64], key: &ResampleKey) -> Result<Option<Figure>> {
        let shift_squared: f64 = shift.iter().map(|s| s * s).sum();
        let parts: Vec<(f64, f64)> = self
            .sums
            .iter()
            .map(|cluster| {
                let along: f64 = cluster.sum.iter().zip(shift).map(|(sum, s)| sum * s).sum();
                let deviation = cluster.squared - 2.0 * along + cluster.tokens as f64 * shift_squared;
                (cluster.error, deviation)
            })
            .collect();
        self.figure(key, |indices| {
            let (error, deviation) = indices.iter().fold((0.0, 0.0), |(error, deviation), i| {
                (error + parts[*i].0, deviation + parts[*i].1)
            });
            (deviation > 0.0).then(|| 1.0 - error / deviation)
        })
    }

    /// A figure of the losses with a bootstrap interval by document.
    pub(super) fn of_losses(
        &self,
        key: &ResampleKey,
        statistic: impl Fn(&LossSums) -> Option<f64>,
    ) -> Result<Option<Figure>> {
        self.figure(key, |indices| {
            let mut total = LossSums::default();
            indices.iter().for_each(|i| total.add(&self.sums[*i].loss));
            statistic(&total)
        })
    }

    /// Sums over all clusters.
    pub(super) fn total_loss(&self) -> LossSums {
        let mut total = LossSums::default();
        self.sums.iter().for_each(|cluster| total.add(&cluster.loss));
        total
    }

    fn figure(
        &self,
        key: &ResampleKey,
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Result<Option<Figure>> {
        let all: Vec<usize> = (0..self.sums.len()).collect();
        let Some(estimate) = statistic(&all) else {
            return Ok(None);
        };
        let interval = bootstrap_interval(self.sums.len(), REPLICATES, key, Confidence::P95, statistic)?.ok();
        Ok(Some(Figure {
            estimate,
            low: interval.map(|found| found.interval.lower),
            high: interval.map(|found| found.interval.upper),
        }))
    }
}
