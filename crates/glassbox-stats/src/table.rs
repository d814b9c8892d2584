//! Counts of yes/no outcomes: one proportion, two groups, pairs.

use crate::error::{StatsError, Undefined, checked_total, require_same_length};

/// Successes among trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proportion {
    successes: u64,
    trials: u64,
}

impl Proportion {
    /// Successes among trials; no trials at all is legal, and its estimate is undefined.
    ///
    /// # Errors
    /// [`StatsError::ImpossibleCount`] if there are more successes than trials, [`StatsError::CountTooLarge`]
    /// above 2^53.
    pub fn new(successes: u64, trials: u64) -> Result<Self, StatsError> {
        checked_total(&[trials], "trials")?;
        if successes > trials {
            return Err(StatsError::ImpossibleCount {
                part: "successes",
                part_count: successes,
                whole: "trials",
                whole_count: trials,
            });
        }
        Ok(Self { successes, trials })
    }

    /// Counts the `true` outcomes.
    pub fn from_outcomes(outcomes: &[bool]) -> Self {
        let successes = outcomes.iter().filter(|&&outcome| outcome).count() as u64;
        Self {
            successes,
            trials: outcomes.len() as u64,
        }
    }

    /// Number of successes.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// Number of failures.
    pub fn failures(&self) -> u64 {
        self.trials - self.successes
    }

    /// Number of trials.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// Successes / trials.
    ///
    /// # Errors
    /// [`Undefined::EmptyMargin`] without trials.
    pub fn estimate(&self) -> Result<f64, Undefined> {
        if self.trials == 0 {
            return Err(Undefined::EmptyMargin);
        }
        Ok(self.successes as f64 / self.trials as f64)
    }
}

/// Two independent groups with a yes/no outcome: rows are groups, columns success and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TwoByTwo {
    /// First group.
    pub first: Proportion,
    /// Second group.
    pub second: Proportion,
}

impl TwoByTwo {
    /// From the four cells, row by row.
    ///
    /// # Errors
    /// [`StatsError::CountTooLarge`] if the total exceeds 2^53.
    pub fn from_cells(cells: [[u64; 2]; 2]) -> Result<Self, StatsError> {
        let [[a, b], [c, d]] = cells;
        checked_total(&[a, b, c, d], "table total")?;
        Ok(Self {
            first: Proportion {
                successes: a,
                trials: a + b,
            },
            second: Proportion {
                successes: c,
                trials: c + d,
            },
        })
    }

    /// From two proportions.
    ///
    /// # Errors
    /// [`StatsError::CountTooLarge`] if the total exceeds 2^53.
    pub fn new(first: Proportion, second: Proportion) -> Result<Self, StatsError> {
        checked_total(&[first.trials, second.trials], "table total")?;
        Ok(Self { first, second })
    }

    /// The cells [[first successes, first failures], [second successes, second failures]].
    pub fn cells(&self) -> [[u64; 2]; 2] {
        [
            [self.first.successes, self.first.failures()],
            [self.second.successes, self.second.failures()],
        ]
    }

    /// The cells as numbers a, b, c, d.
    pub(crate) fn cells_f64(&self) -> [f64; 4] {
        let [[a, b], [c, d]] = self.cells();
        [a as f64, b as f64, c as f64, d as f64]
    }

    /// All trials.
    pub fn total(&self) -> u64 {
        self.first.trials + self.second.trials
    }

    /// Whether a row or a column sums to zero.
    pub fn has_empty_margin(&self) -> bool {
        let successes = self.first.successes + self.second.successes;
        self.first.trials == 0 || self.second.trials == 0 || successes == 0 || successes == self.total()
    }
}

/// Pairs of yes/no outcomes, for example the same seed under two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PairedTable {
    both: u64,
    only_first: u64,
    only_second: u64,
    neither: u64,
}

impl PairedTable {
    /// From the four counts of pairs: success in both, only in the first, only in the second, in neither.
    ///
    /// # Errors
    /// [`StatsError::CountTooLarge`] if the total exceeds 2^53.
    pub fn new(both: u64, only_first: u64, only_second: u64, neither: u64) -> Result<Self, StatsError> {
        checked_total(&[both, only_first, only_second, neither], "number of pairs")?;
        Ok(Self {
            both,
            only_first,
            only_second,
            neither,
        })
    }

    /// Counts pairs of outcomes.
    ///
    /// # Errors
    /// [`StatsError::LengthMismatch`].
    pub fn from_outcomes(first: &[bool], second: &[bool]) -> Result<Self, StatsError> {
        require_same_length(first, "first", second, "second")?;
        let mut table = Self {
            both: 0,
            only_first: 0,
            only_second: 0,
            neither: 0,
        };
        for pair in first.iter().zip(second) {
            match pair {
                (true, true) => table.both += 1,
                (true, false) => table.only_first += 1,
                (false, true) => table.only_second += 1,
                (false, false) => table.neither += 1,
            }
        }
        Ok(table)
    }

    /// Pairs with success in both.
    pub fn both(&self) -> u64 {
        self.both
    }

    /// Discordant pairs with success only in the first.
    pub fn only_first(&self) -> u64 {
        self.only_first
    }

    /// Discordant pairs with success only in the second.
    pub fn only_second(&self) -> u64 {
        self.only_second
    }

    /// Pairs with success in neither.
    pub fn neither(&self) -> u64 {
        self.neither
    }

    /// All pairs.
    pub fn pairs(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// Pairs that differ.
    pub fn discordant(&self) -> u64 {
        self.only_first + self.only_second
    }

    /// The first member's successes among all pairs.
    pub fn first(&self) -> Proportion {
        Proportion {
            successes: self.both + self.only_first,
            trials: self.pairs(),
        }
    }

    /// The second member's successes among all pairs.
    pub fn second(&self) -> Proportion {
        Proportion {
            successes: self.both + self.only_second,
            trials: self.pairs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_and_too_large_counts_are_refused() {
        assert!(matches!(
            Proportion::new(4, 3),
            Err(StatsError::ImpossibleCount {
                part_count: 4,
                whole_count: 3,
                ..
            })
        ));
        assert!(matches!(
            Proportion::new(0, (1 << 53) + 1),
            Err(StatsError::CountTooLarge { .. })
        ));
        assert!(TwoByTwo::from_cells([[u64::MAX, 1], [0, 0]]).is_err());
        assert!(PairedTable::new(1 << 53, 1, 0, 0).is_err());
        assert!(PairedTable::from_outcomes(&[true], &[]).is_err());
    }

    #[test]
    fn outcomes_are_counted_into_their_cells() {
        let first = [true, true, false, false, true];
        let second = [true, false, true, false, false];
        let table = PairedTable::from_outcomes(&first, &second).unwrap();
        assert_eq!(table, PairedTable::new(1, 2, 1, 1).unwrap());
        assert_eq!(table.first(), Proportion::from_outcomes(&first));
        assert_eq!(table.second(), Proportion::from_outcomes(&second));
        assert_eq!(table.discordant(), 3);
    }

    #[test]
    fn no_trials_have_no_estimate() {
        assert_eq!(
            Proportion::new(0, 0).unwrap().estimate(),
            Err(Undefined::EmptyMargin)
        );
    }
}
