//! A histogram of activations between zero and a bound that grows with them. Counts are exact.

/// Bins. Once the bound has settled, between half of them and all are below the largest activation.
const BINS: usize = 64;

/// Counts of positive activations in bins of equal length.
#[derive(Clone, Debug, Default)]
pub struct ActivationHistogram {
    /// Upper end of the last bin, a power of two.
    bound: f32,
    counts: Vec<u64>,
}

impl ActivationHistogram {
    /// Counts a positive activation.
    pub fn push(&mut self, activation: f32) {
        if self.counts.is_empty() {
            self.counts = vec![0; BINS];
            self.bound = activation.log2().ceil().exp2();
        }
        while activation > self.bound && self.bound < f32::MAX / 2.0 {
            // Twice the bound: every two bins become one.
            for i in 0..BINS / 2 {
                self.counts[i] = self.counts[2 * i] + self.counts[2 * i + 1];
            }
            self.counts[BINS / 2..].fill(0);
            self.bound *= 2.0;
        }
        let place = (activation / self.bound * BINS as f32) as usize;
        self.counts[place.min(BINS - 1)] += 1;
    }

    /// Length of a bin; zero without activations.
    pub fn bin_width(&self) -> f32 {
        self.bound / BINS as f32
    }

    /// Counts of the bins from zero up to the last that holds anything.
    pub fn counts(&self) -> &[u64] {
        let last = self.counts.iter().rposition(|count| *count > 0);
        &self.counts[..last.map_or(0, |last| last + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_loses_no_count() {
        let mut histogram = ActivationHistogram::default();
        assert!(histogram.counts().is_empty());
        let values: Vec<f32> = (1..=1000).map(|i| 0.01 * i as f32).collect();
        values.iter().for_each(|value| histogram.push(*value));
        assert_eq!(histogram.counts().iter().sum::<u64>(), 1000);
        assert_eq!(histogram.bin_width(), 0.25);
        // Values in (0, 0.25), [0.25, 0.5), … up to rounding at the edges.
        assert_eq!(histogram.counts().len(), 41);
        assert!(
            histogram.counts()[..40]
                .iter()
                .all(|count| (24..=26).contains(count))
        );
    }
}
