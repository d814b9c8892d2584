//! Trends, many effects, strata, words and power, compared with the values of `tools/stats_fixtures/make_effects.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_stats::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const TIGHT: f64 = 1e-10;

fn cases<T: DeserializeOwned>(name: &str) -> T {
    let all: Value = serde_json::from_str(include_str!("fixtures/effects.json")).unwrap();
    serde_json::from_value(all[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Asserts |actual − expected| ≤ 1e-10·|expected| + floor.
#[track_caller]
fn close(actual: f64, expected: f64, floor: f64, what: &str) {
    let allowed = TIGHT * expected.abs() + floor;
    assert!(
        actual == expected || (actual - expected).abs() <= allowed,
        "{what}: {actual:e}, expected {expected:e}"
    );
}

type Doses = Vec<Vec<(f64, u64, u64)>>;

fn dose_groups(strata: &Doses) -> Vec<Vec<DoseGroup>> {
    let group = |&(score, successes, trials): &(f64, u64, u64)| DoseGroup {
        score,
        outcome: Proportion::new(successes, trials).unwrap(),
    };
    strata
        .iter()
        .map(|groups| groups.iter().map(group).collect())
        .collect()
}

#[derive(Deserialize)]
struct TrendCase {
    strata: Doses,
    statistic: f64,
    variance: f64,
    binomial_variance: f64,
    z: f64,
    p: f64,
    ln_p: f64,
    slope: f64,
    slope_lower: f64,
    slope_upper: f64,
}

#[test]
fn trends() {
    for case in cases::<Vec<TrendCase>>("trends") {
        let strata = dose_groups(&case.strata);
        let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
        let what = &format!("{:?}", case.strata);
        let of = |variance| trend_test(&strata, variance, Confidence::P95).unwrap().unwrap();
        let mantel = of(TrendVariance::Hypergeometric);
        // Doses of a million leave ten digits for their differences.
        let largest = strata
            .iter()
            .flat_map(|g| g.iter())
            .fold(0.0_f64, |m, g| m.max(g.score));
        let floor = 1e-14 * largest * 100.0;
        close(mantel.statistic, case.statistic, floor, what);
        close(mantel.variance, case.variance, 0.0, what);
        close(mantel.z, case.z, floor, what);
        close(mantel.p, case.p, 1e-15, what);
        close(mantel.ln_p, case.ln_p, 1e-12, what);
        close(mantel.slope, case.slope, 1e-14, what);
        close(mantel.slope_interval.lower, case.slope_lower, 1e-14, what);
        close(mantel.slope_interval.upper, case.slope_upper, 1e-14, what);
        close(
            of(TrendVariance::Binomial).variance,
            case.binomial_variance,
            0.0,
            what,
        );
    }
}

#[derive(Deserialize)]
struct ExactTrendCase {
    strata: Doses,
    p: f64,
}

#[test]
fn exact_trends() {
    for case in cases::<Vec<ExactTrendCase>>("exact_trends") {
        let strata = dose_groups(&case.strata);
        let strata: Vec<&[DoseGroup]> = strata.iter().map(Vec::as_slice).collect();
        let test = exact_trend_test(&strata, 1, &[0; 4]).unwrap();
        assert_eq!(test.method, TrendMethod::Exact);
        close(test.p, case.p, 0.0, &format!("{:?}", case.strata));
    }
}

#[derive(Deserialize)]
struct SlopeCase {
    doses: Vec<f64>,
    amounts: Vec<f64>,
    strata: Vec<u64>,
    clusters: Vec<u64>,
    hc3: [f64; 7],
    clustered: [f64; 7],
}

#[test]
fn slopes() {
    for case in cases::<Vec<SlopeCase>>("slopes") {
        for (errors, expected) in [
            (SlopeErrors::Hc3, case.hc3),
            (SlopeErrors::Clustered(&case.clusters), case.clustered),
        ] {
            let what = &format!("{} values, {errors:?}", case.doses.len());
            let found = slope_test(&case.doses, &case.amounts, &case.strata, errors, Confidence::P95)
                .unwrap()
                .unwrap();
            let [slope, error, t, df, ln_p, lower, upper] = expected;
            close(found.slope, slope, 1e-12, what);
            close(found.standard_error, error, 0.0, what);
            close(found.test.t, t, 1e-11, what);
            close(found.test.df, df, 0.0, what);
            close(found.test.ln_p, ln_p, 1e-10, what);
            close(found.interval.lower, lower, 1e-10, what);
            close(found.interval.upper, upper, 1e-10, what);
        }
    }
}

#[derive(Deserialize)]
struct StratifiedMeansCase {
    groups: Vec<(Vec<f64>, Vec<f64>)>,
    figures: [f64; 7],
}

#[test]
fn stratified_means() {
    for case in cases::<Vec<StratifiedMeansCase>>("stratified_means") {
        let moments = |values: &Vec<f64>| Moments::from_slice(values).unwrap();
        let strata: Vec<(Moments, Moments)> = case
            .groups
            .iter()
            .map(|(a, b)| (moments(a), moments(b)))
            .collect();
        let found = stratified_mean_difference(&strata, Confidence::P95).unwrap();
        let [difference, error, t, df, p, lower, upper] = case.figures;
        let what = &format!("{} strata", strata.len());
        close(found.difference, difference, 1e-13, what);
        close(found.standard_error, error, 0.0, what);
        close(found.test.t, t, 1e-13, what);
        close(found.test.df, df, 0.0, what);
        close(found.test.p, p, 0.0, what);
        close(found.interval.lower, lower, 1e-12, what);
        close(found.interval.upper, upper, 1e-12, what);
    }
}

#[derive(Deserialize)]
struct ManyCase {
    effects: Vec<f64>,
    errors: Vec<f64>,
    q: f64,
    p: f64,
    ln_p: f64,
    i_squared: f64,
    tau_squared: f64,
    fixed: [f64; 4],
    random: [f64; 2],
    z_variance: f64,
    z_lower: f64,
    z_upper: f64,
    z_more: f64,
    z_ln_more: f64,
    z_less: f64,
}

#[test]
fn many_effects() {
    for case in cases::<Vec<ManyCase>>("many_effects") {
        let what = &format!("{} effects", case.effects.len());
        let found = heterogeneity(&case.effects, &case.errors, Confidence::P95)
            .unwrap()
            .unwrap();
        close(found.q, case.q, 0.0, what);
        close(found.p, case.p, 0.0, what);
        close(found.ln_p, case.ln_p, 1e-11, what);
        close(found.i_squared, case.i_squared, 1e-13, what);
        close(found.tau_squared, case.tau_squared, 1e-14, what);
        let [estimate, error, lower, upper] = case.fixed;
        close(found.fixed.estimate, estimate, 1e-14, what);
        close(found.fixed.standard_error, error, 0.0, what);
        close(found.fixed.interval.lower, lower, 1e-14, what);
        close(found.fixed.interval.upper, upper, 1e-14, what);
        close(found.random.estimate, case.random[0], 1e-14, what);
        close(found.random.standard_error, case.random[1], 1e-14, what);
        let z: Vec<f64> = case
            .effects
            .iter()
            .zip(&case.errors)
            .map(|(e, s)| e / s)
            .collect();
        let spread = spread_of_z(&z, Confidence::P95).unwrap().unwrap();
        close(spread.variance, case.z_variance, 0.0, what);
        close(spread.interval.lower, case.z_lower, 0.0, what);
        close(spread.interval.upper, case.z_upper, 0.0, what);
        close(spread.p_more, case.z_more, 0.0, what);
        close(spread.ln_p_more, case.z_ln_more, 1e-11, what);
        close(spread.p_less, case.z_less, 1e-15, what);
    }
}

#[derive(Deserialize)]
struct StrataCase {
    strata: Vec<[[u64; 2]; 2]>,
    rd: f64,
    rd_error: f64,
    rd_lower: f64,
    rd_upper: f64,
    equal: Option<[f64; 4]>,
    exact_p: Option<f64>,
    exact_odds: Option<[Option<f64>; 3]>,
}

#[test]
fn strata() {
    let mut exact_cases = 0;
    for case in cases::<Vec<StrataCase>>("strata") {
        let what = &format!("{:?}", case.strata);
        let strata: Vec<TwoByTwo> = case
            .strata
            .iter()
            .map(|&cells| TwoByTwo::from_cells(cells).unwrap())
            .collect();
        let difference = stratified_risk_difference(&strata, Confidence::P95).unwrap();
        close(difference.estimate, case.rd, 1e-15, what);
        close(difference.standard_error, case.rd_error, 1e-12, what);
        close(difference.interval.lower, case.rd_lower, 1e-14, what);
        close(difference.interval.upper, case.rd_upper, 1e-14, what);
        if let Some([plain, plain_ln_p, tarone, tarone_ln_p]) = case.equal {
            for (kind, statistic, ln_p) in [
                (Tarone::No, plain, plain_ln_p),
                (Tarone::Yes, tarone, tarone_ln_p),
            ] {
                let test = equal_odds_test(&strata, kind).unwrap().unwrap();
                close(test.statistic, statistic, 1e-12, what);
                close(test.ln_p, ln_p, 1e-11, what);
            }
        }
        if let (Some(p), Some(odds)) = (case.exact_p, case.exact_odds) {
            exact_cases += 1;
            let test = exact_stratified_test(&strata, Confidence::P95).unwrap();
            close(test.test.p, p, 0.0, what);
            match test.common_odds_ratio {
                Ok(found) => {
                    let [estimate, lower, upper] = odds.map(|v| v.unwrap_or(f64::INFINITY));
                    close(found.estimate, estimate, 0.0, what);
                    close(found.interval.lower, lower, 0.0, what);
                    close(found.interval.upper, upper, 0.0, what);
                }
                Err(undefined) => panic!("{what}: {undefined}"),
            }
        }
    }
    assert!(exact_cases >= 8);
}

#[derive(Deserialize)]
struct ProportionCase {
    successes: u64,
    trials: u64,
    limits: [f64; 2],
}

#[test]
fn proportions() {
    for case in cases::<Vec<ProportionCase>>("proportions") {
        let proportion = Proportion::new(case.successes, case.trials).unwrap();
        let found = covering_proportion_interval(&proportion, Confidence::P95).unwrap();
        let what = &format!("{} of {}", case.successes, case.trials);
        close(found.lower, case.limits[0], 1e-14, what);
        close(found.upper, case.limits[1], 1e-14, what);
    }
}

#[derive(Deserialize)]
struct WordCase {
    first: [u64; 2],
    second: [u64; 2],
    prior: [f64; 2],
    delta: f64,
    error: f64,
    z: f64,
    p: f64,
}

#[test]
fn words() {
    for case in cases::<Vec<WordCase>>("words") {
        let what = &format!("{:?} {:?}", case.first, case.second);
        let count = |[word, total]: [u64; 2]| WordCount { word, total };
        let [word, total] = case.prior;
        let prior = WordPrior { word, total };
        let found = dirichlet_log_odds_ratio(count(case.first), count(case.second), prior, Confidence::P95)
            .unwrap()
            .unwrap();
        close(found.estimate, case.delta, 1e-15, what);
        close(found.standard_error, case.error, 0.0, what);
        close(found.z, case.z, 1e-15, what);
        close(found.p, case.p, 0.0, what);
    }
}

#[derive(Deserialize)]
struct PowerCase {
    proportions: [f64; 2],
    trials: [u64; 2],
    alpha: f64,
    power: f64,
}

#[derive(Deserialize)]
struct PowerCases {
    normal: Vec<PowerCase>,
    fisher: Vec<PowerCase>,
}

#[test]
fn power() {
    let all: PowerCases = cases("power");
    for case in all.normal {
        let found = two_proportion_power(case.proportions, case.trials, case.alpha).unwrap();
        close(
            found,
            case.power,
            1e-13,
            &format!("{:?} normal", case.proportions),
        );
    }
    for case in all.fisher {
        let found = fisher_power(case.proportions, case.trials, case.alpha).unwrap();
        close(
            found,
            case.power,
            1e-13,
            &format!("{:?} Fisher", case.proportions),
        );
    }
}
