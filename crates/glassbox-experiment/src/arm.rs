//! Arms and conditions: what is done to a trial, and to which prompt family it is done.

use std::fmt;

use crate::error::ExperimentError;

/// One treatment of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arm {
    /// No intervention.
    Baseline,
    /// The residual replaced by the dictionary's reconstruction, no feature changed: what reading through the
    /// dictionary does by itself.
    ReconstructOnly,
    /// The feature set to its mean over family A's prompts.
    ValueA,
    /// The feature set to its mean over family B's prompts.
    ValueB,
    /// A random feature of the same layer, held at the level of value A.
    ControlA,
    /// The same random feature, held at the level of value B.
    ControlB,
}

impl Arm {
    /// All arms, in the order of the plan.
    pub const ALL: [Self; 6] = [
        Self::Baseline,
        Self::ReconstructOnly,
        Self::ValueA,
        Self::ValueB,
        Self::ControlA,
        Self::ControlB,
    ];

    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::ReconstructOnly => "reconstruct_only",
            Self::ValueA => "value_a",
            Self::ValueB => "value_b",
            Self::ControlA => "control_a",
            Self::ControlB => "control_b",
        }
    }

    /// The arm with this table name.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownName`] with the valid names.
    pub fn from_name(name: &str) -> Result<Self, ExperimentError> {
        Self::ALL
            .into_iter()
            .find(|arm| arm.name() == name)
            .ok_or_else(|| ExperimentError::UnknownName {
                what: "arm",
                name: name.to_owned(),
                valid: Self::ALL.iter().map(|arm| arm.name().to_owned()).collect(),
            })
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A prompt family under an arm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Name of the prompt family.
    pub family: String,
    /// The treatment.
    pub arm: Arm,
}

impl Condition {
    /// Reads a condition name in any of the vocabularies in use, for families named `a` and `b`:
    ///
    /// | name | means |
    /// |---|---|
    /// | `{family}/{arm}` | glassbox's own |
    /// | `{family}_baseline` | baseline |
    /// | `{family}_with_{a}_patch`, `{family}_with_{b}_patch` | value A, value B |
    /// | `{a}_amplification`, `{b}_amplification` | family A under value A, family B under value B |
    ///
    /// The prompt family is the prefix: with families `safe` and `risky`, `risky_with_safe_patch` is the risky
    /// family under the safe value.
    ///
    /// # Errors
    /// [`ExperimentError::UnknownName`] with every valid name.
    pub fn parse(name: &str, a: &str, b: &str) -> Result<Self, ExperimentError> {
        Self::vocabulary(a, b)
            .into_iter()
            .find(|(alias, _)| alias == name)
            .map(|(_, condition)| condition)
            .ok_or_else(|| ExperimentError::UnknownName {
                what: "condition",
                name: name.to_owned(),
                valid: Self::vocabulary(a, b)
                    .into_iter()
                    .map(|(alias, _)| alias)
                    .collect(),
            })
    }

    /// The name with the prompt family first and the patch's family second, where the condition has one.
    pub fn patch_name(&self, a: &str, b: &str) -> Option<String> {
        match self.arm {
            Arm::Baseline => Some(format!("{}_baseline", self.family)),
            Arm::ValueA => Some(format!("{}_with_{a}_patch", self.family)),
            Arm::ValueB => Some(format!("{}_with_{b}_patch", self.family)),
            Arm::ReconstructOnly | Arm::ControlA | Arm::ControlB => None,
        }
    }

    fn vocabulary(a: &str, b: &str) -> Vec<(String, Self)> {
        let mut names = Vec::new();
        for family in [a, b] {
            for arm in Arm::ALL {
                let condition = Self {
                    family: family.to_owned(),
                    arm,
                };
                names.push((format!("{family}/{arm}"), condition.clone()));
                if let Some(alias) = condition.patch_name(a, b) {
                    names.push((alias, condition));
                }
            }
        }
        names.push((
            format!("{a}_amplification"),
            Self {
                family: a.to_owned(),
                arm: Arm::ValueA,
            },
        ));
        names.push((
            format!("{b}_amplification"),
            Self {
                family: b.to_owned(),
                arm: Arm::ValueB,
            },
        ));
        names
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.family, self.arm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_names_the_prompt_family() {
        let condition = Condition::parse("risky_with_safe_patch", "safe", "risky").unwrap();
        assert_eq!(
            condition,
            Condition {
                family: "risky".into(),
                arm: Arm::ValueA
            }
        );
    }

    #[test]
    fn both_vocabularies_name_the_same_six_conditions() {
        for (alias, name) in [
            ("safe_amplification", "safe_with_safe_patch"),
            ("risky_amplification", "risky_with_risky_patch"),
            ("safe_baseline", "safe/baseline"),
            ("risky_with_risky_patch", "risky/value_b"),
        ] {
            assert_eq!(
                Condition::parse(alias, "safe", "risky").unwrap(),
                Condition::parse(name, "safe", "risky").unwrap()
            );
        }
    }

    #[test]
    fn an_unknown_condition_lists_the_valid_ones() {
        let message = Condition::parse("safe_patched", "safe", "risky")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("safe_patched") && message.contains("risky_with_safe_patch"),
            "{message}"
        );
    }

    #[test]
    fn arm_names_round_trip() {
        for arm in Arm::ALL {
            assert_eq!(Arm::from_name(arm.name()).unwrap(), arm);
        }
        assert!(Arm::from_name("placebo").is_err());
    }
}
