//! The tallies of one feature by prompt and arm, with the trials that it is compared with.

use std::collections::BTreeMap;

use glassbox_logs::{Arm, FeatureId};
use serde::Serialize;

use crate::cells::Cells;
use crate::comparison::Reference;
use crate::{EffectsError, Tally};

/// Whose baseline a feature is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselinePolicy {
    /// All baseline trials of the prompt, whichever feature they were logged under: without intervention a feature has no part in
    /// them. The default.
    #[default]
    Pooled,
    /// The baseline trials logged under the feature itself; right where baselines drift from session to session.
    Own,
}

impl std::str::FromStr for BaselinePolicy {
    type Err = EffectsError;

    fn from_str(text: &str) -> Result<Self, EffectsError> {
        match text {
            "pooled" => Ok(Self::Pooled),
            "own" => Ok(Self::Own),
            _ => Err(EffectsError::Choice {
                what: "baseline",
                text: text.to_owned(),
                choices: "pooled or own",
            }),
        }
    }
}

/// Tallies by prompt.
pub(crate) type ByPrompt<'c> = BTreeMap<&'c str, Tally>;

/// The tallies of one feature, doses left out.
#[derive(Debug, Default)]
pub(crate) struct FeatureArms<'c> {
    pub(crate) value_a: ByPrompt<'c>,
    pub(crate) value_b: ByPrompt<'c>,
    pub(crate) own_baseline: ByPrompt<'c>,
    /// Random features at the levels of this one, by the control's feature.
    pub(crate) control_a: BTreeMap<FeatureId, ByPrompt<'c>>,
    pub(crate) control_b: BTreeMap<FeatureId, ByPrompt<'c>>,
    /// Doses by prompt.
    pub(crate) doses: BTreeMap<&'c str, Vec<(f64, &'c Tally)>>,
}

/// All features of some cells, and what they are compared with.
#[derive(Debug)]
pub(crate) struct Arms<'c> {
    pub(crate) features: BTreeMap<FeatureId, FeatureArms<'c>>,
    /// Baseline trials of all features together.
    pub(crate) baseline: ByPrompt<'c>,
    /// Reconstruct-only trials, by block where the log says it.
    reconstruction: BTreeMap<Option<u32>, ByPrompt<'c>>,
}

impl<'c> Arms<'c> {
    pub(crate) fn of(cells: &'c Cells) -> Self {
        let mut arms = Self {
            features: BTreeMap::new(),
            baseline: BTreeMap::new(),
            reconstruction: BTreeMap::new(),
        };
        for (key, tally) in &cells.tallies {
            let prompt = key.prompt.as_str();
            let add = |place: &mut ByPrompt<'c>| place.entry(prompt).or_default().merge(tally);
            match key.arm {
                Arm::Baseline => {
                    add(&mut arms.baseline);
                    if let Some(feature) = key.feature {
                        add(&mut arms.features.entry(feature).or_default().own_baseline);
                    }
                }
                Arm::ReconstructOnly => {
                    let block = key.feature.map(|feature| feature.layer);
                    add(arms.reconstruction.entry(block).or_default());
                }
                Arm::ValueA | Arm::ValueB | Arm::Dose => {
                    let Some(feature) = key.feature else { continue };
                    let own = arms.features.entry(feature).or_default();
                    match (&key.arm, key.scale()) {
                        (Arm::ValueA, _) => add(&mut own.value_a),
                        (Arm::ValueB, _) => add(&mut own.value_b),
                        (_, Some(dose)) => own.doses.entry(prompt).or_default().push((dose, tally)),
                        (_, None) => {}
                    }
                }
                Arm::ControlA | Arm::ControlB => {
                    let (Some(control), Some(matched)) = (key.feature, key.matched_feature) else {
                        continue;
                    };
                    let own = arms.features.entry(matched).or_default();
                    let place = if key.arm == Arm::ControlA {
                        &mut own.control_a
                    } else {
                        &mut own.control_b
                    };
                    add(place.entry(control).or_default());
                }
                Arm::Other(_) => {}
            }
        }
        arms
    }

    /// What features are compared with, if there is anything: the reconstruction alone before the baseline.
    pub(crate) fn reference(&self) -> Option<Reference> {
        if !self.reconstruction.is_empty() {
            Some(Reference::ReconstructOnly)
        } else if !self.baseline.is_empty() {
            Some(Reference::Baseline)
        } else {
            None
        }
    }

    /// All reference trials by prompt; those of the reconstruction over all blocks.
    pub(crate) fn reference_trials(&self) -> ByPrompt<'c> {
        match self.reference() {
            Some(Reference::ReconstructOnly) => {
                let mut all = ByPrompt::new();
                for (prompt, tally) in self.reconstruction.values().flatten() {
                    all.entry(*prompt).or_default().merge(tally);
                }
                all
            }
            Some(Reference::Baseline) => self.baseline.clone(),
            None => ByPrompt::new(),
        }
    }

    /// The reference trials of a feature.
    pub(crate) fn reference_of<'a>(
        &'a self,
        feature: FeatureId,
        arms: &'a FeatureArms<'c>,
        policy: BaselinePolicy,
    ) -> Option<&'a ByPrompt<'c>> {
        match self.reference()? {
            Reference::ReconstructOnly => self
                .reconstruction
                .get(&Some(feature.layer))
                .or_else(|| self.reconstruction.get(&None)),
            Reference::Baseline => match policy {
                BaselinePolicy::Own if !arms.own_baseline.is_empty() => Some(&arms.own_baseline),
                _ => Some(&self.baseline),
            },
        }
    }
}
