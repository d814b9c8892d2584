//! Calibration over 2,000 simulated data sets, and coverage by enumeration where outcomes can be enumerated. Every test has
//! its own fixed key, so the outcomes never change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_stats::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const RUNS: usize = 2000;

struct Draws(ChaCha8Rng);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn normals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.normal()).collect()
    }

    fn moments(&mut self, n: usize, mean: f64, sd: f64) -> Moments {
        let values: Vec<f64> = (0..n).map(|_| mean + sd * self.normal()).collect();
        Moments::from_slice(&values).unwrap()
    }

    fn binomial(&mut self, n: u64, p: f64) -> Proportion {
        let successes = (0..n).filter(|_| self.uniform() < p).count() as u64;
        Proportion::new(successes, n).unwrap()
    }

    fn table(&mut self, n: [u64; 2], p: [f64; 2]) -> TwoByTwo {
        TwoByTwo::new(self.binomial(n[0], p[0]), self.binomial(n[1], p[1])).unwrap()
    }

    fn doses(&mut self, doses: &[f64], n: u64, p: impl Fn(f64) -> f64) -> Vec<DoseGroup> {
        doses
            .iter()
            .map(|&score| DoseGroup {
                score,
                outcome: self.binomial(n, p(score)),
            })
            .collect()
    }
}

const SCALES: [f64; 7] = [0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0];

/// p of the one-sample Kolmogorov–Smirnov test against the uniform distribution, Stephens's form of the limit law.
fn kolmogorov_smirnov(p_values: &[f64]) -> f64 {
    let mut sorted = p_values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = sorted.iter().enumerate().fold(0.0_f64, |most, (i, &p)| {
        most.max((i + 1) as f64 / n - p).max(p - i as f64 / n)
    });
    let x = distance * (n.sqrt() + 0.12 + 0.11 / n.sqrt());
    let sum: f64 = (1..100)
        .map(|k| {
            let k = f64::from(k);
            (if k % 2.0 == 1.0 { 2.0 } else { -2.0 }) * (-2.0 * k * k * x * x).exp()
        })
        .sum();
    sum.clamp(0.0, 1.0)
}

#[track_caller]
fn uniform(what: &str, mut draw: impl FnMut() -> f64) {
    let p_values: Vec<f64> = (0..RUNS).map(|_| draw()).collect();
    let ks = kolmogorov_smirnov(&p_values);
    assert!(ks > 0.01, "{what}: Kolmogorov–Smirnov p {ks}");
}

/// P(p ≤ α) ≤ α plus two standard errors at .01, .05 and .1.
#[track_caller]
fn at_most_nominal(what: &str, mut draw: impl FnMut() -> f64) {
    let p_values: Vec<f64> = (0..RUNS).map(|_| draw()).collect();
    for alpha in [0.01, 0.05, 0.1] {
        let found = p_values.iter().filter(|&&p| p <= alpha).count() as f64 / RUNS as f64;
        let bound = alpha + 2.0 * (alpha * (1.0 - alpha) / RUNS as f64).sqrt();
        assert!(found <= bound, "{what} at {alpha}: {found}");
    }
}

#[test]
fn the_check_of_uniformity_sees_what_is_not_uniform() {
    let mut draws = Draws::new(100);
    let p: Vec<f64> = (0..RUNS).map(|_| draws.uniform().powf(1.2)).collect();
    assert!(kolmogorov_smirnov(&p) < 0.01);
    // The 1 % point of the limit law is 1.6276.
    let exact: Vec<f64> = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0).collect();
    assert!(kolmogorov_smirnov(&exact) > 0.999);
}

