//! Exact tests of yes/no outcomes: Fisher, McNemar, binomial.

use crate::error::{StatsError, require_open_unit};
use crate::log_probability::{ln_add, ln_binomial_pmf, ln_hypergeometric_pmf};
use crate::table::{PairedTable, Proportion, TwoByTwo};
use std::f64::consts::LN_2;

/// Outcomes whose probability exceeds the observed one by no more than this factor count as equally probable:
/// it absorbs rounding, as in R and SciPy's binomial test.
const TIE_FACTOR: f64 = 1.0 + 1e-7;

/// The p-value of an exact test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactTest {
    /// Two-sided p-value; 0 only where it underflows.
    pub p: f64,
    /// ln p, finite also where `p` underflows.
    pub ln_p: f64,
}

impl ExactTest {
    pub(crate) fn from_ln(ln_p: f64) -> Self {
        let ln_p = ln_p.min(0.0);
        Self { p: ln_p.exp(), ln_p }
    }
}

/// A unimodal distribution on consecutive integers.
struct Discrete<P: Fn(u64) -> f64, R: Fn(u64) -> f64> {
    lowest: u64,
    highest: u64,
    /// A most probable value.
    mode: u64,
    ln_pmf: P,
    /// pmf(k + 1) / pmf(k).
    ratio: R,
}

impl<P: Fn(u64) -> f64, R: Fn(u64) -> f64> Discrete<P, R> {
    /// ln P(X ≤ k), for k at or below the mode; terms fall away from k.
    fn ln_at_most(&self, k: u64) -> f64 {
        let (mut sum, mut term) = (1.0, 1.0);
        for j in (self.lowest..k).rev() {
            term /= (self.ratio)(j);
            sum += term;
            if term < sum * 1e-18 {
                break;
            }
        }
        (self.ln_pmf)(k) + f64::ln(sum)
    }

    /// ln P(X ≥ k), for k at or above the mode.
    fn ln_at_least(&self, k: u64) -> f64 {
        let (mut sum, mut term) = (1.0, 1.0);
        for j in k..self.highest {
            term *= (self.ratio)(j);
            sum += term;
            if term < sum * 1e-18 {
                break;
            }
        }
        (self.ln_pmf)(k) + f64::ln(sum)
    }

    /// ln of the summed probability of all values no more probable than the observed one.
    fn ln_two_sided(&self, observed: u64) -> f64 {
        let threshold = (self.ln_pmf)(observed) + TIE_FACTOR.ln();
        let rare = |k: u64| (self.ln_pmf)(k) <= threshold;
        if rare(self.mode) {
            return 0.0;
        }
        // Both tails stop short of the mode, which is more probable; find where each begins.
        let lower_tail = rare(self.lowest)
            .then(|| last_where(self.lowest, self.mode, rare))
            .map_or(f64::NEG_INFINITY, |k| self.ln_at_most(k));
        let upper_tail = rare(self.highest)
            .then(|| {
                let reflect = |k: u64| self.highest - k;
                reflect(last_where(0, self.highest - self.mode, |k| rare(reflect(k))))
            })
            .map_or(f64::NEG_INFINITY, |k| self.ln_at_least(k));
        ln_add(lower_tail, upper_tail)
    }
}

/// The last k in [start, end) where `holds`, which is true at `start`, false at `end` and changes once.
fn last_where(start: u64, end: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (start, end);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Fisher's exact test of equal proportions, two-sided: the summed probability, given both margins, of all
/// tables no more probable than the observed one (R. A. Fisher, 1935; the definition of R and SciPy).
///
/// A table with an empty row or column carries no information and has p = 1.
pub fn fisher_exact(table: &TwoByTwo) -> ExactTest {
    if table.has_empty_margin() {
        return ExactTest::from_ln(0.0);
    }
    let (marked, unmarked) = (table.first.trials(), table.second.trials());
    let draws = table.first.successes() + table.second.successes();
    let (m, u, n) = (marked as f64, unmarked as f64, draws as f64);
    let (lowest, highest) = (draws.saturating_sub(unmarked), draws.min(marked));
    let mode = ((n + 1.0) * ((m + 1.0) / (m + u + 2.0))).floor() as u64;
    let distribution = Discrete {
        lowest,
        highest,
        mode: mode.clamp(lowest, highest),
        ln_pmf: |k| ln_hypergeometric_pmf(k as f64, m, u, n),
        ratio: |k| {
            let k = k as f64;
            (m - k) * (n - k) / ((k + 1.0) * (u - n + k + 1.0))
        },
    };
    ExactTest::from_ln(distribution.ln_two_sided(table.first.successes()))
}

/// Exact two-sided binomial test that the success probability is `probability`: the summed probability of all
/// counts no more probable than the observed one. Without trials p = 1.
///
/// # Errors
/// [`StatsError::InvalidParameter`] unless 0 < probability < 1.
pub fn binomial_test(proportion: &Proportion, probability: f64) -> Result<ExactTest, StatsError> {
    let p = require_open_unit(probability, "probability")?;
    let q = 1.0 - p;
    let n = proportion.trials() as f64;
    let distribution = Discrete {
        lowest: 0,
        highest: proportion.trials(),
        mode: (((n + 1.0) * p).floor() as u64).min(proportion.trials()),
        ln_pmf: |k| ln_binomial_pmf(k as f64, n, p, q),
        ratio: |k| (n - k as f64) / (k as f64 + 1.0) * (p / q),
    };
    Ok(ExactTest::from_ln(
        distribution.ln_two_sided(proportion.successes()),
    ))
}

/// McNemar's test of equal proportions in pairs, from the discordant pairs alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemarTest {
    /// Pairs with success only in the first.
    pub only_first: u64,
    /// Pairs with success only in the second.
    pub only_second: u64,
    /// Exact two-sided p-value, 2·P(X ≤ min) for X binomial(discordant, ½), at most 1; 1 without discordant
    /// pairs. Never above its nominal level, and conservative for few pairs.
    pub exact: ExactTest,
    /// The exact value less the probability of the observed split: mid-p (Fagerland, Lydersen and Laake,
    /// 2013). Its level is close to nominal, but can exceed it slightly.
    pub mid_p: ExactTest,
}

