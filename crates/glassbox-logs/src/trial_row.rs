//! A row of JSON that is a trial, in any of the layouts of trial logs.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::layout::Layout;
use crate::loose::Loose;
use crate::{Arm, Condition, FeatureId, Outcome, Place, ProblemKind, RecordedOutcome, TrialRecord};

/// The keys of all layouts of trial rows. Further keys (activations, tokens) are passed over.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TrialFields<'a> {
    feature: Loose<'a>,
    layer: Loose<'a>,
    index: Loose<'a>,
    condition: Loose<'a>,
    patch: Loose<'a>,
    prompt_type: Loose<'a>,
    prompt_id: Loose<'a>,
    scale: Loose<'a>,
    trial: Loose<'a>,
    attempt: Loose<'a>,
    response: Loose<'a>,
    outcome: OutcomeFields<'a>,
    pub(crate) parsed: Option<OutcomeFields<'a>>,
}

/// The keys that state an outcome.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OutcomeFields<'a> {
    action: Loose<'a>,
    amount: Loose<'a>,
    is_stop: Loose<'a>,
    valid: Loose<'a>,
    method: Loose<'a>,
}

/// Why a row is no usable trial.
pub(crate) type RowFault = (ProblemKind, String);

impl<'a> TrialFields<'a> {
    /// Whether the row is meant as a trial: it has a response, or what only trials have.
    pub(crate) fn is_trial(&self) -> bool {
        self.response != Loose::Absent
            || (self.trial.is_given()
                && [&self.condition, &self.patch, &self.scale, &self.prompt_type]
                    .iter()
                    .any(|key| key.is_given()))
    }

    /// The layout that the row's keys speak for.
    pub(crate) fn layout(&self) -> Layout {
        if self.patch.is_given() {
            Layout::PatchTrials
        } else if self.scale.is_given() {
            Layout::DoseTrials
        } else {
            Layout::ResponseLog
        }
    }

    /// The trial; `names` are those of the row before.
    pub(crate) fn into_record(
        self,
        place: Place,
        names: &mut LastNames<'a>,
    ) -> Result<TrialRecord<'a>, RowFault> {
        let response = match self.response {
            Loose::Absent => return Err(missing("response", "the text that the model wrote")),
            response => match typed("response", response.text())? {
                Some(text) => text,
                None => {
                    return Err((
                        ProblemKind::WrongType,
                        "`response` is null; a text was expected".into(),
                    ));
                }
            },
        };
        let scale = typed("scale", self.scale.number())?;
        let condition_name = typed("condition", self.condition.text())?;
        let patch = typed("patch_condition", self.patch.text())?;
        let prompt_type = typed("prompt_type", self.prompt_type.text())?;
        let (condition, condition_name) = match (condition_name, patch) {
            (_, Some(patch)) => {
                let condition = Condition {
                    prompt_type,
                    arm: Arm::parse(patch.clone()),
                };
                (condition, Some(patch))
            }
            (Some(name), None) => {
                let mut condition = names.condition(&name);
                if condition.prompt_type.is_none() && prompt_type.is_some() {
                    condition = Condition {
                        prompt_type,
                        arm: Arm::parse(name.clone()),
                    };
                }
                (condition, Some(name))
            }
            (None, None) if scale.is_some() => {
                let arm = Arm::Dose;
                (Condition { prompt_type, arm }, None)
            }
            (None, None) => {
                return Err(missing(
                    "condition",
                    "the arm; `patch_condition` or `scale` would say it too",
                ));
            }
        };
        let feature = names.feature(self.feature, &self.layer, &self.index)?;
        if feature.is_none() && condition.arm != Arm::Baseline {
            return Err(missing(
                "feature",
                "a name such as L25-10096; `layer` and `feature_id` would do too",
            ));
        }
        let recorded = match self.parsed {
            Some(parsed) => recorded_outcome(parsed)?,
            None => recorded_outcome(self.outcome)?,
        };
        let prompt_id = match self.prompt_id {
            Loose::Whole(number) => Some(Cow::Owned(number.to_string())),
            other => typed("prompt_id", other.text())?,
        };
        Ok(TrialRecord {
            feature,
            condition,
            condition_name,
            scale,
            prompt_id,
            trial: typed("trial", self.trial.whole())?,
            attempt: typed("attempt", self.attempt.whole())?,
            matched_feature: None,
            response,
            recorded,
            place,
        })
    }
}

