//! The effect of one feature on one measure, whichever table it is of.

use glassbox_log_effects::{CausalAnalysis, LogDoseRow, LogEffectRow, MeasureResult, Question};

use crate::data::FeatureId;

/// A feature's effect.
#[derive(Clone, Debug)]
pub(super) struct FeatureEffect {
    pub(super) feature: FeatureId,
    /// Trials compared.
    pub(super) n: u64,
    /// Rate or mean under value A, or at the lowest dose.
    pub(super) first: Option<f64>,
    /// Under value B, or at the highest dose.
    pub(super) second: Option<f64>,
    pub(super) effect: Option<f64>,
    pub(super) interval: Option<(f64, f64)>,
    pub(super) p: Option<f64>,
    pub(super) q: Option<f64>,
    pub(super) test: Option<String>,
    /// Cohen's d with its interval; doses have none.
    pub(super) d: Option<(f64, f64, f64)>,
    /// Odds ratio with its interval, whose upper limit may be infinite.
    pub(super) odds: Option<(f64, Option<f64>, Option<f64>)>,
}

impl From<&LogEffectRow> for FeatureEffect {
    fn from(row: &LogEffectRow) -> Self {
        Self {
            feature: FeatureId {
                layer: row.layer,
                feature: row.feature,
            },
            n: row.n_1 + row.n_2,
            first: row.value_1,
            second: row.value_2,
            effect: row.effect,
            interval: row.ci_low.zip(row.ci_high),
            p: row.p,
            q: row.q,
            test: row.test.clone(),
            d: match (row.cohen_d, row.d_low, row.d_high) {
                (Some(d), Some(low), Some(high)) => Some((d, low, high)),
                _ => None,
            },
            odds: row.odds_ratio.map(|odds| (odds, row.odds_low, row.odds_high)),
        }
    }
}

impl From<&LogDoseRow> for FeatureEffect {
    fn from(row: &LogDoseRow) -> Self {
        Self {
            feature: FeatureId {
                layer: row.layer,
                feature: row.feature,
            },
            n: row.n,
            first: row.value_lowest,
            second: row.value_highest,
            effect: row.effect,
            interval: row.ci_low.zip(row.ci_high),
            p: row.p,
            q: row.q,
            test: row.test.clone(),
            d: None,
            odds: None,
        }
    }
}

impl FeatureEffect {
    /// Whether it has a q value at or below alpha.
    pub(super) fn is_found(&self, alpha: f64) -> bool {
        self.q.is_some_and(|q| q <= alpha)
    }
}

/// The effects behind a measure's result, those with the smallest p first.
pub(super) fn effects_of(analysis: &CausalAnalysis, result: &MeasureResult) -> Vec<FeatureEffect> {
    let mut effects: Vec<FeatureEffect> = match result.question {
        Question::Values => rows_of(analysis, "value_b_vs_value_a", &result.measure)
            .map(FeatureEffect::from)
            .collect(),
        Question::Doses => analysis
            .doses
            .iter()
            .filter(|row| row.measure == result.measure)
            .map(FeatureEffect::from)
            .collect(),
    };
    effects.sort_by(|a, b| {
        let p = |effect: &FeatureEffect| effect.p.unwrap_or(2.0);
        p(a).total_cmp(&p(b)).then_with(|| a.feature.cmp(&b.feature))
    });
    effects
}

/// The rows of one comparison and measure.
pub(super) fn rows_of<'a>(
    analysis: &'a CausalAnalysis,
    comparison: &'a str,
    measure: &'a str,
) -> impl Iterator<Item = &'a LogEffectRow> {
    analysis
        .effects
        .iter()
        .filter(move |row| row.comparison == comparison && row.measure == measure)
}
