//! Rows and whole objects that are about features rather than trials: lists, means, checkpoints, counted cells.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::json_row::tell;
use crate::layout::Layout;
use crate::loose::Loose;
use crate::trial_row::{RowFault, feature_of};
use crate::{
    AggregateRecord, Arm, Batch, Condition, FeatureId, FeatureMeasures, FeatureRecord, Outcome, Place,
    ProblemKind, RecordedOutcome, ReportedNumber, Share, TrialRecord,
};

type Object = Map<String, Value>;

/// Reads a row that is no trial, or an object that is a whole file. Entries of objects are numbered from 1; those that cannot be
/// used become problems of the batch.
///
/// # Errors
/// A fault of the row as a whole.
pub(crate) fn read_summary(object: &Object, place: Place, batch: &mut Batch<'_>) -> Result<(), RowFault> {
    if let Some(Value::Object(means)) = object.get("feature_means") {
        return each(
            means.iter(),
            Layout::FeatureMeans,
            place,
            batch,
            |(name, value), place, batch| {
                let feature = name
                    .parse::<FeatureId>()
                    .map_err(|error| bad(error.to_string()))?;
                let measures = measures_of(entry(value)?)?;
                batch.features.push(FeatureRecord {
                    feature,
                    measures,
                    place,
                });
                Ok(())
            },
        );
    }
    if let Some(Value::Object(layers)) = object.get("layer_results") {
        return read_layer_results(layers, place, batch);
    }
    for (key, layout) in [
        ("results", Layout::Checkpoint),
        ("analyzed_features", Layout::ConditionMetrics),
        ("features", Layout::FeatureList),
    ] {
        if let Some(Value::Array(items)) = object.get(key)
            && items
                .first()
                .is_none_or(|item| item.as_object().is_some_and(names_a_feature))
        {
            let layout = match items.first().and_then(Value::as_object) {
                Some(first) if has_stop_rates(first) => Layout::StopRates,
                Some(first) if first.contains_key("condition_metrics") => Layout::ConditionMetrics,
                _ => layout,
            };
            return each(items.iter(), layout, place, batch, |value, place, batch| {
                read_feature_row(entry(value)?, layout, place, batch)
            });
        }
    }
    if names_a_feature(object) {
        let layout = if object.contains_key("condition_metrics") {
            Layout::ConditionMetrics
        } else if has_stop_rates(object) {
            Layout::StopRates
        } else if measures_of(object).is_ok_and(|measures| measures.has_numbers()) {
            Layout::FeatureRows
        } else {
            Layout::FeatureNumbers
        };
        batch.count(layout);
        return read_feature_row(object, layout, place, batch);
    }
    if !object.is_empty() && object.keys().all(|key| key.parse::<FeatureId>().is_ok()) {
        return read_reparsed(object, place, batch);
    }
    let keys: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
    let what = format!(
        "neither a trial nor a feature; its keys are {}{}",
        if keys.is_empty() {
            "none".to_owned()
        } else {
            keys.join(", ")
        },
        if object.len() > keys.len() { ", …" } else { "" }
    );
    Err((ProblemKind::UnknownLayout, what))
}

fn bad(what: String) -> RowFault {
    (ProblemKind::BadValue, what)
}

fn entry(value: &Value) -> Result<&Object, RowFault> {
    value
        .as_object()
        .ok_or_else(|| (ProblemKind::WrongType, "the entry is no object".to_owned()))
}