#[test]
fn p_values_of_continuous_tests_are_uniform_under_the_null() {
    let mut d = Draws::new(101);
    uniform("Welch", || {
        welch_t(&d.moments(30, 0.0, 3.0), &d.moments(45, 0.0, 1.0))
            .unwrap()
            .p
    });
    uniform("one sample", || {
        one_sample_t_test(&d.moments(5, 0.0, 1.0), Confidence::P95)
            .unwrap()
            .test
            .p
    });
    uniform("paired", || {
        let (x, y) = (d.normals(12), d.normals(12));
        paired_t_test(&x, &y, Confidence::P95).unwrap().unwrap().test.p
    });
    uniform("Spearman", || {
        let (x, y) = (d.normals(60), d.normals(60));
        spearman(&x, &y).unwrap().unwrap().p
    });
    uniform("trend at many trials", || {
        let strata = [d.doses(&SCALES, 40, |_| 0.5), d.doses(&SCALES, 40, |_| 0.3)];
        let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
        trend_test(&strata, TrendVariance::Hypergeometric, Confidence::P95)
            .unwrap()
            .unwrap()
            .p
    });
    uniform("Cochran's Q", || {
        let errors: Vec<f64> = (0..40).map(|i| 0.1 + 0.02 * f64::from(i)).collect();
        let effects: Vec<f64> = errors.iter().map(|e| 0.7 + e * d.normal()).collect();
        heterogeneity(&effects, &errors, Confidence::P95)
            .unwrap()
            .unwrap()
            .p
    });
    uniform("spread of z", || {
        let z: Vec<f64> = d.normals(225).iter().map(|z| z - 4.0).collect();
        spread_of_z(&z, Confidence::P95).unwrap().unwrap().p_more
    });
}

#[test]
fn slopes_hold_their_level_where_the_spread_grows_and_errors_cluster() {
    let mut d = Draws::new(102);
    let doses: Vec<f64> = (0..210).map(|i| SCALES[i % 7]).collect();
    let strata: Vec<u64> = (0..210).map(|i| u64::from(i % 2 == 0)).collect();
    uniform("slope, HC3", || {
        let amounts: Vec<f64> = doses
            .iter()
            .zip(&strata)
            .map(|(x, &s)| 50.0 * s as f64 + (0.2 + x * x) * d.normal())
            .collect();
        slope_test(&doses, &amounts, &strata, SlopeErrors::Hc3, Confidence::P95)
            .unwrap()
            .unwrap()
            .test
            .p
    });
    // Trials come in blocks of one dose that share a level: only clustered errors hold.
    let doses: Vec<f64> = (0..300).map(|i| SCALES[(i / 6) % 7]).collect();
    let clusters: Vec<u64> = (0..300).map(|i| i / 6).collect();
    let strata = vec![0; 300];
    let [mut plain, mut clustered] = [0, 0];
    for _ in 0..RUNS {
        let levels = d.normals(50);
        let amounts: Vec<f64> = clusters
            .iter()
            .map(|&c| levels[c as usize] + d.normal())
            .collect();
        let p = |errors| {
            slope_test(&doses, &amounts, &strata, errors, Confidence::P95)
                .unwrap()
                .unwrap()
                .test
                .p
        };
        plain += u32::from(p(SlopeErrors::Hc3) < 0.05);
        clustered += u32::from(p(SlopeErrors::Clustered(&clusters)) < 0.05);
    }
    let rate = |count: u32| f64::from(count) / RUNS as f64;
    assert!((rate(clustered) - 0.05).abs() < 0.02, "{}", rate(clustered));
    assert!(rate(plain) > 0.2, "{}", rate(plain));
}

#[test]
fn exact_tests_never_exceed_their_level() {
    let mut d = Draws::new(103);
    at_most_nominal("Fisher", || fisher_exact(&d.table([30, 30], [0.1; 2])).p);
    at_most_nominal("Fisher, many trials", || {
        fisher_exact(&d.table([400, 250], [0.5; 2])).p
    });
    at_most_nominal("exact in strata", || {
        let strata = [d.table([30, 30], [0.05; 2]), d.table([30, 90], [0.6; 2])];
        exact_stratified_test(&strata, Confidence::P95).unwrap().test.p
    });
    at_most_nominal("exact trend", || {
        let strata = [d.doses(&SCALES, 30, |_| 0.03), d.doses(&SCALES, 30, |_| 0.98)];
        let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
        exact_trend_test(&strata, 99, &[1; 4]).unwrap().p
    });
    let mut run = 0;
    at_most_nominal("permuted trend", || {
        run += 1;
        let odd = [0.0, 1.0, std::f64::consts::E];
        let groups = d.doses(&odd, 12, |_| 0.4);
        exact_trend_test(&[&groups], 199, &[run, 0, 0, 0]).unwrap().p
    });
    at_most_nominal("binomial", || binomial_test(&d.binomial(40, 0.3), 0.3).unwrap().p);
    at_most_nominal("McNemar", || {
        let pairs = d.binomial(25, 0.5);
        let table = PairedTable::new(3, pairs.successes(), pairs.failures(), 5).unwrap();
        mcnemar_test(&table).exact.p
    });
    at_most_nominal("sign flips", || {
        sign_flip_test(&d.normals(10), 99, &[3; 4]).unwrap().p
    });
}

