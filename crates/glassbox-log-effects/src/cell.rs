//! Which trials belong together.

use glassbox_logs::{Arm, FeatureId, TrialRecord};
use serde::Serialize;

use crate::tally::Ordered;

/// Trials of one feature and arm at one dose, on one prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey {
    /// The feature that was set; `None` in baselines of no feature.
    pub feature: Option<FeatureId>,
    /// The prompt: its kind, and its identity within it where the log has one (`safe`, `risky/p3`); `?` where the log says
    /// neither. Contrasts are made within it.
    pub prompt: String,
    /// What was done to the model.
    pub arm: Arm<'static>,
    /// For random-feature controls: the feature whose levels the control copies.
    pub matched_feature: Option<FeatureId>,
    scale: Option<Ordered>,
}

impl CellKey {
    /// The dose, where the arm has one.
    pub fn scale(&self) -> Option<f64> {
        self.scale.map(|scale| scale.0)
    }

    /// The cell of a trial.
    pub(crate) fn of(trial: &TrialRecord<'_>) -> Self {
        let kind = trial.condition.prompt_name();
        Self {
            feature: trial.feature,
            prompt: match trial.prompt_id.as_deref() {
                Some(id) => format!("{kind}/{id}"),
                None => kind.to_owned(),
            },
            arm: trial.condition.arm.clone().into_owned(),
            matched_feature: trial.matched_feature,
            scale: trial.scale.filter(|scale| scale.is_finite()).map(Ordered),
        }
    }

    /// The cell of indexed trials.
    pub(crate) fn of_indexed(cell: &glassbox_logs::Cell) -> Self {
        let kind = cell.condition.prompt_name();
        Self {
            feature: cell.feature,
            prompt: match &cell.prompt_id {
                Some(id) => format!("{kind}/{id}"),
                None => kind.to_owned(),
            },
            arm: cell.condition.arm.clone(),
            matched_feature: cell.matched_feature,
            scale: cell
                .dose
                .map(|dose| Ordered(dose.value()))
                .filter(|dose| dose.0.is_finite()),
        }
    }

    /// The cell of trials that came counted.
    pub(crate) fn of_aggregate(record: &glassbox_logs::AggregateRecord) -> Self {
        Self {
            feature: record.feature,
            prompt: record.condition.prompt_name().to_owned(),
            arm: record.condition.arm.clone(),
            matched_feature: None,
            scale: None,
        }
    }

    /// Whether a trial belongs to this cell; nothing is allocated.
    pub(crate) fn holds(&self, trial: &TrialRecord<'_>) -> bool {
        // Numbers are compared before texts.
        if self.feature != trial.feature
            || self.matched_feature != trial.matched_feature
            || self.scale != trial.scale.filter(|scale| scale.is_finite()).map(Ordered)
            || self.arm != trial.condition.arm
        {
            return false;
        }
        let kind = trial.condition.prompt_name();
        match trial.prompt_id.as_deref() {
            None => self.prompt == kind,
            Some(id) => {
                self.prompt.len() == kind.len() + 1 + id.len()
                    && self.prompt.starts_with(kind)
                    && self.prompt.as_bytes().get(kind.len()) == Some(&b'/')
                    && self.prompt.ends_with(id)
            }
        }
    }
}

/// A feature as tables and JSON name it.
pub(crate) fn serialize_feature<S: serde::Serializer>(
    feature: &FeatureId,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    feature.to_string().serialize(serializer)
}
