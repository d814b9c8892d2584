//! Errors for bad input, and the reasons why a legal input has no answer.

use thiserror::Error;

/// Input that no statistic can be computed from: the caller made a mistake.
///
/// Legal data for which a quantity does not exist is not an error; see [`Undefined`].
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// A NaN or an infinity among the values.
    #[error(
        "{quantity}[{index}] is {value}; every value must be finite, so drop or repair it before testing"
    )]
    NonFinite {
        /// Which argument.
        quantity: &'static str,
        /// Position in that argument, from 0.
        index: usize,
        /// The value found.
        value: f64,
    },
    /// Finite values so large that their squares leave the range of `f64`.
    #[error("{quantity} overflows f64; rescale the values (the tests do not depend on the unit)")]
    Overflow {
        /// Which sum overflowed.
        quantity: &'static str,
    },
    /// A part larger than its whole, for example more successes than trials.
    #[error("{part} = {part_count} exceeds {whole} = {whole_count}; check how the outcomes were counted")]
    ImpossibleCount {
        /// Name of the part.
        part: &'static str,
        /// Its count.
        part_count: u64,
        /// Name of the whole.
        whole: &'static str,
        /// Its count.
        whole_count: u64,
    },
    /// A count beyond what the method can work with: 2^53, above which `f64` cannot hold every integer, or less
    /// where the work grows with the count.
    #[error("{quantity} exceeds {limit}, the largest count this method computes with")]
    CountTooLarge {
        /// Which count.
        quantity: &'static str,
        /// The largest it may be.
        limit: u64,
    },
    /// Two arguments that must be paired have different lengths.
    #[error("{first} has {first_len} values and {second} has {second_len}; they must be paired one to one")]
    LengthMismatch {
        /// Name of the first argument.
        first: &'static str,
        /// Its length.
        first_len: usize,
        /// Name of the second argument.
        second: &'static str,
        /// Its length.
        second_len: usize,
    },
    /// A p-value that is NaN or outside [0, 1].
    #[error(
        "p-value {index} is {value}, outside [0, 1]; a test that was tried but is undefined enters its family as 1"
    )]
    NotAPValue {
        /// Position in the family, from 0.
        index: usize,
        /// The value found.
        value: f64,
    },
    /// A parameter outside its range.
    #[error("{name} = {value}; expected {expected}")]
    InvalidParameter {
        /// Name of the parameter.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The valid choices.
        expected: &'static str,
    },
}

/// Why legal data has no value for a quantity.
///
/// Functions return `Result<Result<T, Undefined>, StatsError>` or a struct with `Result<_, Undefined>` fields:
/// the outer error is a mistake of the caller, the inner one a property of the data, to be reported as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Undefined {
    /// Fewer observations than the quantity needs.
    #[error("too few observations")]
    TooFewObservations,
    /// No spread (beyond rounding) in data whose spread is the yardstick.
    #[error("zero variance")]
    ZeroVariance,
    /// A group without trials, or a row or column of a table that sums to zero.
    #[error("an empty group or margin")]
    EmptyMargin,
    /// No stratum, pair or replicate carries information about the question.
    #[error("no informative stratum, pair or replicate")]
    NoInformation,
    /// No effect inside the possible range reaches the wanted power.
    #[error("no possible effect would be detected")]
    NotDetectable,
}

/// Largest count computed with: every integer up to 2^53 is exact in `f64`.
pub(crate) const MAX_COUNT: u64 = 1 << 53;

/// Adds counts, refusing totals beyond [`MAX_COUNT`].
pub(crate) fn checked_total(counts: &[u64], quantity: &'static str) -> Result<u64, StatsError> {
    counts
        .iter()
        .try_fold(0_u64, |sum, &count| {
            sum.checked_add(count).filter(|&total| total <= MAX_COUNT)
        })
        .ok_or(StatsError::CountTooLarge {
            quantity,
            limit: MAX_COUNT,
        })
}

/// Refuses NaN and infinities.
pub(crate) fn require_finite(values: &[f64], quantity: &'static str) -> Result<(), StatsError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StatsError::NonFinite {
            quantity,
            index,
            value: values[index],
        }),
        None => Ok(()),
    }
}

/// Refuses slices of different lengths.
pub(crate) fn require_same_length<A, B>(
    first: &[A],
    first_name: &'static str,
    second: &[B],
    second_name: &'static str,
) -> Result<(), StatsError> {
    if first.len() == second.len() {
        return Ok(());
    }
    Err(StatsError::LengthMismatch {
        first: first_name,
        first_len: first.len(),
        second: second_name,
        second_len: second.len(),
    })
}

/// Refuses a probability that is not strictly between 0 and 1.
pub(crate) fn require_open_unit(value: f64, name: &'static str) -> Result<f64, StatsError> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(StatsError::InvalidParameter {
        name,
        value,
        expected: "a number strictly between 0 and 1",
    })
}
