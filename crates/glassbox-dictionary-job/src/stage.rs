//! The stages of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stage, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Activations of all layers to disk, in one pass.
    Extract,
    /// One dictionary per layer.
    Train,
    /// Their quality on held-out documents.
    Evaluate,
    /// What their features mean.
    Features,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [Self::Extract, Self::Train, Self::Evaluate, Self::Features];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Features => "features",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
