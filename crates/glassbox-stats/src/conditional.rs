//! The noncentral distribution of a count given the margins: exact tests, estimates and limits of an odds ratio.

use crate::error::Undefined;
use crate::interval::{Confidence, Interval};
use crate::log_probability::ln_hypergeometric_pmf;
use crate::odds_ratio::OddsRatio;
use crate::root::find_root;
use crate::table::TwoByTwo;

/// The first cell, or a sum of first cells, given the margins: weights of each possible value at odds ratio 1.
pub(crate) struct Conditional {
    ln_weights: Vec<f64>,
    /// Index of the observed value.
    observed: usize,
}

impl Conditional {
    /// The first cell of one table.
    pub(crate) fn of_table(table: &TwoByTwo) -> Self {
        let marked = table.first.trials();
        let unmarked = table.second.trials();
        let draws = table.first.successes() + table.second.successes();
        let (lowest, highest) = (draws.saturating_sub(unmarked), draws.min(marked));
        let ln_weights = (lowest..=highest)
            .map(|k| ln_hypergeometric_pmf(k as f64, marked as f64, unmarked as f64, draws as f64))
            .collect();
        Self {
            ln_weights,
            observed: (table.first.successes() - lowest) as usize,
        }
    }

    /// The sum of two independent counts.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let (short, long) = if self.ln_weights.len() <= other.ln_weights.len() {
            (&self.ln_weights, &other.ln_weights)
        } else {
            (&other.ln_weights, &self.ln_weights)
        };
        let ln_weights = (0..short.len() + long.len() - 1)
            .map(|sum| {
                let first = (sum + 1).saturating_sub(long.len());
                let last = sum.min(short.len() - 1);
                let terms = || (first..=last).map(|i| short[i] + long[sum - i]);
                let peak = terms().fold(f64::NEG_INFINITY, f64::max);
                peak + terms().map(|term| (term - peak).exp()).sum::<f64>().ln()
            })
            .collect();
        Self {
            ln_weights,
            observed: self.observed + other.observed,
        }
    }

    /// How many values are possible.
    pub(crate) fn values(&self) -> usize {
        self.ln_weights.len()
    }

    /// ln of the summed probability, at odds ratio 1, of all values no more probable than the observed one; values within
    /// a factor of 1 + 1e-7 count as equally probable.
    pub(crate) fn ln_two_sided(&self) -> f64 {
        let threshold = self.ln_weights[self.observed] + 1e-7_f64.ln_1p();
        let rare = || self.ln_weights.iter().filter(|&&weight| weight <= threshold);
        let sum: f64 = rare().map(|weight| (weight - threshold).exp()).sum();
        (threshold + sum.ln()).min(0.0)
    }

    /// Σ over all values of f(k)·weight·ψᵏ, divided by the sum of weights; k counted from the lowest value.
    fn average(&self, log_psi: f64, f: impl Fn(usize) -> f64) -> f64 {
        let tilted = |(k, ln_weight): (usize, &f64)| ln_weight + k as f64 * log_psi;
        let peak = self
            .ln_weights
            .iter()
            .enumerate()
            .map(tilted)
            .fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut total) = (0.0, 0.0);
        for (k, ln_weight) in self.ln_weights.iter().enumerate() {
            let weight = (tilted((k, ln_weight)) - peak).exp();
            sum += f(k) * weight;
            total += weight;
        }
        sum / total
    }

    fn mean(&self, log_psi: f64) -> f64 {
        self.average(log_psi, |k| k as f64)
    }

    fn tail_at_least(&self, log_psi: f64) -> f64 {
        self.average(log_psi, |k| f64::from(u8::from(k >= self.observed)))
    }

    fn tail_at_most(&self, log_psi: f64) -> f64 {
        self.average(log_psi, |k| f64::from(u8::from(k <= self.observed)))
    }

    /// Maximum-likelihood odds ratio with limits that put α/2 in one tail each.
    pub(crate) fn odds_ratio(&self, confidence: Confidence) -> Result<OddsRatio, Undefined> {
        let half_alpha = 0.5 * confidence.alpha();
        let at_minimum = self.observed == 0;
        let at_maximum = self.observed + 1 == self.ln_weights.len();
        let solve = |f: &dyn Fn(f64) -> f64| {
            // The odds ratio of any table up to 2^53 trials, and its limits, lie well within exp(±100).
            find_root(f, -100.0, 100.0)
                .map(f64::exp)
                .ok_or(Undefined::NoInformation)
        };
        let observed = self.observed as f64;
        let estimate = if at_minimum {
            0.0
        } else if at_maximum {
            f64::INFINITY
        } else {
            solve(&|log_psi| self.mean(log_psi) - observed)?
        };
        let lower = if at_minimum {
            0.0
        } else {
            solve(&|log_psi| self.tail_at_least(log_psi) - half_alpha)?
        };
        let upper = if at_maximum {
            f64::INFINITY
        } else {
            solve(&|log_psi| self.tail_at_most(log_psi) - half_alpha)?
        };
        Ok(OddsRatio {
            estimate,
            interval: Interval {
                lower,
                upper,
                confidence,
            },
        })
    }
}
