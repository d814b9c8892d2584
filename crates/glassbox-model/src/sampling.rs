//! Choosing the next token from a row of logits.

use thiserror::Error;

use crate::random::{TokenNumbers, gumbel};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The token with the largest logit, the lowest id among equals.
    Greedy,
    /// A random token.
    Random(RandomSampling),
}

/// A random choice as transformers defines it: logits are divided by the temperature, then all but the `top_k`
/// largest are dropped (ties with the last one stay), then all but the smallest set of most probable tokens whose
/// probability reaches `top_p`, the token that crosses it included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomSampling {
    /// Divisor of the logits, above 0.
    pub temperature: f32,
    /// How many tokens stay; `None` is all.
    pub top_k: Option<usize>,
    /// Probability that the remaining tokens must reach, above 0 and at most 1; `None` is all.
    pub top_p: Option<f32>,
}

/// A sampling parameter out of its range.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SamplingError {
    /// The temperature.
    #[error("temperature {0} is not a positive number; for the most probable token ask for greedy decoding")]
    Temperature(f32),
    /// The number of tokens kept.
    #[error("top_k 0 keeps no token; leave it out to keep all")]
    TopK,
    /// The probability kept.
    #[error("top_p {0} is not above 0 and at most 1; leave it out to keep all tokens")]
    TopP(f32),
}

impl RandomSampling {
    /// `Ok` if every parameter is in its range.
    ///
    /// # Errors
    /// [`SamplingError`] naming the parameter.
    pub fn check(&self) -> Result<(), SamplingError> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(SamplingError::Temperature(self.temperature));
        }
        if self.top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => Err(SamplingError::TopP(p)),
            _ => Ok(()),
        }
    }
}

/// Memory of a random choice, reused between tokens.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    /// Token and logit over temperature, of the tokens that stay.
    kept: Vec<(u32, f64)>,
    ranked: Vec<Ranked>,
    scratch: Vec<f32>,
}

impl Sampler {
    /// Chooses a token from finite logits by the Gumbel-max rule: the token with the largest sum of logit (over
    /// temperature) and Gumbel noise has the probabilities of the softmax (Gumbel 1954; Maddison et al. 2014).
    /// The noise belongs to the token id, so a small change of the logits seldom changes the choice.
    pub fn choose(
        &mut self,
        logits: &[f32],
        how: &RandomSampling,
        numbers: &mut TokenNumbers,
        step: u64,
    ) -> u32 {
        self.keep(logits, how);
        numbers.begin_step(step);
        let mut best = (f64::NEG_INFINITY, 0);
        for &(token, logit) in &self.kept {
            let bits = numbers.bits(token);
            if cannot_exceed(bits, best.0 - logit) {
                continue;
            }
            let value = logit + gumbel(bits);
            if value > best.0 {
                best = (value, token);
            }
        }
        best.1
    }

    /// Tokens that top-k and top-p leave, by rising id.
    fn keep(&mut self, logits: &[f32], how: &RandomSampling) {
        let temperature = f64::from(how.temperature);
        let floor = match how.top_k {
            Some(k) if k < logits.len() => {
                self.scratch.clear();
                self.scratch.extend_from_slice(logits);
                *self
                    .scratch
                    .select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a))
                    .1
            }
            _ => f32::NEG_INFINITY,
        };
        self.kept.clear();
        self.kept.extend(
            (0_u32..)
                .zip(logits)
                .filter(|(_, logit)| **logit >= floor)
                .map(|(token, &logit)| (token, f64::from(logit) / temperature)),
        );
        if let Some(p) = how.top_p.filter(|&p| p < 1.0) {
            self.keep_top_p(f64::from(p));
        }
    }

    fn keep_top_p(&mut self, p: f64) {
        let largest = self
            .kept
            .iter()
            .fold(f64::NEG_INFINITY, |largest, &(_, logit)| largest.max(logit));
        self.ranked.clear();
        self.ranked.extend(self.kept.iter().map(|&(token, logit)| Ranked {
            token,
            logit,
            weight: (logit - largest).exp(),
        }));
        let wanted = p * self.ranked.iter().map(|entry| entry.weight).sum::<f64>();
        let Some(last) = last_of_top(&mut self.ranked, wanted) else {
            return;
        };
        self.kept
            .retain(|&(token, logit)| logit > last.logit || (logit == last.logit && token <= last.token));
    }
}

/// A token with its softmax weight.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    token: u32,
    logit: f64,
    weight: f64,
}

/// The last entry that is kept: of the entries by falling logit (equal ones by rising token), those stay that have less
/// than the wanted weight before them. Halves the part in question instead of sorting all of it.
fn last_of_top(entries: &mut [Ranked], wanted: f64) -> Option<Ranked> {
    let order = |a: &Ranked, b: &Ranked| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token));
    // The entry looked for lies in begin..end; those before begin weigh `before`, which is less than wanted.
    let (mut begin, mut end, mut before) = (0, entries.len(), 0.0);
    while end - begin > 1 {
        let middle = begin + (end - begin) / 2;
        entries[begin..end].select_nth_unstable_by(middle - begin, order);
        let upper: f64 = entries[begin..middle].iter().map(|entry| entry.weight).sum();
        if before + upper < wanted {
            before += upper;
            begin = middle;
        } else {
            end = middle;
        }
    }
    entries.get(begin).copied()
}