/// Large-sample tests of outcomes within strata, where the rule for using them is met.
#[test]
fn stratified_tests_hold_their_level_where_they_are_used() {
    let mut d = Draws::new(104);
    at_most_nominal("Cochran–Mantel–Haenszel", || {
        let strata = [d.table([108, 108], [0.2; 2]), d.table([108, 108], [0.6; 2])];
        let test = cochran_mantel_haenszel(&strata, Yates::No, Confidence::P95).unwrap();
        assert!(test.mantel_fleiss > 5.0);
        test.test.unwrap().p
    });
    at_most_nominal("equal odds", || {
        let strata = [
            d.table([108, 108], [0.2, 0.3]),
            d.table([108, 108], [0.5, 12.0 / 19.0]),
        ];
        equal_odds_test(&strata, Tarone::Yes).unwrap().unwrap().p
    });
    at_most_nominal("words with a prior", || {
        let table = d.table([300, 300], [0.02; 2]);
        let count = |p: Proportion| WordCount {
            word: p.successes(),
            total: p.trials(),
        };
        let background = WordCount {
            word: 200,
            total: 10_000,
        };
        let prior = WordPrior::from_background(background, 50.0).unwrap();
        dirichlet_log_odds_ratio(count(table.first), count(table.second), prior, Confidence::P95)
            .unwrap()
            .unwrap()
            .p
    });
}

#[test]
fn the_false_discovery_rate_is_held_by_families_of_exact_tests() {
    let mut d = Draws::new(105);
    let (families, size, effects, q_limit) = (400, 100, 20, 0.1);
    let mut shares = [Vec::new(), Vec::new(), Vec::new()];
    let mut found = 0;
    for _ in 0..families {
        // All features share one baseline, as in a pooled design: their tests are dependent.
        let baseline = d.binomial(500, 0.4);
        let p: Vec<f64> = (0..size)
            .map(|test| {
                let rate = if test < effects { 0.7 } else { 0.4 };
                fisher_exact(&TwoByTwo::new(d.binomial(60, rate), baseline).unwrap()).p
            })
            .collect();
        let pi0 = storey_pi0(&p, 0.5).unwrap();
        let adjusted = [
            benjamini_hochberg(&p).unwrap(),
            benjamini_yekutieli(&p).unwrap(),
            storey_q_values(&p, pi0).unwrap(),
        ];
        for (share, q) in shares.iter_mut().zip(&adjusted) {
            let rejected: Vec<usize> = (0..size).filter(|&i| q[i] <= q_limit).collect();
            let wrong = rejected.iter().filter(|&&i| i >= effects).count();
            share.push(wrong as f64 / rejected.len().max(1) as f64);
        }
        found += adjusted[0][..effects].iter().filter(|&&q| q <= q_limit).count();
    }
    for (share, name) in shares
        .iter()
        .zip(["Benjamini–Hochberg", "Benjamini–Yekutieli", "Storey"])
    {
        let mean = share.iter().sum::<f64>() / share.len() as f64;
        let variance = share.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (share.len() - 1) as f64;
        let se = (variance / share.len() as f64).sqrt();
        assert!(mean <= q_limit + 2.0 * se, "{name}: {mean}");
    }
    assert!(found > families * effects * 9 / 10, "{found}");
}

