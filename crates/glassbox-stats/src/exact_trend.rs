//! The trend test over doses at low counts: the distribution of the statistic given the margins.

use crate::error::StatsError;
use crate::log_probability::ln_hypergeometric_pmf;
use crate::random::{Purpose, ReplicateRng, ResampleKey};
use crate::trend::{DoseGroup, check_strata};

/// Work (states times choices) up to which the distribution is enumerated.
const MAX_WORK: f64 = 3e7;

/// Steps between the smallest and the largest dose up to which doses count as points of a lattice.
const MAX_LATTICE: f64 = 1e4;

/// How the null distribution was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrendMethod {
    /// All tables with these margins.
    Exact,
    /// Outcomes permuted among the trials of each stratum, with the observed table counted among them.
    MonteCarlo {
        /// Number of permutations, the observed one not included.
        replicates: u64,
    },
}

/// Result of [`exact_trend_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactTrendTest {
    /// Two-sided p-value, P(|T − E T| ≥ |t − E T|) given all margins; never 0, and 1 without information.
    pub p: f64,
    /// Enumerated or drawn.
    pub method: TrendMethod,
}

/// Exact conditional test of a trend over doses within strata, T = Σ score·successes.
///
/// Given the margins of each stratum, T is a sum over independent multivariate hypergeometric draws. Where the doses
/// lie on a lattice and counts are low all tables are summed, dose by dose (the network idea of C. R. Mehta and N. R.
/// Patel, 1983); elsewhere outcomes are permuted `replicates` times and p = (k + 1)/(replicates + 1) (Phipson and Smyth,
/// 2010). Either way P(p ≤ α) ≤ α.
///
/// # Errors
/// [`StatsError::NonFinite`] for a score, [`StatsError::CountTooLarge`] above 2^53 trials,
/// [`StatsError::InvalidParameter`] for 0 replicates.
pub fn exact_trend_test(
    strata: &[&[DoseGroup]],
    replicates: u64,
    key: &ResampleKey,
) -> Result<ExactTrendTest, StatsError> {
    check_strata(strata)?;
    if replicates == 0 {
        return Err(StatsError::InvalidParameter {
            name: "replicates",
            value: 0.0,
            expected: "at least 1; 9999 is usual",
        });
    }
    let strata: Vec<Stratum> = strata.iter().filter_map(|groups| Stratum::new(groups)).collect();
    let exact = |p: f64| ExactTrendTest {
        p: p.min(1.0),
        method: TrendMethod::Exact,
    };
    if strata.is_empty() {
        return Ok(exact(1.0));
    }
    if let Some(lattice) = Lattice::new(&strata) {
        return Ok(exact(lattice.two_sided()));
    }
    Ok(permuted(&strata, replicates, key))
}

/// One stratum with at least two doses and both outcomes, its rarer outcome counted.
struct Stratum {
    scores: Vec<f64>,
    trials: Vec<u64>,
    /// How often the rarer outcome occurs at each dose.
    marked: Vec<u64>,
    /// −1 where failures are the rarer outcome: they fall where successes rise.
    sign: f64,
}

impl Stratum {
    fn new(groups: &[DoseGroup]) -> Option<Self> {
        let occupied = || groups.iter().filter(|group| group.outcome.trials() > 0);
        let successes: u64 = occupied().map(|group| group.outcome.successes()).sum();
        let failures: u64 = occupied().map(|group| group.outcome.failures()).sum();
        let first = occupied().next()?.score;
        if successes == 0 || failures == 0 || occupied().all(|group| group.score == first) {
            return None;
        }
        let rare_success = successes <= failures;
        Some(Self {
            scores: occupied().map(|group| group.score).collect(),
            trials: occupied().map(|group| group.outcome.trials()).collect(),
            marked: occupied()
                .map(|group| {
                    if rare_success {
                        group.outcome.successes()
                    } else {
                        group.outcome.failures()
                    }
                })
                .collect(),
            sign: if rare_success { 1.0 } else { -1.0 },
        })
    }

    fn total(&self) -> u64 {
        self.trials.iter().sum()
    }

    fn total_marked(&self) -> u64 {
        self.marked.iter().sum()
    }

    /// Observed minus expected statistic.
    fn deviation(&self) -> f64 {
        let share = self.total_marked() as f64 / self.total() as f64;
        let terms = self.scores.iter().zip(&self.trials).zip(&self.marked);
        self.sign
            * terms
                .map(|((x, &n), &k)| x * (k as f64 - n as f64 * share))
                .sum::<f64>()
    }
}

/// Strata whose doses are whole multiples of one step, so that T takes few values.
struct Lattice<'a> {
    strata: &'a [Stratum],
    /// Each dose as steps above the smallest of its stratum.
    steps: Vec<Vec<usize>>,
}