/// Whether the Gumbel variate of these bits is surely at most `needed`, told without a logarithm. The variate exceeds
/// `needed` only if 1 − u < exp(−needed), which is less than two to the minus k for k below needed / ln 2.
fn cannot_exceed(bits: u32, needed: f64) -> bool {
    // One less, so that rounding never rejects a token that would win.
    let k = needed * std::f64::consts::LOG2_E - 1.0;
    if k < 1.0 {
        return false;
    }
    let k = k.min(31.0) as u32;
    !bits >> (32 - k) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::RandomKey;

    fn numbers(trial: u64) -> TokenNumbers {
        RandomKey {
            run_seed: 1,
            prompt: 2,
            trial,
        }
        .numbers()
    }

    fn kept(logits: &[f32], temperature: f32, top_k: Option<usize>, top_p: Option<f32>) -> Vec<u32> {
        let mut sampler = Sampler::default();
        sampler.keep(
            logits,
            &RandomSampling {
                temperature,
                top_k,
                top_p,
            },
        );
        sampler.kept.iter().map(|&(token, _)| token).collect()
    }

    #[test]
    fn kept_tokens_follow_the_definition() {
        // Probabilities 0.5, 0.25, 0.125, 0.125 (tokens 2, 0, 1, 3).
        let logits = [0.25_f32, 0.125, 0.5, 0.125].map(f32::ln);
        assert_eq!(kept(&logits, 1.0, None, None), [0, 1, 2, 3]);
        assert_eq!(kept(&logits, 1.0, Some(2), None), [0, 2]);
        assert_eq!(
            kept(&logits, 1.0, Some(3), None),
            [0, 1, 2, 3],
            "ties with the last one stay"
        );
        assert_eq!(kept(&logits, 1.0, None, Some(0.4)), [2]);
        assert_eq!(
            kept(&logits, 1.0, None, Some(0.6)),
            [0, 2],
            "the crossing token stays"
        );
        assert_eq!(
            kept(&logits, 1.0, None, Some(0.8)),
            [0, 1, 2],
            "the lower id first among equals"
        );
        // After top-k the rest is renormalised: 2/3 and 1/3.
        assert_eq!(kept(&logits, 1.0, Some(2), Some(0.6)), [2]);
        // A low temperature sharpens before top-p is applied: 0.8, 0.2 at temperature 1/2.
        assert_eq!(kept(&logits, 0.5, Some(2), Some(0.75)), [2]);
        assert_eq!(kept(&[0.0, -1000.0], 1.0, None, Some(0.999)), [0]);
    }

    #[test]
    fn top_p_equals_a_sort() {
        for seed in 0..40_u32 {
            // Few distinct values, so that there are ties at the edge.
            let logits: Vec<f32> = (0..200_u32)
                .map(|i| (i.wrapping_mul(2_654_435_761 + seed) >> 28) as f32 * 0.3)
                .collect();
            for p in [0.01_f32, 0.3, 0.5, 0.9, 0.999] {
                let mut order: Vec<usize> = (0..logits.len()).collect();
                order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
                let weight = |i: usize| f64::from(logits[i]).exp();
                let total: f64 = (0..logits.len()).map(weight).sum();
                let mut before = 0.0;
                let mut expected: Vec<u32> = Vec::new();
                for i in order {
                    if before < f64::from(p) * total {
                        expected.push(i as u32);
                    }
                    before += weight(i);
                }
                expected.sort_unstable();
                assert_eq!(kept(&logits, 1.0, None, Some(p)), expected, "seed {seed}, p {p}");
            }
        }
    }

    #[test]
    fn frequencies_are_those_of_the_softmax() {
        let logits = [0.5_f32, -1.0, 2.0, 0.0, -30.0];
        let how = RandomSampling {
            temperature: 0.8,
            top_k: None,
            top_p: None,
        };
        let weights: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / 0.8).exp()).collect();
        let total: f64 = weights.iter().sum();
        let trials = 20_000;
        let mut counts = [0_u32; 5];
        let mut sampler = Sampler::default();
        for trial in 0..trials {
            counts[sampler.choose(&logits, &how, &mut numbers(trial), 0) as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let p = weight / total;
            let deviation = (p * (1.0 - p) / trials as f64).sqrt();
            assert!(
                (f64::from(*count) / trials as f64 - p).abs() < 4.5 * deviation + 1e-4,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn the_quick_rejection_rejects_no_winner() {
        for bits in (0..=u32::MAX)
            .step_by(65_537)
            .chain([u32::MAX, u32::MAX - 1, u32::MAX - 1000])
        {
            for tenth in -50..300 {
                let needed = f64::from(tenth) / 10.0;
                assert!(
                    !(cannot_exceed(bits, needed) && gumbel(bits) > needed),
                    "{bits} {needed}"
                );
            }
        }
    }

    #[test]
    fn a_small_change_of_the_logits_seldom_changes_the_choice() {
        let how = RandomSampling {
            temperature: 1.0,
            top_k: None,
            top_p: Some(0.95),
        };
        let logits: Vec<f32> = (0..50).map(|i| ((i * 37 % 50) as f32).sin()).collect();
        let moved: Vec<f32> = logits
            .iter()
            .enumerate()
            .map(|(i, x)| x + 1e-4 * (i as f32).cos())
            .collect();
        let mut sampler = Sampler::default();
        let changed = (0..2000)
            .filter(|&trial| {
                let a = sampler.choose(&logits, &how, &mut numbers(trial), 3);
                a != sampler.choose(&moved, &how, &mut numbers(trial), 3)
            })
            .count();
        assert!(changed <= 4, "{changed} of 2000");
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let good = RandomSampling {
            temperature: 0.7,
            top_k: Some(5),
            top_p: Some(0.9),
        };
        assert!(good.check().is_ok());
        assert!(
            RandomSampling {
                temperature: 0.0,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            RandomSampling {
                temperature: f32::NAN,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            RandomSampling {
                top_k: Some(0),
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            RandomSampling {
                top_p: Some(0.0),
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            RandomSampling {
                top_p: Some(1.5),
                ..good
            }
            .check()
            .is_err()
        );
    }
}