#[test]
fn power_is_as_computed() {
    let mut d = Draws::new(106);
    let mut share = |draw: &mut dyn FnMut(&mut Draws) -> bool| {
        (0..2 * RUNS).filter(|_| draw(&mut d)).count() as f64 / (2 * RUNS) as f64
    };
    for (n, p) in [
        ([108, 108], [0.3, 0.48]),
        ([200, 90], [0.5, 0.66]),
        ([600, 600], [0.1, 0.145]),
    ] {
        let expected = two_proportion_power(p, n, 0.05).unwrap();
        let found = share(&mut |d| {
            let table = d.table(n, p);
            chi_square_test(&table, Yates::No).is_ok_and(|test| test.test.p < 0.05)
        });
        assert!(
            (found - expected).abs() < 0.02,
            "{n:?} {p:?}: {found}, computed {expected}"
        );
    }
    for (n, p) in [
        ([30, 30], [0.1, 0.45]),
        ([12, 15], [0.1, 0.7]),
        ([30, 30], [0.5, 0.5]),
    ] {
        let expected = fisher_power(p, n, 0.05).unwrap();
        let found = share(&mut |d| fisher_exact(&d.table(n, p)).p <= 0.05);
        assert!(
            (found - expected).abs() < 0.02,
            "{n:?} {p:?}: {found}, computed {expected}"
        );
    }
    let groups = |d: &mut Draws, slope: f64| {
        [0.35, 0.5].map(|base| d.doses(&SCALES, 30, |x| base + slope * (x - 1.0)))
    };
    let flat = groups(&mut d, 0.0);
    let flat: Vec<&[DoseGroup]> = flat.iter().map(Vec::as_slice).collect();
    let squares = trend_test(&flat, TrendVariance::Hypergeometric, Confidence::P95)
        .unwrap()
        .unwrap()
        .squares;
    let target = PowerTarget::new(0.05, 0.8).unwrap();
    // Half of the trials at each base rate.
    let variance = f64::midpoint(0.35 * 0.65, 0.5 * 0.5);
    let rate = 0.5 - (0.25 - variance).sqrt();
    let slope = detectable_slope(squares, rate, target).unwrap().unwrap();
    let mut share = |draw: &mut dyn FnMut(&mut Draws) -> bool| {
        (0..2 * RUNS).filter(|_| draw(&mut d)).count() as f64 / (2 * RUNS) as f64
    };
    let found = share(&mut |d| {
        let strata = groups(d, slope);
        let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
        trend_test(&strata, TrendVariance::Hypergeometric, Confidence::P95)
            .unwrap()
            .unwrap()
            .p
            < 0.05
    });
    assert!((found - 0.8).abs() < 0.02, "{found}");
    // Smallest detectable difference: simulated power at it is the power asked for.
    let rise = detectable_risk_difference(108, 108, 0.4, target)
        .unwrap()
        .rise
        .unwrap();
    let found = share(&mut |d| {
        let table = d.table([108, 108], [0.4, 0.4 + rise]);
        chi_square_test(&table, Yates::No).unwrap().test.p < 0.05
    });
    assert!((found - 0.8).abs() < 0.02, "{found}");
}