/// Reads the entries of a file that is one object, each with its own number.
fn each<'v, T: 'v>(
    entries: impl Iterator<Item = T>,
    layout: Layout,
    whole: Place,
    batch: &mut Batch<'_>,
    mut read: impl FnMut(T, Place, &mut Batch<'_>) -> Result<(), RowFault>,
) -> Result<(), RowFault> {
    let mut row = 0;
    for item in entries {
        row += 1;
        let place = Place {
            row,
            offset: None,
            ..whole
        };
        batch.count(layout);
        if let Err(fault) = read(item, place, batch) {
            tell(batch, place, fault);
        }
    }
    // The object itself was counted as one row.
    batch.rows += row;
    batch.rows -= row.min(1);
    if row == 0 {
        return Err((
            ProblemKind::NoRows,
            format!("the {} has no entries", layout.name()),
        ));
    }
    Ok(())
}

fn read_layer_results(layers: &Object, place: Place, batch: &mut Batch<'_>) -> Result<(), RowFault> {
    let entries = layers.iter().flat_map(|(layer, value)| {
        let rows: Vec<(&String, Option<&Value>)> =
            match value.get("significant_features").and_then(Value::as_array) {
                Some(items) => items.iter().map(|item| (layer, Some(item))).collect(),
                None => vec![(layer, None)],
            };
        rows
    });
    each(
        entries,
        Layout::LayerResults,
        place,
        batch,
        |(layer, item), place, batch| {
            let Some(item) = item else {
                let what = format!("layer {layer} has no list `significant_features`");
                return Err((ProblemKind::MissingKey, what));
            };
            let item = entry(item)?;
            let layer = Loose::Text(Cow::Borrowed(layer.as_str()));
            let index = value_of(item, &["feature_idx", "feature_id"]);
            let Some(feature) = feature_of(Loose::Absent, &layer, &index)? else {
                return Err((ProblemKind::MissingKey, "there is no `feature_idx`".to_owned()));
            };
            let measures = measures_of(item)?;
            batch.features.push(FeatureRecord {
                feature,
                measures,
                place,
            });
            Ok(())
        },
    )
}

const NAME_KEYS: &[&str] = &["feature", "feature_key", "feature_name", "target_feature"];
const LAYER_KEYS: &[&str] = &["layer", "target_layer"];
const INDEX_KEYS: &[&str] = &["feature_id", "feature_idx", "target_feature_id"];

fn names_a_feature(object: &Object) -> bool {
    let has = |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
    has(NAME_KEYS) || (has(LAYER_KEYS) && has(INDEX_KEYS))
}

fn has_stop_rates(object: &Object) -> bool {
    object.keys().any(|key| stop_rate_condition(key).is_some())
}

/// The condition of a key such as `stop_rate_risky_safe`: the risky prompt under the safe patch.
fn stop_rate_condition(key: &str) -> Option<Condition<'static>> {
    let (prompt, arm) = key.strip_prefix("stop_rate_")?.split_once('_')?;
    let arm = match arm {
        "baseline" => Arm::Baseline,
        "safe" => Arm::ValueA,
        "risky" => Arm::ValueB,
        _ => return None,
    };
    Some(Condition {
        prompt_type: Some(Cow::Owned(prompt.to_owned())),
        arm,
    })
}

/// The value under the first of the keys that is there.
fn value_of<'v>(object: &'v Object, keys: &[&str]) -> Loose<'v> {
    keys.iter()
        .find_map(|key| object.get(*key))
        .map_or(Loose::Absent, loose)
}

fn loose(value: &Value) -> Loose<'_> {
    match value {
        Value::Null => Loose::Null,
        Value::Bool(truth) => Loose::Bool(*truth),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => Loose::Whole(whole),
            None => number.as_f64().map_or(Loose::Null, Loose::Number),
        },
        Value::String(text) => Loose::Text(Cow::Borrowed(text)),
        Value::Array(_) => Loose::Array,
        Value::Object(_) => Loose::Object,
    }
}

const MEAN_A: &[&str] = &["safe_mean"];
const MEAN_B: &[&str] = &["risky_mean", "bankrupt_mean"];
const SD_A: &[&str] = &["safe_std"];
const SD_B: &[&str] = &["risky_std", "bankrupt_std"];
const N_A: &[&str] = &["safe_n", "safe_count"];
const N_B: &[&str] = &["risky_n", "risky_count", "bankrupt_n"];
const COHEN_D: &[&str] = &["cohen_d", "cohens_d", "original_cohen_d"];
const P: &[&str] = &["p_value"];
const CLASS: &[&str] = &[
    "type",
    "feature_type",
    "direction",
    "original_direction",
    "classified_as",
    "interpretation",
];
const CAUSAL: &[&str] = &["is_causal", "is_original_causal"];

impl FeatureMeasures {
    fn has_numbers(&self) -> bool {
        let numbers = [self.mean_a, self.mean_b, self.cohen_d, self.p];
        numbers.iter().any(Option::is_some)
    }
}

