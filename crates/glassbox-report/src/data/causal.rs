//! The causal table, compact: effects by feature, contrast, family and measure.

use std::collections::BTreeMap;
use std::path::Path;

use glassbox_experiment::Arm;
use glassbox_experiment::tables::CausalRow;
use glassbox_store::TableReader;

use super::{FeatureId, Names};
use crate::ReportError;

/// What part a feature plays in the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Selected because it differs between the families.
    Selected,
    /// A random feature moved as far as a selected one.
    Control,
    /// Reconstruct-only: no feature at all.
    Reconstruction,
}

/// What is compared, second against first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contrast {
    /// Value B against value A. For controls, their upper against their lower value.
    BAgainstA,
    /// Value A against baseline.
    AAgainstBaseline,
    /// Value B against baseline.
    BAgainstBaseline,
    /// Value A against reconstruct-only, where interventions replace the residual.
    AAgainstReconstruction,
    /// Value B against reconstruct-only, where interventions replace the residual.
    BAgainstReconstruction,
    /// Reconstruct-only against baseline.
    ReconstructionAgainstBaseline,
}

impl Contrast {
    /// Reads a table's name, `second_vs_first`; `None` for contrasts that the page does not show.
    pub fn from_name(name: &str) -> Option<Self> {
        let (second, first) = name.split_once("_vs_")?;
        let arm = |name: &str| Arm::from_name(name).ok();
        match (arm(second)?, arm(first)?) {
            (Arm::ValueB, Arm::ValueA) | (Arm::ControlB, Arm::ControlA) => Some(Self::BAgainstA),
            (Arm::ValueA | Arm::ControlA, Arm::Baseline) => Some(Self::AAgainstBaseline),
            (Arm::ValueB | Arm::ControlB, Arm::Baseline) => Some(Self::BAgainstBaseline),
            (Arm::ValueA, Arm::ReconstructOnly) => Some(Self::AAgainstReconstruction),
            (Arm::ValueB, Arm::ReconstructOnly) => Some(Self::BAgainstReconstruction),
            (Arm::ReconstructOnly, Arm::Baseline) => Some(Self::ReconstructionAgainstBaseline),
            _ => None,
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Share of trials with the target outcome.
    TargetRate,
    /// Mean captured amount among trials that have one.
    Amount,
}

/// Which prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prompts {
    /// Both families.
    Both,
    /// Family A.
    FamilyA,
    /// Family B.
    FamilyB,
}

/// Names one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKey {
    /// Part of the feature.
    pub role: Role,
    /// Block index.
    pub layer: u32,
    /// Feature; missing for reconstruct-only.
    pub feature: Option<u32>,
    /// For controls, the selected feature they are matched to.
    pub matched_feature: Option<u32>,
    /// What is compared.
    pub contrast: Contrast,
    /// What is measured.
    pub measure: Measure,
    /// On which prompts.
    pub prompts: Prompts,
}

/// One effect, second minus first.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Trials behind the first figure.
    pub n_1: u32,
    /// Trials behind the second figure.
    pub n_2: u32,
    /// Rate or mean under the first arm.
    pub figure_1: Option<f64>,
    /// Rate or mean under the second arm.
    pub figure_2: Option<f64>,
    /// Second minus first.
    pub effect: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Cohen's d, for amounts.
    pub cohen_d: Option<f64>,
    /// p value.
    pub p: Option<f64>,
    /// q value, for selected features.
    pub q: Option<f64>,
}

/// All effects that the page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CausalData {
    /// The effects by their names.
    pub effects: BTreeMap<EffectKey, Effect>,
    /// Rows of the table.
    pub rows: u64,
    /// Rows that the page has no place for: other contrasts, measures, roles or families than those known here.
    pub other_rows: u64,
}

impl CausalData {
    /// Adds one row.
    pub fn add(&mut self, row: &CausalRow, names: &Names) {
        self.rows += 1;
        let role = match row.role.as_str() {
            "selected" => Some(Role::Selected),
            "control" => Some(Role::Control),
            "reconstruction" => Some(Role::Reconstruction),
            _ => None,
        };
        let measure = match row.measure.as_str() {
            "target_rate" => Some(Measure::TargetRate),
            "amount" => Some(Measure::Amount),
            _ => None,
        };
        let prompts = match row.family.as_str() {
            "both" => Some(Prompts::Both),
            family if family == names.family_a => Some(Prompts::FamilyA),
            family if family == names.family_b => Some(Prompts::FamilyB),
            _ => None,
        };
        let (Some(role), Some(measure), Some(prompts), Some(contrast)) =
            (role, measure, prompts, Contrast::from_name(&row.contrast))
        else {
            self.other_rows += 1;
            return;
        };
        let key = EffectKey {
            role,
            layer: row.layer,
            feature: row.feature,
            matched_feature: row.matched_feature,
            contrast,
            measure,
            prompts,
        };
        let effect = Effect {
            n_1: row.n_1,
            n_2: row.n_2,
            figure_1: row.figure_1,
            figure_2: row.figure_2,
            effect: row.effect,
            interval: row.ci_low.zip(row.ci_high),
            cohen_d: row.cohen_d,
            p: row.p,
            q: row.q,
        };
        self.effects.insert(key, effect);
    }

    /// An effect of a selected feature.
    pub fn of_selected(
        &self,
        feature: FeatureId,
        contrast: Contrast,
        measure: Measure,
        prompts: Prompts,
    ) -> Option<&Effect> {
        self.effects.get(&EffectKey {
            role: Role::Selected,
            layer: feature.layer,
            feature: Some(feature.feature),
            matched_feature: None,
            contrast,
            measure,
            prompts,
        })
    }

    /// Effects on the target rate of all features of a role, in the order of layers and features.
    pub fn of_role(
        &self,
        role: Role,
        contrast: Contrast,
        prompts: Prompts,
    ) -> impl Iterator<Item = (&EffectKey, &Effect)> {
        self.effects.iter().filter(move |(key, _)| {
            key.role == role
                && key.contrast == contrast
                && key.prompts == prompts
                && key.measure == Measure::TargetRate
        })
    }

    /// Effects of the random-feature controls on the target rate, value B against value A.
    pub fn control_effects(&self, prompts: Prompts) -> Vec<f64> {
        self.of_role(Role::Control, Contrast::BAgainstA, prompts)
            .filter_map(|(_, effect)| effect.effect)
            .filter(|effect| effect.is_finite())
            .collect()
    }

    /// Largest |effect| that the given percentile of the controls does not exceed (type 7 quantile).
    ///
    /// # Errors
    /// [`ReportError::Statistics`] for a percentile outside 0 to 100.
    pub fn control_limit(&self, prompts: Prompts, percentile: f64) -> Result<Option<f64>, ReportError> {
        let sizes: Vec<f64> = self.control_effects(prompts).into_iter().map(f64::abs).collect();
        glassbox_stats::quantile(&sizes, percentile / 100.0)
            .map(Result::ok)
            .map_err(|cause| ReportError::Statistics {
                table: "causal",
                cause,
            })
    }
}

pub(super) fn read_causal(path: &Path, names: &Names) -> Result<CausalData, ReportError> {
    let mut data = CausalData::default();
    for batch in TableReader::<CausalRow>::open(path)? {
        batch?.iter().for_each(|row| data.add(row, names));
    }
    Ok(data)
}
