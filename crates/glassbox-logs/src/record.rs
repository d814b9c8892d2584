//! One trial of a log, whatever its layout was.

use std::borrow::Cow;

use crate::{Condition, FeatureId, Place, RecordedOutcome};

/// One trial: one response of a model under one condition. Text is borrowed from the file's bytes where it can be.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord<'a> {
    /// The feature that was set. `None` in a baseline that belongs to no feature.
    pub feature: Option<FeatureId>,
    /// Kind of prompt and arm.
    pub condition: Condition<'a>,
    /// The condition as the log writes it, where it has one name for it.
    pub condition_name: Option<Cow<'a, str>>,
    /// Dose, in the study's scale: 0 is the safe mean, 1 the feature's own value, 2 the bankrupt mean.
    pub scale: Option<f64>,
    /// Identity of the prompt within its kind, where there are several.
    pub prompt_id: Option<Cow<'a, str>>,
    /// Number of the trial within its cell (feature, condition, scale, prompt).
    pub trial: Option<u64>,
    /// Number of the attempt, where a log keeps retries.
    pub attempt: Option<u64>,
    /// For random-feature controls of glassbox's own runs: the feature whose levels the control copies.
    pub matched_feature: Option<FeatureId>,
    /// The response, as generated.
    pub response: Cow<'a, str>,
    /// What the log says of the outcome; `None` where it says nothing.
    pub recorded: Option<RecordedOutcome<'a>>,
    /// Where the row is.
    pub place: Place,
}

impl TrialRecord<'_> {
    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> TrialRecord<'static> {
        TrialRecord {
            feature: self.feature,
            condition: self.condition.into_owned(),
            condition_name: self.condition_name.map(|text| Cow::Owned(text.into_owned())),
            scale: self.scale,
            prompt_id: self.prompt_id.map(|text| Cow::Owned(text.into_owned())),
            trial: self.trial,
            attempt: self.attempt,
            matched_feature: self.matched_feature,
            response: Cow::Owned(self.response.into_owned()),
            recorded: self.recorded.map(RecordedOutcome::into_owned),
            place: self.place,
        }
    }
}
