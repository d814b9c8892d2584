//! The *causal* stage: what each selected feature does to the outcome, value against value and against baseline.

use crate::arm::Arm;
use crate::contrast::{AmountContrast, RateContrast, amount_contrast, rate_contrast};
use crate::error::ExperimentError;
use crate::scenario::InterventionKind;
use crate::tables::CausalRow;
use crate::test_family::adjust_family;
use crate::trial_index::{Treatment, TrialIndex};

/// Name of the measure "share of trials with the target outcome".
pub const TARGET_RATE: &str = "target_rate";
/// Name of the measure "mean captured amount".
pub const AMOUNT: &str = "amount";
/// Name of the family that joins both prompt families.
pub const BOTH: &str = "both";

/// A comparison of two arms: second against first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Name in the tables, as second_vs_first.
    pub name: &'static str,
    /// The reference arm.
    pub first: Arm,
    /// The arm that is compared with it.
    pub second: Arm,
}

/// Value against value: the contrast that names a cause.
pub const VALUE_VS_VALUE: Comparison = Comparison {
    name: "value_b_vs_value_a",
    first: Arm::ValueA,
    second: Arm::ValueB,
};
/// Value A against baseline.
pub const VALUE_A_VS_BASELINE: Comparison = Comparison {
    name: "value_a_vs_baseline",
    first: Arm::Baseline,
    second: Arm::ValueA,
};
/// Value B against baseline.
pub const VALUE_B_VS_BASELINE: Comparison = Comparison {
    name: "value_b_vs_baseline",
    first: Arm::Baseline,
    second: Arm::ValueB,
};
/// Value A against reconstruct-only, where interventions replace the residual by its reconstruction.
pub const VALUE_A_VS_RECONSTRUCTION: Comparison = Comparison {
    name: "value_a_vs_reconstruct_only",
    first: Arm::ReconstructOnly,
    second: Arm::ValueA,
};
/// Value B against reconstruct-only.
pub const VALUE_B_VS_RECONSTRUCTION: Comparison = Comparison {
    name: "value_b_vs_reconstruct_only",
    first: Arm::ReconstructOnly,
    second: Arm::ValueB,
};
/// The random feature's two ends.
pub const CONTROL_VS_CONTROL: Comparison = Comparison {
    name: "control_b_vs_control_a",
    first: Arm::ControlA,
    second: Arm::ControlB,
};
/// Reading through the dictionary against baseline.
pub const RECONSTRUCT_VS_BASELINE: Comparison = Comparison {
    name: "reconstruct_only_vs_baseline",
    first: Arm::Baseline,
    second: Arm::ReconstructOnly,
};

/// Tests every contrast of every treatment that the index holds.
///
/// Selected features are compared value B with value A and each value with the pooled baseline, controls end with end,
/// reconstruct-only with baseline (where interventions replace the residual by its reconstruction, values are compared with
/// reconstruct-only too); each over both families together and each family alone, for the target rate and
/// for amounts. All tests of selected features form one Benjamini–Hochberg family.
///
/// # Errors
/// [`ExperimentError::Stats`] for values that no test can hold.
pub fn causal_rows(
    index: &TrialIndex,
    families: [&str; 2],
    kind: InterventionKind,
) -> Result<Vec<CausalRow>, ExperimentError> {
    let mut rows = Vec::new();
    for treatment in index.treatments() {
        let Some((role, comparisons)) = comparisons_of(treatment.arm, kind) else {
            continue;
        };
        for comparison in comparisons {
            let first = sided(treatment, comparison.first);
            let second = sided(treatment, comparison.second);
            for family in [None, Some(families[0]), Some(families[1])] {
                let pairs = index.pairs(first, second, family);
                let place = Place {
                    treatment,
                    role,
                    comparison,
                    family: family.unwrap_or(BOTH),
                };
                if let Some(rate) = rate_contrast(&pairs)? {
                    rows.push(place.rate_row(&rate));
                }
                if let Some(amount) = amount_contrast(&pairs)? {
                    rows.push(place.amount_row(&amount));
                }
            }
        }
    }
    control_false_discoveries(&mut rows)?;
    Ok(rows)
}

