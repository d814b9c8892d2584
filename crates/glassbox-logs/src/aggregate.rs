//! Rows that hold counts or effects in place of trials.

use crate::{Condition, FeatureId, Place};

/// How often something happened among the trials of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// How often, where it is stated or follows from a rate and the number of trials.
    pub count: Option<u64>,
    /// As a share of the trials, where it is stated.
    pub rate: Option<f64>,
}

impl Share {
    /// A share from what a file states. A rate gives a count only if rate × trials is a whole number to within rounding
    /// (10⁻⁶): a rate over other trials is not turned into a wrong count.
    pub fn new(count: Option<u64>, rate: Option<f64>, trials: Option<u64>) -> Self {
        let from_rate = || {
            let product = rate? * trials? as f64;
            let whole = product.round();
            ((product - whole).abs() < 1e-6 && whole >= 0.0).then_some(whole as u64)
        };
        Self {
            count: count.or_else(from_rate),
            rate,
        }
    }
}

/// The trials of one feature under one condition, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateRecord {
    /// The feature that was set; `None` in a baseline that belongs to no feature.
    pub feature: Option<FeatureId>,
    /// Kind of prompt and arm.
    pub condition: Condition<'static>,
    /// Trials.
    pub trials: Option<u64>,
    /// Trials that stopped.
    pub stop: Share,
    /// Trials with a high-risk bet (by the file's own threshold).
    pub high_risk: Share,
    /// Trials that ended bankrupt (by the file's own rule).
    pub bankruptcy: Share,
    /// Mean bet as stated.
    pub mean_amount: Option<f64>,
    /// The amounts of the bets, stops left out; empty where the file does not list them.
    pub amounts: Vec<f64>,
    /// Where the row is.
    pub place: Place,
}

/// A number that a file states for a feature: an effect, a difference between arms, a p value.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedNumber {
    /// The feature.
    pub feature: FeatureId,
    /// The file's name for the number, `safe_stop_delta` for example.
    pub measure: String,
    /// The number; `None` where the file has null.
    pub value: Option<f64>,
    /// Where the row is.
    pub place: Place,
}
