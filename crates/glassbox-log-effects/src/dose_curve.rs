//! Rates and means at every dose of the features whose trend is most distinct: what curves show.

use std::collections::BTreeMap;

use glassbox_logs::FeatureId;
use serde::Serialize;

use crate::cell::serialize_feature;
use crate::effect_row::LogDoseRow;
use crate::feature_arms::Arms;
use crate::summary_rows::{ConditionRow, condition_row};
use crate::tally::{Ordered, Tally};
use crate::{EffectsError, Measure};

/// Features that get a curve, of each measure.
const MOST_FEATURES: usize = 12;

/// The outcome of one feature at every dose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DoseCurve {
    /// The feature.
    #[serde(serialize_with = "serialize_feature")]
    pub feature: FeatureId,
    /// The measure.
    pub measure: String,
    /// One row per kind of prompt and dose, in this order.
    pub points: Vec<ConditionRow>,
}

/// The curves of the features with the smallest p of each measure, these first.
pub(crate) fn dose_curves(
    arms: &Arms<'_>,
    rows: &[LogDoseRow],
    measures: &[Measure],
) -> Result<Vec<DoseCurve>, EffectsError> {
    let mut curves = Vec::new();
    for measure in measures {
        let name = measure.to_string();
        let mut of_measure: Vec<&LogDoseRow> = rows
            .iter()
            .filter(|row| row.measure == name && row.p.is_some())
            .collect();
        of_measure.sort_by(|a, b| a.p.unwrap_or(1.0).total_cmp(&b.p.unwrap_or(1.0)));
        for row in of_measure.into_iter().take(MOST_FEATURES) {
            let feature = FeatureId {
                layer: row.layer,
                feature: row.feature,
            };
            let Some(own) = arms.features.get(&feature) else {
                continue;
            };
            // Prompts of one kind together.
            let mut doses: BTreeMap<(&str, Ordered), Tally> = BTreeMap::new();
            for (prompt, levels) in &own.doses {
                let kind = prompt.split_once('/').map_or(*prompt, |(kind, _)| kind);
                for (dose, tally) in levels {
                    doses.entry((kind, Ordered(*dose))).or_default().merge(tally);
                }
            }
            let mut points = Vec::with_capacity(doses.len());
            for ((kind, dose), tally) in &doses {
                points.extend(condition_row(kind, "dose", Some(dose.0), measure, tally)?);
            }
            curves.push(DoseCurve {
                feature,
                measure: name.clone(),
                points,
            });
        }
    }
    Ok(curves)
}
