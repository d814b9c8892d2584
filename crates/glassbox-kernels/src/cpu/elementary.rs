//! Elementary functions on single f32 values, written without branches so that loops over them vectorise.

/// a · b + c, fused where `FUSED` says that the processor does it in one instruction.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for &c in &coefficients[1..] {
        sum = multiply_add::<FUSED>(sum, x, c);
    }
    sum
}

/// e^x to about 1 unit in the last place; 0 below −104, +∞ above 88.73, NaN for NaN.
///
/// Splits x = n·ln 2 + r with |r| ≤ ln 2 / 2 and sums the Taylor series of e^r to degree 7, whose remainder is
/// below 6e-9.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // 1.5 · 2^23: adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has trailing zeros, so n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const TAYLOR: [f32; 8] = [
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    // Comparisons, not `clamp` or `min`: NaN must stay NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = multiply_add::<FUSED>(n, -LN2_HIGH, x);
    let r = multiply_add::<FUSED>(n, -LN2_LOW, r);
    let value = polynomial::<FUSED, 8>(r, &TAYLOR);
    // Two factors, as 2^n alone may be outside the range where the result is not.
    let half = exponent >> 1;
    value * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

/// 2^n for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub(crate) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// Φ(x), the distribution function of the standard normal, to about 2e-7 of its value in both tails.
///
/// For x ≥ 0, Φ(−x) = e^(−x²/2) · t · P(t) with t = 1 / (1 + x/4); P is the Chebyshev fit of degree 9 to the
/// scaled complementary error function, with error below 1.1e-8 for x < 196.
#[inline(always)]
pub(crate) fn normal_distribution<const FUSED: bool>(x: f32) -> f32 {
    const FIT: [f32; 10] = [
        0.020_983_959,
        -0.086_265_99,
        0.105_721_67,
        -0.042_065_564,
        0.069_947_28,
        0.056_709_61,
        0.082_082_69,
        0.093_411_52,
        0.099_739_32,
        0.099_735_52,
    ];
    let magnitude = x.abs();
    let t = 1.0 / multiply_add::<FUSED>(magnitude, 0.25, 1.0);
    let tail = exp::<FUSED>(-0.5 * magnitude * magnitude) * t * polynomial::<FUSED, 10>(t, &FIT);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The density of the standard normal.
#[inline(always)]
pub(crate) fn normal_density<const FUSED: bool>(x: f32) -> f32 {
    // 1 / sqrt(2π)
    exp::<FUSED>(-0.5 * x * x) * 0.398_942_3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -870_000..=887_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            for value in [exp::<true>(x), exp::<false>(x)] {
                let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
                worst = worst.max((f64::from(value) - exact).abs() / unit);
            }
        }
        assert!(worst < 2.0, "{worst} units");
    }

    #[test]
    fn exp_at_the_ends_of_its_range() {
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<false>(-1e30), 0.0);
        assert_eq!(exp::<false>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<false>(0.0), 1.0);
        assert!(exp::<false>(f32::NAN).is_nan());
        assert!(exp::<true>(-f32::NAN).is_nan());
    }

    #[test]
    fn normal_distribution_matches_known_values() {
        // Values of Φ from tables of 10 digits.
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_1),
            (-1.0, 0.158_655_253_9),
            (2.5, 0.993_790_334_7),
            (-3.0, 0.001_349_898_032),
            (-5.0, 2.866_515_719e-7),
            (-8.0, 6.220_960_574e-16),
        ] {
            let found = f64::from(normal_distribution::<true>(x));
            assert!(
                (found / expected - 1.0).abs() < 3e-6,
                "Φ({x}) = {found}, expected {expected}"
            );
        }
        assert!(normal_distribution::<true>(f32::NAN).is_nan());
        assert_eq!(normal_distribution::<true>(40.0), 1.0);
        assert_eq!(normal_distribution::<true>(-40.0), 0.0);
    }
}
