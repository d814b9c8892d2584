//! Measurements taken in turns, and what follows from them.

/// Seconds of both sides, taken one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of glassbox.
    pub glassbox: f64,
    /// Of the peer.
    pub peer: f64,
}

/// A median with an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Probability that such an interval holds the true median, at least 95 % where there are 6 values or more.
    pub coverage: f64,
}

/// The median, and the distribution-free interval between two order statistics: the narrowest symmetric one that holds
/// the true median with at least 95 %, or the whole range where none does. The coverage is exact, 1 − 2·P(X < k) with X
/// binomial (n, 1/2).
///
/// `None` for no values.
pub fn median(values: &[f64]) -> Option<Median> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let middle = *sorted.get(n / 2)?;
    let value = if n.is_multiple_of(2) {
        f64::midpoint(sorted[n / 2 - 1], middle)
    } else {
        middle
    };
    // Rank k counts from 1; at(k) is P(X < k).
    let mut term = 0.5_f64.powi(n as i32);
    let mut below = term;
    let (mut rank, mut coverage) = (1, 1.0 - 2.0 * below);
    for k in 2..=n / 2 {
        term *= (n - (k - 1) + 1) as f64 / (k - 1) as f64;
        below += term;
        if 1.0 - 2.0 * below < 0.95 {
            break;
        }
        (rank, coverage) = (k, 1.0 - 2.0 * below);
    }
    Some(Median {
        value,
        low: sorted[rank - 1],
        high: sorted[n - rank],
        coverage: coverage.max(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let values: Vec<f64> = (1..=9).rev().map(f64::from).collect();
        let median = median(&values).unwrap();
        // Ranks 2 and 8 of 9: 1 - 2 * (1 + 9) / 512.
        assert_eq!((median.value, median.low, median.high), (5.0, 2.0, 8.0));
        assert!((median.coverage - (1.0 - 20.0 / 512.0)).abs() < 1e-12);
    }

    #[test]
    fn fifteen_values_give_ranks_four_and_twelve() {
        let values: Vec<f64> = (1..=15).map(f64::from).collect();
        let median = median(&values).unwrap();
        assert_eq!((median.low, median.high), (4.0, 12.0));
        assert!((median.coverage - 0.964_843_75).abs() < 1e-9);
    }

    #[test]
    fn few_values_give_their_range_and_say_what_it_is_worth() {
        let two = median(&[3.0, 1.0]).unwrap();
        assert_eq!((two.value, two.low, two.high, two.coverage), (2.0, 1.0, 3.0, 0.5));
        let one = median(&[4.0]).unwrap();
        assert_eq!((one.value, one.low, one.high, one.coverage), (4.0, 4.0, 4.0, 0.0));
        assert_eq!(median(&[]), None);
    }
}