/// Probability of each count of `n` trials, from the most probable one to both sides.
fn binomial_weights(n: u64, p: f64) -> Vec<f64> {
    let mode = ((n + 1) as f64 * p) as usize;
    let mut weights = vec![1.0; n as usize + 1];
    let odds = p / (1.0 - p);
    for k in mode..n as usize {
        weights[k + 1] = weights[k] * odds * (n as usize - k) as f64 / (k + 1) as f64;
    }
    for k in (0..mode.min(n as usize)).rev() {
        weights[k] = weights[k + 1] / odds * (k + 1) as f64 / (n as usize - k) as f64;
    }
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// Proportions from nearly 0 to nearly 1.
fn grid() -> Vec<f64> {
    let ends = [0.001, 0.003, 0.01, 0.03, 0.06];
    let middle = (2..=18).map(|i| 0.05 * f64::from(i));
    let mut all: Vec<f64> = ends.into_iter().chain(middle).collect();
    all.extend(ends.iter().rev().map(|p| 1.0 - p));
    all
}

#[test]
fn intervals_of_proportions_cover_everywhere() {
    for n in [1, 2, 5, 12, 24, 25, 30, 50, 108, 400] {
        let limits: Vec<Interval> = (0..=n)
            .map(|k| covering_proportion_interval(&Proportion::new(k, n).unwrap(), Confidence::P95).unwrap())
            .collect();
        let coverage = |p: f64| -> f64 {
            let weights = binomial_weights(n, p);
            limits
                .iter()
                .zip(weights)
                .filter(|(interval, _)| interval.contains(p))
                .map(|(_, weight)| weight)
                .sum()
        };
        let fine: Vec<f64> = (1..2000).map(|i| f64::from(i) / 2000.0).collect();
        let least = fine.iter().map(|&p| coverage(p)).fold(1.0, f64::min);
        assert!(least >= 0.93, "{n}: {least}");
        if n >= 30 {
            let middle: Vec<f64> = fine
                .iter()
                .filter(|p| (0.2..=0.8).contains(*p))
                .map(|&p| coverage(p))
                .collect();
            let mean = middle.iter().sum::<f64>() / middle.len() as f64;
            assert!((0.945..=0.955).contains(&mean), "{n}: {mean}");
            // At one proportion the coverage of any interval jumps with the count; 30 trials reach 0.975 at a fifth.
            let most = middle.iter().copied().fold(0.0, f64::max);
            assert!(most <= if n < 50 { 0.976 } else { 0.97 }, "{n}: {most}");
        }
    }
}

#[test]
fn intervals_of_differences_cover_everywhere() {
    for n in [
        [5, 5],
        [10, 10],
        [10, 30],
        [20, 20],
        [30, 30],
        [30, 200],
        [108, 108],
    ] {
        let [n1, n2] = n;
        let limits: Vec<Interval> = (0..=n1)
            .flat_map(|a| (0..=n2).map(move |c| (a, c)))
            .map(|(a, c)| {
                let table = TwoByTwo::from_cells([[a, n1 - a], [c, n2 - c]]).unwrap();
                covering_risk_difference(&table, Confidence::P95)
                    .unwrap()
                    .interval
            })
            .collect();
        let weights: Vec<[Vec<f64>; 2]> = grid()
            .iter()
            .map(|&p| [binomial_weights(n1, p), binomial_weights(n2, p)])
            .collect();
        for (p, [first, _]) in grid().iter().zip(&weights) {
            for (q, [_, second]) in grid().iter().zip(&weights) {
                // Ends that equal the difference up to rounding contain it.
                let holds =
                    |interval: &Interval| interval.lower <= p - q + 1e-12 && p - q <= interval.upper + 1e-12;
                let coverage: f64 = first
                    .iter()
                    .zip(limits.chunks(n2 as usize + 1))
                    .map(|(w, row)| {
                        let own: f64 = row
                            .iter()
                            .zip(second)
                            .filter(|(interval, _)| holds(interval))
                            .map(|(_, weight)| weight)
                            .sum();
                        w * own
                    })
                    .sum();
                assert!(coverage >= 0.93, "{n:?} {p} {q}: {coverage}");
                let middle = (0.2..=0.8).contains(p) && (0.2..=0.8).contains(q);
                if n1 >= 30 && n2 >= 30 && middle {
                    assert!(coverage <= 0.97, "{n:?} {p} {q}: {coverage}");
                }
            }
        }
    }
}

#[test]
fn intervals_within_strata_cover() {
    let mut d = Draws::new(107);
    for (n, rates, difference) in [
        ([[30, 30], [30, 30]], [0.3, 0.6], 0.15),
        ([[108, 108], [108, 108]], [0.25, 0.5], 0.0),
        ([[30, 300], [30, 300]], [0.01, 0.02], 0.0),
        ([[30, 30], [30, 30]], [0.001, 0.02], 0.3),
        ([[10, 10], [10, 10]], [0.02, 0.9], 0.05),
        ([[108, 108], [30, 900]], [0.002, 0.9], 0.09),
    ] {
        let [mut rd, mut odds] = [0, 0];
        let log_odds = |p: f64| (p / (1.0 - p)).ln();
        let common = log_odds(rates[0] + difference) - log_odds(rates[0]);
        for _ in 0..RUNS {
            let strata: Vec<TwoByTwo> = n
                .iter()
                .zip(rates)
                .map(|(&n, p)| d.table(n, [p + difference, p]))
                .collect();
            let interval = stratified_risk_difference(&strata, Confidence::P95)
                .unwrap()
                .interval;
            rd += u32::from(interval.contains(difference));
            // The same odds ratio in both strata, as its interval presumes.
            let strata: Vec<TwoByTwo> = n
                .iter()
                .zip(rates)
                .map(|(&n, p)| {
                    let shifted = 1.0 / (1.0 + (-log_odds(p) - common).exp());
                    d.table(n, [shifted, p])
                })
                .collect();
            let exact = exact_stratified_test(&strata, Confidence::P95).unwrap();
            odds += u32::from(
                exact
                    .common_odds_ratio
                    .map_or(true, |odds| odds.interval.contains(common.exp())),
            );
        }
        let [rd, odds] = [rd, odds].map(|count| f64::from(count) / RUNS as f64);
        let se = (0.05 * 0.95 / RUNS as f64).sqrt();
        assert!(rd >= 0.93 - 2.0 * se, "{n:?} {rates:?}: {rd}");
        assert!(odds >= 0.95 - 2.0 * se, "{n:?} {rates:?}: odds {odds}");
        if rates.iter().all(|p| (0.2..=0.8).contains(p)) {
            assert!(rd <= 0.97, "{n:?} {rates:?}: {rd}");
        }
    }
}

#[test]
fn intervals_of_continuous_outcomes_cover() {
    let mut d = Draws::new(108);
    let mut covered = [0_u32; 5];
    let doses: Vec<f64> = (0..140).map(|i| SCALES[i % 7]).collect();
    for _ in 0..RUNS {
        let (a, b) = (d.moments(30, 1.0, 2.0), d.moments(40, 0.0, 1.0));
        let welch = welch_t_test(&a, &b, Confidence::P95).unwrap().interval;
        let (a, b) = (d.moments(30, 0.5, 1.0), d.moments(30, 0.0, 1.0));
        let effect = cohens_d_with_interval(&a, &b, Confidence::P95).unwrap().interval;
        let amounts: Vec<f64> = doses.iter().map(|x| 3.0 * x + (0.5 + x) * d.normal()).collect();
        let slope = slope_test(&doses, &amounts, &[0; 140], SlopeErrors::Hc3, Confidence::P95)
            .unwrap()
            .unwrap()
            .interval;
        let errors: Vec<f64> = (0..30).map(|i| 0.1 + 0.02 * f64::from(i)).collect();
        let effects: Vec<f64> = errors.iter().map(|e| 0.7 + e * d.normal()).collect();
        let pooled = heterogeneity(&effects, &errors, Confidence::P95)
            .unwrap()
            .unwrap()
            .fixed;
        let z: Vec<f64> = d.normals(60).iter().map(|z| 1.5 * z).collect();
        let spread = spread_of_z(&z, Confidence::P95).unwrap().unwrap().interval;
        let hits = [
            welch.contains(1.0),
            effect.contains(0.5),
            slope.contains(3.0),
            pooled.interval.contains(0.7),
            spread.contains(2.25),
        ];
        for (count, hit) in covered.iter_mut().zip(hits) {
            *count += u32::from(hit);
        }
    }
    let coverage = covered.map(|count| f64::from(count) / RUNS as f64);
    assert!(coverage.iter().all(|c| (0.93..=0.97).contains(c)), "{coverage:?}");
}

#[test]
fn the_interval_of_a_trend_covers() {
    let mut d = Draws::new(109);
    for (base, slope, n) in [(0.3, 0.1, 30), (0.5, 0.0, 30), (0.02, 0.0, 30), (0.05, 0.02, 60)] {
        let covered = (0..RUNS)
            .filter(|_| {
                let groups = d.doses(&SCALES, n, |x| base + slope * x);
                trend_test(&[&groups], TrendVariance::Hypergeometric, Confidence::P95)
                    .unwrap()
                    .is_ok_and(|trend| trend.slope_interval.contains(slope))
            })
            .count() as f64
            / RUNS as f64;
        assert!(covered >= 0.93, "{base} {slope}: {covered}");
        if base >= 0.2 {
            assert!(covered <= 0.97, "{base} {slope}: {covered}");
        }
    }
}
