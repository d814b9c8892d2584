//! Cells: the trials that differ by chance alone.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::{Condition, FeatureId, TrialRecord};

/// A dose that can be compared and counted: the number itself, 0 and −0 being the same.
#[derive(Clone, Copy, Debug)]
pub struct Dose(f64);

impl Dose {
    /// The dose; `None` for what is no number.
    pub fn new(scale: f64) -> Option<Self> {
        // Adding zero turns −0 into 0.
        (!scale.is_nan()).then_some(Self(scale + 0.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Dose {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0) == Ordering::Equal
    }
}

impl Eq for Dose {}

impl PartialOrd for Dose {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dose {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Dose {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Dose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One cell: a feature under a condition at a dose, for one prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The feature that was set; `None` in a baseline that belongs to no feature.
    pub feature: Option<FeatureId>,
    /// Kind of prompt and arm.
    pub condition: Condition<'static>,
    /// Dose.
    pub dose: Option<Dose>,
    /// The prompt, where there are several of a kind.
    pub prompt_id: Option<String>,
    /// For random-feature controls: the feature whose levels the control copies.
    pub matched_feature: Option<FeatureId>,
}

impl Cell {
    /// The cell of a trial.
    pub fn of(trial: &TrialRecord<'_>) -> Self {
        Self {
            feature: trial.feature,
            condition: trial.condition.clone().into_owned(),
            dose: trial.scale.and_then(Dose::new),
            prompt_id: trial.prompt_id.as_deref().map(str::to_owned),
            matched_feature: trial.matched_feature,
        }
    }

    /// Whether a trial belongs to the cell.
    pub(crate) fn holds(&self, trial: &TrialRecord<'_>) -> bool {
        self.feature == trial.feature
            && self.condition == trial.condition
            && self.dose == trial.scale.and_then(Dose::new)
            && self.prompt_id.as_deref() == trial.prompt_id.as_deref()
            && self.matched_feature == trial.matched_feature
    }

    /// The condition with the dose: what all features have in common.
    pub fn treatment(&self) -> Treatment {
        Treatment {
            condition: self.condition.clone(),
            dose: self.dose,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(feature) = self.feature {
            write!(f, "{feature} ")?;
        }
        self.treatment().fmt(f)?;
        match &self.prompt_id {
            Some(prompt) => write!(f, " prompt {prompt}"),
            None => Ok(()),
        }
    }
}

/// A condition at a dose, whatever the feature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Treatment {
    /// Kind of prompt and arm.
    pub condition: Condition<'static>,
    /// Dose.
    pub dose: Option<Dose>,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)?;
        match self.dose {
            Some(dose) => write!(f, " {dose}"),
            None => Ok(()),
        }
    }
}
