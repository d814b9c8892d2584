//! The baseline: an interpolated Kneser–Ney trigram with three discounts per order.
//!
//! Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999), section 3.
//! The discounts start from the closed form and are then scaled per order to the best development-set
//! likelihood.

use std::collections::HashMap;

use crate::corpus::TokenDocument;
use crate::likelihood::Likelihood;
use crate::tokenizer::BEGIN;

/// What is known after one context.
#[derive(Clone, Debug, Default)]
struct Context {
    /// Sum of counts.
    total: f64,
    /// Number of distinct next tokens with count 1, 2, and 3 or more.
    distinct: [f64; 3],
}

/// A trigram model over token ids.
pub struct Trigram {
    vocabulary: usize,
    trigrams: HashMap<(u32, u32, u32), u32>,
    bigrams: HashMap<(u32, u32), u32>,
    unigrams: Vec<f64>,
    trigram_contexts: HashMap<(u32, u32), Context>,
    bigram_contexts: HashMap<u32, Context>,
    unigram_context: Context,
    /// Discounts for counts of 1, 2, and 3 or more: trigram, bigram and unigram order.
    discounts: [[f64; 3]; 3],
}

impl Trigram {
    /// Counts `documents` and tunes the discounts on `development`.
    pub fn fit(documents: &[TokenDocument], development: &[TokenDocument], vocabulary: usize) -> Self {
        let mut trigrams: HashMap<(u32, u32, u32), u32> = HashMap::new();
        for document in documents {
            for (u, v, w) in windows(document) {
                *trigrams.entry((u, v, w)).or_default() += 1;
            }
        }
        // Lower orders count in how many distinct contexts an n-gram is seen, not how often.
        let mut bigrams: HashMap<(u32, u32), u32> = HashMap::new();
        let mut trigram_contexts: HashMap<(u32, u32), Context> = HashMap::new();
        for (&(u, v, w), &count) in &trigrams {
            *bigrams.entry((v, w)).or_default() += 1;
            trigram_contexts.entry((u, v)).or_default().add(f64::from(count));
        }
        let mut unigrams = vec![0.0; vocabulary];
        let mut bigram_contexts: HashMap<u32, Context> = HashMap::new();
        for (&(v, w), &count) in &bigrams {
            unigrams[w as usize] += 1.0;
            bigram_contexts.entry(v).or_default().add(f64::from(count));
        }
        let mut unigram_context = Context::default();
        for &count in unigrams.iter().filter(|&&count| count > 0.0) {
            unigram_context.add(count);
        }
        let discounts = [
            closed_form(trigrams.values().map(|&count| f64::from(count))),
            closed_form(bigrams.values().map(|&count| f64::from(count))),
            closed_form(unigrams.iter().copied()),
        ];
        let mut model = Self {
            vocabulary,
            trigrams,
            bigrams,
            unigrams,
            trigram_contexts,
            bigram_contexts,
            unigram_context,
            discounts,
        };
        model.tune(development);
        model
    }

    /// Scales each order's discounts to the best likelihood on `development`, one order at a time, twice.
    fn tune(&mut self, development: &[TokenDocument]) {
        let start = self.discounts;
        let mut scales = [1.0f64; 3];
        for order in [0, 1, 2, 0, 1, 2] {
            let mut best = (f64::INFINITY, scales[order]);
            for scale in [0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.1] {
                self.discounts[order] = start[order].map(|discount| discount * scale);
                let loss = self.evaluate(development).all;
                if loss < best.0 {
                    best = (loss, scale);
                }
            }
            scales[order] = best.1;
            self.discounts[order] = start[order].map(|discount| discount * best.1);
        }
    }

    /// Probability of `w` after `u`, `v`.
    pub fn probability(&self, u: u32, v: u32, w: u32) -> f64 {
        let unigram = interpolate(
            Some(&self.unigram_context),
            self.unigrams[w as usize],
            &self.discounts[2],
            1.0 / self.vocabulary as f64,
        );
        let bigram_count = f64::from(self.bigrams.get(&(v, w)).copied().unwrap_or(0));
        let bigram = interpolate(
            self.bigram_contexts.get(&v),
            bigram_count,
            &self.discounts[1],
            unigram,
        );
        let trigram_count = f64::from(self.trigrams.get(&(u, v, w)).copied().unwrap_or(0));
        interpolate(
            self.trigram_contexts.get(&(u, v)),
            trigram_count,
            &self.discounts[0],
            bigram,
        )
    }

    /// Negative log-likelihoods of documents, every token after BOS.
    pub fn evaluate(&self, documents: &[TokenDocument]) -> Likelihood {
        let mut likelihood = Likelihood::default();
        for document in documents {
            for (index, (u, v, w)) in windows(document).enumerate() {
                likelihood.add(
                    -self.probability(u, v, w).ln(),
                    index + 1 >= document.response_start,
                );
            }
        }
        likelihood
    }
}

impl Context {
    fn add(&mut self, count: f64) {
        self.total += count;
        self.distinct[(count as usize).clamp(1, 3) - 1] += 1.0;
    }
}

/// Token triples of a document; the first real token follows (BOS, BOS).
fn windows(document: &TokenDocument) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
    let tokens = &document.tokens;
    (1..tokens.len()).map(move |i| {
        (
            if i < 2 { BEGIN } else { tokens[i - 2] },
            tokens[i - 1],
            tokens[i],
        )
    })
}

/// Discounted relative frequency plus the freed mass times the lower order.
fn interpolate(context: Option<&Context>, count: f64, discounts: &[f64; 3], lower: f64) -> f64 {
    let Some(context) = context else { return lower };
    let freed: f64 = discounts
        .iter()
        .zip(context.distinct)
        .map(|(discount, n)| discount * n)
        .sum();
    let kept = if count > 0.0 {
        count - discounts[(count as usize).clamp(1, 3) - 1]
    } else {
        0.0
    };
    (kept + freed * lower) / context.total
}

/// The closed-form discounts from counts of counts.
fn closed_form(counts: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut n = [0.0f64; 5];
    for count in counts {
        if (1.0..=4.0).contains(&count) {
            n[count as usize] += 1.0;
        }
    }
    let y = if n[1] + n[2] > 0.0 {
        n[1] / (n[1] + 2.0 * n[2])
    } else {
        0.5
    };
    let discount = |k: usize| {
        let value = k as f64 - (k as f64 + 1.0) * y * if n[k] > 0.0 { n[k + 1] / n[k] } else { 0.5 };
        // Small samples can put the closed form out of its range.
        value.clamp(0.05, k as f64 * 0.9)
    };
    [discount(1), discount(2), discount(3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_in_seen_and_unseen_contexts() {
        let documents: Vec<TokenDocument> = (0..40u32)
            .map(|i| TokenDocument {
                tokens: [0]
                    .into_iter()
                    .chain((0..30).map(|j| 2 + (i * j + j * j) % 9))
                    .chain([1])
                    .collect(),
                response_start: 5,
            })
            .collect();
        let model = Trigram::fit(&documents[..30], &documents[30..], 12);
        for (u, v) in [(0, 0), (2, 3), (5, 5), (11, 10), (3, 11)] {
            let sum: f64 = (0..12).map(|w| model.probability(u, v, w)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{u} {v}: {sum}");
        }
        let held_out = model.evaluate(&documents[30..]);
        assert!(held_out.perplexity() < 9.0 && held_out.all_tokens == 310);
    }
}