/// McNemar's exact test and its mid-p variant.
pub fn mcnemar_test(table: &PairedTable) -> McNemarTest {
    let (only_first, only_second) = (table.only_first(), table.only_second());
    let discordant = table.discordant();
    let smaller = only_first.min(only_second);
    let n = discordant as f64;
    let ln_pmf = |k: u64| ln_binomial_pmf(k as f64, n, 0.5, 0.5);
    let (exact, mid_p) = if discordant == 0 {
        (0.0, 0.0)
    } else {
        let distribution = Discrete {
            lowest: 0,
            highest: discordant,
            mode: discordant / 2,
            ln_pmf,
            ratio: |k| (n - k as f64) / (k as f64 + 1.0),
        };
        let ln_tail = distribution.ln_at_most(smaller);
        // 2 P(X ≤ min) − P(X = min). At an even split both tails hold the middle term, the exact value is 1, and
        // half of that term is taken off, as the source defines it.
        let ln_mid = if only_first == only_second {
            (-0.5 * ln_pmf(smaller).exp()).ln_1p()
        } else {
            let ln_twice = ln_tail + LN_2;
            ln_twice + (-(ln_pmf(smaller) - ln_twice).exp()).ln_1p()
        };
        (ln_tail + LN_2, ln_mid)
    };
    McNemarTest {
        only_first,
        only_second,
        exact: ExactTest::from_ln(exact),
        mid_p: ExactTest::from_ln(mid_p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fisher(cells: [[u64; 2]; 2]) -> f64 {
        fisher_exact(&TwoByTwo::from_cells(cells).unwrap()).p
    }

    #[test]
    fn ladies_tasting_tea() {
        assert!((fisher([[3, 1], [1, 3]]) - 34.0 / 70.0).abs() < 1e-14);
        assert!((fisher([[4, 0], [0, 4]]) - 2.0 / 70.0).abs() < 1e-15);
        assert_eq!(fisher([[2, 2], [2, 2]]), 1.0);
    }

    #[test]
    fn empty_margins_and_empty_tables_have_p_one() {
        for cells in [
            [[0, 5], [0, 9]],
            [[5, 0], [9, 0]],
            [[0, 0], [3, 4]],
            [[0, 0], [0, 0]],
        ] {
            assert_eq!(fisher(cells), 1.0);
        }
    }

    #[test]
    fn brute_force_over_all_small_tables() {
        let choose = |n: u64, k: u64| (0..k).fold(1.0_f64, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        for a in 0..6_u64 {
            for b in 0..6 {
                for c in 0..6 {
                    for d in 0..6 {
                        let (row, draws, total) = (a + b, a + c, a + b + c + d);
                        let pmf = |k: u64| {
                            if k > row || k > draws || draws - k > total - row {
                                return 0.0;
                            }
                            choose(row, k) * choose(total - row, draws - k) / choose(total, draws)
                        };
                        let limit = pmf(a) * (1.0 + 1e-9);
                        let brute: f64 = (0..=draws).map(pmf).filter(|&p| p <= limit).sum();
                        assert!(
                            (fisher([[a, b], [c, d]]) - brute).abs() < 1e-12,
                            "{a} {b} {c} {d}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn mcnemar_is_a_binomial_test_of_the_discordant_pairs() {
        for (f, g) in [(0, 0), (1, 0), (5, 5), (3, 9), (0, 12), (200, 90)] {
            let test = mcnemar_test(&PairedTable::new(7, f, g, 3).unwrap());
            let binomial = binomial_test(&Proportion::new(f, f + g).unwrap(), 0.5).unwrap();
            assert!((test.exact.p - binomial.p).abs() < 1e-12, "{f} {g}");
            assert!(test.mid_p.p <= test.exact.p);
        }
        // One discordant pair: exact 1, mid-p ½; ten to none: 2·2⁻¹⁰ and half of it.
        let one = mcnemar_test(&PairedTable::new(0, 1, 0, 0).unwrap());
        assert_eq!((one.exact.p, one.mid_p.p), (1.0, 0.5));
        let ten = mcnemar_test(&PairedTable::new(0, 10, 0, 0).unwrap());
        assert!((ten.exact.p * 512.0 - 1.0).abs() < 1e-12 && (ten.mid_p.p * 1024.0 - 1.0).abs() < 1e-12);
        assert_eq!(mcnemar_test(&PairedTable::new(4, 0, 0, 4).unwrap()).mid_p.p, 1.0);
    }

    #[test]
    fn far_tails_keep_their_logarithm() {
        let test = mcnemar_test(&PairedTable::new(0, 0, 5000, 0).unwrap());
        assert_eq!(test.exact.p, 0.0);
        assert!((test.exact.ln_p + 4999.0 * LN_2).abs() < 1e-9);
    }

    #[test]
    fn the_hypothesised_probability_is_checked() {
        let proportion = Proportion::new(1, 2).unwrap();
        for bad in [0.0, 1.0, f64::NAN, 1.5] {
            assert!(binomial_test(&proportion, bad).is_err());
        }
        assert_eq!(
            binomial_test(&Proportion::new(0, 0).unwrap(), 0.3).unwrap().p,
            1.0
        );
    }
}
