//! Student's t distribution, central and noncentral.
//!
//! The tail is the regularised incomplete beta function computed in logarithms. statrs offers it as a plain
//! number only, with 140 continued-fraction steps and a log-gamma prefactor, which gives 0 in the far tail
//! and loses digits at large degrees of freedom; so the fraction is evaluated here.

use crate::log_probability::{ln_beta_term, stirling_error};
use crate::normal;
use crate::root::find_root;
use statrs::function::beta::ln_beta;
use statrs::function::gamma::checked_gamma_ur;
use std::f64::consts::{LN_2, PI};

/// Steps of the continued fraction; about √(a + b) are needed, and [`LARGE_DF`] bounds a + b where it is slow.
const MAX_STEPS: u32 = 100_000;

/// Degrees of freedom from which the tail near the centre is taken from its expansion about the normal.
const LARGE_DF: f64 = 1e6;

/// ln I_x(a, b) for x below the mean (a + 1)/(a + b + 2), where the fraction converges fast; y = 1 − x.
fn ln_lower_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    // Modified Lentz evaluation of the continued fraction DLMF 8.17.22.
    let tiny = 1e-300;
    let guard = |v: f64| if v.abs() < tiny { tiny } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for step in 1..MAX_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    ln_beta_term(a, b, x, y) - a.ln() + h.ln()
}

/// ln P(|T| ≥ |t|) for `df` > 0 degrees of freedom (not necessarily an integer) and finite t.
pub(crate) fn ln_two_sided(t: f64, df: f64) -> f64 {
    let (a, b) = (0.5 * df, 0.5);
    let q = t.abs() / df.sqrt();
    if q > 1e9 {
        // x = 1/q² to rounding, and the fraction is 1: the leading power of the tail, which cannot underflow.
        return -2.0 * a * q.ln() - a.ln() - ln_beta(a, b);
    }
    let q2 = q * q;
    let (x, y) = (1.0 / (1.0 + q2), q2 / (1.0 + q2));
    if y == 0.0 {
        return 0.0;
    }
    if df >= LARGE_DF && q2 < 0.5 {
        return ln_two_sided_near_normal(q2, df);
    }
    if x < (a + 1.0) / (a + b + 2.0) {
        ln_lower_beta(a, b, x, y).min(0.0)
    } else {
        (-ln_lower_beta(b, a, y, x).exp()).ln_1p()
    }
}

/// ln P(|T| ≥ t) for large df and q2 = t²/df < ½: the first two terms of the expansion of I_x(a, b) for small b and
/// large a (A. R. DiDonato and A. H. Morris, 1992, BGRAT) at b = ½. The fraction loses digits in proportion to df here.
fn ln_two_sided_near_normal(q2: f64, df: f64) -> f64 {
    let scale = 0.5 * df - 0.25;
    let u = scale * q2.ln_1p();
    let ln_normal = normal::ln_two_sided((2.0 * u).sqrt());
    let first = (ln_normal - (0.5 * u.ln() - u - 0.5 * PI.ln())).exp();
    let second = (0.75 * first + u + 1.5) / (4.0 * scale * scale);
    ln_normal + (-second / (12.0 * first)).ln_1p()
}

/// Slope −d/dt of ln P(|T| ≥ t) at t > 0, given that logarithm.
fn log_tail_slope(t: f64, df: f64, ln_tail: f64) -> f64 {
    let q2 = t * t / df;
    let term = ln_beta_term(0.5 * df, 0.5, 1.0 / (1.0 + q2), q2 / (1.0 + q2));
    2.0 / t * (term - ln_tail).exp()
}

