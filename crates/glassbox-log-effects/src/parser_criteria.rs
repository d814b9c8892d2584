//! What counts as a finding when two parsers are compared: the analyses of this crate, as [`Criterion`].

use std::collections::BTreeMap;

use glassbox_logs::audit::{Analysis, Criterion};
use glassbox_logs::{LogsError, Repeats, TrialIndex};

use crate::{CausalSettings, Cells, Comparison, EffectsError, Measure, StudyCriterion, analyse};

/// What of an analysis counts as a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParserCriterion {
    /// A feature that is causal by the study's own criterion.
    Study(StudyCriterion),
    /// A feature whose stop rate differs between its two values, q < 0.05 over all features.
    Values,
    /// A feature whose stop rate has a trend over doses, p < 0.05: uncorrected, so that a twentieth is expected by chance.
    Trend,
    /// The same with q < 0.05 over all features.
    CorrectedTrend,
}

impl ParserCriterion {
    /// The criteria of an analysis.
    pub fn of(analysis: Analysis) -> Vec<&'static dyn Criterion> {
        match analysis {
            Analysis::Dose => vec![&Self::Trend, &Self::CorrectedTrend],
            Analysis::Effects | Analysis::Words => {
                vec![&Self::Study(StudyCriterion::StudyScan), &Self::Values]
            }
        }
    }

    fn decide(self, cells: &Cells) -> Result<BTreeMap<String, bool>, EffectsError> {
        let name = |layer: u32, feature: u32| format!("L{layer}-{feature}");
        let settings = CausalSettings {
            measures: vec![Measure::Stop],
            criterion: match self {
                Self::Study(criterion) => Some(criterion),
                Self::Values | Self::Trend | Self::CorrectedTrend => None,
            },
            ..CausalSettings::default()
        };
        let analysis = analyse(cells, &settings)?;
        let is_found = |p: Option<f64>| p.is_some_and(|p| p < 0.05);
        let values = Comparison::ValueVsValue.name(None);
        Ok(match self {
            Self::Study(_) => {
                let findings = analysis.study.map_or(Vec::new(), |study| study.findings);
                let decided = findings
                    .iter()
                    .map(|found| (found.feature.to_string(), found.is_causal));
                decided.collect()
            }
            Self::Values => {
                let rows = analysis.effects.iter().filter(|row| row.comparison == values);
                rows.map(|row| (name(row.layer, row.feature), is_found(row.q)))
                    .collect()
            }
            Self::Trend | Self::CorrectedTrend => {
                let of = |row: &crate::LogDoseRow| if self == Self::Trend { row.p } else { row.q };
                let rows = analysis.doses.iter();
                rows.map(|row| (name(row.layer, row.feature), is_found(of(row))))
                    .collect()
            }
        })
    }
}

impl Criterion for ParserCriterion {
    fn name(&self) -> String {
        match self {
            Self::Study(_) => "the study's causal features",
            Self::Values => "stop rates that differ between values, q < 0.05",
            Self::Trend => "dose trends of the stop rate, p < 0.05",
            Self::CorrectedTrend => "dose trends of the stop rate, q < 0.05",
        }
        .to_owned()
    }

    fn findings(
        &self,
        index: &TrialIndex,
        source: usize,
        repeats: Repeats,
    ) -> Result<BTreeMap<String, bool>, LogsError> {
        self.decide(&Cells::of_index(index, source, repeats))
            .map_err(|error| LogsError::Criterion {
                criterion: self.name(),
                what: error.to_string(),
            })
    }
}
