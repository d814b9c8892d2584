//! Bracketed root finding.

/// The root of `f` between `lower` and `upper`, where `f` has opposite signs; `None` without a sign change
/// or where `f` is NaN at an end.
///
/// Bisection combined with the Illinois variant of the false-position method: every step keeps a bracket, so
/// the answer is correct to the spacing of `f64` for any continuous `f`.
pub(crate) fn find_root(mut f: impl FnMut(f64) -> f64, lower: f64, upper: f64) -> Option<f64> {
    let (mut a, mut b) = (lower, upper);
    let (mut fa, mut fb) = (f(a), f(b));
    if fa == 0.0 {
        return Some(a);
    }
    if fb == 0.0 {
        return Some(b);
    }
    if fa.is_nan() || fb.is_nan() || (fa > 0.0) == (fb > 0.0) {
        return None;
    }
    let mut last_side = 0_i8;
    for iteration in 0..400 {
        let width = b - a;
        let middle = a + 0.5 * width;
        if width.abs() <= 4.0 * f64::EPSILON * a.abs().max(b.abs()) || middle == a || middle == b {
            return Some(middle);
        }
        let secant = (a * fb - b * fa) / (fb - fa);
        // Every third step bisects, which bounds the number of steps where false position crawls.
        let inside = secant > a.min(b) && secant < a.max(b);
        let x = if inside && iteration % 3 != 2 {
            secant
        } else {
            middle
        };
        let fx = f(x);
        if fx == 0.0 {
            return Some(x);
        }
        if fx.is_nan() {
            return None;
        }
        if (fx > 0.0) == (fa > 0.0) {
            (a, fa) = (x, fx);
            if last_side == -1 {
                fb *= 0.5;
            }
            last_side = -1;
        } else {
            (b, fb) = (x, fx);
            if last_side == 1 {
                fa *= 0.5;
            }
            last_side = 1;
        }
    }
    Some(0.5 * (a + b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_roots_of_smooth_and_steep_functions() {
        let root = find_root(|x| x * x - 2.0, 0.0, 5.0).unwrap();
        assert!((root - 2.0_f64.sqrt()).abs() < 1e-14);
        let mut calls = 0;
        let steep = find_root(
            |x| {
                calls += 1;
                x.powi(41) - 0.5
            },
            0.0,
            10.0,
        )
        .unwrap();
        assert!((steep - 0.5_f64.powf(1.0 / 41.0)).abs() < 1e-14);
        assert!(calls < 160, "{calls}");
    }

    #[test]
    fn no_sign_change_is_no_root() {
        assert_eq!(find_root(|x| x * x + 1.0, -1.0, 1.0), None);
        assert_eq!(find_root(|_| f64::NAN, -1.0, 1.0), None);
        assert_eq!(find_root(|x| x, 0.0, 1.0), Some(0.0));
    }
}