/// The t > 0 with P(|T| ≥ t) = `alpha`, for 0 < alpha < 1.
pub(crate) fn two_sided_quantile(alpha: f64, df: f64) -> f64 {
    let target = alpha.ln();
    let mut lower = 0.0;
    let mut upper = f64::INFINITY;
    let mut t = normal::upper_quantile(0.5 * alpha).max(f64::MIN_POSITIVE);
    // Newton on the logarithm of the tail, kept inside a bracket; heavy tails double until bracketed.
    for _ in 0..2000 {
        let value = ln_two_sided(t, df);
        let excess = value - target;
        if excess > 0.0 {
            lower = t;
        } else {
            upper = t;
        }
        let mut next = t + excess / log_tail_slope(t, df, value);
        if !(next > lower && next < upper) {
            next = if upper.is_infinite() {
                2.0 * t
            } else {
                0.5 * (lower + upper)
            };
        }
        if (next - t).abs() <= 4.0 * f64::EPSILON * t || next == lower || next == upper {
            return next;
        }
        t = next;
    }
    t
}

/// Nodes and weights of 16-point Gauss–Legendre quadrature on [−1, 1], positive half.
const GAUSS_16: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_58),
    (0.458_016_777_657_227_4, 0.169_156_519_395_002_54),
    (0.617_876_244_402_643_7, 0.149_595_988_816_576_73),
    (0.755_404_408_355_003, 0.124_628_971_255_533_87),
    (0.865_631_202_387_831_7, 0.095_158_511_682_492_78),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_89),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_095),
];

/// Composite Gauss–Legendre quadrature.
fn integrate(f: impl Fn(f64) -> f64, lower: f64, upper: f64, panels: u32) -> f64 {
    if upper <= lower {
        return 0.0;
    }
    let half = 0.5 * (upper - lower) / f64::from(panels);
    (0..panels)
        .map(|panel| {
            let centre = lower + half * f64::from(2 * panel + 1);
            let sum: f64 = GAUSS_16
                .iter()
                .map(|&(node, weight)| weight * (f(centre - half * node) + f(centre + half * node)))
                .sum();
            half * sum
        })
        .sum()
}

/// P(T ≤ t) for noncentral t with `df` ≥ 1 degrees of freedom and noncentrality `delta`.
///
/// T = (Z + δ)/S with S² ~ χ²(df)/df, integrated over S where S is the wider factor's mixing variable and
/// over Z otherwise; absolute error about 1e-11.
pub(crate) fn noncentral_cdf(t: f64, df: f64, delta: f64) -> f64 {
    if t < 0.0 {
        return 1.0 - noncentral_cdf(-t, df, -delta);
    }
    if t == 0.0 {
        return normal::cdf(-delta);
    }
    if t <= (2.0 * df).sqrt() {
        let half = 0.5 * df;
        // ln of the density of S at its scale: 2 (df/2)^(df/2) / Γ(df/2).
        let ln_scale = LN_2 + 0.5 * (half / (2.0 * PI)).ln() - stirling_error(half) + half;
        let density = |s: f64| {
            if s <= 0.0 {
                return if df == 1.0 { ln_scale.exp() } else { 0.0 };
            }
            (ln_scale + (df - 1.0) * s.ln() - half * s * s).exp()
        };
        let reach = 10.0 / df.sqrt();
        integrate(
            |s| density(s) * normal::cdf(t * s - delta),
            (1.0 - reach).max(0.0),
            1.0 + reach,
            24,
        )
    } else {
        // P(S ≥ c) for c > 0; the arguments are valid by construction, so an error means no mass.
        let upper_tail = |c: f64| {
            if c <= 0.0 {
                return 1.0;
            }
            checked_gamma_ur(0.5 * df, 0.5 * df * c * c).unwrap_or(0.0)
        };
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        let start = (-delta).clamp(-10.0, 10.0);
        // Below z = −δ the numerator is negative and T ≤ t for certain.
        normal::cdf(start.min(-delta))
            + integrate(|z| density(z) * upper_tail((z + delta) / t), start, 10.0, 24)
    }
}

