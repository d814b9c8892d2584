//! Tails of the χ² distribution, in logarithms, and its quantiles.
//!
//! The regularised incomplete gamma function by its series below the mean and by Legendre's continued fraction above
//! (DLMF 8.11.4 and 8.9.2), with the leading term in Loader's saddle-point form, so that neither far tails nor many
//! degrees of freedom lose digits.

use crate::log_probability::{deviance, stirling_error};
use crate::root::find_root;
use std::f64::consts::PI;

/// Terms of the series or steps of the fraction; about 10·√a are needed.
const MAX_STEPS: u32 = 1_000_000;

/// ln[xᵃ e⁻ˣ / Γ(a + 1)].
fn ln_leading_term(a: f64, x: f64) -> f64 {
    -deviance(a, x) - stirling_error(a) - 0.5 * (2.0 * PI * a).ln()
}

/// ln P(a, x), the lower tail, by its series; for x up to about a + 1.
fn ln_lower_series(a: f64, x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for step in 1..MAX_STEPS {
        term *= x / (a + f64::from(step));
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    ln_leading_term(a, x) + f64::ln(sum)
}

/// ln Q(a, x), the upper tail, by the continued fraction; for x from about a + 1.
fn ln_upper_fraction(a: f64, x: f64) -> f64 {
    // Modified Lentz evaluation.
    let tiny = 1e-300;
    let guard = |v: f64| if v.abs() < tiny { tiny } else { v };
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / guard(b);
    let mut h = d;
    for step in 1..MAX_STEPS {
        let i = f64::from(step);
        let numerator = -i * (i - a);
        b += 2.0;
        d = 1.0 / guard(numerator * d + b);
        c = guard(b + numerator / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    // The leading term divides by Γ(a + 1), the fraction belongs to Γ(a).
    ln_leading_term(a, x) + a.ln() + h.ln()
}

/// ln(1 − exp(v)) for v ≤ 0.
fn ln_complement(v: f64) -> f64 {
    if v > -std::f64::consts::LN_2 {
        (-v.exp_m1()).ln()
    } else {
        (-v.exp()).ln_1p()
    }
}

/// ln P(X ≥ x) for χ² with `df` > 0 degrees of freedom; x ≥ 0.
pub(crate) fn ln_chi_square_upper(x: f64, df: f64) -> f64 {
    let (a, half) = (0.5 * df, 0.5 * x);
    if half <= 0.0 {
        0.0
    } else if half < a + 1.0 {
        ln_complement(ln_lower_series(a, half).min(0.0))
    } else {
        ln_upper_fraction(a, half).min(0.0)
    }
}

/// ln P(X ≤ x) for χ² with `df` > 0 degrees of freedom; x ≥ 0.
pub(crate) fn ln_chi_square_lower(x: f64, df: f64) -> f64 {
    let (a, half) = (0.5 * df, 0.5 * x);
    if half <= 0.0 {
        f64::NEG_INFINITY
    } else if half < a + 1.0 {
        ln_lower_series(a, half).min(0.0)
    } else {
        ln_complement(ln_upper_fraction(a, half).min(0.0))
    }
}

/// The x with P(X ≤ x) = `probability`, strictly between 0 and 1.
pub(crate) fn chi_square_quantile(probability: f64, df: f64) -> Option<f64> {
    // In logarithms of the smaller tail and of x, both of which are smooth at either end.
    let excess = |ln_x: f64| {
        if probability < 0.5 {
            ln_chi_square_lower(ln_x.exp(), df) - probability.ln()
        } else {
            (-probability).ln_1p() - ln_chi_square_upper(ln_x.exp(), df)
        }
    };
    let (mut low, mut high) = (df.ln() - 1.0, df.ln() + 1.0);
    while excess(low) > 0.0 && low > -700.0 {
        low = (2.0 * low - df.ln()).max(-700.0);
    }
    while excess(high) < 0.0 && high < 700.0 {
        high = (2.0 * high - df.ln()).min(700.0);
    }
    find_root(excess, low, high).map(f64::exp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal;

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for x in [1e-12, 1e-3, 0.5, 1.0, 3.84, 20.0, 300.0, 1400.0_f64] {
            let two = ln_chi_square_upper(x, 2.0);
            assert!((two + 0.5 * x).abs() <= 1e-13 * (1.0 + 0.5 * x), "{x} {two}");
            let one = ln_chi_square_upper(x, 1.0);
            let expected = normal::ln_two_sided(x.sqrt());
            assert!(
                (one - expected).abs() <= 1e-12 * (1.0 + expected.abs()),
                "{x} {one} {expected}"
            );
        }
    }

    #[test]
    fn both_tails_sum_to_one() {
        for df in [1.0, 3.0, 29.0, 2786.0, 1e6] {
            for ratio in [0.5, 0.9, 0.999, 1.0, 1.001, 1.1, 2.0] {
                let x = df * ratio;
                let sum = ln_chi_square_lower(x, df).exp() + ln_chi_square_upper(x, df).exp();
                assert!((sum - 1.0).abs() < 1e-12, "{df} {ratio} {sum}");
            }
        }
    }

    #[test]
    fn quantiles_invert_the_tails() {
        for df in [1.0, 2.0, 29.0, 440.0, 1e5] {
            for probability in [1e-100, 1e-9, 0.025, 0.3, 0.5, 0.975, 1.0 - 1e-9] {
                let x = chi_square_quantile(probability, df).unwrap();
                let back = ln_chi_square_lower(x, df).exp();
                assert!(
                    (back / probability - 1.0).abs() < 1e-10,
                    "{df} {probability} {x} {back}"
                );
            }
        }
    }
}
