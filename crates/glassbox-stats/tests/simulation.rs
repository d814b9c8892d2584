//! Error rates and coverage on simulated data. All draws come from fixed keys, so the outcomes never change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_stats::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

struct Draws(ChaCha8Rng);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        // Midpoints of 2^53 cells, so that 0 and 1 never occur.
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn normals(&mut self, n: usize, mean: f64, sd: f64) -> Vec<f64> {
        (0..n).map(|_| mean + sd * self.normal()).collect()
    }

    fn coin(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    fn coins(&mut self, n: usize, probability: f64) -> Vec<bool> {
        (0..n).map(|_| self.coin(probability)).collect()
    }
}

/// Share of `runs` in which `event` happens.
fn share(runs: u32, mut event: impl FnMut() -> bool) -> f64 {
    f64::from((0..runs).map(|_| u32::from(event())).sum::<u32>()) / f64::from(runs)
}

fn standard_error(probability: f64, runs: u32) -> f64 {
    (probability * (1.0 - probability) / f64::from(runs)).sqrt()
}

/// Asserts that a nominal 5 % test rejects a true hypothesis in 5 % of runs up to two standard errors, and, unless
/// it is conservative by discreteness, not much less.
#[track_caller]
fn holds_level(rejected: f64, runs: u32, at_least: f64) {
    let se = standard_error(0.05, runs);
    assert!(
        rejected <= 0.05 + 2.0 * se,
        "rejects {rejected}, bound {}",
        0.05 + 2.0 * se
    );
    assert!(rejected >= at_least, "rejects only {rejected}");
}

const RUNS: u32 = 4000;

#[test]
fn welch_holds_its_level_with_unequal_variances() {
    let mut draws = Draws::new(1);
    let mut welch = 0;
    let mut pooled = 0;
    for _ in 0..RUNS {
        let a = Moments::from_slice(&draws.normals(10, 0.0, 4.0)).unwrap();
        let b = Moments::from_slice(&draws.normals(40, 0.0, 1.0)).unwrap();
        welch += u32::from(welch_t(&a, &b).unwrap().p < 0.05);
        // The pooled test, which Cohen's d interval inverts, does not hold it: the simulation can tell.
        let d = cohens_d(&a, &b).unwrap();
        pooled += u32::from((d * 8.0_f64.sqrt()).abs() > 2.0106);
    }
    holds_level(f64::from(welch) / f64::from(RUNS), RUNS, 0.04);
    assert!(f64::from(pooled) / f64::from(RUNS) > 0.15);
}

#[test]
fn paired_t_holds_its_level() {
    let mut draws = Draws::new(2);
    let rejected = share(RUNS, || {
        let base = draws.normals(12, 0.0, 5.0);
        let first: Vec<f64> = base.iter().map(|v| v + draws.normal()).collect();
        let second: Vec<f64> = base.iter().map(|v| v + draws.normal()).collect();
        paired_t_test(&first, &second, Confidence::P95)
            .unwrap()
            .unwrap()
            .test
            .p
            < 0.05
    });
    holds_level(rejected, RUNS, 0.04);
}

#[test]
fn exact_tests_stay_at_or_below_their_level() {
    let mut draws = Draws::new(3);
    let fisher = share(RUNS, || {
        let [a, b] = [(); 2].map(|()| Proportion::from_outcomes(&draws.coins(30, 0.3)));
        fisher_exact(&TwoByTwo::new(a, b).unwrap()).p < 0.05
    });
    holds_level(fisher, RUNS, 0.01);
    let mut mid = 0.0;
    let mcnemar = share(RUNS, || {
        let shared = draws.coins(60, 0.5);
        let member =
            |draws: &mut Draws| -> Vec<bool> { shared.iter().map(|s| s ^ draws.coin(0.2)).collect() };
        let (first, second) = (member(&mut draws), member(&mut draws));
        let test = mcnemar_test(&PairedTable::from_outcomes(&first, &second).unwrap());
        mid += f64::from(u8::from(test.mid_p.p < 0.05)) / f64::from(RUNS);
        test.exact.p < 0.05
    });
    holds_level(mcnemar, RUNS, 0.01);
    assert!(mid > mcnemar, "mid-p is less conservative");
    holds_level(mid, RUNS, 0.03);
}