/// What the names of the row before stand for: rows of one feature and condition follow one another.
#[derive(Debug, Default)]
pub(crate) struct LastNames<'a> {
    feature: Option<(&'a str, FeatureId)>,
    condition: Option<(&'a str, Condition<'a>)>,
}

impl<'a> LastNames<'a> {
    fn condition(&mut self, name: &Cow<'a, str>) -> Condition<'a> {
        let Cow::Borrowed(text) = *name else {
            return Condition::parse(name.clone());
        };
        match &self.condition {
            Some((last, condition)) if *last == text => condition.clone(),
            _ => {
                let condition = Condition::parse(name.clone());
                self.condition = Some((text, condition.clone()));
                condition
            }
        }
    }

    fn feature(
        &mut self,
        name: Loose<'a>,
        layer: &Loose<'_>,
        index: &Loose<'_>,
    ) -> Result<Option<FeatureId>, RowFault> {
        let text = match (&name, layer, index) {
            (Loose::Text(Cow::Borrowed(text)), Loose::Absent, Loose::Absent) => *text,
            _ => return feature_of(name, layer, index),
        };
        if let Some((last, feature)) = self.feature
            && last == text
        {
            return Ok(Some(feature));
        }
        let feature = feature_of(name, layer, index)?;
        self.feature = feature.map(|feature| (text, feature));
        Ok(feature)
    }
}

fn missing(key: &str, what: &str) -> RowFault {
    (ProblemKind::MissingKey, format!("there is no `{key}`: {what}"))
}

fn typed<T>(key: &str, value: Result<T, String>) -> Result<T, RowFault> {
    value.map_err(|what| (ProblemKind::WrongType, format!("`{key}` is {what}")))
}

/// The feature that a name, or a layer and an index, stand for. Both together must say the same.
pub(crate) fn feature_of(
    name: Loose<'_>,
    layer: &Loose<'_>,
    index: &Loose<'_>,
) -> Result<Option<FeatureId>, RowFault> {
    let bad = |what: String| (ProblemKind::BadValue, what);
    let part = |key: &str, value: &Loose<'_>, read: fn(&str) -> Option<u32>| match value {
        Loose::Text(text) => read(text)
            .map(Some)
            .ok_or_else(|| bad(format!("`{key}` is {text:?}; a number from 0 on was expected"))),
        other => match typed(key, other.whole())? {
            None => Ok(None),
            Some(number) => u32::try_from(number)
                .map(Some)
                .map_err(|_| bad(format!("`{key}` is {number}, which no dictionary has"))),
        },
    };
    let from_parts = match (
        part("layer", layer, FeatureId::layer_from)?,
        part("feature_id", index, FeatureId::index_from)?,
    ) {
        (Some(layer), Some(feature)) => Some(FeatureId { layer, feature }),
        _ => None,
    };
    let from_name = match name {
        // Some lists call the index `feature`.
        Loose::Whole(number) if from_parts.is_none() => {
            let index = Loose::Whole(number);
            return match (
                part("layer", layer, FeatureId::layer_from)?,
                part("feature", &index, FeatureId::index_from)?,
            ) {
                (Some(layer), Some(feature)) => Ok(Some(FeatureId { layer, feature })),
                _ => Err(missing(
                    "layer",
                    &format!(
                        "`feature` is the number {number}, which names a feature only together with its block"
                    ),
                )),
            };
        }
        Loose::Whole(_) => None,
        name => match typed("feature", name.text())? {
            Some(text) => Some(
                text.parse::<FeatureId>()
                    .map_err(|error| bad(format!("`feature`: {error}")))?,
            ),
            None => None,
        },
    };
    match (from_name, from_parts) {
        (Some(name), Some(parts)) if name != parts => Err(bad(format!(
            "`feature` says {name}, but `layer` and `feature_id` say {parts}"
        ))),
        (name, parts) => Ok(name.or(parts)),
    }
}

