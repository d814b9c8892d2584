//! The standard normal distribution, with tails in logarithms beyond the range of `f64`.
//!
//! libm's `erfc` is right to a unit in the last place, statrs's only to 1e-10 in the tail; its inverse is near 1e-15.

use libm::erfc;
use statrs::function::erf::erfc_inv;
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI, SQRT_2};

/// Distribution function Φ(z).
pub(crate) fn cdf(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

/// Two-sided tail P(|Z| ≥ |z|).
pub(crate) fn two_sided(z: f64) -> f64 {
    erfc(z.abs() * FRAC_1_SQRT_2)
}

/// Natural logarithm of [`two_sided`], finite for every finite z below 1e150.
pub(crate) fn ln_two_sided(z: f64) -> f64 {
    let z = z.abs();
    if z < 30.0 {
        return two_sided(z).ln();
    }
    // Mills ratio by its asymptotic series; at z = 30 the first omitted term is below 1e-13.
    let r = 1.0 / (z * z);
    let series = 1.0 - r * (1.0 - 3.0 * r * (1.0 - 5.0 * r * (1.0 - 7.0 * r * (1.0 - 9.0 * r))));
    LN_2 - 0.5 * z * z - z.ln() - 0.5 * (2.0 * PI).ln() + series.ln()
}

/// The z with 1 − Φ(z) = `tail`, for 0 < tail < 1.
pub(crate) fn upper_quantile(tail: f64) -> f64 {
    SQRT_2 * erfc_inv(2.0 * tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_branches_of_the_logarithmic_tail_meet() {
        let below = two_sided(30.0).ln();
        assert!((ln_two_sided(30.0) - below).abs() < 1e-11 * below.abs());
        assert!((ln_two_sided(36.0) - two_sided(36.0).ln()).abs() < 1e-10);
        assert!(ln_two_sided(1e6).is_finite());
    }

    #[test]
    fn quantile_inverts_the_tail() {
        for tail in [1e-300, 1e-30, 1e-9, 0.001, 0.025, 0.3, 0.5, 0.7, 0.975, 0.9999] {
            let back = cdf(-upper_quantile(tail));
            assert!((back / tail - 1.0).abs() < 1e-9, "{tail} {back}");
        }
    }
}