impl<'a> Lattice<'a> {
    fn new(strata: &'a [Stratum]) -> Option<Self> {
        let lowest: Vec<f64> = strata
            .iter()
            .map(|s| s.scores.iter().copied().fold(f64::INFINITY, f64::min))
            .collect();
        let offsets = || {
            strata
                .iter()
                .zip(&lowest)
                .flat_map(|(s, low)| s.scores.iter().map(move |x| x - low))
        };
        let widest = offsets().fold(0.0, f64::max);
        let step = offsets()
            .filter(|&offset| offset > 0.0)
            .try_fold(widest, |step, offset| common_step(step, offset, widest))?;
        let steps: Vec<Vec<usize>> = strata
            .iter()
            .zip(&lowest)
            .map(|(s, low)| {
                s.scores
                    .iter()
                    .map(|x| ((x - low) / step).round() as usize)
                    .collect()
            })
            .collect();
        let lattice = Self { strata, steps };
        (lattice.work() <= MAX_WORK).then_some(lattice)
    }

    fn work(&self) -> f64 {
        let mut span = 1.0;
        let mut work = 0.0;
        for (stratum, steps) in self.strata.iter().zip(&self.steps) {
            let marked = stratum.total_marked() as f64;
            let reach = marked * steps.iter().copied().max().unwrap_or(0) as f64 + 1.0;
            let choices: f64 = stratum.trials.iter().map(|&n| marked.min(n as f64) + 1.0).sum();
            work += (marked + 1.0) * reach * choices + span * reach;
            span += reach;
        }
        work
    }

    /// P(|T − E T| ≥ |t − E T|), T in steps.
    fn two_sided(&self) -> f64 {
        let mut distribution = vec![1.0];
        let mut offset = 0.0;
        let (mut observed, mut expected) = (0.0, 0.0);
        for (stratum, steps) in self.strata.iter().zip(&self.steps) {
            let own = stratum_distribution(stratum, steps);
            let share = stratum.total_marked() as f64 / stratum.total() as f64;
            for (i, &step) in steps.iter().enumerate() {
                observed += stratum.sign * step as f64 * stratum.marked[i] as f64;
                expected += stratum.sign * step as f64 * share * stratum.trials[i] as f64;
            }
            // With failures counted, T runs backwards from −(own.len() − 1) to 0.
            let own: Vec<f64> = if stratum.sign < 0.0 {
                offset -= (own.len() - 1) as f64;
                own.into_iter().rev().collect()
            } else {
                own
            };
            distribution = convolve(&distribution, &own);
        }
        let deviation = (observed - expected).abs();
        // Mirror images of the observed value differ by rounding only.
        let threshold = deviation - 1e-7 * deviation.max(1.0);
        distribution
            .iter()
            .enumerate()
            .filter(|(k, _)| (*k as f64 + offset - expected).abs() >= threshold)
            .map(|(_, probability)| probability)
            .sum()
    }
}

/// The greatest step that both lengths are multiples of, to rounding; `None` if it is too fine.
fn common_step(a: f64, b: f64, widest: f64) -> Option<f64> {
    let (mut large, mut small) = if a >= b { (a, b) } else { (b, a) };
    while small > 1e-9 * widest {
        let remainder = large - small * (large / small).round();
        (large, small) = (small, remainder.abs());
    }
    (widest / large <= MAX_LATTICE).then_some(large)
}

/// Probabilities of Σ steps·marked = 0, 1, 2, … given the margins of one stratum.
fn stratum_distribution(stratum: &Stratum, steps: &[usize]) -> Vec<f64> {
    let marked = stratum.total_marked() as usize;
    let reach = marked * steps.iter().copied().max().unwrap_or(0) + 1;
    // state[left][t]: `left` marked trials still to be placed, t steps so far.
    let mut state = vec![vec![0.0; reach]; marked + 1];
    state[marked][0] = 1.0;
    let mut rest: u64 = stratum.total();
    for (&step, &trials) in steps.iter().zip(&stratum.trials) {
        rest -= trials;
        let mut next = vec![vec![0.0; reach]; marked + 1];
        for left in 0..=marked {
            let fewest = (left as u64).saturating_sub(rest) as usize;
            let most = left.min(trials as usize);
            for here in fewest..=most {
                let probability =
                    ln_hypergeometric_pmf(here as f64, trials as f64, rest as f64, left as f64).exp();
                let shift = step * here;
                for t in 0..reach - shift.min(reach) {
                    let before = state[left][t];
                    if before > 0.0 {
                        next[left - here][t + shift] += before * probability;
                    }
                }
            }
        }
        state = next;
    }
    state.swap_remove(0)
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate().filter(|(_, x)| **x > 0.0) {
        for (j, y) in b.iter().enumerate() {
            out[i + j] += x * y;
        }
    }
    out
}

