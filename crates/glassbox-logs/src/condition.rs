//! What a trial was: which prompt it answered and what was done to the model.

use std::borrow::Cow;
use std::fmt;

/// What was done to the model in a trial.
///
/// The study's *safe patch* sets the feature to its mean over prompts that ended safe, its *risky patch* to the mean over
/// prompts that ended bankrupt. They are values A and B here, as in glassbox's own runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arm<'a> {
    /// Nothing.
    Baseline,
    /// The residual replaced by the dictionary's reconstruction, no feature changed.
    ReconstructOnly,
    /// The feature set to value A: `safe_patch`, `safe_mean`.
    ValueA,
    /// The feature set to value B: `risky_patch`, `risky_mean`.
    ValueB,
    /// A random feature held at the level of value A.
    ControlA,
    /// A random feature held at the level of value B.
    ControlB,
    /// The feature set to a dose; [`TrialRecord::scale`](crate::TrialRecord::scale) says which.
    Dose,
    /// A treatment that no vocabulary has, as the log calls it. Audits report it.
    Other(Cow<'a, str>),
}

impl Arm<'_> {
    /// The arms that have a meaning here, in the order of tables.
    pub const KNOWN: [Arm<'static>; 7] = [
        Arm::Baseline,
        Arm::ReconstructOnly,
        Arm::ValueA,
        Arm::ValueB,
        Arm::ControlA,
        Arm::ControlB,
        Arm::Dose,
    ];

    /// The name that tables use; for [`Arm::Other`] the log's own text.
    pub fn name(&self) -> &str {
        match self {
            Self::Baseline => "baseline",
            Self::ReconstructOnly => "reconstruct_only",
            Self::ValueA => "value_a",
            Self::ValueB => "value_b",
            Self::ControlA => "control_a",
            Self::ControlB => "control_b",
            Self::Dose => "dose",
            Self::Other(text) => text,
        }
    }

    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> Arm<'static> {
        match self {
            Self::Baseline => Arm::Baseline,
            Self::ReconstructOnly => Arm::ReconstructOnly,
            Self::ValueA => Arm::ValueA,
            Self::ValueB => Arm::ValueB,
            Self::ControlA => Arm::ControlA,
            Self::ControlB => Arm::ControlB,
            Self::Dose => Arm::Dose,
            Self::Other(text) => Arm::Other(Cow::Owned(text.into_owned())),
        }
    }
}

impl<'a> Arm<'a> {
    /// Reads the name of an arm: glassbox's own (`value_a`), the study's patches (`safe_patch`, `safe_mean`) or its
    /// `baseline`. Any other text becomes [`Arm::Other`].
    pub fn parse(name: Cow<'a, str>) -> Self {
        match &*name {
            "baseline" => Self::Baseline,
            "reconstruct_only" => Self::ReconstructOnly,
            "value_a" | "safe_patch" | "safe_mean" | "with_safe_patch" => Self::ValueA,
            "value_b" | "risky_patch" | "risky_mean" | "bankrupt_mean" | "with_risky_patch" => Self::ValueB,
            "control_a" => Self::ControlA,
            "control_b" => Self::ControlB,
            "dose" => Self::Dose,
            _ => Self::Other(name),
        }
    }
}

impl fmt::Display for Arm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of prompt under an arm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition<'a> {
    /// The kind of prompt: `safe` or `risky` in the study, the prompt family in glassbox's own runs. `None` where the log
    /// does not say it.
    pub prompt_type: Option<Cow<'a, str>>,
    /// The treatment.
    pub arm: Arm<'a>,
}

impl<'a> Condition<'a> {
    /// Reads the name of a condition. The kind of prompt is the prefix: `risky_with_safe_patch` is the risky prompt under
    /// the safe value.
    ///
    /// | name | means |
    /// |---|---|
    /// | `{prompt}_baseline` | baseline |
    /// | `{prompt}_with_safe_patch`, `{prompt}_with_risky_patch` | value A, value B |
    /// | `safe_amplification` | the same as `safe_with_safe_patch` |
    /// | `risky_amplification` | the same as `risky_with_risky_patch` |
    /// | `{prompt}/{arm}` | glassbox's own names |
    ///
    /// Any other text is kept: no kind of prompt, and [`Arm::Other`].
    pub fn parse(name: Cow<'a, str>) -> Self {
        match name {
            Cow::Borrowed(text) => Self::known(text).unwrap_or(Self {
                prompt_type: None,
                arm: Arm::Other(Cow::Borrowed(text)),
            }),
            Cow::Owned(text) => match Condition::known(&text) {
                Some(found) => found.into_owned(),
                None => Self {
                    prompt_type: None,
                    arm: Arm::Other(Cow::Owned(text)),
                },
            },
        }
    }

    fn known(name: &'a str) -> Option<Self> {
        let (prompt, arm) = match name {
            "safe_amplification" => ("safe", Arm::ValueA),
            "risky_amplification" => ("risky", Arm::ValueB),
            _ => {
                let suffixes = [
                    ("_baseline", Arm::Baseline),
                    ("_with_safe_patch", Arm::ValueA),
                    ("_with_risky_patch", Arm::ValueB),
                ];
                let by_suffix = suffixes
                    .into_iter()
                    .find_map(|(suffix, arm)| Some((name.strip_suffix(suffix)?, arm)));
                by_suffix.or_else(|| {
                    let (prompt, arm) = name.split_once('/')?;
                    match Arm::parse(Cow::Borrowed(arm)) {
                        Arm::Other(_) => None,
                        arm => Some((prompt, arm)),
                    }
                })?
            }
        };
        (!prompt.is_empty()).then_some(Self {
            prompt_type: Some(Cow::Borrowed(prompt)),
            arm,
        })
    }

    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> Condition<'static> {
        Condition {
            prompt_type: self.prompt_type.map(|text| Cow::Owned(text.into_owned())),
            arm: self.arm.into_owned(),
        }
    }

    /// The kind of prompt, or `?`.
    pub fn prompt_name(&self) -> &str {
        self.prompt_type.as_deref().unwrap_or("?")
    }
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.prompt_type {
            Some(prompt) => write!(f, "{prompt}/{}", self.arm),
            None => write!(f, "{}", self.arm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Condition<'_> {
        Condition::parse(Cow::Borrowed(name))
    }

    #[test]
    fn both_vocabularies_mean_the_same() {
        assert_eq!(parse("safe_amplification"), parse("safe_with_safe_patch"));
        assert_eq!(parse("risky_amplification"), parse("risky_with_risky_patch"));
        assert_eq!(parse("risky/value_b"), parse("risky_with_risky_patch"));
    }

    #[test]
    fn the_prompt_is_the_prefix() {
        let condition = parse("risky_with_safe_patch");
        assert_eq!(condition.prompt_type.as_deref(), Some("risky"));
        assert_eq!(condition.arm, Arm::ValueA);
    }

    #[test]
    fn unknown_names_are_kept() {
        for name in ["safe", "_baseline", "safe_with_odd_patch", "", "x/y", "한글"] {
            let condition = parse(name);
            assert_eq!(condition.prompt_type, None, "{name}");
            assert_eq!(condition.arm, Arm::Other(name.into()), "{name}");
            assert_eq!(condition, Condition::parse(Cow::Owned(name.to_owned())));
        }
    }
}
