//! What a design could have seen: power and the smallest detectable risk difference.

use crate::error::{StatsError, Undefined, require_open_unit};
use crate::log_probability::{ln_binomial_pmf, ln_hypergeometric_pmf};
use crate::normal;
use crate::root::find_root;

/// Error rate and power of a planned two-sided test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerTarget {
    alpha: f64,
    power: f64,
}

impl PowerTarget {
    /// Two-sided level such as 0.05 and power such as 0.8. For a family of m tests pass alpha / m to allow for the
    /// multiplicity.
    ///
    /// # Errors
    /// [`StatsError::InvalidParameter`] unless both are strictly between 0 and 1 and power > alpha / 2.
    pub fn new(alpha: f64, power: f64) -> Result<Self, StatsError> {
        require_open_unit(alpha, "alpha")?;
        require_open_unit(power, "power")?;
        if power <= 0.5 * alpha {
            return Err(StatsError::InvalidParameter {
                name: "power",
                value: power,
                expected: "more than alpha / 2, which even no effect reaches",
            });
        }
        Ok(Self { alpha, power })
    }

    fn critical(&self) -> f64 {
        normal::upper_quantile(0.5 * self.alpha)
    }
}

/// Smallest risk differences that a design detects with the wanted power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectableDifference {
    /// Smallest detectable rise above the baseline proportion, positive;
    /// [`Undefined::NotDetectable`] if even a rise to 1 would be missed.
    pub rise: Result<f64, Undefined>,
    /// Smallest detectable fall, positive; [`Undefined::NotDetectable`] if even a fall to 0 would be missed.
    pub fall: Result<f64, Undefined>,
}

/// Power of the two-sided comparison of two independent proportions, by the normal approximation with pooled
/// variance under the hypothesis and separate variances under the alternative (J. L. Fleiss, 1981):
/// Φ((|p₂ − p₁| − z·√(p̄q̄(1/n₁ + 1/n₂))) / √(p₁q₁/n₁ + p₂q₂/n₂)), p̄ the mean weighted by n. The far tail is left
/// out.
fn unpaired_power(n1: f64, n2: f64, p1: f64, p2: f64, critical: f64) -> f64 {
    let (null, alternative) = standard_errors(n1, n2, p1, p2);
    normal_power((p2 - p1).abs() - critical * null, alternative)
}

/// Φ(margin / standard error), with its limits for a zero standard error.
fn normal_power(margin: f64, standard_error: f64) -> f64 {
    if standard_error == 0.0 {
        return if margin > 0.0 { 1.0 } else { 0.0 };
    }
    normal::cdf(margin / standard_error)
}

/// Power of the two-sided χ² comparison of two independent proportions, by the normal approximation with pooled variance
/// under the hypothesis and separate variances under the alternative (J. L. Fleiss, 1981), both tails.
///
/// Without continuity correction; for few trials or rates near 0 or 1 see [`fisher_power`].
///
/// # Errors
/// [`StatsError::InvalidParameter`] unless both proportions are from 0 to 1, both groups have trials and 0 < alpha < 1.
pub fn two_proportion_power(proportions: [f64; 2], trials: [u64; 2], alpha: f64) -> Result<f64, StatsError> {
    let [p1, p2] = check_design(proportions, trials, alpha)?;
    let [n1, n2] = trials.map(|n| n as f64);
    let critical = normal::upper_quantile(0.5 * alpha);
    let near = unpaired_power(n1, n2, p1, p2, critical);
    let (null, alternative) = standard_errors(n1, n2, p1, p2);
    let far = normal_power(-(p2 - p1).abs() - critical * null, alternative);
    Ok((near + far).min(1.0))
}

/// Largest product of two groups' sizes for which [`fisher_power`] enumerates all tables.
pub const MAX_FISHER_POWER_TABLES: u64 = 4_000_000;

