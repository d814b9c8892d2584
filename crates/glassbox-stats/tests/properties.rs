//! Properties that hold for all inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use glassbox_stats::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn moments(values: &[f64]) -> Moments {
    Moments::from_slice(values).unwrap()
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
}

fn values(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    vec(-100.0..100.0_f64, length)
}

fn cells() -> impl Strategy<Value = [[u64; 2]; 2]> {
    [[0_u64..60, 0..60], [0_u64..60, 0..60]]
}

proptest! {
    #[test]
    fn streaming_equals_two_passes(sample in values(2..200)) {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let streamed = moments(&sample);
        prop_assert!(near(streamed.mean().unwrap(), mean, 1e-12));
        prop_assert!(near(streamed.variance().unwrap(), variance, 1e-11));
    }

    #[test]
    fn merging_shards_equals_one_pass(sample in values(0..200), cuts in vec(0_usize..200, 0..5)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(sample.len())).collect();
        cuts.extend([0, sample.len()]);
        cuts.sort_unstable();
        let mut merged = Moments::new();
        for pair in cuts.windows(2) {
            merged.merge(&moments(&sample[pair[0]..pair[1]])).unwrap();
        }
        let whole = moments(&sample);
        prop_assert_eq!(merged.count(), whole.count());
        if let (Ok(a), Ok(b)) = (merged.variance(), whole.variance()) {
            prop_assert!(near(a, b, 1e-11));
            prop_assert!(near(merged.mean().unwrap(), whole.mean().unwrap(), 1e-12));
        }
    }

    #[test]
    fn welch_swaps_sign_and_ignores_shift_and_scale(
        a in values(2..40), b in values(2..40), shift in -1e3..1e3_f64, scale in 1e-3..1e3_f64,
    ) {
        let (x, y) = (moments(&a), moments(&b));
        let Ok(forward) = welch_t_test(&x, &y, Confidence::P95) else { return Ok(()) };
        let backward = welch_t_test(&y, &x, Confidence::P95).unwrap();
        prop_assert!(near(forward.difference, -backward.difference, 1e-13));
        prop_assert!(near(forward.interval.lower, -backward.interval.upper, 1e-12));
        prop_assert!(near(forward.test.ln_p, backward.test.ln_p, 1e-12));
        let moved = |v: &[f64]| moments(&v.iter().map(|x| shift + scale * x).collect::<Vec<_>>());
        let other = welch_t_test(&moved(&a), &moved(&b), Confidence::P95).unwrap();
        prop_assert!(near(other.test.t, forward.test.t, 1e-7));
        prop_assert!(near(other.test.df, forward.test.df, 1e-7));
        prop_assert!(near(other.difference, scale * forward.difference, 1e-8));
        prop_assert!((0.0..=1.0).contains(&forward.test.p) && forward.interval.contains(forward.difference));
    }

    #[test]
    fn d_swaps_sign_and_lies_in_its_interval(a in values(2..20), b in values(2..20)) {
        let (x, y) = (moments(&a), moments(&b));
        let Ok(forward) = cohens_d_with_interval(&x, &y, Confidence::P95) else { return Ok(()) };
        let backward = cohens_d_with_interval(&y, &x, Confidence::P95).unwrap();
        prop_assert!(near(forward.estimate, -backward.estimate, 1e-12));
        prop_assert!(near(forward.interval.lower, -backward.interval.upper, 1e-7));
        prop_assert!(forward.interval.lower.is_finite() && forward.interval.width() > 0.0);
        // With very few values the interval need not hold the biased estimate in its middle, but it holds it.
        prop_assert!(forward.interval.contains(forward.estimate));
    }

    #[test]
    fn tables_are_symmetric_under_exchange_of_groups_and_of_outcomes(cells in cells()) {
        let [[a, b], [c, d]] = cells;
        let table = TwoByTwo::from_cells(cells).unwrap();
        let groups = TwoByTwo::from_cells([[c, d], [a, b]]).unwrap();
        let outcomes = TwoByTwo::from_cells([[b, a], [d, c]]).unwrap();
        let transposed = TwoByTwo::from_cells([[a, c], [b, d]]).unwrap();
        let p = fisher_exact(&table).p;
        prop_assert!((0.0..=1.0).contains(&p));
        for other in [groups, outcomes, transposed] {
            prop_assert!(near(fisher_exact(&other).p, p, 1e-10));
        }
        let level = Confidence::P95;
        if let Ok(rd) = risk_difference(&table, level) {
            let swapped = risk_difference(&groups, level).unwrap();
            prop_assert!(near(rd.interval.lower, -swapped.interval.upper, 1e-12));
            prop_assert!(rd.interval.contains(rd.estimate));
            let log_odds = log_odds_ratio(&table, level).unwrap();
            prop_assert!(near(log_odds.estimate, -log_odds_ratio(&groups, level).unwrap().estimate, 1e-12));
        }
        match conditional_odds_ratio(&table, level).unwrap() {
            Err(reason) => {
                prop_assert_eq!(reason, Undefined::EmptyMargin);
                prop_assert!(table.has_empty_margin());
                prop_assert_eq!(p, 1.0);
            }
            Ok(ratio) => {
                let swapped = conditional_odds_ratio(&groups, level).unwrap().unwrap();
                let product = ratio.estimate * swapped.estimate;
                prop_assert!(product.is_nan() || near(product, 1.0, 1e-8), "0·∞ or 1, got {product}");
                prop_assert!(ratio.interval.contains(ratio.estimate));
            }
        }
    }

    #[test]
    fn pairs_are_symmetric(e in 0_u64..40, f in 0_u64..40, g in 0_u64..40, h in 0_u64..40) {
        let table = PairedTable::new(e, f, g, h).unwrap();
        let swapped = PairedTable::new(e, g, f, h).unwrap();
        let (a, b) = (mcnemar_test(&table), mcnemar_test(&swapped));
        prop_assert_eq!(a.exact, b.exact);
        prop_assert_eq!(a.mid_p, b.mid_p);
        prop_assert!(a.mid_p.p <= a.exact.p && a.exact.p <= 1.0);
        if e + f + g + h > 0 {
            let forward = paired_risk_difference(&table, Confidence::P95).unwrap();
            let backward = paired_risk_difference(&swapped, Confidence::P95).unwrap();
            prop_assert!(near(forward.interval.lower, -backward.interval.upper, 1e-12));
            prop_assert!(forward.interval.contains(forward.estimate));
        }
    }

    #[test]
    fn adjusted_values_are_monotone_bounded_and_follow_the_order(
        p in vec(prop_oneof![0.0..=1.0_f64, Just(0.01), Just(0.5)], 0..80), rotation in 0_usize..80,
    ) {
        for adjust in [benjamini_hochberg, benjamini_yekutieli, bonferroni, holm] {
            let q = adjust(&p).unwrap();
            for i in 0..p.len() {
                prop_assert!(q[i] >= p[i] * (1.0 - 1e-12) && q[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || q[i] <= q[j], "monotone, and equal for equal p");
                }
            }
            if !p.is_empty() {
                let mut rotated = p.clone();
                rotated.rotate_left(rotation % p.len());
                let mut expected = q.clone();
                expected.rotate_left(rotation % p.len());
                prop_assert_eq!(adjust(&rotated).unwrap(), expected);
            }
        }
        let (bh, holm, bonferroni) =
            (benjamini_hochberg(&p).unwrap(), holm(&p).unwrap(), bonferroni(&p).unwrap());
        for i in 0..p.len() {
            prop_assert!(bh[i] <= holm[i] + 1e-15 && holm[i] <= bonferroni[i] + 1e-15);
        }
    }

    #[test]
    fn sign_flips_ignore_order_and_scale(differences in values(1..12), scale in 1e-3..1e3_f64) {
        let p = |d: &[f64]| sign_flip_test(d, 9, &[1; 4]).unwrap().p;
        let base = p(&differences);
        let reversed: Vec<f64> = differences.iter().rev().map(|d| -scale * d).collect();
        prop_assert_eq!(base, p(&reversed));
        prop_assert!(base > 0.0 && base <= 1.0);
    }

    #[test]
    fn rank_statistics_ignore_increasing_maps(
        x in vec(-5_i32..5, 3..30), y in vec(-5.0..5.0_f64, 30),
    ) {
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let y = &y[..x.len()];
        let mapped: Vec<f64> = x.iter().map(|v| v.exp()).collect();
        prop_assert_eq!(spearman(&x, y).unwrap(), spearman(&mapped, y).unwrap());
        let rank_sum: f64 = mid_ranks(&x).unwrap().iter().sum();
        prop_assert_eq!(rank_sum, (x.len() * (x.len() + 1)) as f64 / 2.0);
        let percentile = |v, r: &[f64]| percentile_in(v, r).unwrap().unwrap();
        let negated: Vec<f64> = x.iter().map(|v| -v).collect();
        prop_assert!(near(percentile(x[0], &x), 100.0 - percentile(-x[0], &negated), 1e-12));
    }

    #[test]
    fn wilson_contains_the_estimate_and_narrows_with_less_confidence(n in 1_u64..5000, share in 0.0..=1.0_f64) {
        let proportion = Proportion::new((n as f64 * share) as u64, n).unwrap();
        let wide = wilson_interval(&proportion, Confidence::P99).unwrap();
        let narrow = wilson_interval(&proportion, Confidence::P95).unwrap();
        prop_assert!(narrow.contains(proportion.estimate().unwrap()));
        prop_assert!(wide.lower <= narrow.lower && narrow.upper <= wide.upper);
        prop_assert!(wide.lower >= 0.0 && wide.upper <= 1.0);
    }

    #[test]
    fn scans_of_any_finite_values_never_give_nan(
        a in vec(prop_oneof![Just(0.0), Just(1.0), -1e150..1e150_f64, -1e-300..1e-300_f64], 0..8),
        b in vec(prop_oneof![Just(0.0), Just(1.0), -1e150..1e150_f64, -1e-300..1e-300_f64], 0..8),
    ) {
        let (x, y) = (moments(&a), moments(&b));
        if let Ok(test) = welch_t_test(&x, &y, Confidence::P95) {
            prop_assert!(test.test.t.is_finite() && test.test.df > 0.0 && test.test.ln_p <= 0.0);
            prop_assert!(!test.test.p.is_nan() && !test.interval.lower.is_nan() && !test.interval.upper.is_nan());
        }
        if let Ok(d) = cohens_d(&x, &y) {
            prop_assert!(d.is_finite());
        }
        if let Ok(effect) = cohens_d_with_interval(&x, &y, Confidence::P95) {
            prop_assert!(effect.interval.lower.is_finite() && effect.interval.upper.is_finite());
        }
    }
}
