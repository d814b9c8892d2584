//! Comparison with SciPy, statsmodels and mpmath; the values are made by `tools/stats_fixtures/make.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_stats::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Relative tolerance.
const TIGHT: f64 = 1e-10;
/// Limits found by inverting the noncentral t distribution, to an absolute 1e-11 of the probability here and to
/// 1e-12 of the root in the reference; the slope of the probability magnifies both.
const INVERTED: f64 = 1e-8;

fn cases<T: DeserializeOwned>(name: &str) -> T {
    let all: Value = serde_json::from_str(include_str!("fixtures/reference.json")).unwrap();
    serde_json::from_value(all[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Asserts |actual − expected| ≤ tolerance·|expected| + floor.
#[track_caller]
fn close(actual: f64, expected: f64, tolerance: f64, floor: f64, what: &str) {
    let allowed = tolerance * expected.abs() + floor;
    assert!(
        actual == expected || (actual - expected).abs() <= allowed,
        "{what}: {actual:e}, expected {expected:e}"
    );
}

#[derive(Deserialize)]
struct MeanCase {
    first: Vec<f64>,
    second: Vec<f64>,
    t: f64,
    df: f64,
    p: f64,
    ln_p: f64,
    lower: f64,
    upper: f64,
    d: Option<f64>,
    d_lower: Option<f64>,
    d_upper: Option<f64>,
}

impl MeanCase {
    fn check(&self, result: &MeanDifference) {
        let what = format!("{} and {} values", self.first.len(), self.second.len());
        // Limits near zero lose digits to cancellation of difference and half-width.
        let floor = 1e-12 * (self.upper - self.lower);
        close(result.test.t, self.t, TIGHT, 0.0, &what);
        close(result.test.df, self.df, TIGHT, 0.0, &what);
        close(result.test.ln_p, self.ln_p, 1e-12, 1e-10, &what);
        close(result.test.p, self.p, TIGHT, 0.0, &what);
        close(result.interval.lower, self.lower, TIGHT, floor, &what);
        close(result.interval.upper, self.upper, TIGHT, floor, &what);
    }
}

#[test]
fn welch() {
    let mut smallest = 1.0_f64;
    for case in cases::<Vec<MeanCase>>("welch") {
        let first = Moments::from_slice(&case.first).unwrap();
        let second = Moments::from_slice(&case.second).unwrap();
        let result = welch_t_test(&first, &second, Confidence::P95).unwrap();
        case.check(&result);
        assert_eq!(result.test, welch_t(&first, &second).unwrap());
        smallest = smallest.min(result.test.p);
    }
    assert!(
        smallest < 1e-150 && smallest > 0.0,
        "the fixture reaches the far tail: {smallest:e}"
    );
}

#[test]
fn paired_t_and_d_z() {
    let confidence = Confidence::new(0.9).unwrap();
    for case in cases::<Vec<MeanCase>>("paired") {
        case.check(
            &paired_t_test(&case.first, &case.second, confidence)
                .unwrap()
                .unwrap(),
        );
        let effect = paired_effect_size(&case.first, &case.second, confidence)
            .unwrap()
            .unwrap();
        close(effect.estimate, case.d.unwrap(), TIGHT, 0.0, "d_z");
        close(
            effect.interval.lower,
            case.d_lower.unwrap(),
            INVERTED,
            INVERTED,
            "d_z lower",
        );
        close(
            effect.interval.upper,
            case.d_upper.unwrap(),
            INVERTED,
            INVERTED,
            "d_z upper",
        );
    }
}

#[test]
fn tails_of_t() {
    for (df, t, ln_p) in cases::<Vec<(f64, f64, f64)>>("t_tails") {
        // A sample with mean t and standard error 1 has this t statistic.
        let count = df as u64 + 1;
        let moments = Moments::from_summary(count, t, (count as f64).sqrt()).unwrap();
        let test = one_sample_t_test(&moments, Confidence::P95).unwrap().test;
        // Beyond a million degrees of freedom the expansion is cut after two terms; p itself is held to more below,
        // wherever it does not underflow.
        close(
            test.ln_p,
            ln_p,
            if df > 1e6 { 5e-11 } else { 1e-12 },
            1e-10,
            &format!("t {t} df {df}"),
        );
        close(test.p, ln_p.exp(), TIGHT, 0.0, &format!("t {t} df {df}"));
    }
}

#[derive(Deserialize)]
struct EffectCase {
    first: Vec<f64>,
    second: Vec<f64>,
    d: f64,
    lower: f64,
    upper: f64,
}

#[test]
fn cohens_d_and_its_interval() {
    for case in cases::<Vec<EffectCase>>("cohens_d") {
        let first = Moments::from_slice(&case.first).unwrap();
        let second = Moments::from_slice(&case.second).unwrap();
        let effect = cohens_d_with_interval(&first, &second, Confidence::P95).unwrap();
        let what = format!("n {} {} d {}", case.first.len(), case.second.len(), case.d);
        close(effect.estimate, case.d, TIGHT, 0.0, &what);
        close(effect.interval.lower, case.lower, INVERTED, INVERTED, &what);
        close(effect.interval.upper, case.upper, INVERTED, INVERTED, &what);
    }
}

#[derive(Deserialize)]
struct WilsonCase {
    successes: u64,
    trials: u64,
    level: f64,
    lower: f64,
    upper: f64,
}

#[test]
fn wilson() {
    for case in cases::<Vec<WilsonCase>>("wilson") {
        let proportion = Proportion::new(case.successes, case.trials).unwrap();
        let interval = wilson_interval(&proportion, Confidence::new(case.level).unwrap()).unwrap();
        let what = format!("{}/{}", case.successes, case.trials);
        close(interval.lower, case.lower, TIGHT, 0.0, &what);
        close(interval.upper, case.upper, TIGHT, 0.0, &what);
    }
}

#[derive(Deserialize)]
struct TableCase {
    cells: [[u64; 2]; 2],
    fisher_p: f64,
    chi2: f64,
    chi2_p: f64,
    smallest_expected: f64,
    yates: f64,
    yates_p: f64,
    rd: f64,
    rd_lower: f64,
    rd_upper: f64,
    or_empty: [f64; 3],
    or_always: [f64; 3],
    log_or: [f64; 5],
    or_conditional: [Option<f64>; 3],
}

fn close_odds(result: &OddsRatio, expected: [f64; 3], tolerance: f64, what: &str) {
    close(result.estimate, expected[0], tolerance, 0.0, what);
    close(result.interval.lower, expected[1], tolerance, 0.0, what);
    close(result.interval.upper, expected[2], tolerance, 0.0, what);
}

#[test]
fn two_by_two_tables() {
    for case in cases::<Vec<TableCase>>("two_by_two") {
        let table = TwoByTwo::from_cells(case.cells).unwrap();
        let what = &format!("{:?}", case.cells);
        close(fisher_exact(&table).p, case.fisher_p, TIGHT, 0.0, what);
        let plain = chi_square_test(&table, Yates::No).unwrap();
        // The statistic of an exactly proportional table is 0 up to rounding in both.
        close(plain.test.statistic, case.chi2, TIGHT, 1e-20, what);
        close(plain.test.p, case.chi2_p, TIGHT, 0.0, what);
        close(plain.smallest_expected, case.smallest_expected, TIGHT, 0.0, what);
        let corrected = chi_square_test(&table, Yates::Yes).unwrap();
        close(corrected.test.statistic, case.yates, TIGHT, 1e-20, what);
        close(corrected.test.p, case.yates_p, TIGHT, 0.0, what);
        let rd = risk_difference(&table, Confidence::P95).unwrap();
        close(rd.estimate, case.rd, TIGHT, 1e-15, what);
        close(rd.interval.lower, case.rd_lower, TIGHT, 1e-13, what);
        close(rd.interval.upper, case.rd_upper, TIGHT, 1e-13, what);
        let ratio = |correction| odds_ratio(&table, correction, Confidence::P95).unwrap();
        close_odds(&ratio(HaldaneAnscombe::WhereEmpty), case.or_empty, TIGHT, what);
        close_odds(&ratio(HaldaneAnscombe::Always), case.or_always, TIGHT, what);
        let log_odds = log_odds_ratio(&table, Confidence::P95).unwrap();
        let [estimate, standard_error, p, lower, upper] = case.log_or;
        close(log_odds.estimate, estimate, TIGHT, 1e-14, what);
        close(log_odds.standard_error, standard_error, TIGHT, 0.0, what);
        close(log_odds.p, p, TIGHT, 0.0, what);
        close(log_odds.interval.lower, lower, TIGHT, 1e-14, what);
        close(log_odds.interval.upper, upper, TIGHT, 1e-14, what);
        // SciPy solves for the conditional estimate and limits with a root tolerance of about 1e-12 on its own
        // scale and at large counts with log-gamma differences.
        let conditional = conditional_odds_ratio(&table, Confidence::P95).unwrap().unwrap();
        close_odds(
            &conditional,
            case.or_conditional.map(|v| v.unwrap_or(f64::INFINITY)),
            1e-8,
            what,
        );
    }
}

#[derive(Deserialize)]
struct PairedCase {
    counts: [u64; 4],
    rd: f64,
    lower: f64,
    upper: f64,
    exact_p: f64,
    mid_p: f64,
}

#[test]
fn paired_tables() {
    for case in cases::<Vec<PairedCase>>("paired_tables") {
        let [both, only_first, only_second, neither] = case.counts;
        let table = PairedTable::new(both, only_first, only_second, neither).unwrap();
        let what = &format!("{:?}", case.counts);
        let rd = paired_risk_difference(&table, Confidence::P95).unwrap();
        close(rd.estimate, case.rd, TIGHT, 0.0, what);
        close(rd.interval.lower, case.lower, TIGHT, 1e-13, what);
        close(rd.interval.upper, case.upper, TIGHT, 1e-13, what);
        let test = mcnemar_test(&table);
        close(test.exact.p, case.exact_p, TIGHT, 0.0, what);
        close(test.mid_p.p, case.mid_p, TIGHT, 0.0, what);
    }
}

#[derive(Deserialize)]
struct BinomialCase {
    successes: u64,
    trials: u64,
    probability: f64,
    p: f64,
}

#[test]
fn binomial_tests() {
    for case in cases::<Vec<BinomialCase>>("binomial") {
        let proportion = Proportion::new(case.successes, case.trials).unwrap();
        let test = binomial_test(&proportion, case.probability).unwrap();
        let what = format!("{}/{} at {}", case.successes, case.trials, case.probability);
        close(test.p, case.p, TIGHT, 0.0, &what);
    }
}

#[derive(Deserialize)]
struct StratifiedCase {
    strata: Vec<[[u64; 2]; 2]>,
    chi2: f64,
    p: f64,
    yates: f64,
    yates_p: f64,
    odds_ratio: [f64; 3],
}

#[test]
fn stratified_tables() {
    for case in cases::<Vec<StratifiedCase>>("stratified") {
        let strata: Vec<TwoByTwo> = case
            .strata
            .iter()
            .map(|&c| TwoByTwo::from_cells(c).unwrap())
            .collect();
        let what = format!("{} strata", strata.len());
        let plain = cochran_mantel_haenszel(&strata, Yates::No, Confidence::P95).unwrap();
        close(plain.test.unwrap().statistic, case.chi2, TIGHT, 1e-20, &what);
        close(plain.test.unwrap().p, case.p, TIGHT, 0.0, &what);
        close_odds(&plain.common_odds_ratio.unwrap(), case.odds_ratio, TIGHT, &what);
        let corrected = cochran_mantel_haenszel(&strata, Yates::Yes, Confidence::P95).unwrap();
        // statsmodels does not stop the correction at 0.
        if case.yates < case.chi2 {
            close(corrected.test.unwrap().statistic, case.yates, TIGHT, 1e-20, &what);
            close(corrected.test.unwrap().p, case.yates_p, TIGHT, 0.0, &what);
        }
    }
}

#[derive(Deserialize)]
struct FamilyCase {
    p: Vec<f64>,
    bh: Vec<f64>,
    by: Vec<f64>,
    bonferroni: Vec<f64>,
    holm: Vec<f64>,
    simes: f64,
    pi0: f64,
    pi0_grid: f64,
}

#[test]
fn families() {
    for case in cases::<Vec<FamilyCase>>("families") {
        let pairs = [
            (benjamini_hochberg(&case.p).unwrap(), &case.bh),
            (benjamini_yekutieli(&case.p).unwrap(), &case.by),
            (bonferroni(&case.p).unwrap(), &case.bonferroni),
            (holm(&case.p).unwrap(), &case.holm),
        ];
        for (actual, expected) in pairs {
            assert_eq!(actual.len(), expected.len());
            for (a, e) in actual.iter().zip(expected) {
                close(*a, *e, 1e-13, 0.0, &format!("family of {}", case.p.len()));
            }
        }
        close(simes(&case.p).unwrap(), case.simes, 1e-13, 0.0, "Simes");
        let pi0 = storey_pi0(&case.p, 0.5).unwrap();
        close(pi0, case.pi0, 1e-13, 0.0, "π₀");
        close(
            storey_pi0_over_grid(&case.p).unwrap(),
            case.pi0_grid,
            1e-12,
            0.0,
            "π₀ over the grid",
        );
        for (q, bh) in storey_q_values(&case.p, pi0).unwrap().iter().zip(&case.bh) {
            assert!(*q <= *bh + 1e-15);
        }
    }
}

#[derive(Deserialize)]
struct SignFlipCase {
    differences: Vec<f64>,
    p: f64,
}

#[test]
fn sign_flips() {
    for case in cases::<Vec<SignFlipCase>>("sign_flips") {
        let test = sign_flip_test(&case.differences, 99, &[0; 4]).unwrap();
        assert!(matches!(test.method, PermutationMethod::Exact { .. }));
        close(test.p, case.p, TIGHT, 0.0, &format!("{:?}", case.differences));
    }
}

#[derive(Deserialize)]
struct RankCase {
    first: Vec<f64>,
    second: Vec<f64>,
    rho: f64,
    p: f64,
    ranks: Vec<f64>,
    value: f64,
    percentile: f64,
    self_percentile: f64,
    quantiles: [f64; 6],
}

#[test]
fn ranks() {
    for case in cases::<Vec<RankCase>>("ranks") {
        let what = &format!("n {}", case.first.len());
        assert_eq!(mid_ranks(&case.first).unwrap(), case.ranks);
        let correlation = spearman(&case.first, &case.second).unwrap().unwrap();
        close(correlation.rho, case.rho, TIGHT, 1e-15, what);
        close(correlation.p, case.p, TIGHT, 0.0, what);
        let percentile = |value| percentile_in(value, &case.first).unwrap().unwrap();
        close(percentile(case.value), case.percentile, TIGHT, 0.0, what);
        close(
            percentile(*case.first.last().unwrap()),
            case.self_percentile,
            TIGHT,
            0.0,
            what,
        );
        for (probability, expected) in [0.0, 0.025, 0.31, 0.5, 0.975, 1.0]
            .into_iter()
            .zip(case.quantiles)
        {
            close(
                quantile(&case.first, probability).unwrap().unwrap(),
                expected,
                1e-12,
                1e-15,
                what,
            );
        }
    }
}

#[derive(Deserialize)]
struct UnpairedPower {
    first: u64,
    second: u64,
    baseline: f64,
    alpha: f64,
    power: f64,
    rise: f64,
}

#[derive(Deserialize)]
struct PairedPower {
    pairs: u64,
    discordant: f64,
    alpha: f64,
    power: f64,
    difference: f64,
}

#[derive(Deserialize)]
struct PowerCases {
    unpaired: Vec<UnpairedPower>,
    paired: Vec<PairedPower>,
}

#[test]
fn power() {
    let cases: PowerCases = cases("power");
    for case in cases.unpaired {
        let target = PowerTarget::new(case.alpha, case.power).unwrap();
        let found = detectable_risk_difference(case.first, case.second, case.baseline, target).unwrap();
        close(
            found.rise.unwrap(),
            case.rise,
            TIGHT,
            0.0,
            &format!("{} and {}", case.first, case.second),
        );
    }
    for case in cases.paired {
        let target = PowerTarget::new(case.alpha, case.power).unwrap();
        let found = detectable_paired_risk_difference(case.pairs, case.discordant, target).unwrap();
        close(
            found.unwrap(),
            case.difference,
            TIGHT,
            0.0,
            &format!("{} pairs", case.pairs),
        );
    }
}