/// Exact power of Fisher's two-sided test: the probability, over all tables, of those with p ≤ alpha. With equal
/// proportions this is its true level, which lies below alpha.
///
/// # Errors
/// As [`two_proportion_power`], and [`StatsError::CountTooLarge`] beyond [`MAX_FISHER_POWER_TABLES`].
pub fn fisher_power(proportions: [f64; 2], trials: [u64; 2], alpha: f64) -> Result<f64, StatsError> {
    let [p1, p2] = check_design(proportions, trials, alpha)?;
    let [n1, n2] = trials;
    if n1.saturating_mul(n2) > MAX_FISHER_POWER_TABLES {
        return Err(StatsError::CountTooLarge {
            quantity: "the product of the groups' trials",
            limit: MAX_FISHER_POWER_TABLES,
        });
    }
    let binomial = |n: u64, p: f64| -> Vec<f64> {
        (0..=n)
            .map(|k| ln_binomial_pmf(k as f64, n as f64, p, 1.0 - p).exp())
            .collect()
    };
    let (first, second) = (binomial(n1, p1), binomial(n2, p2));
    let mut power = 0.0;
    for successes in 0..=n1 + n2 {
        let (lowest, highest) = (successes.saturating_sub(n2), successes.min(n1));
        let mut cells: Vec<(f64, u64)> = (lowest..=highest)
            .map(|k| {
                let pmf = ln_hypergeometric_pmf(k as f64, n1 as f64, n2 as f64, successes as f64).exp();
                (pmf, k)
            })
            .collect();
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        // p of a cell is the sum of all no more probable ones, equal to rounding included.
        let (mut p, mut start) = (0.0, 0);
        while start < cells.len() {
            let tie = cells[start].0 * (1.0 + 1e-7);
            let end = start + cells[start..].iter().take_while(|cell| cell.0 <= tie).count();
            p += cells[start..end].iter().map(|cell| cell.0).sum::<f64>();
            if p > alpha {
                break;
            }
            power += cells[start..end]
                .iter()
                .map(|&(_, k)| first[k as usize] * second[(successes - k) as usize])
                .sum::<f64>();
            start = end;
        }
    }
    Ok(power.min(1.0))
}

fn check_design(proportions: [f64; 2], trials: [u64; 2], alpha: f64) -> Result<[f64; 2], StatsError> {
    require_open_unit(alpha, "alpha")?;
    require_trials(trials[0], "first_trials")?;
    require_trials(trials[1], "second_trials")?;
    for (value, name) in proportions
        .into_iter()
        .zip(["first_proportion", "second_proportion"])
    {
        if !(0.0..=1.0).contains(&value) {
            return Err(StatsError::InvalidParameter {
                name,
                value,
                expected: "a proportion from 0 to 1",
            });
        }
    }
    Ok(proportions)
}

/// Standard errors of the difference under the hypothesis (pooled) and under the alternative.
fn standard_errors(n1: f64, n2: f64, p1: f64, p2: f64) -> (f64, f64) {
    let pooled = (n1 * p1 + n2 * p2) / (n1 + n2);
    let null = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    let alternative = (p1 * (1.0 - p1) / n1 + p2 * (1.0 - p2) / n2).sqrt();
    (null, alternative)
}

/// Smallest difference between two independent groups of `first_trials` and `second_trials` that is detected when
/// the first group's proportion is `baseline`.
///
/// Solves Fleiss's power formula (normal approximation, pooled variance under the hypothesis, no continuity
/// correction) for the second group's proportion; with few trials or rates near 0 or 1 it is optimistic for
/// Fisher's test.
///
/// # Errors
/// [`StatsError::InvalidParameter`] unless 0 ≤ baseline ≤ 1 and both groups have trials.
pub fn detectable_risk_difference(
    first_trials: u64,
    second_trials: u64,
    baseline: f64,
    target: PowerTarget,
) -> Result<DetectableDifference, StatsError> {
    require_trials(first_trials, "first_trials")?;
    require_trials(second_trials, "second_trials")?;
    if !(0.0..=1.0).contains(&baseline) {
        return Err(StatsError::InvalidParameter {
            name: "baseline",
            value: baseline,
            expected: "a proportion from 0 to 1",
        });
    }
    let (n1, n2) = (first_trials as f64, second_trials as f64);
    let critical = target.critical();
    let solve = |sign: f64, room: f64| {
        let excess = |difference: f64| {
            let p2 = (baseline + sign * difference).clamp(0.0, 1.0);
            unpaired_power(n1, n2, baseline, p2, critical) - target.power
        };
        if room <= 0.0 || excess(room) < 0.0 {
            return Err(Undefined::NotDetectable);
        }
        find_root(excess, 0.0, room).ok_or(Undefined::NotDetectable)
    };
    Ok(DetectableDifference {
        rise: solve(1.0, 1.0 - baseline),
        fall: solve(-1.0, baseline),
    })
}

/// Smallest difference of two paired proportions that McNemar's test detects with `pairs` pairs when a share
/// `discordant` of pairs differs: solves √n·δ = z_{α/2}·√ψ + z_β·√(ψ − δ²) for δ (O. S. Miettinen, 1968; normal
/// approximation), ψ the discordant share. δ cannot exceed ψ.
///
/// The inner error is [`Undefined::NotDetectable`] if even δ = ψ, all discordant pairs in one direction, is missed.
///
/// # Errors
/// [`StatsError::InvalidParameter`] unless 0 ≤ discordant ≤ 1 and there are pairs.
pub fn detectable_paired_risk_difference(
    pairs: u64,
    discordant: f64,
    target: PowerTarget,
) -> Result<Result<f64, Undefined>, StatsError> {
    require_trials(pairs, "pairs")?;
    if !(0.0..=1.0).contains(&discordant) {
        return Err(StatsError::InvalidParameter {
            name: "discordant",
            value: discordant,
            expected: "a share from 0 to 1",
        });
    }
    let n = pairs as f64;
    let critical = target.critical();
    let excess = |delta: f64| {
        let margin = n.sqrt() * delta - critical * discordant.sqrt();
        normal_power(margin, (discordant - delta * delta).max(0.0).sqrt()) - target.power
    };
    if discordant == 0.0 || excess(discordant) < 0.0 {
        return Ok(Err(Undefined::NotDetectable));
    }
    Ok(find_root(excess, 0.0, discordant).ok_or(Undefined::NotDetectable))
}