fn recorded_outcome(fields: OutcomeFields<'_>) -> Result<Option<RecordedOutcome<'_>>, RowFault> {
    let amount = typed("bet", fields.amount.number())?;
    let valid = typed("valid", fields.valid.truth())?;
    let method = typed("source", fields.method.text())?;
    let outcome = match (
        typed("action", fields.action.text())?,
        typed("is_stop", fields.is_stop.truth())?,
    ) {
        (Some(label), _) => Outcome::from_label(label, amount),
        (None, Some(true)) => Outcome::Stop,
        (None, Some(false)) => Outcome::from_label(Cow::Borrowed("bet"), amount),
        (None, None) => return Ok(None),
    };
    Ok(Some(RecordedOutcome {
        outcome,
        valid,
        method,
    }))
}

impl<'a> OutcomeFields<'a> {
    /// The place for a key's value.
    pub(crate) fn slot(&mut self, key: &str) -> Option<&mut Loose<'a>> {
        Some(match key {
            "action" | "decision" | "reparsed_action" => &mut self.action,
            "bet" | "bet_amount" | "reparsed_bet" => &mut self.amount,
            "is_stop" => &mut self.is_stop,
            "valid" | "is_valid" | "reparsed_valid" => &mut self.valid,
            "source" | "reason" | "parse_method" | "reparsed_reason" => &mut self.method,
            _ => return None,
        })
    }
}

impl<'a> TrialFields<'a> {
    /// The place for a key's value.
    pub(crate) fn slot(&mut self, key: &str) -> Option<&mut Loose<'a>> {
        Some(match key {
            "feature" | "target_feature" | "feature_name" | "feature_key" => &mut self.feature,
            "layer" | "target_layer" => &mut self.layer,
            "feature_id" | "target_feature_id" | "feature_idx" => &mut self.index,
            "condition" => &mut self.condition,
            "patch_condition" => &mut self.patch,
            "prompt_type" => &mut self.prompt_type,
            "prompt_id" => &mut self.prompt_id,
            "scale" => &mut self.scale,
            "trial" | "trial_index" => &mut self.trial,
            "attempt" => &mut self.attempt,
            "response" => &mut self.response,
            _ => return self.outcome.slot(key),
        })
    }
}

impl<'de> Deserialize<'de> for TrialFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TrialVisitor)
    }
}

struct TrialVisitor;

impl<'de> Visitor<'de> for TrialVisitor {
    type Value = TrialFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = TrialFields::default();
        while let Some(Key(key)) = entries.next_key()? {
            if key == "parsed" {
                fields.parsed = entries.next_value::<MaybeOutcome<'de>>()?.0;
            } else if let Some(slot) = fields.slot(&key) {
                *slot = entries.next_value()?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// What is under `parsed`; nothing if that is no object.
struct MaybeOutcome<'a>(Option<OutcomeFields<'a>>);

impl<'de> Deserialize<'de> for MaybeOutcome<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutcomeVisitor)
    }
}

struct OutcomeVisitor;

impl<'de> Visitor<'de> for OutcomeVisitor {
    type Value = MaybeOutcome<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what a parser read")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = OutcomeFields::default();
        while let Some(Key(key)) = entries.next_key()? {
            match fields.slot(&key) {
                Some(slot) => *slot = entries.next_value()?,
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(MaybeOutcome(Some(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(MaybeOutcome(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(MaybeOutcome(None))
    }
}
