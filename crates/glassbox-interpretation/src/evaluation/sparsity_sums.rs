//! How many features are active, and how often each is.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of active features per token and of active tokens per feature.
#[derive(Clone, Debug)]
pub struct SparsitySums {
    tokens: u64,
    /// How many tokens had this many active features.
    counts: BTreeMap<u32, u64>,
    /// How often each feature was active [features].
    active: Vec<u64>,
}

/// The figures of sparsity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SparsityFigures {
    /// Number of features.
    pub features: usize,
    /// Tokens that everything here was judged on.
    pub tokens: u64,
    /// Mean number of active features per token.
    pub l0: f64,
    /// Smallest number of active features, and quantiles of it over tokens: 0.05, 0.25, 0.5, 0.75, 0.95, and the largest.
    pub l0_quantiles: L0Quantiles,
    /// Share of features that were active on no token.
    pub dead_share: f64,
    /// Features that were active on no token.
    pub dead_features: usize,
    /// Share of features that were active on more than one token in ten: often directions that carry a mean, not a meaning.
    pub dense_share: f64,
    /// Features by the logarithm (base 10) of their density, dead ones left out.
    pub density_histogram: Vec<DensityBin>,
}

/// Quantiles of the number of active features per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct L0Quantiles {
    /// The smallest.
    pub minimum: u32,
    /// Quantile 0.05.
    pub p05: u32,
    /// Quantile 0.25.
    pub p25: u32,
    /// The median.
    pub p50: u32,
    /// Quantile 0.75.
    pub p75: u32,
    /// Quantile 0.95.
    pub p95: u32,
    /// The largest.
    pub maximum: u32,
}

/// Features whose density has a logarithm (base 10) in [from, to).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DensityBin {
    /// Lower end of log10(density).
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Features.
    pub features: u64,
}

/// Bins per factor of ten.
const BINS_PER_DECADE: i32 = 4;

impl SparsitySums {
    /// No tokens yet, for this many features.
    pub fn new(features: usize) -> Self {
        Self {
            tokens: 0,
            counts: BTreeMap::new(),
            active: vec![0; features],
        }
    }

    /// Adds a token with these active features.
    pub fn push(&mut self, active: &[u32]) {
        self.tokens += 1;
        *self.counts.entry(active.len() as u32).or_default() += 1;
        for feature in active {
            self.active[*feature as usize] += 1;
        }
    }

    /// How often each feature was active [features].
    pub fn active(&self) -> &[u64] {
        &self.active
    }

    /// The figures; `None` without tokens.
    pub fn figures(&self) -> Option<SparsityFigures> {
        let (first, last) = (self.counts.first_key_value()?, self.counts.last_key_value()?);
        let total: u64 = self
            .counts
            .iter()
            .map(|(count, tokens)| u64::from(*count) * tokens)
            .sum();
        let (n, features) = (self.tokens as f64, self.active.len());
        let dead = self.active.iter().filter(|count| **count == 0).count();
        let dense = self
            .active
            .iter()
            .filter(|count| **count as f64 > 0.1 * n)
            .count();
        Some(SparsityFigures {
            features,
            tokens: self.tokens,
            l0: total as f64 / n,
            l0_quantiles: L0Quantiles {
                minimum: *first.0,
                p05: self.quantile(0.05),
                p25: self.quantile(0.25),
                p50: self.quantile(0.5),
                p75: self.quantile(0.75),
                p95: self.quantile(0.95),
                maximum: *last.0,
            },
            dead_share: dead as f64 / features as f64,
            dead_features: dead,
            dense_share: dense as f64 / features as f64,
            density_histogram: self.histogram(),
        })
    }

    /// The smallest count that at least this share of the tokens do not exceed.
    fn quantile(&self, share: f64) -> u32 {
        let mut seen = 0;
        for (count, tokens) in &self.counts {
            seen += tokens;
            if seen as f64 >= share * self.tokens as f64 {
                return *count;
            }
        }
        0
    }

    fn histogram(&self) -> Vec<DensityBin> {
        let n = self.tokens as f64;
        let mut bins: BTreeMap<i32, u64> = BTreeMap::new();
        for count in self.active.iter().filter(|count| **count > 0) {
            let place = ((*count as f64 / n).log10() * f64::from(BINS_PER_DECADE)).floor() as i32;
            // A density of one belongs to the last bin.
            *bins.entry(place.min(-1)).or_default() += 1;
        }
        let (Some(first), Some(last)) = (bins.keys().next().copied(), bins.keys().last().copied()) else {
            return Vec::new();
        };
        (first..=last)
            .map(|place| DensityBin {
                from: f64::from(place) / f64::from(BINS_PER_DECADE),
                to: f64::from(place + 1) / f64::from(BINS_PER_DECADE),
                features: bins.get(&place).copied().unwrap_or(0),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_counts() {
        let mut sums = SparsitySums::new(5);
        assert_eq!(sums.figures(), None);
        for token in 0..10_u32 {
            let active: Vec<u32> = if token == 0 { vec![0, 1, 2] } else { vec![0] };
            sums.push(&active);
        }
        let figures = sums.figures().unwrap();
        assert_eq!(figures.l0, 1.2);
        assert_eq!(
            (
                figures.l0_quantiles.minimum,
                figures.l0_quantiles.p50,
                figures.l0_quantiles.maximum
            ),
            (1, 1, 3)
        );
        assert_eq!((figures.dead_features, figures.dead_share), (2, 0.4));
        // Feature 0 on every token, features 1 and 2 on one in ten.
        assert_eq!(
            figures
                .density_histogram
                .iter()
                .map(|bin| bin.features)
                .sum::<u64>(),
            3
        );
        assert_eq!(figures.density_histogram.last().unwrap().features, 1);
        assert_eq!(figures.dense_share, 0.2);
    }
}