/// The exact level of Fisher's test and of McNemar's, without simulation: the summed null probability of all
/// outcomes with p below a threshold never exceeds that threshold.
#[test]
fn exact_tests_have_exact_levels() {
    let binomial = |n: u64, p: f64| -> Vec<f64> {
        let mut pmf = vec![(1.0 - p).powi(n as i32)];
        for k in 0..n {
            pmf.push(pmf[k as usize] * (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p));
        }
        pmf
    };
    for p in [0.05, 0.2, 0.5] {
        let (first, second) = (binomial(15, p), binomial(22, p));
        for threshold in [0.01, 0.05, 0.2] {
            let mut level = 0.0;
            for (a, pa) in first.iter().enumerate() {
                for (c, pc) in second.iter().enumerate() {
                    let table = TwoByTwo::from_cells([[a as u64, 15 - a as u64], [c as u64, 22 - c as u64]]);
                    if fisher_exact(&table.unwrap()).p <= threshold {
                        level += pa * pc;
                    }
                }
            }
            assert!(level <= threshold + 1e-12, "{p} {threshold} {level}");
        }
    }
    for n in [5, 17, 40] {
        let null = binomial(n, 0.5);
        for threshold in [0.01, 0.05, 0.2] {
            let level: f64 = (0..=n)
                .filter(|&k| mcnemar_test(&PairedTable::new(0, k, n - k, 0).unwrap()).exact.p <= threshold)
                .map(|k| null[k as usize])
                .sum();
            assert!(level <= threshold + 1e-12, "{n} {threshold} {level}");
        }
    }
}

#[test]
fn sign_flips_hold_their_level_exact_and_drawn() {
    let mut draws = Draws::new(4);
    // Heavy-tailed but symmetric, where the t test has no claim.
    let mut differences =
        |n: usize| -> Vec<f64> { (0..n).map(|_| draws.normal() / draws.normal()).collect() };
    let exact = share(1500, || {
        sign_flip_test(&differences(9), 9, &[0; 4]).unwrap().p <= 0.05
    });
    holds_level(exact, 1500, 0.02);
    let mut run = 0;
    let drawn = share(1500, || {
        run += 1;
        sign_flip_test(&differences(25), 199, &[run, 0, 0, 0]).unwrap().p <= 0.05
    });
    holds_level(drawn, 1500, 0.03);
}

#[test]
fn sign_flips_see_an_effect() {
    let mut draws = Draws::new(5);
    let found = share(200, || {
        sign_flip_test(&draws.normals(20, 1.0, 1.0), 199, &[9; 4])
            .unwrap()
            .p
            < 0.05
    });
    assert!(found > 0.9, "{found}");
}

#[test]
fn intervals_cover_near_their_level() {
    let mut draws = Draws::new(6);
    let level = Confidence::new(0.9).unwrap();
    let se = standard_error(0.9, RUNS);
    let mut covered = [0_u32; 6];
    for _ in 0..RUNS {
        let a = Moments::from_slice(&draws.normals(12, 1.0, 2.0)).unwrap();
        let b = Moments::from_slice(&draws.normals(20, 0.0, 2.0)).unwrap();
        let mean = welch_t_test(&a, &b, level).unwrap().interval;
        // Coverage at one probability jumps with it (0.881 at 0.3 and 40 trials); it is nominal on average.
        let probability = 0.1 + 0.8 * draws.uniform();
        let wilson = Proportion::from_outcomes(&draws.coins(40, probability));
        let wilson = wilson_interval(&wilson, level).unwrap();
        let groups = [0.5, 0.3].map(|p| Proportion::from_outcomes(&draws.coins(40, p)));
        let table = TwoByTwo::new(groups[0], groups[1]).unwrap();
        let shared: Vec<f64> = (0..60).map(|_| draws.uniform()).collect();
        // Correlated pairs with margins 0.6 and 0.4: half of each follows the shared number.
        let mut member = |p: f64| -> Vec<bool> {
            shared
                .iter()
                .map(|&u| if draws.coin(0.5) { u < p } else { draws.coin(p) })
                .collect()
        };
        let pairs = PairedTable::from_outcomes(&member(0.6), &member(0.4)).unwrap();
        let log_odds = log_odds_ratio(&table, level).unwrap().interval;
        let hits = [
            mean.contains(1.0),
            wilson.contains(probability),
            risk_difference(&table, level).unwrap().interval.contains(0.2),
            paired_risk_difference(&pairs, level)
                .unwrap()
                .interval
                .contains(0.2),
            log_odds.contains((0.5 / 0.5 * 0.7 / 0.3_f64).ln()),
            conditional_odds_ratio(&table, level)
                .unwrap()
                .unwrap()
                .interval
                .contains(0.7 / 0.3),
        ];
        for (count, hit) in covered.iter_mut().zip(hits) {
            *count += u32::from(hit);
        }
    }
    let coverage = covered.map(|c| f64::from(c) / f64::from(RUNS));
    // The t interval is exact up to Welch's approximation; the others are discrete and approximate.
    assert!((coverage[0] - 0.9).abs() < 3.0 * se, "{coverage:?}");
    for approximate in &coverage[1..5] {
        assert!((approximate - 0.9).abs() < 0.03, "{coverage:?}");
    }
    assert!(
        coverage[5] >= 0.9 - 2.0 * se,
        "exact limits cover at least nominally: {coverage:?}"
    );
}

