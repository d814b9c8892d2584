//! What is compared with what.

/// A comparison of arms. Effects are always *second minus first*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// Value B against value A: the contrast that names a cause. What both interventions share drops out.
    ValueVsValue,
    /// Value A against the reference.
    ValueA,
    /// Value B against the reference.
    ValueB,
    /// Both values together against the reference: what intervening does, whatever the value.
    SharedShift,
    /// A random-feature control at level B against the same at level A.
    ControlVsControl,
}

/// What values are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Trials in which the residual was replaced by its reconstruction and no feature changed.
    ReconstructOnly,
    /// Trials without any intervention.
    Baseline,
}

impl Reference {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReconstructOnly => "reconstruct_only",
            Self::Baseline => "baseline",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::ReconstructOnly => "the reconstruction alone",
            Self::Baseline => "the baseline",
        }
    }
}

impl Comparison {
    /// The name in tables, as second_vs_first.
    pub fn name(self, reference: Option<Reference>) -> String {
        let against = reference.map_or("reference", Reference::name);
        match self {
            Self::ValueVsValue => "value_b_vs_value_a".to_owned(),
            Self::ValueA => format!("value_a_vs_{against}"),
            Self::ValueB => format!("value_b_vs_{against}"),
            Self::SharedShift => format!("both_values_vs_{against}"),
            Self::ControlVsControl => "control_b_vs_control_a".to_owned(),
        }
    }
}
