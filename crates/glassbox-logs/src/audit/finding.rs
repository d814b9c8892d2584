//! What an audit found.

use serde::Serialize;

/// What a finding means for the analysis asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The data do not support the analysis as they are.
    Error,
    /// The analysis can be done, but something must be known or done first.
    Warning,
    /// Something worth knowing.
    Fact,
}

/// What was found. Machines read these names; they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// There is nothing that the analysis could use.
    NothingToAnalyse,
    /// The analysis can be done for some features only.
    PartlySupported,
    /// Files or rows that cannot be used.
    UnusableRows,
    /// Paths that are not there.
    AbsentPaths,
    /// NaN or infinite numbers, which JSON does not have.
    NonFiniteNumbers,
    /// Conditions that no vocabulary has.
    UnknownConditions,
    /// The same trial more than once.
    RepeatedTrials,
    /// Rows without a trial number, which cannot be checked for repeats.
    UnnumberedTrials,
    /// Trials that were tried again.
    RetriedTrials,
    /// Features without some of the conditions that others have.
    MissingConditions,
    /// Cells with fewer trials than a comparison needs, or than planned.
    TooFewTrials,
    /// Cells with more trials than planned.
    TooManyTrials,
    /// Every trial has the same outcome.
    DegenerateOutcomes,
    /// Trials without an outcome.
    UnknownOutcomes,
    /// Validity depends on the arm, or says nothing.
    Validity,
    /// Amounts pile up at the ends of their range.
    ClampedAmounts,
    /// Responses without text.
    EmptyResponses,
    /// Responses of a cell that are all the same.
    IdenticalResponses,
    /// Responses that repeat the prompt.
    EchoedPrompt,
    /// Features of lists without trials, or the other way round.
    Unjoined,
    /// A feature more than once in the lists, with different numbers.
    ContradictoryFeatures,
    /// Feature ids that the dictionary does not have.
    OutsideDictionary,
    /// Feature ids that look like positions in the residual stream.
    ResidualPositions,
    /// Means that the dictionary cannot give.
    ImpossibleMeans,
    /// Counts that contradict themselves.
    ContradictoryCounts,
    /// What could not be checked, and what is needed for it.
    NotChecked,
}

/// One of the things that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its name: a feature, a cell, a file.
    pub name: String,
    /// How many.
    pub count: u64,
    /// More about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Example {
    /// An example.
    pub fn new(name: impl Into<String>, count: u64, note: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            count,
            note: note.into(),
        }
    }
}

/// Examples that a report keeps of one finding.
pub(crate) const KEPT_EXAMPLES: usize = 100;

/// Something that an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means for the analysis.
    pub severity: Severity,
    /// What it is.
    pub kind: FindingKind,
    /// One sentence.
    pub what: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// How many things it is about.
    pub count: u64,
    /// The first of them, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

impl Finding {
    /// A finding about so many things.
    pub fn new(severity: Severity, kind: FindingKind, count: u64, what: impl Into<String>) -> Self {
        Self {
            severity,
            kind,
            what: what.into(),
            remedy: String::new(),
            count,
            examples: Vec::new(),
        }
    }

    /// With what to do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// With examples.
    pub fn examples(mut self, examples: impl IntoIterator<Item = Example>) -> Self {
        self.examples = examples.into_iter().take(KEPT_EXAMPLES).collect();
        self
    }
}

/// A number as people write it, its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in per cent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

/// The singular or plural of a counted thing, the number in front: `1 row`, `3 rows`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}
