//! The exact test of several 2×2 tables, for strata with few outcomes.

use crate::conditional::Conditional;
use crate::error::{StatsError, Undefined};
use crate::exact::ExactTest;
use crate::interval::Confidence;
use crate::odds_ratio::OddsRatio;
use crate::table::TwoByTwo;

/// Largest product of two distributions' sizes that are joined.
const MAX_JOIN: u64 = 25_000_000;

/// The exact test and odds ratio of several 2×2 tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactStratified {
    /// Two-sided p-value: the summed probability, given all margins, of all sums of first cells no more probable than the
    /// observed one. With one stratum this is Fisher's test. 1 without information.
    pub test: ExactTest,
    /// Conditional maximum-likelihood common odds ratio with exact limits; 0 or infinite where the observed sum is at the end
    /// of its range.
    ///
    /// [`Undefined::NoInformation`] if no stratum has both rows and both columns occupied.
    pub common_odds_ratio: Result<OddsRatio, Undefined>,
    /// Strata that contribute.
    pub informative_strata: usize,
}

/// Exact conditional test of no association within any stratum, and the common odds ratio (J. J. Gart, 1970; R's
/// `mantelhaen.test(exact = TRUE)`).
///
/// P(p ≤ α) ≤ α, and the interval covers at least at its level, however few the trials. For many trials
/// [`crate::cochran_mantel_haenszel`] has more power.
///
/// # Errors
/// [`StatsError::CountTooLarge`] if the possible sums are too many to enumerate; use the large-sample test there.
pub fn exact_stratified_test(
    strata: &[TwoByTwo],
    confidence: Confidence,
) -> Result<ExactStratified, StatsError> {
    let mut joint: Option<Conditional> = None;
    let mut informative_strata = 0;
    for table in strata.iter().filter(|table| !table.has_empty_margin()) {
        informative_strata += 1;
        let successes = table.first.successes() + table.second.successes();
        let values = table.first.trials().min(successes) + 1;
        let so_far = joint.as_ref().map_or(1, Conditional::values) as u64;
        if values.saturating_mul(so_far) > MAX_JOIN {
            return Err(StatsError::CountTooLarge {
                quantity: "the number of possible tables",
                limit: MAX_JOIN,
            });
        }
        let own = Conditional::of_table(table);
        joint = Some(match joint {
            Some(before) => before.plus(&own),
            None => own,
        });
    }
    Ok(ExactStratified {
        test: ExactTest::from_ln(joint.as_ref().map_or(0.0, Conditional::ln_two_sided)),
        common_odds_ratio: joint
            .as_ref()
            .ok_or(Undefined::NoInformation)
            .and_then(|joint| joint.odds_ratio(confidence)),
        informative_strata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conditional_odds_ratio, fisher_exact};

    fn table(cells: [[u64; 2]; 2]) -> TwoByTwo {
        TwoByTwo::from_cells(cells).unwrap()
    }

    #[test]
    fn one_stratum_is_fishers_test() {
        for cells in [
            [[3, 7], [8, 2]],
            [[0, 30], [5, 25]],
            [[500, 500], [620, 380]],
            [[1, 0], [0, 1]],
        ] {
            let single = table(cells);
            let exact = exact_stratified_test(&[single], Confidence::P95).unwrap();
            let fisher = fisher_exact(&single);
            assert!(
                (exact.test.ln_p - fisher.ln_p).abs() < 1e-10 * (1.0 + fisher.ln_p.abs()),
                "{cells:?}"
            );
            let odds = conditional_odds_ratio(&single, Confidence::P95).unwrap();
            assert_eq!(exact.common_odds_ratio, odds);
        }
    }

    #[test]
    fn simpsons_paradox_and_empty_strata() {
        let strata = [
            table([[90, 10], [9, 1]]),
            table([[0, 0], [4, 4]]),
            table([[1, 9], [10, 90]]),
            table([[0, 5], [0, 9]]),
        ];
        let exact = exact_stratified_test(&strata, Confidence::P95).unwrap();
        assert_eq!(exact.informative_strata, 2);
        assert!(exact.test.p > 0.9);
        let odds = exact.common_odds_ratio.unwrap();
        assert!(
            (odds.estimate - 1.0).abs() < 1e-6 && odds.interval.contains(1.0),
            "{odds:?}"
        );
        let none = exact_stratified_test(&[table([[0, 5], [0, 9]])], Confidence::P95).unwrap();
        assert_eq!(none.test.p, 1.0);
        assert_eq!(none.common_odds_ratio, Err(Undefined::NoInformation));
        let huge = table([[100_000_000, 100_000_000], [100_000_000, 100_000_000]]);
        assert!(exact_stratified_test(&[huge], Confidence::P95).is_err());
    }
}
