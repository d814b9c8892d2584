//! Sign-flip permutation tests of paired differences.

use crate::error::{StatsError, require_finite};
use crate::random::{Coins, Purpose, ReplicateRng, ResampleKey};

/// Largest number of sign patterns enumerated; beyond it patterns are drawn at random.
pub const MAX_EXACT_PATTERNS: u64 = 1 << 16;

/// How the permutation distribution was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermutationMethod {
    /// All sign patterns of the non-zero differences.
    Exact {
        /// Their number.
        patterns: u64,
    },
    /// Random patterns, with the observed one counted among them.
    MonteCarlo {
        /// Their number, the observed one not included.
        replicates: u64,
    },
}

/// Result of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlipTest {
    /// Mean difference; 0 for no differences at all.
    pub mean: f64,
    /// Two-sided p-value, never 0.
    pub p: f64,
    /// Exact or drawn.
    pub method: PermutationMethod,
}

/// Tests that paired differences are symmetric about 0, with |mean| as the statistic (R. A. Fisher, 1935).
///
/// Zero differences are unaffected by their sign and left out of the enumeration. With up to 16 non-zero
/// differences all 2^n patterns are enumerated and p is exact, so at most its nominal level; otherwise
/// p = (k + 1)/(replicates + 1), which also never exceeds its level (Phipson and Smyth, 2010). No differences, or
/// only zeros, give p = 1.
///
/// # Errors
/// [`StatsError::NonFinite`], [`StatsError::Overflow`], or [`StatsError::InvalidParameter`] for 0 replicates.
pub fn sign_flip_test(
    differences: &[f64],
    replicates: u64,
    key: &ResampleKey,
) -> Result<SignFlipTest, StatsError> {
    require_finite(differences, "differences")?;
    if replicates == 0 {
        return Err(StatsError::InvalidParameter {
            name: "replicates",
            value: 0.0,
            expected: "at least 1; 9999 is usual",
        });
    }
    let magnitude: f64 = differences.iter().map(|d| d.abs()).sum();
    if !magnitude.is_finite() {
        return Err(StatsError::Overflow {
            quantity: "the sum of differences",
        });
    }
    let nonzero: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let observed: f64 = nonzero.iter().sum();
    // Sums of the same terms in another pattern may differ from the observed one by rounding alone.
    let threshold = observed.abs() - 4.0 * nonzero.len() as f64 * f64::EPSILON * magnitude;
    let mean = if differences.is_empty() {
        0.0
    } else {
        observed / differences.len() as f64
    };

    let exact_patterns = u32::try_from(nonzero.len())
        .ok()
        .and_then(|n| 1_u64.checked_shl(n));
    if let Some(patterns) = exact_patterns.filter(|&patterns| patterns <= MAX_EXACT_PATTERNS) {
        let extreme = (0..patterns)
            .filter(|pattern| {
                let signed = |(i, d): (usize, &f64)| if pattern >> i & 1 == 1 { -d } else { *d };
                nonzero.iter().enumerate().map(signed).sum::<f64>().abs() >= threshold
            })
            .count();
        let p = extreme as f64 / patterns as f64;
        return Ok(SignFlipTest {
            mean,
            p,
            method: PermutationMethod::Exact { patterns },
        });
    }
    let extreme = (0..replicates)
        .filter(|&replicate| {
            let mut coins = Coins::new(ReplicateRng::new(key, Purpose::SignFlip, replicate));
            let sum: f64 = nonzero.iter().map(|d| if coins.flip() { -d } else { *d }).sum();
            sum.abs() >= threshold
        })
        .count();
    let p = (extreme + 1) as f64 / (replicates + 1) as f64;
    Ok(SignFlipTest {
        mean,
        p,
        method: PermutationMethod::MonteCarlo { replicates },
    })
}