#[test]
fn effect_size_intervals_cover_near_their_level() {
    let mut draws = Draws::new(7);
    let level = Confidence::new(0.9).unwrap();
    let runs = 1500;
    let independent = share(runs, || {
        let a = Moments::from_slice(&draws.normals(9, 0.8, 1.0)).unwrap();
        let b = Moments::from_slice(&draws.normals(14, 0.0, 1.0)).unwrap();
        cohens_d_with_interval(&a, &b, level)
            .unwrap()
            .interval
            .contains(0.8)
    });
    let paired = share(runs, || {
        let differences = Moments::from_slice(&draws.normals(8, -1.2, 1.0)).unwrap();
        one_sample_effect_size(&differences, level)
            .unwrap()
            .interval
            .contains(-1.2)
    });
    let se = standard_error(0.9, runs);
    assert!((independent - 0.9).abs() < 3.0 * se, "{independent}");
    assert!((paired - 0.9).abs() < 3.0 * se, "{paired}");
}

#[test]
fn cluster_bootstrap_covers_where_the_plain_one_does_not() {
    let mut draws = Draws::new(8);
    let level = Confidence::new(0.9).unwrap();
    let clusters: Vec<u64> = (0..240).map(|i| i / 6).collect();
    let (mut plain, mut clustered) = (0, 0);
    let runs = 300;
    for run in 0..runs {
        let effects = draws.normals(40, 0.0, 1.0);
        let values: Vec<f64> = clusters
            .iter()
            .map(|&c| effects[c as usize] + 0.5 * draws.normal())
            .collect();
        let mean =
            |indices: &[usize]| Some(indices.iter().map(|&i| values[i]).sum::<f64>() / indices.len() as f64);
        let key = [u64::from(run), 1, 2, 3];
        plain += u32::from(
            bootstrap_interval(240, 300, &key, level, mean)
                .unwrap()
                .unwrap()
                .interval
                .contains(0.0),
        );
        let by_cluster = cluster_bootstrap_interval(&clusters, 300, &key, level, mean)
            .unwrap()
            .unwrap();
        clustered += u32::from(by_cluster.interval.contains(0.0));
    }
    let rate = |count: u32| f64::from(count) / f64::from(runs);
    assert!(
        (rate(clustered) - 0.9).abs() < 3.0 * standard_error(0.9, runs) + 0.02,
        "{}",
        rate(clustered)
    );
    assert!(rate(plain) < 0.75, "{}", rate(plain));
}

#[test]
fn stratification_holds_its_level_where_prompts_differ() {
    let mut draws = Draws::new(9);
    let rejected = share(1500, || {
        let strata: Vec<TwoByTwo> = (0..10)
            .map(|prompt| {
                let p = 0.05 + 0.09 * f64::from(prompt);
                let groups = [8, 16].map(|n| Proportion::from_outcomes(&draws.coins(n, p)));
                TwoByTwo::new(groups[0], groups[1]).unwrap()
            })
            .collect();
        let result = cochran_mantel_haenszel(&strata, Yates::No, Confidence::P95).unwrap();
        assert!(result.mantel_fleiss > 5.0);
        result.test.unwrap().p < 0.05
    });
    holds_level(rejected, 1500, 0.03);
}

