//! Counter-based random numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Key of a resampling run: numbers of the caller's choice, such as run, layer, feature and statistic.
///
/// Equal keys give equal results on every machine and with any number of threads; keys that differ in any
/// number give unrelated streams.
pub type ResampleKey = [u64; 4];

/// What a stream is used for. Different uses of one key draw from different streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    SignFlip = 1,
    LabelFlip = 2,
    Bootstrap = 3,
    ClusterBootstrap = 4,
    Trend = 5,
}

/// A ChaCha8 stream for one replicate of one purpose under one key.
///
/// The key is the cipher key and (purpose, replicate) the stream number, so any replicate can be drawn alone,
/// in any order.
pub(crate) struct ReplicateRng(ChaCha8Rng);

impl ReplicateRng {
    /// Replicates are numbered below 2^56.
    pub(crate) fn new(key: &ResampleKey, purpose: Purpose, replicate: u64) -> Self {
        let mut seed = [0_u8; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(key) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(((purpose as u64) << 56) | (replicate & ((1 << 56) - 1)));
        Self(rng)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform index below `bound` > 0, without bias (D. Lemire, 2019).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let mut product = u128::from(self.bits()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.bits()) * u128::from(bound);
            }
        }
        (product >> 64) as usize
    }
}

/// Fair coin flips, 64 per draw.
pub(crate) struct Coins {
    rng: ReplicateRng,
    word: u64,
    left: u32,
}

impl Coins {
    pub(crate) fn new(rng: ReplicateRng) -> Self {
        Self {
            rng,
            word: 0,
            left: 0,
        }
    }

    pub(crate) fn flip(&mut self) -> bool {
        if self.left == 0 {
            (self.word, self.left) = (self.rng.bits(), 64);
        }
        let heads = self.word & 1 == 1;
        self.word >>= 1;
        self.left -= 1;
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(key: ResampleKey, purpose: Purpose, replicate: u64) -> u64 {
        ReplicateRng::new(&key, purpose, replicate).bits()
    }

    #[test]
    fn streams_depend_on_every_part_of_the_key_and_on_nothing_else() {
        let base = first([1, 2, 3, 4], Purpose::SignFlip, 5);
        assert_eq!(base, first([1, 2, 3, 4], Purpose::SignFlip, 5));
        for position in 0..4 {
            let mut key = [1, 2, 3, 4];
            key[position] += 1;
            assert_ne!(base, first(key, Purpose::SignFlip, 5));
        }
        assert_ne!(base, first([1, 2, 3, 4], Purpose::Bootstrap, 5));
        assert_ne!(base, first([1, 2, 3, 4], Purpose::SignFlip, 6));
    }

    #[test]
    fn indices_are_uniform() {
        let mut rng = ReplicateRng::new(&[7, 0, 0, 0], Purpose::Bootstrap, 0);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6)] += 1;
        }
        // χ² with 5 degrees of freedom; 25.7 is its 0.9999 point.
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 25.7, "{chi} {counts:?}");
    }

    #[test]
    fn large_bounds_are_unbiased() {
        // Three quarters of the range of 64 bits: without rejection every third index would come twice as often.
        let mut rng = ReplicateRng::new(&[8, 0, 0, 0], Purpose::Bootstrap, 0);
        let mut counts = [0_u32; 3];
        for _ in 0..9000 {
            counts[rng.below(3 << 62) % 3] += 1;
        }
        // Standard deviation 45.
        assert!(counts.iter().all(|&c| c.abs_diff(3000) < 200), "{counts:?}");
    }

    #[test]
    fn coins_are_fair() {
        let mut coins = Coins::new(ReplicateRng::new(&[7, 0, 0, 0], Purpose::SignFlip, 0));
        let heads = (0..100_000).filter(|_| coins.flip()).count() as f64;
        assert!((heads - 5e4).abs() < 4.0 * 25_000.0_f64.sqrt(), "{heads}");
    }
}