/// For each of `pairs` pairs whether to exchange its two labels in the given replicate.
///
/// The caller exchanges the labels and recomputes any statistic; over many replicates that is its distribution
/// under the hypothesis that the labels mean nothing. Any replicate can be drawn alone.
pub fn label_flips(pairs: usize, replicate: u64, key: &ResampleKey) -> Vec<bool> {
    let mut coins = Coins::new(ReplicateRng::new(key, Purpose::LabelFlip, replicate));
    (0..pairs).map(|_| coins.flip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ResampleKey = [11, 22, 33, 44];

    #[test]
    fn small_cases_by_hand() {
        // All four differences positive: only all-plus and all-minus are as extreme.
        let test = sign_flip_test(&[1.0, 2.0, 3.0, 4.0], 999, &KEY).unwrap();
        assert_eq!(test.p, 2.0 / 16.0);
        assert_eq!(test.method, PermutationMethod::Exact { patterns: 16 });
        assert_eq!(test.mean, 2.5);
        // Sum 0.3 − 0.1 − 0.2 is 0 up to rounding: every pattern is as extreme.
        assert_eq!(sign_flip_test(&[0.3, -0.1, -0.2], 999, &KEY).unwrap().p, 1.0);
        assert_eq!(sign_flip_test(&[0.0; 40], 999, &KEY).unwrap().p, 1.0);
        assert_eq!(sign_flip_test(&[], 999, &KEY).unwrap().p, 1.0);
    }

    #[test]
    fn ties_that_differ_by_rounding_count_as_ties() {
        // Tenths are not exact in binary; the same pattern in whole numbers is.
        let whole = [3.0, 1.0, 4.0, -2.0, -3.0, 1.0];
        let tenths = [0.3, 0.1, 0.4, -0.2, -0.3, 0.1];
        assert_eq!(sign_flip_test(&whole, 9, &KEY).unwrap().p, 42.0 / 64.0);
        assert_eq!(sign_flip_test(&tenths, 9, &KEY).unwrap().p, 42.0 / 64.0);
    }

    #[test]
    fn zeros_change_the_mean_only() {
        let bare = sign_flip_test(&[1.0, -2.0, 3.5], 99, &KEY).unwrap();
        let padded = sign_flip_test(&[0.0, 1.0, 0.0, -2.0, 3.5, 0.0], 99, &KEY).unwrap();
        assert_eq!(bare.p, padded.p);
        assert_eq!(bare.mean, 2.0 * padded.mean);
    }

    #[test]
    fn drawn_p_is_near_the_exact_one_and_never_zero() {
        let differences: Vec<f64> = (0..16).map(|i| f64::from(i % 7) - 2.3).collect();
        let exact = sign_flip_test(&differences, 1, &KEY).unwrap();
        assert!(matches!(
            exact.method,
            PermutationMethod::Exact { patterns: 65_536 }
        ));
        let mut longer = differences.clone();
        longer.push(1e-9);
        let drawn = sign_flip_test(&longer, 20_000, &KEY).unwrap();
        assert_eq!(drawn.method, PermutationMethod::MonteCarlo { replicates: 20_000 });
        let se = (exact.p * (1.0 - exact.p) / 20_000.0).sqrt();
        assert!((drawn.p - exact.p).abs() < 4.0 * se, "{} {}", drawn.p, exact.p);
        assert_eq!(sign_flip_test(&[1.0; 40], 99, &KEY).unwrap().p, 0.01);
        assert_eq!(drawn, sign_flip_test(&longer, 20_000, &KEY).unwrap());
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(sign_flip_test(&[1.0, f64::NAN], 99, &KEY).is_err());
        assert!(sign_flip_test(&[1.0], 0, &KEY).is_err());
        assert!(matches!(
            sign_flip_test(&[1e308, 1e308], 9, &KEY),
            Err(StatsError::Overflow { .. })
        ));
    }

    #[test]
    fn label_flips_differ_by_replicate_and_repeat_by_key() {
        let flips = label_flips(200, 3, &KEY);
        assert_eq!(flips, label_flips(200, 3, &KEY));
        assert_ne!(flips, label_flips(200, 4, &KEY));
        let flipped = flips.iter().filter(|&&f| f).count();
        assert!((60..140).contains(&flipped));
        assert_eq!(flips[..50], label_flips(50, 3, &KEY)[..]);
    }
}
