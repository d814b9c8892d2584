//! The result of an audit.

use serde::Serialize;

use super::{Analysis, Finding, ParserComparison, ProblemCount, Severity};
use crate::ReadReport;

/// The result of an audit.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// Whether the data support the analysis, and for how many features.
    pub support: Support,
    /// Counts.
    pub totals: Totals,
    /// Errors first, then warnings, then facts.
    pub findings: Vec<Finding>,
    /// Counts by treatment: kind of prompt, arm, dose.
    pub treatments: Vec<TreatmentCount>,
    /// Counts by layer.
    pub layers: Vec<LayerCount>,
    /// How two parsers agree, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ParserComparison>,
    /// Names of conditions as the logs write them, and what they were read as.
    pub condition_names: Vec<(String, String)>,
    /// Rows that cannot be used, by file and kind.
    pub problems: Vec<ProblemCount>,
    /// What became of every file.
    pub read: ReadReport,
}

impl AuditReport {
    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.severity == severity)
    }
}

/// Whether the data support the analysis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Support {
    /// The analysis.
    pub analysis: Analysis,
    /// Whether it was asked for, or taken because of what the logs hold.
    pub asked_for: bool,
    /// Whether the data support it as they are.
    pub supported: bool,
    /// Features that it can be done for.
    pub features: u64,
    /// All features with trials or counts.
    pub all_features: u64,
}

/// Counts of all logs together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Rows that are trials.
    pub rows: u64,
    /// Different trials.
    pub trials: u64,
    /// Rows that repeat a trial that came before.
    pub surplus_rows: u64,
    /// Rows that are a further attempt at a trial.
    pub later_attempts: u64,
    /// Features with trials.
    pub features: u64,
    /// Layers of these.
    pub layers: u64,
    /// Cells: feature, condition, dose and prompt.
    pub cells: u64,
    /// What was planned, as far as that can be said.
    pub planned: Option<PlannedTrials>,
    /// Features in lists.
    pub listed_features: u64,
    /// Cells that are there as counts alone.
    pub counted_cells: u64,
}

/// What was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedTrials {
    /// Cells: every feature under every treatment.
    pub cells: u64,
    /// Trials of each.
    pub per_cell: u64,
    /// Whether the number was stated; else it is the commonest.
    pub stated: bool,
    /// All trials.
    pub trials: u64,
}

/// Counts of one treatment over all features; repeats left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TreatmentCount {
    /// Kind of prompt, arm and dose.
    pub treatment: String,
    /// Cells.
    pub cells: u64,
    /// Rows, repeats and retries included.
    pub rows: u64,
    /// Trials.
    pub trials: u64,
    /// Fewest trials of a cell.
    pub fewest: u64,
    /// Most trials of a cell.
    pub most: u64,
    /// Trials that stopped.
    pub stop: u64,
    /// Trials that bet.
    pub bet: u64,
    /// Trials without an outcome.
    pub unknown: u64,
    /// Trials that the log calls valid, where it says so of any.
    pub valid: Option<u64>,
    /// Mean of the known amounts.
    pub mean_amount: Option<f64>,
    /// Responses without text.
    pub empty: u64,
    /// Responses that repeat the prompt.
    pub echo: u64,
}

/// Counts of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerCount {
    /// Block index.
    pub layer: u32,
    /// Features with trials or counts.
    pub features: u64,
    /// Rows that are trials.
    pub rows: u64,
    /// Features in lists.
    pub listed_features: u64,
    /// Of these, called causal.
    pub called_causal: u64,
}