fn permuted(strata: &[Stratum], replicates: u64, key: &ResampleKey) -> ExactTrendTest {
    let observed: f64 = strata.iter().map(Stratum::deviation).sum();
    let threshold = observed.abs() * (1.0 - 1e-9);
    // One score per trial, centred, so that the expectation of a draw is 0.
    let mut pools: Vec<(Vec<f64>, usize, f64)> = strata
        .iter()
        .map(|s| {
            let scores: Vec<f64> = s
                .scores
                .iter()
                .zip(&s.trials)
                .flat_map(|(&x, &n)| std::iter::repeat_n(x, n as usize))
                .collect();
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let centred = scores.into_iter().map(|x| x - mean).collect();
            (centred, s.total_marked() as usize, s.sign)
        })
        .collect();
    let extreme = (0..replicates)
        .filter(|&replicate| {
            let mut rng = ReplicateRng::new(key, Purpose::Trend, replicate);
            let mut deviation = 0.0;
            for (pool, marked, sign) in &mut pools {
                for i in 0..*marked {
                    let j = i + rng.below(pool.len() - i);
                    pool.swap(i, j);
                    deviation += *sign * pool[i];
                }
            }
            deviation.abs() >= threshold
        })
        .count();
    ExactTrendTest {
        p: (extreme + 1) as f64 / (replicates + 1) as f64,
        method: TrendMethod::MonteCarlo { replicates },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Proportion, TwoByTwo, fisher_exact};

    const KEY: ResampleKey = [1, 2, 3, 4];

    fn groups(rows: &[(f64, u64, u64)]) -> Vec<DoseGroup> {
        rows.iter()
            .map(|&(score, successes, trials)| DoseGroup {
                score,
                outcome: Proportion::new(successes, trials).unwrap(),
            })
            .collect()
    }

    #[test]
    fn two_equal_groups_are_fishers_test() {
        // With equal groups the distribution is symmetric, where both definitions of "as extreme" agree.
        for (a, b) in [(0, 3), (1, 5), (4, 4), (9, 2), (10, 0), (10, 9)] {
            let rows = groups(&[(0.3, a, 10), (2.0, b, 10)]);
            let trend = exact_trend_test(&[&rows], 99, &KEY).unwrap();
            let table = TwoByTwo::from_cells([[a, 10 - a], [b, 10 - b]]).unwrap();
            assert!((trend.p / fisher_exact(&table).p - 1.0).abs() < 1e-10, "{a} {b}");
            assert_eq!(trend.method, TrendMethod::Exact);
        }
    }

    #[test]
    fn drawn_p_is_near_the_enumerated_one() {
        let rows = groups(&[(0.3, 1, 9), (0.5, 0, 12), (0.75, 2, 10), (2.0, 4, 11)]);
        let other = groups(&[(0.3, 8, 10), (0.5, 7, 10), (2.0, 9, 10)]);
        let exact = exact_trend_test(&[&rows, &other], 1, &KEY).unwrap();
        assert_eq!(exact.method, TrendMethod::Exact);
        // The same doses moved off the lattice by amounts that keep every comparison as it was.
        let strata: Vec<Stratum> = [&rows, &other].iter().filter_map(|g| Stratum::new(g)).collect();
        let drawn = permuted(&strata, 40_000, &KEY);
        let se = (exact.p * (1.0 - exact.p) / 40_000.0).sqrt();
        assert!((drawn.p - exact.p).abs() < 4.0 * se, "{} {}", drawn.p, exact.p);
    }

    #[test]
    fn doses_off_any_lattice_are_permuted() {
        let rows = groups(&[(0.0, 3, 40), (1.0, 5, 40), (std::f64::consts::PI, 9, 40)]);
        let test = exact_trend_test(&[&rows], 999, &KEY).unwrap();
        assert_eq!(test.method, TrendMethod::MonteCarlo { replicates: 999 });
        assert!(test.p > 0.02 && test.p < 0.3, "{}", test.p);
        assert_eq!(test, exact_trend_test(&[&rows], 999, &KEY).unwrap());
        assert!(exact_trend_test(&[&rows], 0, &KEY).is_err());
    }

    #[test]
    fn no_information_gives_one() {
        let flat = groups(&[(0.0, 0, 10), (1.0, 0, 10)]);
        let single = groups(&[(1.0, 3, 10)]);
        for strata in [
            vec![],
            vec![flat.as_slice()],
            vec![single.as_slice(), flat.as_slice()],
        ] {
            assert_eq!(exact_trend_test(&strata, 9, &KEY).unwrap().p, 1.0);
        }
    }
}