#[test]
fn benjamini_hochberg_controls_the_false_discovery_rate() {
    let mut draws = Draws::new(10);
    let (families, size, effects) = (300, 200, 40);
    let (mut bh_fdp, mut storey_fdp, mut uncorrected_fdp) = (0.0, 0.0, 0.0);
    let (mut bh_found, mut storey_found) = (0, 0);
    for _ in 0..families {
        let p: Vec<f64> = (0..size)
            .map(|test| {
                let shift = if test < effects { 3.0 } else { 0.0 };
                let sample = Moments::from_slice(&draws.normals(10, shift / 10.0_f64.sqrt(), 1.0)).unwrap();
                one_sample_t_test(&sample, Confidence::P95).unwrap().test.p
            })
            .collect();
        let false_share = |q: &[f64]| {
            let rejected: Vec<usize> = (0..size).filter(|&i| q[i] <= 0.1).collect();
            let wrong = rejected.iter().filter(|&&i| i >= effects).count();
            (wrong as f64 / rejected.len().max(1) as f64, rejected.len())
        };
        let (bh, found) = false_share(&benjamini_hochberg(&p).unwrap());
        bh_fdp += bh / f64::from(families);
        bh_found += found;
        let pi0 = storey_pi0(&p, 0.5).unwrap();
        let (storey, found) = false_share(&storey_q_values(&p, pi0).unwrap());
        storey_fdp += storey / f64::from(families);
        storey_found += found;
        uncorrected_fdp += false_share(&p).0 / f64::from(families);
    }
    // Expected: 0.1·π₀ = 0.08 for independent tests.
    assert!((bh_fdp - 0.08).abs() < 0.015, "{bh_fdp}");
    assert!(storey_fdp < 0.115, "{storey_fdp}");
    assert!(storey_found > bh_found, "an estimated π₀ gains power");
    assert!(
        uncorrected_fdp > 0.25,
        "without adjustment the simulation shows the harm: {uncorrected_fdp}"
    );
}

#[test]
fn permuted_labels_give_a_calibrated_null() {
    // Pairs with a real effect: exchanging labels within pairs must remove it.
    let mut draws = Draws::new(11);
    let first = draws.normals(30, 2.0, 1.0);
    let second = draws.normals(30, 0.0, 1.0);
    let p_of = |replicate: Option<u64>| {
        let flips = replicate.map_or_else(|| vec![false; 30], |r| label_flips(30, r, &[1, 2, 3, 4]));
        let (a, b): (Vec<f64>, Vec<f64>) = flips
            .iter()
            .zip(first.iter().zip(&second))
            .map(|(&flip, (&a, &b))| if flip { (b, a) } else { (a, b) })
            .unzip();
        paired_t_test(&a, &b, Confidence::P95).unwrap().unwrap().test.p
    };
    assert!(p_of(None) < 1e-4, "{}", p_of(None));
    let mut replicate = 0;
    let rejected = share(2000, || {
        replicate += 1;
        p_of(Some(replicate)) < 0.05
    });
    holds_level(rejected, 2000, 0.03);
}

#[test]
fn detectable_differences_are_detected_with_about_the_stated_power() {
    let mut draws = Draws::new(12);
    let target = PowerTarget::new(0.05, 0.8).unwrap();
    let rise = detectable_risk_difference(150, 150, 0.3, target)
        .unwrap()
        .rise
        .unwrap();
    let runs = 1500;
    let found = share(runs, || {
        let groups = [0.3, 0.3 + rise].map(|p| Proportion::from_outcomes(&draws.coins(150, p)));
        chi_square_test(&TwoByTwo::new(groups[0], groups[1]).unwrap(), Yates::No)
            .unwrap()
            .test
            .p
            < 0.05
    });
    assert!(
        (found - 0.8).abs() < 3.0 * standard_error(0.8, runs) + 0.01,
        "{found}"
    );
    let delta = detectable_paired_risk_difference(150, 0.3, target)
        .unwrap()
        .unwrap();
    let found = share(runs, || {
        let [mut f, mut g] = [0, 0];
        for _ in 0..150 {
            let u = draws.uniform();
            f += u64::from(u < (0.3 + delta) / 2.0);
            g += u64::from(u >= (0.3 + delta) / 2.0 && u < 0.3);
        }
        mcnemar_test(&PairedTable::new(0, f, g, 150 - f - g).unwrap())
            .mid_p
            .p
            < 0.05
    });
    assert!(
        (found - 0.8).abs() < 3.0 * standard_error(0.8, runs) + 0.01,
        "{found}"
    );
}
