//! Logarithms of binomial, hypergeometric and beta terms without cancellation.
//!
//! The terms are written as a saddle-point form with the error of Stirling's formula and the deviance
//! (C. Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000), so the relative error stays
//! near 1e-14 where differences of log-gamma values lose digits in proportion to the counts.

use std::f64::consts::PI;

/// ln Γ(n + 1) − [(n + ½) ln n − n + ½ ln 2π], the error of Stirling's formula, for n > 0.
pub(crate) fn stirling_error(mut n: f64) -> f64 {
    // The error at n and n + 1 differs by (n + ½) ln(1 + 1/n) − 1; step up to where the series holds.
    let mut steps = 0.0;
    while n < 16.0 {
        steps += (n + 0.5) * (1.0 / n).ln_1p() - 1.0;
        n += 1.0;
    }
    let r = 1.0 / (n * n);
    steps
        + (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r * (1.0 / 1188.0))))) / n
}

/// The deviance x ln(x / mean) + mean − x, for x ≥ 0 and mean ≥ 0.
pub(crate) fn deviance(x: f64, mean: f64) -> f64 {
    if x == 0.0 {
        return mean;
    }
    if (x - mean).abs() < 0.1 * (x + mean) {
        // Series in v = (x − mean)/(x + mean); the plain formula cancels here.
        let v = (x - mean) / (x + mean);
        let mut sum = (x - mean) * v;
        let mut term = 2.0 * x * v;
        for j in 1..1000 {
            term *= v * v;
            let next = sum + term / f64::from(2 * j + 1);
            if next == sum {
                break;
            }
            sum = next;
        }
        return sum;
    }
    x * (x / mean).ln() + mean - x
}

/// ln of the binomial probability of `k` successes in `n`, with success probability `p` and failure
/// probability `q` = 1 − p given separately so that neither loses digits.
pub(crate) fn ln_binomial_pmf(k: f64, n: f64, p: f64, q: f64) -> f64 {
    if p == 0.0 {
        return if k == 0.0 { 0.0 } else { f64::NEG_INFINITY };
    }
    if q == 0.0 {
        return if k == n { 0.0 } else { f64::NEG_INFINITY };
    }
    if n == 0.0 {
        return 0.0;
    }
    if k == 0.0 {
        return n * ln_one_minus(p, q);
    }
    if k == n {
        return n * ln_one_minus(q, p);
    }
    stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, n * p)
        - deviance(n - k, n * q)
        - 0.5 * (2.0 * PI * k * ((n - k) / n)).ln()
}

/// ln(1 − p) with both p and 1 − p known.
fn ln_one_minus(p: f64, one_minus_p: f64) -> f64 {
    if p < 0.5 { (-p).ln_1p() } else { one_minus_p.ln() }
}

/// ln of the probability of `k` marked among `draws`, from `marked` marked and `unmarked` unmarked items.
pub(crate) fn ln_hypergeometric_pmf(k: f64, marked: f64, unmarked: f64, draws: f64) -> f64 {
    let total = marked + unmarked;
    if total == 0.0 || draws == 0.0 || draws == total {
        return 0.0;
    }
    let (p, q) = (draws / total, (total - draws) / total);
    ln_binomial_pmf(k, marked, p, q) + ln_binomial_pmf(draws - k, unmarked, p, q)
        - ln_binomial_pmf(draws, total, p, q)
}

/// ln[ xᵃ yᵇ Γ(a + b) / (Γ(a) Γ(b)) ] for y = 1 − x, a > 0, b > 0.
pub(crate) fn ln_beta_term(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let n = a + b;
    0.5 * (a * (b / n) / (2.0 * PI)).ln() + stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance(a, n * x)
        - deviance(b, n * y)
}

/// ln(exp(a) + exp(b)).
pub(crate) fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LN_2;

    #[test]
    fn small_binomial_terms_match_direct_arithmetic() {
        for n in 1..30_u32 {
            for k in 0..=n {
                let mut choose = 1.0_f64;
                for i in 0..k {
                    choose = choose * f64::from(n - i) / f64::from(i + 1);
                }
                let direct = choose * 0.3_f64.powi(k as i32) * 0.7_f64.powi((n - k) as i32);
                let logged = ln_binomial_pmf(f64::from(k), f64::from(n), 0.3, 0.7).exp();
                assert!((logged / direct - 1.0).abs() < 1e-12, "n {n} k {k}");
            }
        }
    }

    #[test]
    fn stirling_error_at_known_factorials() {
        // 0.5: ln(√π/2) − (−½ + ½ ln 2π) + ln ½·0, with (n + ½) ln n = −ln 2.
        let half = (0.5 * PI.sqrt()).ln() + LN_2 + 0.5 - 0.5 * (2.0 * PI).ln();
        assert!((stirling_error(0.5) - half).abs() < 2e-15);
        let one = 1.0 - 0.5 * (2.0 * PI).ln();
        assert!((stirling_error(1.0) - one).abs() < 2e-15);
        // 20! = 2432902008176640000, exact in f64.
        let direct =
            2_432_902_008_176_640_000.0_f64.ln() - (20.5 * 20.0_f64.ln() - 20.0 + 0.5 * (2.0 * PI).ln());
        assert!((stirling_error(20.0) - direct).abs() < 3e-14);
    }

    #[test]
    fn both_forms_of_the_deviance_meet() {
        let (x, mean) = (1.0, 0.82);
        assert!((deviance(x, mean) - (x * (x / mean).ln() + mean - x)).abs() < 1e-15);
    }

    #[test]
    fn sums_of_probabilities_are_one() {
        let (marked, unmarked, draws) = (2000.0, 3000.0, 700.0);
        let total: f64 = (0..=700)
            .map(|k| ln_hypergeometric_pmf(f64::from(k), marked, unmarked, draws).exp())
            .sum();
        assert!((total - 1.0).abs() < 1e-11, "{total}");
    }

    #[test]
    fn ln_add_handles_zero_probabilities() {
        assert_eq!(ln_add(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!((ln_add(0.25_f64.ln(), 0.5_f64.ln()) - 0.75_f64.ln()).abs() < 1e-15);
    }
}
