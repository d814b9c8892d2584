//! The whole analysis: which features change the outcome, by their value or by being set at all.

use serde::Serialize;

use crate::cautions::cautions;
use crate::cells::Cells;
use crate::dose_curve::{DoseCurve, dose_curves};
use crate::doses::doses;
use crate::effect_row::{LogDoseRow, LogEffectRow};
use crate::effects::effects;
use crate::family::Family;
use crate::feature_arms::{Arms, BaselinePolicy};
use crate::judge::Judge;
use crate::outcomes::SourceName;
use crate::repeats::RepeatCounts;
use crate::reported_deltas::{ReportedDeltas, reported_deltas};
use crate::spread::Spread;
use crate::study_criterion::{StudyCriterion, StudyResult, study_result};
use crate::summary_rows::{BaselineDrift, ConditionRow, LayerRow, baseline_drift, conditions, layers};
use crate::tally::Tally;
use crate::verdict::{Limits, Question, Verdict};
use crate::{EffectsError, Measure};

/// What to analyse, and by which limits.
#[derive(Clone, Debug, Default)]
pub struct CausalSettings {
    /// What of the outcome; the first decides the verdict. Empty for the usual ones of the data ([`usual_measures`]).
    pub measures: Vec<Measure>,
    /// The limits of verdicts.
    pub limits: Limits,
    /// Whose baseline a feature is compared with.
    pub baseline: BaselinePolicy,
    /// The study's own criterion, beside the analysis.
    pub criterion: Option<StudyCriterion>,
}

/// What the data say of one measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasureResult {
    /// The measure.
    pub measure: String,
    /// Value against value, or doses.
    pub question: Question,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// Features compared.
    pub features: usize,
    /// Features without information: the same outcome in every trial compared.
    pub uninformative: usize,
    /// Features with q at or below the limit, the largest effects first.
    pub found: Vec<String>,
    /// The effects of all features together.
    pub spread: Option<Spread>,
    /// The shared shift of all features together: both values against the reference.
    pub shared: Option<Spread>,
    /// Random-feature controls together, where the data have them.
    pub controls: Option<Spread>,
    /// Smallest effect that a typical feature's single test at 5 % finds with 80 % power.
    pub detectable: Option<f64>,
    /// The same at 5 % over the number of features (Bonferroni).
    pub detectable_in_family: Option<f64>,
    /// Share of trials whose outcome is not known.
    pub unknown_share: f64,
}

/// The whole analysis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CausalAnalysis {
    /// The verdict of the first measure.
    pub verdict: Verdict,
    /// The verdict in words.
    pub words: String,
    /// Features in the data.
    pub features: usize,
    /// Trials that count.
    pub trials: u64,
    /// Cells that came counted.
    pub counted_cells: u64,
    /// Rows that could not be used.
    pub unusable_rows: u64,
    /// Where outcomes came from.
    pub outcomes: SourceName,
    /// What became of repeated trials.
    pub repeats: RepeatCounts,
    /// What values are compared with, where there is something.
    pub reference: Option<&'static str>,
    /// Whose baseline.
    pub baseline: BaselinePolicy,
    /// The limits of the verdicts.
    pub limits: Limits,
    /// What stands in the way of taking the verdict at its word.
    pub cautions: Vec<String>,
    /// The verdict of every measure.
    pub measures: Vec<MeasureResult>,
    /// The families of tests.
    pub families: Vec<Family>,
    /// Whether baselines drift among features.
    pub baseline_drift: Vec<BaselineDrift>,
    /// Rates and means of every condition.
    pub conditions: Vec<ConditionRow>,
    /// Effects by block.
    pub layers: Vec<LayerRow>,
    /// Effects that files state without counts.
    pub reported: Vec<ReportedDeltas>,
    /// The study's own criterion.
    pub study: Option<StudyResult>,
    /// Every contrast of every feature.
    pub effects: Vec<LogEffectRow>,
    /// The trend of every feature.
    pub doses: Vec<LogDoseRow>,
    /// The most distinct features at every dose.
    pub dose_curves: Vec<DoseCurve>,
}

/// Analyses counted cells.
///
/// # Errors
/// [`EffectsError::Stats`] if a statistic refuses its input.
pub fn analyse(cells: &Cells, settings: &CausalSettings) -> Result<CausalAnalysis, EffectsError> {
    let arms = Arms::of(cells);
    let measures = if settings.measures.is_empty() {
        usual_measures(cells)
    } else {
        settings.measures.clone()
    };
    let (effect_rows, mut families) = effects(&arms, &measures, settings.baseline)?;
    let (dose_rows, dose_family) = doses(&arms, &measures)?;
    families.extend(dose_family);
    let judge = Judge {
        cells,
        arms: &arms,
        limits: &settings.limits,
        baseline: settings.baseline,
        effects: &effect_rows,
        doses: &dose_rows,
    };
    let mut results = Vec::new();
    for measure in &measures {
        for question in [Question::Values, Question::Doses] {
            results.extend(judge.result(measure, question)?);
        }
    }
    let (verdict, words) = judge.overall(&results, cells);
    let mut drift = Vec::new();
    for measure in &measures {
        drift.extend(baseline_drift(&arms, measure)?);
    }
    Ok(CausalAnalysis {
        verdict,
        words,
        features: cells.features().len(),
        trials: cells.trials(),
        counted_cells: cells.aggregates,
        unusable_rows: cells.report.unusable(),
        outcomes: cells.source.clone(),
        repeats: cells.repeats.clone(),
        reference: arms.reference().map(|reference| reference.name()),
        baseline: settings.baseline,
        limits: settings.limits,
        cautions: cautions(cells, &arms, &results, &drift),
        measures: results,
        families,
        baseline_drift: drift,
        conditions: conditions(cells, &measures)?,
        layers: layers(&effect_rows, &dose_rows, settings.limits.alpha),
        reported: reported_deltas(&cells.reported),
        study: settings
            .criterion
            .map(|criterion| study_result(&arms, criterion))
            .transpose()?,
        effects: effect_rows,
        dose_curves: dose_curves(&arms, &dose_rows, &measures)?,
        doses: dose_rows,
    })
}

/// The measures that the data have: the stop rate and, where amounts are known, the mean bet; the labels of other experiments.
pub fn usual_measures(cells: &Cells) -> Vec<Measure> {
    let mut all = Tally::default();
    for tally in cells.tallies.values() {
        all.merge(tally);
    }
    let labels: Vec<Measure> = all
        .labels()
        .map(|label| Measure::Label(label.to_owned()))
        .collect();
    let decides = [Measure::Stop, Measure::Bet]
        .iter()
        .any(|measure| all.known(measure).events > 0);
    let mut measures = Vec::new();
    if decides || labels.is_empty() {
        measures.push(Measure::Stop);
    }
    if all.has_amounts() {
        measures.push(Measure::Amount);
    }
    measures.extend(labels);
    measures
}