/// The role of the feature that an arm stands for, and what it is compared in. An arm that is the second of a pair of
/// values stands for nothing by itself.
pub(crate) fn comparisons_of(
    arm: Arm,
    kind: InterventionKind,
) -> Option<(&'static str, &'static [Comparison])> {
    match arm {
        Arm::ValueA if kind == InterventionKind::Reconstruction => Some((
            "selected",
            &[
                VALUE_VS_VALUE,
                VALUE_A_VS_RECONSTRUCTION,
                VALUE_B_VS_RECONSTRUCTION,
                VALUE_A_VS_BASELINE,
                VALUE_B_VS_BASELINE,
            ],
        )),
        Arm::ValueA => Some((
            "selected",
            &[VALUE_VS_VALUE, VALUE_A_VS_BASELINE, VALUE_B_VS_BASELINE],
        )),
        Arm::ControlA => Some(("control", &[CONTROL_VS_CONTROL])),
        Arm::ReconstructOnly => Some(("reconstruction", &[RECONSTRUCT_VS_BASELINE])),
        Arm::Baseline | Arm::ValueB | Arm::ControlB => None,
    }
}

/// The treatment of an arm of a contrast: the baseline is shared by all, reconstruct-only by a layer.
pub(crate) fn sided(treatment: Treatment, arm: Arm) -> Treatment {
    match arm {
        Arm::Baseline => Treatment::BASELINE,
        Arm::ReconstructOnly => Treatment {
            arm,
            layer: treatment.layer,
            feature: None,
            matched_feature: None,
        },
        _ => treatment.under(arm),
    }
}

fn control_false_discoveries(rows: &mut [CausalRow]) -> Result<(), ExperimentError> {
    adjust_family(
        rows,
        |row| row.p.filter(|_| row.role == "selected"),
        |row, q| row.q = Some(q),
    )
}

/// What a row is about.
struct Place<'a> {
    treatment: Treatment,
    role: &'a str,
    comparison: &'a Comparison,
    family: &'a str,
}

impl Place<'_> {
    fn row(&self, measure: &str, test: &str) -> CausalRow {
        CausalRow {
            layer: self.treatment.layer.unwrap_or_default(),
            feature: self.treatment.feature,
            role: self.role.to_owned(),
            matched_feature: self.treatment.matched_feature,
            family: self.family.to_owned(),
            contrast: self.comparison.name.to_owned(),
            measure: measure.to_owned(),
            n_1: 0,
            n_2: 0,
            figure_1: None,
            figure_2: None,
            effect: None,
            ci_low: None,
            ci_high: None,
            cohen_d: None,
            odds_ratio: None,
            pairs_gained: None,
            pairs_lost: None,
            test: test.to_owned(),
            p: None,
            p_fisher: None,
            q: None,
            unknown_1: None,
            unknown_2: None,
            effect_known: None,
            p_known: None,
        }
    }

    fn rate_row(&self, rate: &RateContrast) -> CausalRow {
        CausalRow {
            n_1: rate.pairs,
            n_2: rate.pairs,
            figure_1: Some(rate.rate_1),
            figure_2: Some(rate.rate_2),
            effect: Some(rate.effect),
            ci_low: Some(rate.interval.0),
            ci_high: Some(rate.interval.1),
            odds_ratio: rate.odds_ratio,
            pairs_gained: Some(rate.gained),
            pairs_lost: Some(rate.lost),
            p: Some(rate.p),
            p_fisher: Some(rate.p_fisher),
            unknown_1: Some(rate.unknown.0),
            unknown_2: Some(rate.unknown.1),
            effect_known: rate.known.map(|(effect, _)| effect),
            p_known: rate.known.map(|(_, p)| p),
            ..self.row(TARGET_RATE, "mcnemar_exact")
        }
    }

    fn amount_row(&self, amount: &AmountContrast) -> CausalRow {
        CausalRow {
            n_1: amount.pairs,
            n_2: amount.pairs,
            figure_1: Some(amount.mean_1),
            figure_2: Some(amount.mean_2),
            effect: Some(amount.effect),
            ci_low: amount.test.map(|(low, _, _)| low),
            ci_high: amount.test.map(|(_, high, _)| high),
            cohen_d: amount.cohen_d,
            p: amount.test.map(|(_, _, p)| p),
            ..self.row(AMOUNT, "paired_t")
        }
    }
}
