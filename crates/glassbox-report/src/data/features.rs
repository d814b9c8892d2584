//! The name of a feature.

use std::fmt;

use glassbox_experiment::tables::VerdictRow;

/// A feature of a block's dictionary, written `L25-10096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureId {
    /// Block index.
    pub layer: u32,
    /// Feature index in that block's dictionary.
    pub feature: u32,
}

impl fmt::Display for FeatureId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "L{}-{}", self.layer, self.feature)
    }
}

impl From<&VerdictRow> for FeatureId {
    fn from(row: &VerdictRow) -> Self {
        Self {
            layer: row.layer,
            feature: row.feature,
        }
    }
}