fn measures_of(object: &Object) -> Result<FeatureMeasures, RowFault> {
    let typed = |keys: &[&str], what| {
        let key = keys.first().copied().unwrap_or_default();
        (ProblemKind::WrongType, format!("`{key}` is {what}"))
    };
    let number = |keys: &[&str]| value_of(object, keys).number().map_err(|what| typed(keys, what));
    let whole = |keys: &[&str]| value_of(object, keys).whole().map_err(|what| typed(keys, what));
    let causality = object.get("causality").and_then(Value::as_object);
    let claimed = |key: &str| {
        causality
            .and_then(|claims| claims.get(key))
            .and_then(Value::as_bool)
    };
    let nested = match (claimed("is_causal_safe"), claimed("is_causal_risky")) {
        (None, None) => None,
        (safe, risky) => Some(safe == Some(true) || risky == Some(true)),
    };
    let class = match value_of(object, CLASS) {
        Loose::Text(text) => Some(text.into_owned()),
        _ => causality
            .and_then(|claims| claims.get("interpretation"))
            .and_then(Value::as_str)
            .map(str::to_owned),
    };
    Ok(FeatureMeasures {
        mean_a: number(MEAN_A)?,
        mean_b: number(MEAN_B)?,
        sd_a: number(SD_A)?,
        sd_b: number(SD_B)?,
        n_a: whole(N_A)?,
        n_b: whole(N_B)?,
        cohen_d: number(COHEN_D)?,
        p: number(P)?,
        class,
        causal: value_of(object, CAUSAL)
            .truth()
            .map_err(|what| typed(CAUSAL, what))?
            .or(nested),
    })
}

/// Whether a key is read as something else than a reported number.
fn is_known(key: &str) -> bool {
    [
        NAME_KEYS, LAYER_KEYS, INDEX_KEYS, MEAN_A, MEAN_B, SD_A, SD_B, N_A, N_B, COHEN_D, P, CLASS, CAUSAL,
    ]
    .iter()
    .any(|keys| keys.contains(&key))
        || key == "gpu"
        || stop_rate_condition(key).is_some()
}

fn read_feature_row(
    object: &Object,
    layout: Layout,
    place: Place,
    batch: &mut Batch<'_>,
) -> Result<(), RowFault> {
    let name = value_of(object, NAME_KEYS);
    let (layer, index) = (value_of(object, LAYER_KEYS), value_of(object, INDEX_KEYS));
    let Some(feature) = feature_of(name, &layer, &index)? else {
        let what = "there is no `feature`, nor `layer` and `feature_id`";
        return Err((ProblemKind::MissingKey, what.to_owned()));
    };
    if let Some(Value::Object(conditions)) = object.get("condition_metrics") {
        for (name, metrics) in conditions {
            let record = metrics_of(feature, name, entry(metrics)?, place)?;
            batch.aggregates.push(record);
        }
    }
    let mut numbers: Vec<(String, &Value)> = Vec::new();
    for (key, value) in object {
        if let Some(condition) = stop_rate_condition(key) {
            let rate = loose(value)
                .number()
                .map_err(|what| (ProblemKind::WrongType, format!("`{key}` is {what}")))?;
            batch.aggregates.push(AggregateRecord {
                feature: Some(feature),
                condition,
                trials: None,
                stop: Share { count: None, rate },
                high_risk: Share::default(),
                bankruptcy: Share::default(),
                mean_amount: None,
                amounts: Vec::new(),
                place,
            });
        } else if !is_known(key) && (value.is_number() || value.is_null()) {
            numbers.push((key.clone(), value));
        }
    }
    if let Some(Value::Object(claims)) = object.get("causality") {
        let stated = claims
            .iter()
            .filter(|(_, value)| value.is_number() || value.is_null());
        numbers.extend(stated.map(|(key, value)| (key.clone(), value)));
    }
    batch
        .reported
        .extend(numbers.into_iter().map(|(measure, value)| ReportedNumber {
            feature,
            measure,
            value: value.as_f64(),
            place,
        }));
    let measures = measures_of(object)?;
    if layout != Layout::FeatureNumbers {
        batch.features.push(FeatureRecord {
            feature,
            measures,
            place,
        });
    }
    Ok(())
}

