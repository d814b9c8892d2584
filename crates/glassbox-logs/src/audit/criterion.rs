//! When a feature counts as a finding: what parsers are compared by.

use std::collections::BTreeMap;

use crate::{LogsError, Repeats, TrialIndex};

/// A rule by which things (features, trends) are findings or not. The analyses bring theirs: glassbox-log-effects.
pub trait Criterion: Sync {
    /// What it tests, in a few words.
    fn name(&self) -> String;

    /// Every tested thing by name, and whether it is a finding, for the outcomes of one source.
    ///
    /// # Errors
    /// [`LogsError::Criterion`].
    fn findings(
        &self,
        index: &TrialIndex,
        source: usize,
        repeats: Repeats,
    ) -> Result<BTreeMap<String, bool>, LogsError>;
}