/// The noncentrality δ at which P(T ≤ t) equals `probability`; the cdf falls as δ grows.
pub(crate) fn noncentrality_at(t: f64, df: f64, probability: f64) -> Option<f64> {
    let f = |delta: f64| noncentral_cdf(t, df, delta) - probability;
    // Var(T) ≈ 1 + t²/(2 df); ten of these widths bracket any level a report would use, then double.
    let mut reach = 10.0 * (1.0 + t * t / (2.0 * df)).sqrt();
    for _ in 0..60 {
        if f(t - reach) > 0.0 && f(t + reach) < 0.0 {
            return find_root(f, t - reach, t + reach);
        }
        reach *= 2.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_at_one_and_two_degrees_of_freedom() {
        for t in [1e-8_f64, 0.3, 1.0, 2.5, 40.0, 1e6] {
            let cauchy = 2.0 / PI * (1.0 / t).atan();
            assert!((ln_two_sided(t, 1.0).exp() / cauchy - 1.0).abs() < 1e-12, "{t}");
            // 1 − t/√(2 + t²), written without cancellation.
            let root = (2.0 + t * t).sqrt();
            let two = 2.0 / (root * (root + t));
            assert!((ln_two_sided(t, 2.0).exp() / two - 1.0).abs() < 1e-12, "{t}");
        }
        let far = 2.0_f64.ln() - PI.ln() - 200.0 * 10.0_f64.ln();
        assert!((ln_two_sided(1e200, 1.0) - far).abs() < 1e-9);
    }

    #[test]
    fn the_expansion_meets_the_fraction_and_tends_to_the_normal() {
        for t in [0.1, 1.0, 2.0, 5.0, 20.0, 36.0] {
            let fraction = ln_two_sided(t, LARGE_DF * (1.0 - 1e-12));
            let expansion = ln_two_sided(t, LARGE_DF);
            // statrs's erfc has a relative error of 1e-10, the fraction one of 4e-11 here.
            assert!((fraction - expansion).abs() < 2e-10, "{t} {fraction} {expansion}");
            assert!(
                (ln_two_sided(t, 1e16) - normal::ln_two_sided(t)).abs() < 2e-10,
                "{t}"
            );
        }
        // Outside the expansion's range, t²/df ≥ ½.
        assert!(ln_two_sided(2e3, 1e6) < ln_two_sided(1.9e3, 1e6));
    }

    #[test]
    fn quantile_inverts_the_tail() {
        for df in [0.7, 1.0, 2.0, 3.3, 29.0, 400.0, 1e6] {
            for alpha in [1e-12, 0.001, 0.05, 0.5, 0.99] {
                let t = two_sided_quantile(alpha, df);
                assert!(
                    (ln_two_sided(t, df) - alpha.ln()).abs() < 1e-11,
                    "{df} {alpha} {t}"
                );
            }
        }
    }

    #[test]
    fn noncentral_cdf_reduces_to_the_central_one() {
        for df in [1.0, 2.0, 5.0, 58.0, 4000.0] {
            for t in [-30.0, -2.0, -0.2, 0.2, 1.0, 1.9, 3.0, 60.0, 200.0_f64] {
                let tail = 0.5 * ln_two_sided(t, df).exp();
                let central = if t > 0.0 { 1.0 - tail } else { tail };
                assert!((noncentral_cdf(t, df, 0.0) - central).abs() < 1e-10, "{df} {t}");
            }
        }
    }

    #[test]
    fn both_integrals_agree_at_their_border() {
        for df in [2.0, 7.0, 98.0_f64] {
            let border = (2.0 * df).sqrt();
            for delta in [-1.0, 0.0, 2.0, border, border + 3.0] {
                let below = noncentral_cdf(border * (1.0 - 1e-12), df, delta);
                let above = noncentral_cdf(border * (1.0 + 1e-12), df, delta);
                assert!((below - above).abs() < 1e-10, "{df} {delta} {below} {above}");
            }
        }
    }
}
