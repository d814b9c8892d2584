//! Rows that are read together.

use std::collections::BTreeMap;

use crate::{AggregateRecord, FeatureRecord, Layout, ReportedNumber, RowProblem, TrialRecord};

/// The records of some rows of one file, each kind in the order of the file.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Number of the file.
    pub file: u32,
    /// Rows, those with problems included.
    pub rows: u64,
    /// Trials.
    pub trials: Vec<TrialRecord<'a>>,
    /// Features of lists, tables of means and checkpoints.
    pub features: Vec<FeatureRecord>,
    /// Counted cells.
    pub aggregates: Vec<AggregateRecord>,
    /// Numbers stated for features.
    pub reported: Vec<ReportedNumber>,
    /// Rows that cannot be used.
    pub problems: Vec<RowProblem>,
    /// Rows by layout.
    pub layouts: BTreeMap<Layout, u64>,
    /// Rows in which NaN or Infinity, which JSON does not have, was read as null.
    pub repaired: u64,
}

impl Batch<'_> {
    pub(crate) fn count(&mut self, layout: Layout) {
        *self.layouts.entry(layout).or_default() += 1;
    }
}
