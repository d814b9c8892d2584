//! Random numbers that depend on what is sampled, never on who samples it or beside what.
//!
//! Every sampled token has its own number for every vocabulary entry, addressed by (run, prompt, trial, step, token
//! id): ChaCha with 8 rounds, the key made from the first three by BLAKE3, the step as stream, the token id as place
//! in the stream. Two arms of one trial therefore share their randomness, whatever their batch, worker or thread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Names the randomness of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RandomKey {
    /// Seed of the whole run.
    pub run_seed: u64,
    /// Number or hash of the prompt.
    pub prompt: u64,
    /// Trial of that prompt.
    pub trial: u64,
}

impl RandomKey {
    /// The numbers of this trial.
    #[must_use]
    pub fn numbers(&self) -> TokenNumbers {
        let mut hasher = blake3::Hasher::new_derive_key("glassbox 2026 sampling: run, prompt, trial");
        for part in [self.run_seed, self.prompt, self.trial] {
            hasher.update(&part.to_le_bytes());
        }
        TokenNumbers {
            generator: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
            next: 0,
        }
    }
}

/// One number per (step, token id) of a trial.
#[derive(Clone, Debug)]
pub struct TokenNumbers {
    generator: ChaCha8Rng,
    /// Token id that the generator stands at.
    next: u64,
}

/// Walking this far costs less than computing a block anew.
const WALK: u64 = 32;

impl TokenNumbers {
    /// Goes to the first token of a step.
    pub fn begin_step(&mut self, step: u64) {
        self.generator.set_stream(step);
        self.generator.set_word_pos(0);
        self.next = 0;
    }

    /// 32 uniform bits for a token of the current step. Fastest for rising token ids.
    pub fn bits(&mut self, token: u32) -> u32 {
        let token = u64::from(token);
        if token < self.next || token - self.next > WALK {
            self.generator.set_word_pos(u128::from(token));
            self.next = token;
        }
        while self.next < token {
            self.generator.next_u32();
            self.next += 1;
        }
        self.next += 1;
        self.generator.next_u32()
    }
}

/// The bits as a number strictly between 0 and 1.
#[must_use]
pub fn uniform(bits: u32) -> f64 {
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// A standard Gumbel variate, −ln(−ln u).
#[must_use]
pub fn gumbel(bits: u32) -> f64 {
    -(-uniform(bits).ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RandomKey = RandomKey {
        run_seed: 7,
        prompt: 3,
        trial: 11,
    };

    #[test]
    fn a_number_depends_on_its_address_only() {
        let tokens: Vec<u32> = vec![0, 1, 5, 31, 32, 33, 64, 500, 501, 40_000];
        let mut numbers = KEY.numbers();
        numbers.begin_step(4);
        let rising: Vec<u32> = tokens.iter().map(|&token| numbers.bits(token)).collect();
        let falling: Vec<u32> = tokens.iter().rev().map(|&token| numbers.bits(token)).collect();
        assert_eq!(rising, falling.into_iter().rev().collect::<Vec<_>>());
        for (&token, &bits) in tokens.iter().zip(&rising) {
            let mut alone = KEY.numbers();
            alone.begin_step(9);
            alone.bits(123);
            alone.begin_step(4);
            assert_eq!(alone.bits(token), bits);
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |key: RandomKey, step| {
            let mut numbers = key.numbers();
            numbers.begin_step(step);
            numbers.bits(0)
        };
        let base = first(KEY, 0);
        for other in [
            first(RandomKey { run_seed: 8, ..KEY }, 0),
            first(RandomKey { prompt: 4, ..KEY }, 0),
            first(RandomKey { trial: 12, ..KEY }, 0),
            first(KEY, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn numbers_never_change_between_versions() {
        let mut numbers = KEY.numbers();
        numbers.begin_step(2);
        assert_eq!(
            [numbers.bits(0), numbers.bits(1), numbers.bits(1000)],
            [3_128_081_317, 3_248_780_076, 2_002_936_127]
        );
    }

    #[test]
    fn the_ends_of_the_range_are_finite() {
        assert!(gumbel(0).is_finite() && gumbel(u32::MAX).is_finite());
        assert!(gumbel(u32::MAX) > gumbel(0));
    }
}