/// Smallest slope of a proportion over doses that [`crate::trend_test`] detects: (z_{α/2} + z_β)·√(p(1 − p)/Σ n(x − x̄)²), by
/// the normal approximation with the null variance on both sides. `squares` is Σ n(x − x̄)² over all doses of all strata.
///
/// The inner error is [`Undefined::NotDetectable`] without any spread of doses or for a rate of 0 or 1.
///
/// # Errors
/// [`StatsError::InvalidParameter`] unless 0 ≤ rate ≤ 1 and squares is finite and not negative.
pub fn detectable_slope(
    squares: f64,
    rate: f64,
    target: PowerTarget,
) -> Result<Result<f64, Undefined>, StatsError> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(StatsError::InvalidParameter {
            name: "rate",
            value: rate,
            expected: "a proportion from 0 to 1",
        });
    }
    if !(squares >= 0.0 && squares.is_finite()) {
        return Err(StatsError::InvalidParameter {
            name: "squares",
            value: squares,
            expected: "a finite number, not negative",
        });
    }
    if squares == 0.0 || rate == 0.0 || rate == 1.0 {
        return Ok(Err(Undefined::NotDetectable));
    }
    let reach = target.critical() + normal::upper_quantile(1.0 - target.power);
    Ok(Ok(reach * (rate * (1.0 - rate) / squares).sqrt()))
}

fn require_trials(count: u64, name: &'static str) -> Result<(), StatsError> {
    if count == 0 {
        return Err(StatsError::InvalidParameter {
            name,
            value: 0.0,
            expected: "at least 1",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> PowerTarget {
        PowerTarget::new(0.05, 0.8).unwrap()
    }

    #[test]
    fn thirty_trials_see_only_large_effects() {
        let d = detectable_risk_difference(30, 30, 0.5, target()).unwrap();
        let (rise, fall) = (d.rise.unwrap(), d.fall.unwrap());
        assert!((rise - fall).abs() < 1e-12, "symmetric at one half");
        assert!((0.3..0.36).contains(&rise), "{rise}");
        let few = detectable_risk_difference(3, 3, 0.9, target()).unwrap();
        assert_eq!(few.rise, Err(Undefined::NotDetectable));
        let floor = detectable_risk_difference(100, 100, 0.0, target()).unwrap();
        assert_eq!(floor.fall, Err(Undefined::NotDetectable));
    }

    #[test]
    fn more_trials_see_smaller_effects() {
        let mut last = 1.0;
        for n in [50, 200, 1000, 100_000] {
            let rise = detectable_risk_difference(n, n, 0.3, target())
                .unwrap()
                .rise
                .unwrap();
            let paired = detectable_paired_risk_difference(n, 0.3, target()).unwrap();
            assert!(rise < last);
            assert!(paired.unwrap() < rise, "pairing with few discordant pairs helps");
            last = rise;
        }
    }

    #[test]
    fn the_solution_reaches_the_target_power() {
        let delta = detectable_paired_risk_difference(120, 0.25, target())
            .unwrap()
            .unwrap();
        let z = normal::upper_quantile(0.025) * 0.5;
        let residual =
            120.0_f64.sqrt() * delta - z - normal::upper_quantile(0.2) * (0.25 - delta * delta).sqrt();
        assert!(residual.abs() < 1e-10, "{residual}");
        assert_eq!(
            detectable_paired_risk_difference(4, 0.25, target()).unwrap(),
            Err(Undefined::NotDetectable)
        );
    }

    #[test]
    fn impossible_parameters_are_refused() {
        assert!(PowerTarget::new(0.0, 0.8).is_err());
        assert!(PowerTarget::new(0.5, 0.2).is_err());
        assert!(detectable_risk_difference(0, 5, 0.5, target()).is_err());
        assert!(detectable_risk_difference(5, 5, f64::NAN, target()).is_err());
        assert!(detectable_paired_risk_difference(5, -0.1, target()).is_err());
        assert!(two_proportion_power([0.1, 1.2], [5, 5], 0.05).is_err());
        assert!(two_proportion_power([0.1, 0.2], [5, 0], 0.05).is_err());
        assert!(fisher_power([0.1, 0.2], [5000, 5000], 0.05).is_err());
    }
}