fn metrics_of(
    feature: FeatureId,
    name: &str,
    metrics: &Object,
    place: Place,
) -> Result<AggregateRecord, RowFault> {
    let fault = |key: &str, what: String| (ProblemKind::WrongType, format!("{name}: `{key}` is {what}"));
    let number = |key: &str| {
        value_of(metrics, &[key])
            .number()
            .map_err(|what| fault(key, what))
    };
    let whole = |key: &str| value_of(metrics, &[key]).whole().map_err(|what| fault(key, what));
    let trials = whole("total_trials")?;
    let share = |count: &str, rate: &str| Ok::<_, RowFault>(Share::new(whole(count)?, number(rate)?, trials));
    let (stop, high_risk) = (
        share("stop_count", "stop_rate")?,
        share("high_risk_count", "high_risk_rate")?,
    );
    let bankruptcy = share("bankruptcy_count", "bankruptcy_rate")?;
    for (key, share) in [
        ("stop_count", stop),
        ("high_risk_count", high_risk),
        ("bankruptcy_count", bankruptcy),
    ] {
        if let (Some(count), Some(trials)) = (share.count, trials)
            && count > trials
        {
            return Err(bad(format!("{name}: {key} is {count} of {trials} trials")));
        }
    }
    let mut amounts = Vec::new();
    if let Some(Value::Array(items)) = metrics.get("bet_amounts") {
        for item in items {
            let amount = loose(item).number().map_err(|what| fault("bet_amounts", what))?;
            amounts.extend(amount);
        }
    }
    Ok(AggregateRecord {
        feature: Some(feature),
        condition: Condition::parse(Cow::Borrowed(name)).into_owned(),
        trials,
        stop,
        high_risk,
        bankruptcy,
        mean_amount: number("avg_bet")?,
        amounts,
        place,
    })
}

fn read_reparsed(object: &Object, place: Place, batch: &mut Batch<'_>) -> Result<(), RowFault> {
    let entries = object.iter().flat_map(|(feature, conditions)| {
        let rows: Vec<(&str, &str, Option<&Value>)> = match conditions.as_object() {
            Some(conditions) => conditions
                .iter()
                .flat_map(|(condition, trials)| match trials.as_array() {
                    Some(trials) => trials
                        .iter()
                        .map(|trial| (feature.as_str(), condition.as_str(), Some(trial)))
                        .collect::<Vec<_>>(),
                    None => vec![(feature.as_str(), condition.as_str(), None)],
                })
                .collect(),
            None => vec![(feature.as_str(), "", None)],
        };
        rows
    });
    each(
        entries,
        Layout::ReparsedTrials,
        place,
        batch,
        |(feature, condition, trial), place, batch| {
            let Some(trial) = trial.and_then(Value::as_object) else {
                let what = format!("{feature} {condition}: a list of trials was expected");
                return Err((ProblemKind::WrongType, what));
            };
            let feature = feature
                .parse::<FeatureId>()
                .map_err(|error| bad(error.to_string()))?;
            let Some(response) = trial.get("response").and_then(Value::as_str) else {
                return Err((ProblemKind::MissingKey, "there is no text `response`".to_owned()));
            };
            let typed = |key: &str, what| (ProblemKind::WrongType, format!("`{key}` is {what}"));
            let amount = value_of(trial, &["reparsed_bet"])
                .number()
                .map_err(|what| typed("reparsed_bet", what))?;
            let valid = value_of(trial, &["reparsed_valid"])
                .truth()
                .map_err(|what| typed("reparsed_valid", what))?;
            let outcome = match (valid, amount) {
                (Some(false), _) | (_, None) => Outcome::Unknown,
                // The reparser writes a stop as a bet of 0 and a bet of unknown size as −1.
                (_, Some(0.0)) => Outcome::Stop,
                (_, amount) => Outcome::from_label(Cow::Borrowed("bet"), amount),
            };
            let reason = trial.get("reparsed_reason").and_then(Value::as_str);
            batch.trials.push(TrialRecord {
                feature: Some(feature),
                condition: Condition::parse(Cow::Borrowed(condition)).into_owned(),
                condition_name: Some(Cow::Owned(condition.to_owned())),
                scale: None,
                prompt_id: None,
                trial: value_of(trial, &["trial"])
                    .whole()
                    .map_err(|what| typed("trial", what))?,
                attempt: None,
                matched_feature: None,
                response: Cow::Owned(response.to_owned()),
                recorded: Some(RecordedOutcome {
                    outcome,
                    valid,
                    method: reason.map(|text| Cow::Owned(text.to_owned())),
                }),
                place,
            });
            Ok(())
        },
    )
}
