//! Counter-based random draws: every game, response or sample owns a stream, so any of them can be made
//! again alone, in any order, on any number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A named part of the data. Two parts never share a stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Games that the model, the tokenizer and the trigram baseline learn from.
    Train,
    /// Games used to choose settings (baseline smoothing).
    Development,
    /// Games that only the final measurements see.
    HeldOut,
    /// Matched prompt pairs for the selection stage of the experiment.
    SelectionPrompts,
    /// Matched prompt pairs for the sweep of the experiment.
    SweepPrompts,
    /// The generator's own answers to the shipped prompts, for its decision rates.
    Rates,
    /// Initial weights.
    Initialization,
    /// Tokens sampled from the trained model.
    Sampling,
    /// Made-up trial logs.
    TrialLogs,
}

impl Split {
    fn tag(self) -> u64 {
        match self {
            Self::Train => 1,
            Self::Development => 2,
            Self::HeldOut => 3,
            Self::SelectionPrompts => 4,
            Self::SweepPrompts => 5,
            Self::Rates => 6,
            Self::Initialization => 7,
            // 8 was the order of activations, when dictionaries were trained here.
            Self::Sampling => 9,
            Self::TrialLogs => 10,
        }
    }
}

/// A stream of draws keyed by (seed, split, index).
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of one item of one split.
    pub fn new(seed: u64, split: Split, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&split.tag().to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(index);
        Self(generator)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // 53 bits fill the mantissa of an f64.
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below((high.saturating_sub(low) + 1) as usize) as u32
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// An index drawn in proportion to non-negative weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A random order of `0..n` (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_every_part_of_the_key() {
        let first = |seed, split, index| Draws::new(seed, split, index).unit();
        assert_eq!(first(1, Split::Train, 5), first(1, Split::Train, 5));
        assert_ne!(first(1, Split::Train, 5), first(2, Split::Train, 5));
        assert_ne!(first(1, Split::Train, 5), first(1, Split::HeldOut, 5));
        assert_ne!(first(1, Split::Train, 5), first(1, Split::Train, 6));
    }

    #[test]
    fn weighted_draws_follow_the_weights() {
        let mut draws = Draws::new(3, Split::Train, 0);
        let mut counts = [0usize; 3];
        for _ in 0..9000 {
            counts[draws.weighted(&[1.0, 0.0, 2.0])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((counts[0] as f64 / 9000.0 - 1.0 / 3.0).abs() < 0.03);
    }
}
